"""Teachers that are trained classifiers: a network that sees the learner's views, or a table of a
classifier's outputs for the unaugmented images."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rmdnet_jax.data import augment
from rmdnet_jax.data.lazy_images import Images
from rmdnet_jax.methods import inference
from rmdnet_jax.methods.interface import Prediction, Weights
from rmdnet_jax.methods.network import Classifier
from rmdnet_jax.models import chain


@dataclasses.dataclass(frozen=True)
class ClassifierNetwork:
    """A classifier, or several whose logits are averaged, on the learner's views, which are resized
    to its input size and normalised by its own mean and standard deviation.

    Attributes:
      network: the architecture, with the statistics of its own training images.
      weights: those of each of its networks, on the host.
      image_shape: what it was trained on, (H, W, 3), or (D,) for feature vectors.
      mean, std: those that the learner's views are normalised by, float32 [3] or [D].
      reads_labels: whether it was trained with labels.
    """

    network: Classifier
    weights: tuple[Weights, ...]
    image_shape: tuple[int, ...]
    mean: np.ndarray
    std: np.ndarray
    reads_labels: bool = True

    @property
    def size(self) -> int:
        """The embedding size; 0 for several networks, whose embeddings cannot be averaged."""
        return self.network.embedding_size if len(self.weights) == 1 else 0

    @property
    def parameters(self) -> int:
        """The number of parameters of all its networks."""
        return sum(leaf.size for one in self.weights for leaf in jax.tree.leaves(one.params))

    @property
    def frozen(self) -> Any:
        """Its weights and normalisation statistics."""
        statistics = {"mean": self.network.mean, "std": self.network.std}
        return {"networks": self.weights} | statistics

    def classify(self, frozen: dict, view: jax.Array, index: jax.Array) -> Prediction:
        """Logits float32 [B, C] and embedding float32 [B, D] (None for several networks) of
        normalised views float32 [B, H, W, 3] or [B, D]."""
        return self._said(frozen, augment.normalise(view, -self.mean / self.std, 1 / self.std))

    def embed(self, frozen: dict, view: jax.Array, index: jax.Array) -> jax.Array:
        """The embeddings of `classify`."""
        return self.classify(frozen, view, index).embedding

    def predict(self, weights: Any, images: jax.Array) -> Prediction:
        """The same for clean images, uint8 [B, H, W, 3] or float32 [B, D]; `weights`: `frozen`."""
        return self._said(weights, augment.to_float(images) if images.ndim == 4 else images)

    def asked(self, *sets: Images) -> tuple[Prediction, ...]:
        """Its outputs for sets of clean images, on the host: one inference pass each."""
        predict = inference.predictor(self)
        return tuple(predict((self.frozen,), images) for images in sets)

    def of_images(self, index: np.ndarray) -> "ClassifierNetwork":
        """Itself: it does not depend on which images a learner has."""
        return self

    def _said(self, frozen: dict, images: jax.Array) -> Prediction:
        """Outputs for images float32 [B, H, W, 3] in [0, 1], or feature vectors [B, D],
        unnormalised."""
        if images.shape[1:] != self.image_shape:
            # As Pillow downscales images.
            shape = len(images), *self.image_shape
            images = jax.image.resize(images, shape, "bilinear", antialias=True)
        x = augment.normalise(images, frozen["mean"], frozen["std"])
        said = [
            chain.apply(self.network.modules, one.params, one.batch_stats, x, train=False)[0]
            for one in frozen["networks"]
        ]
        logits = functools.reduce(jnp.add, [one["classifier"] for one in said]) / len(said)
        return Prediction(logits, said[0].get("backbone", x) if len(said) == 1 else None)


@dataclasses.dataclass(frozen=True)
class ClassifierTable:
    """A classifier's outputs for a training set's clean images, looked up by index; the learner's
    view is not used.

    Attributes:
      said: logits float32 [N, C] and embedding float32 [N, D] or None, on the host.
      reads_labels: whether labels were read to make it.
    """

    said: Prediction
    reads_labels: bool = True

    @property
    def size(self) -> int:
        """D; 0 without embeddings."""
        return 0 if self.said.embedding is None else self.said.embedding.shape[1]

    @property
    def frozen(self) -> dict[str, np.ndarray]:
        """The rows."""
        return {name: x for name, x in self.said._asdict().items() if x is not None}

    def classify(self, frozen: dict, view: jax.Array, index: jax.Array) -> Prediction:
        """Logits float32 [B, C] of the batch's images; the view has no embedding."""
        return Prediction(frozen["logits"][index], None)

    def embed(self, frozen: dict, view: jax.Array, index: jax.Array) -> jax.Array:
        """The embeddings of the clean images, float32 [B, D]."""
        return frozen["embedding"][index]

    def of_images(self, index: np.ndarray) -> "ClassifierTable":
        """The rows of these images, for a training set of only these."""
        if len(index) == len(self.said.logits):  # all of them, in order
            return self
        rows = (None if x is None else x[index] for x in self.said)
        return dataclasses.replace(self, said=Prediction(*rows))
