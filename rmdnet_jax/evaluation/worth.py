"""Whether a teacher is good enough to learn from: kNN accuracies of its embeddings."""

from collections.abc import Callable

import numpy as np

from rmdnet_jax.data import lazy_images
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.data.lazy_images import Images
from rmdnet_jax.evaluation import knn
from rmdnet_jax.teachers.judged import Verdict

# Of the training and the test images: float32 [N, D] and [M, D].
Embeddings = tuple[np.ndarray, np.ndarray]


def knn_accuracy(
    embeddings: Embeddings,
    labels: np.ndarray,
    data: Dataset,
    k: int,
    tested: np.ndarray | None = None,
) -> float:
    """Share of the test images whose neighbours among the training images elect their label.

    Args:
      embeddings: of both.
      labels: int [N], the best there are of the training images.
      data: whose images they are.
      k: neighbours that vote.
      tested: places of the test images to ask for, int [m]; None is all.
    """
    bank, queries = embeddings
    wanted = data.test_labels
    if tested is not None:
        queries, wanted = queries[tested], wanted[tested]
    return knn.accuracy(bank, labels, queries, wanted, data.num_classes, k=k)


def judge(
    embeddings: Embeddings,
    untrained: Callable[[], Embeddings] | None,
    labels: np.ndarray,
    data: Dataset,
    k: int,
    tested: np.ndarray | None = None,
) -> Verdict:
    """A teacher's verdict.

    Args:
      embeddings: the teacher's.
      untrained: those of its network before training, if it is one of ours.
      labels, data, k: as `knn_accuracy` takes them.
      tested: places of the test images to judge on, int [m]; None is all.
    """

    def measured(of: Embeddings) -> float:
        return knn_accuracy(of, labels, data, k, tested)

    pixels = _pixels(data) if data.are_pictures and not data.is_on_disk else None
    return Verdict(
        measured(embeddings),
        measured(untrained()) if untrained else None,
        measured(pixels) if pixels else None,
    )


def _pixels(data: Dataset) -> Embeddings:
    """Normalised pixels as embeddings, float32 [N, H * W * 3].

    They take four times the memory of the images: not for a data set that stays on disk.
    """
    mean, std = data.mean_std()

    def normalised(images: Images) -> np.ndarray:
        x = lazy_images.decoded(images).astype(np.float32)
        x -= 255 * mean  # in place: there may be gigabytes of them
        x /= 255 * std
        return x.reshape(len(x), -1)

    return normalised(data.train_images), normalised(data.test_images)
