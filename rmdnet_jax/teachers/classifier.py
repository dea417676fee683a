"""Teachers that are trained classifiers: a network that sees what the learner sees, or a table of
what a classifier says of the clean pictures."""

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
    """A classifier, or several whose logits are averaged, on the learner's views: brought to its
    own size, and normalised by its own mean and standard deviation.

    Attributes:
      network: the architecture, with the statistics of its own training images.
      weights: of each of its networks, on the host.
      image_shape: (H, W, 3), what it was trained on; or (D,), feature vectors.
      mean, std: by which the views are normalised, float32 [3] or [D].
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
        """Features of its embeddings; 0 of several networks, whose embeddings have no mean."""
        return self.network.embedding_size if len(self.weights) == 1 else 0

    @property
    def parameters(self) -> int:
        """Their number, of all its networks."""
        return sum(leaf.size for one in self.weights for leaf in jax.tree.leaves(one.params))

    @property
    def frozen(self) -> Any:
        """Its weights, and how it normalises."""
        statistics = {"mean": self.network.mean, "std": self.network.std}
        return {"networks": self.weights} | statistics

    def classify(self, frozen: dict, view: jax.Array, index: jax.Array) -> Prediction:
        """Logits float32 [B, C] and embedding float32 [B, D], or None of several networks, of
        normalised views float32 [B, H, W, 3] or [B, D]."""
        return self._said(frozen, augment.normalise(view, -self.mean / self.std, 1 / self.std))

    def embed(self, frozen: dict, view: jax.Array, index: jax.Array) -> jax.Array:
        """The embeddings of `classify`."""
        return self.classify(frozen, view, index).embedding

    def predict(self, weights: Any, images: jax.Array) -> Prediction:
        """The same of clean images, uint8 [B, H, W, 3] or float32 [B, D]; `weights` are frozen."""
        return self._said(weights, augment.to_float(images) if images.ndim == 4 else images)

    def asked(self, *sets: Images) -> tuple[Prediction, ...]:
        """What it says of sets of clean images, on the host: one inference pass each."""
        predict = inference.predictor(self)
        return tuple(predict((self.frozen,), images) for images in sets)

    def of_images(self, index: np.ndarray) -> "ClassifierNetwork":
        """Itself: which images a learner has is nothing to it."""
        return self

    def _said(self, frozen: dict, images: jax.Array) -> Prediction:
        """Of images float32 [B, H, W, 3] in [0, 1], or feature vectors [B, D], not normalised."""
        if images.shape[1:] != self.image_shape:
            # As Pillow makes pictures smaller.
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
    """What a classifier says of a training set's clean images, read at the place of each; the
    learner's view has no part in it.

    Attributes:
      said: logits float32 [N, C] and embedding float32 [N, D], or None, on the host.
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
        """Logits float32 [B, C] of the batch's images. There is no embedding of the view."""
        return Prediction(frozen["logits"][index], None)

    def embed(self, frozen: dict, view: jax.Array, index: jax.Array) -> jax.Array:
        """The embeddings of the clean images, float32 [B, D]."""
        return frozen["embedding"][index]

    def of_images(self, index: np.ndarray) -> "ClassifierTable":
        """The rows of these images, for a training set that is these."""
        if len(index) == len(self.said.logits):  # all of them, in order
            return self
        rows = (None if x is None else x[index] for x in self.said)
        return dataclasses.replace(self, said=Prediction(*rows))
