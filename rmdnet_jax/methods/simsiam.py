"""Stage RM: SimSiam learns an encoder from two views of every image; labels are not read."""

import dataclasses

import jax
import numpy as np
import optax

from rmdnet_jax.data import augment
from rmdnet_jax.losses import simsiam as losses
from rmdnet_jax.methods.interface import Batch, Metrics, Prediction, State
from rmdnet_jax.models.heads import Predictor, Projector
from rmdnet_jax.models.resnet import ResNet
from rmdnet_jax.training import cpu


@dataclasses.dataclass(frozen=True)
class SimSiam:
    """SimSiam (Chen and He 2021; RMDNet, section 3.2.1) as a method.

    Attributes:
      backbone: the encoder f without its projector; its output is the teacher's embedding.
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

    def init(self, key: jax.Array, example: jax.Array) -> State:
        """Fresh encoder, projector and predictor."""
        return cpu.jit_once(self._fresh)(key, example)

    def step(self, state: State, batch: Batch, key: jax.Array) -> tuple[State, Metrics]:
        """One update on equation 3. Metrics: loss in [-1, 1], spread (1 spread, 0 collapsed)."""
        views = augment.two_views(key, batch.image, min_area=self.min_area, flip=self.flip)
        view1, view2 = (augment.normalise(view, self.mean, self.std) for view in views)

        def loss_fn(params):
            # Two passes, so that batch statistics are per view.
            prediction1, projection1, stats = self._forward(params, state.batch_stats, view1)
            prediction2, projection2, stats = self._forward(params, stats, view2)
            loss = losses.symmetric_loss(prediction1, prediction2, projection1, projection2)
            return loss, (stats, {"loss": loss, "spread": losses.spread(projection1)})

        gradient, (batch_stats, metrics) = jax.grad(loss_fn, has_aux=True)(state.params)
        updates, opt_state = self.optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return State(params, batch_stats, opt_state), metrics

    def predict(self, state: State, images: jax.Array) -> Prediction:
        """Embeddings of uint8 images; there is no classifier, so logits are None."""
        x = augment.normalise(augment.to_float(images), self.mean, self.std)
        variables = {
            "params": state.params["backbone"],
            "batch_stats": state.batch_stats["backbone"],
        }
        return Prediction(None, self.backbone.apply(variables, x, train=False))

    def _fresh(self, key, example):
        keys = jax.random.split(key, 3)
        networks = {}
        x = augment.to_float(example)
        for network_key, name in zip(keys, ("backbone", "projector", "predictor"), strict=True):
            module = getattr(self, name)
            networks[name] = module.init(network_key, x, train=False)
            x = module.apply(networks[name], x, train=False)
        params = {name: variables["params"] for name, variables in networks.items()}
        batch_stats = {name: variables["batch_stats"] for name, variables in networks.items()}
        return State(params, batch_stats, self.optimizer.init(params))

    def _forward(self, params, batch_stats, view):
        """Prediction, projection [B, D] and the updated batch statistics of one view."""
        x, outputs, updated = view, {}, {}
        for name in ("backbone", "projector", "predictor"):
            variables = {"params": params[name], "batch_stats": batch_stats[name]}
            x, changed = getattr(self, name).apply(
                variables, x, train=True, mutable=["batch_stats"]
            )
            outputs[name], updated[name] = x, changed["batch_stats"]
        return outputs["predictor"], outputs["projector"], updated
