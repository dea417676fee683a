"""SimSiam learns an encoder from two views of every image; labels are not read (RM in the
paper)."""

import dataclasses
from typing import Any

import jax
import numpy as np
import optax

from rmdnet_jax.data import augment
from rmdnet_jax.losses import simsiam as losses
from rmdnet_jax.machine import cpu
from rmdnet_jax.methods.interface import Batch, Method, Metrics, Prediction, State, Task, Weights
from rmdnet_jax.models import chain
from rmdnet_jax.models.heads import Predictor, Projector
from rmdnet_jax.models.resnet import ResNet


@dataclasses.dataclass(frozen=True)
class SimSiam(Method[State]):
    """SimSiam (Chen and He 2021; RMDNet, section 3.2.1); predictions are those of the encoder f
    without its projector.

    Attributes:
      backbone: the encoder; its output is the teacher's embedding.
      projector, predictor: SimSiam's heads.
      optimizer: over all three networks.
      mean, std: float32 [3], of the training images in [0, 1].
      min_area: smallest share of the image that a view shows, in (0, 1].
      flip: whether views are mirrored half of the time.
    """

    backbone: ResNet
    projector: Projector
    predictor: Predictor
    optimizer: optax.GradientTransformation
    mean: np.ndarray
    std: np.ndarray
    min_area: float = 0.2
    flip: bool = True

    title = "SimSiam"

    @property
    def network(self) -> "SimSiam":
        """Itself: `predict` is the encoder's."""
        return self

    @property
    def modules(self) -> dict[str, Any]:
        """By name, in order of the data flow."""
        return {
            "backbone": self.backbone,
            "projector": self.projector,
            "predictor": self.predictor,
        }

    def init(self, key: jax.Array, example: jax.Array, task: Task | None = None) -> State:
        """Fresh encoder, projector and predictor."""
        return cpu.jit_once(self._fresh)(key, example)

    def step(
        self, state: State, batch: Batch, key: jax.Array, frozen: Any = ()
    ) -> tuple[State, Metrics, None]:
        """One update on equation 3. Metrics: loss in [-1, 1], spread (1 even, 0 collapsed)."""
        views = augment.two_views(key, batch.image, min_area=self.min_area, flip=self.flip)
        view1, view2 = (augment.normalise(view, self.mean, self.std) for view in views)

        def loss_fn(params):
            # Two passes, so that batch statistics are per view.
            out1, stats = chain.apply(self.modules, params, state.batch_stats, view1, train=True)
            out2, stats = chain.apply(self.modules, params, stats, view2, train=True)
            loss = losses.symmetric_loss(
                out1["predictor"], out2["predictor"], out1["projector"], out2["projector"]
            )
            spread = losses.spread(out1["projector"])
            return loss, (stats, {"loss": loss, "spread": spread})

        gradient, (batch_stats, metrics) = jax.grad(loss_fn, has_aux=True)(state.params)
        updates, opt_state = self.optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return State(params, batch_stats, opt_state), metrics, None

    def networks(self, state: State) -> tuple[Weights]:
        """The encoder with its heads; `predict` reads only the encoder."""
        return (Weights(state.params, state.batch_stats),)

    def predict(self, weights: Weights, images: jax.Array) -> Prediction:
        """Embeddings of uint8 images; there is no classifier, so logits are None."""
        x = augment.as_input(images, self.mean, self.std)
        encoder = {"backbone": self.backbone}
        outputs, _ = chain.apply(encoder, weights.params, weights.batch_stats, x, train=False)
        return Prediction(None, outputs["backbone"])

    def _fresh(self, key: jax.Array, example: jax.Array) -> State:
        keys = jax.random.split(key, len(self.modules))
        params, batch_stats = chain.init(self.modules, keys, augment.to_float(example))
        return State(params, batch_stats, self.optimizer.init(params))
