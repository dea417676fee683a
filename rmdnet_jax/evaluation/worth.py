"""Whether a teacher is good enough to learn from: the kNN accuracy of its embeddings."""

import dataclasses
from collections.abc import Callable

import numpy as np

from rmdnet_jax.data import lazy_images
from rmdnet_jax.data.dataset import NO_CLASS, Dataset
from rmdnet_jax.data.lazy_images import Images
from rmdnet_jax.evaluation import classification, knn
from rmdnet_jax.methods.interface import Prediction
from rmdnet_jax.teachers.judged import Verdict

# Of the training and the test images: float32 [N, D] and [M, D].
Embeddings = tuple[np.ndarray, np.ndarray]

# Pixels are compared for images of up to so many bytes: as floats, and once more of length 1, they
# take eight times as much, on one device.
_MOST_BYTES = 1 << 30


def knn_accuracy(
    embeddings: Embeddings,
    labels: np.ndarray,
    data: Dataset,
    k: int,
    tested: np.ndarray | None = None,
) -> float:
    """Share of the test images whose neighbours among the training images elect their label.

    Args:
      embeddings: of the training and the test images.
      labels: int [N], the best available of the training images; those of NO_CLASS do not vote.
      data: the data set of these images.
      k: neighbours that vote.
      tested: indices of the test images to evaluate, int [m]; None is all.
    """
    bank, queries = embeddings
    if not (votes := labels != NO_CLASS).all():
        bank, labels = bank[votes], labels[votes]
    wanted = data.test_labels
    if tested is not None:
        queries, wanted = queries[tested], wanted[tested]
    return knn.accuracy(bank, labels, queries, wanted, data.num_classes, k=k)


def judge(
    said: tuple[Prediction, Prediction],
    untrained: Callable[[], Embeddings] | None,
    labels: np.ndarray,
    data: Dataset,
    k: int,
    tested: np.ndarray | None = None,
) -> Verdict:
    """A teacher's verdict.

    Args:
      said: its predictions for the training and the test images. Without embeddings there is no
        kNN accuracy.
      untrained: the embeddings of its network before training, if the network is built here.
      labels, data, k: as in `knn_accuracy`.
      tested: indices of the test images to evaluate, int [m]; None is all.
    """

    def measured(of: Embeddings) -> float:
        return knn_accuracy(of, labels, data, k, tested)

    bank, queries = (part.embedding for part in said)
    verdict = Verdict()
    if bank is not None and queries is not None:
        is_small = data.are_pictures and not data.is_on_disk and data.nbytes <= _MOST_BYTES
        pixels = _pixels(data) if is_small else None
        verdict = Verdict(
            measured((bank, queries)),
            measured(untrained()) if untrained else None,
            measured(pixels) if pixels else None,
        )
    return dataclasses.replace(verdict, **_agreement(said, labels, data.test_labels))


def _agreement(
    said: tuple[Prediction, Prediction], labels: np.ndarray, test_labels: np.ndarray
) -> dict[str, float]:
    """How often a classifier agrees with the test labels, or with the training labels if it has no
    test predictions; empty if it is not a classifier. Images of none of the classes are skipped."""
    train, test = (part.logits for part in said)
    if train is None:
        return {}
    logits, wanted = (train, labels) if test is None else (test, test_labels)
    known = wanted >= 0
    if not known.any():
        return {}
    agreement = classification.accuracy(logits[known], wanted[known])
    usual = float(np.bincount(wanted[known]).max() / known.sum())
    found = {"agreement": agreement, "usual": usual, "measured_on": float(known.sum())}
    return found if test is None else found | {"test_accuracy": agreement}


def _pixels(data: Dataset) -> Embeddings:
    """Normalised pixels as embeddings, float32 [N, H * W * 3]: four times the images' memory."""
    mean, std = data.mean_std()

    def normalised(images: Images) -> np.ndarray:
        x = lazy_images.decoded(images).astype(np.float32)
        x -= 255 * mean  # in place: there may be gigabytes of pixels
        x /= 255 * std
        return x.reshape(len(x), -1)

    return normalised(data.train_images), normalised(data.test_images)
