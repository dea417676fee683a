"""A classifier's network, a backbone and a linear layer: initialisation, training, prediction."""

import dataclasses
from typing import Any

import jax
import numpy as np

from rmdnet_jax.data import augment
from rmdnet_jax.methods.interface import Prediction, Weights
from rmdnet_jax.models import chain
from rmdnet_jax.models.heads import Linear
from rmdnet_jax.models.mlp import MLP
from rmdnet_jax.models.resnet import ResNet


@dataclasses.dataclass(frozen=True)
class Classifier:
    """An architecture, with the statistics that normalise its input.

    Attributes:
      backbone, classifier: its modules. Without a backbone, the classifier reads the input itself,
        which then is the embedding: a linear model on feature vectors.
      mean, std: float32 [3], of the training images in [0, 1]; or [D], of feature vectors.
    """

    backbone: ResNet | MLP | None
    classifier: Linear
    mean: np.ndarray
    std: np.ndarray

    @property
    def modules(self) -> dict[str, Any]:
        """By name, in order of the data flow."""
        below = {"backbone": self.backbone} if self.backbone else {}
        return below | {"classifier": self.classifier}

    @property
    def embedding_size(self) -> int:
        """The embedding size."""
        return self.backbone.embedding_size if self.backbone else len(self.mean)

    def init(self, key: jax.Array, example: jax.Array) -> Weights:
        """Fresh weights for images like `example`, uint8 [1, H, W, 3] or float32 [1, D]."""
        keys = jax.random.split(key, len(self.modules))
        return Weights(
            *chain.init(self.modules, keys, augment.as_input(example, self.mean, self.std))
        )

    def train(self, weights: Weights, view: jax.Array) -> tuple[Prediction, dict]:
        """Outputs for a normalised view float32 [B, H, W, 3] or [B, D] with the batch's own
        statistics, and the updated running statistics."""
        outputs, batch_stats = chain.apply(
            self.modules, weights.params, weights.batch_stats, view, train=True
        )
        return self._said(view, outputs), batch_stats

    def predict(self, weights: Weights, images: jax.Array) -> Prediction:
        """Logits and embedding of images uint8 [B, H, W, 3] or float32 [B, D]."""
        x = augment.as_input(images, self.mean, self.std)
        outputs, _ = chain.apply(self.modules, weights.params, weights.batch_stats, x, train=False)
        return self._said(x, outputs)

    def _said(self, x: jax.Array, outputs: dict[str, Any]) -> Prediction:
        return Prediction(outputs["classifier"], outputs.get("backbone", x))
