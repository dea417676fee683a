"""A classifier's network: backbone, then a linear layer; initialised, trained, predicted with."""

import dataclasses
from typing import Any

import jax
import numpy as np

from rmdnet_jax.data import augment
from rmdnet_jax.methods.interface import Prediction, Weights
from rmdnet_jax.models import chain
from rmdnet_jax.models.heads import Linear
from rmdnet_jax.models.resnet import ResNet


@dataclasses.dataclass(frozen=True)
class Classifier:
    """An architecture, with the statistics that its input is normalised by.

    Attributes:
      backbone, classifier: its modules.
      mean, std: float32 [3], of the training images in [0, 1].
    """

    backbone: ResNet
    classifier: Linear
    mean: np.ndarray
    std: np.ndarray

    @property
    def modules(self) -> dict[str, Any]:
        """By name, in the order of the data's way."""
        return {"backbone": self.backbone, "classifier": self.classifier}

    def init(self, key: jax.Array, example: jax.Array) -> Weights:
        """Fresh weights for images like `example`, uint8 [1, H, W, 3]."""
        keys = jax.random.split(key, len(self.modules))
        return Weights(*chain.init(self.modules, keys, augment.to_float(example)))

    def train(self, weights: Weights, view: jax.Array) -> tuple[Prediction, dict]:
        """What it says of a normalised view float32 [B, H, W, 3] by the batch's own statistics, and
        the running ones afterwards."""
        outputs, batch_stats = chain.apply(
            self.modules, weights.params, weights.batch_stats, view, train=True
        )
        return Prediction(outputs["classifier"], outputs["backbone"]), batch_stats

    def predict(self, weights: Weights, images: jax.Array) -> Prediction:
        """Logits and embedding of uint8 images [B, H, W, 3]."""
        x = augment.normalise(augment.to_float(images), self.mean, self.std)
        outputs, _ = chain.apply(self.modules, weights.params, weights.batch_stats, x, train=False)
        return Prediction(outputs["classifier"], outputs["backbone"])
