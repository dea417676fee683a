"""Which images of every class are held out; and those held out when training the student, to choose
a config without true labels.

A student is evaluated by how often it agrees with their given labels, which it has not seen.
"""

import dataclasses

import numpy as np

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import lazy_images
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.data.labels import Labels
from rmdnet_jax.data.lazy_images import Images

# "split" in ASCII. Not 0: if labels were corrupted with default_rng(0), all wrong ones would be
# held out.
_TEST_SEED = 0x73706C6974


@dataclasses.dataclass(frozen=True)
class Split:
    """The training images in two: those that a student learns from, and those held out.

    Attributes:
      data: the data set with the images to learn from as its training images.
      labels: theirs; statistics of the noise are still those of all images.
      index: int64 [n], their positions among all training images.
      held_out_images: uint8 [m, H, W, 3]; m may be 0.
      held_out_given: int32 [m], their given labels.
    """

    data: Dataset
    labels: Labels
    index: np.ndarray
    held_out_images: Images
    held_out_given: np.ndarray


def split(data: Dataset, labels: Labels, share: float, seed: int) -> Split:
    """Holds out the validation fraction `share`, in [0, 1), of the images of every given class.

    Which ones depends only on (seed, position of the image, given labels); at least one image of a
    class is held out, and at least one stays. A share of 0 leaves `data` and `labels` unchanged.

    Raises:
      InputError: no class has two images.
    """
    draw = np.random.default_rng((seed, 0x76616C)).random(len(labels.given))  # "val"
    held_out = per_class(labels.given, share, draw)
    if share and not held_out.any():
        raise InputError(
            f"config.dataset.validation_fraction is {share!r}, but no class has two images; "
            "expected 0, or more images"
        )
    index, others = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    return Split(
        data.take(index) if share else data,
        labels.take(index) if share else labels,
        index,
        lazy_images.subset(data.train_images, others),
        labels.given[others],
    )


def held_out_for_testing(
    labels: np.ndarray, share: float, may_be: np.ndarray | None = None
) -> np.ndarray:
    """Which samples of a list without a test split are tested on: bool [N], the same in every call.

    Args:
      labels: int [N].
      share: in (0, 1), of every class that has two samples; at least one of them.
      may_be: bool [N], which samples are suitable; None: all.
    """
    draw = np.random.default_rng(_TEST_SEED).random(len(labels))
    rows = np.arange(len(labels)) if may_be is None else np.flatnonzero(may_be)
    held_out = np.zeros(len(labels), bool)
    held_out[rows] = per_class(labels[rows], share, draw[rows])
    return held_out


def per_class(labels: np.ndarray, share: float, draw: np.ndarray) -> np.ndarray:
    """Which samples are held out: bool [N], for every class the nearest number to `share`, but at
    least one, if the share is not 0, and never all.

    Args:
      labels: int [N].
      share: in [0, 1].
      draw: [N], the order within a class: those with the smallest values are held out.
    """
    at_least = 1 if share else 0
    held_out = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = min(max(round(share * len(members)), at_least), len(members) - 1)
        held_out[members[np.argsort(draw[members], kind="stable")[:count]]] = True
    return held_out
