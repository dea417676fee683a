"""Stage RGRL: a student learns from wrong labels with a robust loss, held in place by the relation
graphs of a frozen teacher. Without a teacher it is the robust loss alone."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from rmdnet_jax.data import augment
from rmdnet_jax.losses import relation
from rmdnet_jax.methods import memory
from rmdnet_jax.methods.interface import Batch, Metrics, Prediction, State
from rmdnet_jax.models.heads import Linear, Projector
from rmdnet_jax.models.resnet import ResNet
from rmdnet_jax.training import cpu, sharding


@dataclasses.dataclass(frozen=True)
class Teacher:
    """The frozen network whose relation graphs guide the student.

    Attributes:
      backbone: the encoder.
      projector: SimSiam's, where its output is the teacher's embedding; None for the backbone's.
      params, batch_stats: by network ("backbone" and, with a projector, "projector").
    """

    backbone: ResNet
    projector: Projector | None
    params: dict
    batch_stats: dict

    @property
    def embedding_size(self) -> int:
        """Number of features of the teacher's embedding."""
        return self.projector.features if self.projector else self.backbone.embedding_size

    def embed(self, params: dict, batch_stats: dict, images: jax.Array) -> jax.Array:
        """Normalised images [B, H, W, 3] -> embedding float32 [B, D], with running statistics."""
        networks = {"backbone": self.backbone} | (
            {"projector": self.projector} if self.projector else {}
        )
        x: Any = images
        for name, module in networks.items():
            variables = {"params": params[name], "batch_stats": batch_stats[name]}
            x = module.apply(variables, x, train=False)
        return x


@flax.struct.dataclass
class StudentState(State):
    """A state with what the student said of the training images so far; empty if it does not
    remember them."""

    memory: memory.Memory


@flax.struct.dataclass
class Weights:
    """A trained student's arrays: float32, by network.

    Attributes:
      params: of "backbone" and "classifier" (others are not read).
      batch_stats: of "backbone".
    """

    params: dict
    batch_stats: dict


@dataclasses.dataclass(frozen=True)
class Classifier:
    """What is left of a student when training is over.

    Attributes:
      backbone, classifier: its networks.
      mean, std: float32 [3], of the training images in [0, 1].
    """

    backbone: ResNet
    classifier: Linear
    mean: np.ndarray
    std: np.ndarray

    def predict(self, weights: Weights, images: jax.Array) -> Prediction:
        """Logits and embedding of uint8 [B, H, W, 3], with running statistics."""
        x = augment.normalise(augment.to_float(images), self.mean, self.std)
        params = weights.params
        variables = {
            "params": params["backbone"],
            "batch_stats": weights.batch_stats["backbone"],
        }
        embedding = self.backbone.apply(variables, x, train=False)
        return Prediction(
            self.classifier.apply({"params": params["classifier"]}, embedding), embedding
        )


@dataclasses.dataclass(frozen=True)
class RGRL:
    """Relation-guided representation learning (RMDNet, sections 3.3 and 4.3) as a method.

    Attributes:
      backbone, classifier: the student.
      loss: per-example robust loss, (logits [B, C], labels [B]) -> [B].
      optimizer: over the student's parameters alone.
      mean, std: float32 [3], of the training images in [0, 1].
      teacher: the frozen teacher, or None for the robust loss alone.
      k: weight K of the regulariser (equation 11); quoted for batches of 64.
      alpha, beta: weights of node and edge matching (equation 10).
      relation_norm: "frobenius" (the paper's, grows with the batch) or "frobenius_per_sample"
        (divided by the batch size, so that a K carries over).
      teacher_view: "same" (the student's augmented batch) or "own" (drawn independently).
      start: backbone variables ("params", "batch_stats") that the student starts from instead of
        fresh ones, the teacher's for example.
      pad, flip: random crop's zero padding in pixels; whether images are mirrored.
      remembers: number of training images of which it remembers what it said (methods/memory.py).
    """

    backbone: ResNet
    classifier: Linear
    loss: Callable[[jax.Array, jax.Array], jax.Array]
    optimizer: optax.GradientTransformation
    mean: np.ndarray
    std: np.ndarray
    teacher: Teacher | None = None
    k: float = 1.0
    alpha: float = 0.8
    beta: float = 0.35
    relation_norm: str = "frobenius"
    teacher_view: str = "same"
    start: dict | None = None
    pad: int = 4
    flip: bool = True
    remembers: int = 0

    @property
    def adapter(self) -> Linear | None:
        """Maps the student's embedding to the teacher's size where the two differ, for the
        relation loss alone (as EGA, arXiv 2211.13264, does for unequal networks)."""
        if self.teacher is None or self.teacher.embedding_size == self.backbone.embedding_size:
            return None
        return Linear(self.teacher.embedding_size)

    def init(self, key: jax.Array, example: jax.Array) -> StudentState:
        """Fresh student beside the given teacher. The same key gives the same student with and
        without a teacher."""
        # What is given stays out of the compiled program, which would hold a copy of it.
        student, student_stats = cpu.jit_once(self._fresh)(key, example)
        if self.start:
            student["backbone"] = jax.tree.map(jnp.array, self.start["params"])
            student_stats["backbone"] = jax.tree.map(jnp.array, self.start["batch_stats"])
        params, batch_stats = {"student": student}, {"student": student_stats}
        if self.teacher:
            params["teacher"] = self.teacher.params
            batch_stats["teacher"] = self.teacher.batch_stats
        opt_state = cpu.jit_once(self.optimizer.init)(student)
        said = memory.empty(self.remembers, self.classifier.features) if self.remembers else {}
        return StudentState(params, batch_stats, opt_state, said)

    def step(
        self, state: StudentState, batch: Batch, key: jax.Array
    ) -> tuple[StudentState, Metrics]:
        """One update of the student on equation 11.

        Metrics: loss, robust_loss, train_accuracy (agreement with the given labels) and, with a
        teacher, node_loss and edge_loss.
        """
        student_key, teacher_key = jax.random.split(key)
        view = self._view(student_key, batch.image)
        if self.teacher:
            own = self.teacher_view == "own"
            teacher_view = self._view(teacher_key, batch.image) if own else view
            target = self.teacher.embed(
                state.params["teacher"], state.batch_stats["teacher"], teacher_view
            )

        def loss_fn(student):
            logits, embedding, batch_stats = self._forward(student, state.batch_stats, view)
            robust = self.loss(logits, batch.label).mean()
            metrics = {"robust_loss": robust, "train_accuracy": _accuracy(logits, batch.label)}
            loss = robust
            if self.teacher:
                if self.adapter:
                    embedding = self.adapter.apply({"params": student["adapter"]}, embedding)
                # Every image relates to every other, wherever it lies.
                pair = sharding.whole((target, embedding))
                node, edge = relation.node_loss(*pair), relation.edge_loss(*pair)
                scale = len(view) if self.relation_norm == "frobenius_per_sample" else 1
                loss = robust + self.k / scale * (self.alpha * node + self.beta * edge)
                metrics |= {"node_loss": node, "edge_loss": edge}
            return loss, (batch_stats, metrics | {"loss": loss}, logits)

        student = state.params["student"]
        gradient, (student_stats, metrics, logits) = jax.grad(loss_fn, has_aux=True)(student)
        updates, opt_state = self.optimizer.update(gradient, state.opt_state, student)
        params = state.params | {"student": optax.apply_updates(student, updates)}
        batch_stats = state.batch_stats | {"student": student_stats}
        said = state.memory
        if self.remembers:
            # Every device keeps all of it, and so needs what is said of the whole batch.
            said = memory.remember(said, *sharding.whole((batch.index, jax.nn.softmax(logits))))
        return StudentState(params, batch_stats, opt_state, said), metrics

    def predict(self, state: State, images: jax.Array) -> Prediction:
        """Logits and embedding of uint8 images from the student."""
        network = Classifier(self.backbone, self.classifier, self.mean, self.std)
        return network.predict(
            Weights(state.params["student"], state.batch_stats["student"]), images
        )

    def _fresh(self, key, example):
        backbone_key, classifier_key, adapter_key = jax.random.split(key, 3)
        variables = self.backbone.init(backbone_key, augment.to_float(example), train=False)
        embedding = jnp.zeros((1, self.backbone.embedding_size), jnp.float32)
        student = {
            "backbone": variables["params"],
            "classifier": self.classifier.init(classifier_key, embedding)["params"],
        }
        if self.adapter:
            student["adapter"] = self.adapter.init(adapter_key, embedding)["params"]
        return student, {"backbone": variables["batch_stats"]}

    def _view(self, key, images):
        cropped = augment.crop_flip(key, images, pad=self.pad, flip=self.flip)
        return augment.normalise(augment.to_float(cropped), self.mean, self.std)

    def _forward(self, student, batch_stats, view):
        variables = {
            "params": student["backbone"],
            "batch_stats": batch_stats["student"]["backbone"],
        }
        embedding, changed = self.backbone.apply(
            variables, view, train=True, mutable=["batch_stats"]
        )
        logits = self.classifier.apply({"params": student["classifier"]}, embedding)
        return logits, embedding, {"backbone": changed["batch_stats"]}


def _accuracy(logits, labels):
    return (logits.argmax(axis=-1) == labels).astype(jnp.float32).mean()
