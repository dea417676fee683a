"""A teacher trained here by SimSiam, on the images alone (RM in the paper)."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import ClassVar

import jax
import optax

from rmdnet_jax.base.errors import CollapsedError
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.data.lazy_images import Images
from rmdnet_jax.losses.simsiam import COLLAPSED
from rmdnet_jax.machine import hosts
from rmdnet_jax.methods import inference, optimizers
from rmdnet_jax.methods.interface import Prediction, State, Teacher, Weights
from rmdnet_jax.methods.simsiam import SimSiam
from rmdnet_jax.models.heads import Predictor, Projector
from rmdnet_jax.models.resnet import ResNet
from rmdnet_jax.teachers.network import NetworkTeacher
from rmdnet_jax.teachers.source import Recipe, Source


@dataclasses.dataclass(frozen=True)
class SimSiamSource(Source):
    """The kind "simsiam".

    Attributes:
      simsiam: the method, with its networks.
      learning_rate: the method's, by update.
      projected: whether the guiding embedding is the projector's.
      on_collapse: "warn", or "stop" to raise.
    """

    simsiam: SimSiam
    learning_rate: optax.Schedule
    projected: bool
    on_collapse: str

    reads_path: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    has_network: ClassVar[bool] = True
    sees_views: ClassVar[bool] = True
    title: ClassVar[str] = "SimSiam teacher"
    story: ClassVar[str] = "A teacher learns from the images alone; no label is read."
    remedy: ClassVar[str] = "train it longer (rm.epochs)"

    @property
    def method(self) -> SimSiam | None:
        """SimSiam."""
        return self.simsiam

    @classmethod
    def build(cls, recipe: Recipe, data: Dataset) -> "SimSiamSource":
        """SimSiam for the images of a data set, with heads in proportion to the paper's widths."""
        rm, features = recipe.rm, 2048 * recipe.width // 64
        steps = len(data.train_images) // rm["batch_size"]
        schedule = optax.cosine_decay_schedule(rm["lr"], rm["epochs"] * steps)
        decayed, constant = (
            optimizers.sgd(rate, rm["momentum"], rm["weight_decay"])
            for rate in (schedule, optax.constant_schedule(rm["lr"]))
        )
        optimizer = decayed
        if rm["predictor_constant_lr"]:
            optimizer = optimizers.with_constant_predictor(decayed, constant)
        mean, std = data.mean_std()
        simsiam = SimSiam(
            backbone=ResNet(recipe.width, recipe.stem, recipe.dtype, recipe.blocks, recipe.block),
            projector=Projector(features, recipe.dtype),
            predictor=Predictor(features // 4, features, recipe.dtype),
            optimizer=optimizer,
            mean=mean,
            std=std,
            min_area=rm["min_area"],
            flip=recipe.flip,
        )
        return cls(simsiam, schedule, recipe.projected, rm["on_collapse"])

    def fresh(self, key: jax.Array, example: jax.Array) -> State:
        """Encoder and heads before training, on the host."""
        return jax.device_get(self.simsiam.init(key, example))

    def teacher(self, state: State | None) -> NetworkTeacher:
        """The encoder, with its projector if that gives the embedding."""
        assert state
        simsiam = self.simsiam
        size = simsiam.projector.features if self.projected else simsiam.backbone.embedding_size
        names = ("backbone", "projector") if self.projected else ("backbone",)
        params, batch_stats = (
            jax.device_get({name: tree[name] for name in names})
            for tree in (state.params, state.batch_stats)
        )
        modules = {name: simsiam.modules[name] for name in names}
        return NetworkTeacher(modules, size, params, batch_stats)

    def predictions(self, state: State | None, data: Dataset) -> tuple[Prediction, Prediction]:
        """The backbone's embeddings: float32 [N, D] and [M, D]."""
        assert state
        networks = self.simsiam.networks(state)
        return (
            self._predict(networks, data.train_images),
            self._predict(networks, data.test_images),
        )

    @functools.cached_property
    def _predict(self) -> Callable[[tuple[Weights, ...], Images], Prediction]:
        return inference.predictor(self.simsiam)

    def start(self, teacher: Teacher) -> Weights:
        """The encoder's weights."""
        return Weights(teacher.frozen["params"], teacher.frozen["batch_stats"])

    def watch(self, metrics: Mapping[str, float], epoch: int, history: list[dict]) -> None:
        """Warns, once, or raises CollapsedError, when all embeddings have become the same."""
        spread = metrics["spread"]
        if spread >= COLLAPSED:
            return
        verdict = (
            f"the teacher has collapsed in epoch {epoch}: the spread of its embeddings is "
            f"{spread:.3f} (below {COLLAPSED}; 1 is evenly spread, 0 the same for every image)"
        )
        if self.on_collapse == "stop":
            raise CollapsedError(
                f"{verdict}; a smaller rm.lr or other views may help, in a new workdir"
            )
        is_new = not history or history[-1]["spread"] >= COLLAPSED
        if is_new:
            hosts.warn(f"{verdict}; its relations are meaningless (rm.on_collapse=stop ends here)")


KIND = SimSiamSource
