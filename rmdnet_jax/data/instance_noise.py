"""Label noise that depends on the image: the pixels determine which wrong label it gets.

Noise that depends only on the class is drawn by noise.py.
"""

from collections.abc import Iterator

import numpy as np
from scipy.special import ndtr, ndtri, softmax

from rmdnet_jax.data import lazy_images, noise
from rmdnet_jax.data.dataset import check_images, check_labels, mean_std_of
from rmdnet_jax.data.lazy_images import Images

_KIND = "instance"

# Standard deviation of the images' rates, before they are cut to [0, 1].
_SPREAD = 0.1

# Standardised values and projections are rounded to multiples of 1 / these, much finer than 8 bits
# resolve. Sums of their products are then exact in float64 while they stay below 2 ** 25, in
# whatever order they are added.
_VALUE_PARTS, _WEIGHT_PARTS = 2**12, 2**16

# Images of a class are processed in blocks of so many stored bytes: the projection is drawn again
# for each block. And the float64 numbers of each array next to them.
_IMAGE_BYTES = 128 << 20
_NUMBERS = 1 << 22

_LEAST = 2.0**-54  # half of the smallest step of a uniform number; ndtri(0) is not finite


def corrupt(
    images: Images, labels: np.ndarray, num_classes: int, rate: float, seed: int
) -> np.ndarray:
    """Draws a given label for every true label, depending on its image.

    The label of image i of true class y is wrong with probability q_i, drawn from a normal
    N(rate, 0.1 ** 2) that is truncated to [0, 1]. The wrong label is drawn from softmax(x_i W_y)
    over the other classes, where W_y [D, C] are standard normals, one matrix per class, and x_i [D]
    are the pixels in [0, 1] or the features, standardised by mean and standard deviation of
    `images` (per channel of images, per column of features; above 4 GiB, of 10,000 images).

    As in the paper, the scores are not divided by the root of D: on CIFAR-10 they have a spread of
    50 over the classes, and the softmax gives 0.98 to one of them on average. The wrong label is
    thus almost a function of the image, and similar images get the same one. The authors' code uses
    raw pixels, from 0 to 255 and not centred. What all images have in common then outweighs their
    differences: there 0.64 of a class's wrong labels are of one other class, here 0.25.

    The share of wrong labels is the mean of that truncated normal: the rate from 0.3 to 0.7, and
    0.206 at 0.2, 0.129 at 0.1, 0.871 at 0.9, 0.920 at 1. At a rate of 0 it would be 0.08; no label
    is wrong there instead.

    Which labels are wrong depends only on (seed, rate) and the position of the image, so that it is
    the same for a prefix; the wrong class depends on the images, and through the mean and standard
    deviation on all of them. Scores are the same to the last bit, whatever the blocks, the BLAS and
    its threads. Only the last bits of elementary functions depend on the machine; the probability
    that they change any label of a data set of CIFAR's size is below 1e-5.

    Args:
      images: uint8 [N, H, W, 3], in memory or on disk, or float32 [N, D]. Only those that get a
        wrong label are read, after up to 4 GiB of them are read for the mean.
      labels: integers [N] in [0, num_classes), the true labels; not modified.
      num_classes: C, at least 2.
      rate: in [0, 1].
      seed: an integer from 0.

    Returns:
      int32 [N], the given labels.

    Raises:
      InputError: for anything other than the above.

    References:
      Xia et al. 2020, "Part-dependent Label Noise: Towards Instance-dependent Label Noise" (arXiv
      2006.07836), algorithm 2.
    """
    rates, draws, labels = _drawn(images, labels, num_classes, rate, seed)
    wrong = np.flatnonzero(draws[:, 0] < rates)
    given = labels.astype(np.int32)
    for members, shares in _destinations(images, labels, wrong, num_classes, rate, seed):
        # The first class whose cumulative sum exceeds the draw: never one of share 0, such as the
        # true class.
        cdf = shares.cumsum(axis=1)
        given[members] = (cdf > draws[members, 1:] * cdf[:, -1:]).argmax(axis=1)
    return given


def _drawn(
    images: Images, labels: np.ndarray, num_classes: int, rate: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rates q, float64 [N] in [0, 1], two more random numbers per image, float64 [N, 2] in
    [0, 1), and the labels as an array; InputError if an input is invalid."""
    noise.check(_KIND, rate, num_classes)
    rng = noise.generator(seed, _KIND, rate)
    check_images(images, "images to corrupt the labels of")
    labels = np.asarray(labels)
    check_labels(labels, len(images), num_classes, "labels to corrupt")
    uniform = rng.random((labels.size, 3))
    low, high = ndtr(-rate / _SPREAD), ndtr((1 - rate) / _SPREAD)
    rates = rate + _SPREAD * ndtri(low + uniform[:, 0] * (high - low))
    return (rates.clip(0, 1) if rate else np.zeros(labels.size)), uniform[:, 1:], labels


def _destinations(
    images: Images,
    labels: np.ndarray,
    members: np.ndarray,
    num_classes: int,
    rate: float,
    seed: int,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Some of `members` [n], of one class, and the distribution of their wrong labels: float64
    [n, C], rows sum to 1, 0 for the true class."""
    if not members.size:
        return
    mean, std = (value.astype(np.float64) for value in mean_std_of(images))
    one = 1 if images.ndim == 2 else 255
    size = int(np.prod(images.shape[1:]))
    scale = np.tile(_VALUE_PARTS / (one * std), size // std.size)
    shift = np.tile(_VALUE_PARTS * mean / std, size // std.size)
    together = max(1, _IMAGE_BYTES // (size * images.dtype.itemsize))
    for true in np.unique(labels[members]):
        of_class = members[labels[members] == true]
        for start in range(0, of_class.size, together):
            block = of_class[start : start + together]
            pixels = lazy_images.decoded(lazy_images.subset(images, block)).reshape(-1, size)
            # The same projection for every block: each restarts its stream.
            rng = noise.generator(seed, _KIND, rate, stream=int(true))
            scores = _scores(pixels, scale, shift, rng, num_classes)
            scores[:, true] = -np.inf
            yield block, softmax(scores, axis=1)


def _scores(
    pixels: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    rng: np.random.Generator,
    num_classes: int,
) -> np.ndarray:
    """x W for pixels [n, D] of one class, float64 [n, C]: x is scale * pixels - shift."""
    images, size = pixels.shape
    scores = np.zeros((images, num_classes))
    columns = max(1, _NUMBERS // max(images, num_classes))
    for start in range(0, size, columns):
        part = slice(start, start + columns)
        values = np.rint(pixels[:, part] * scale[part] - shift[part])
        uniform = rng.random((values.shape[1], num_classes))
        # By the inverse distribution function: NumPy's own normals may change between versions.
        weights = np.rint(_WEIGHT_PARTS * ndtri(np.maximum(uniform, _LEAST)))
        scores += values @ weights
    return scores / (_VALUE_PARTS * _WEIGHT_PARTS)
