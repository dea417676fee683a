"""Label noise that depends on the image: where a wrong label goes is read off the pixels.

Noise that depends on the class alone is drawn by noise.py.
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

# Standardised values and projections are whole numbers of such parts of 1, much finer than what 8
# bits tell apart. Sums of their products are then exact in float64 while they stay below 2 ** 25,
# in whatever order they are added.
_VALUE_PARTS, _WEIGHT_PARTS = 2**12, 2**16

# Bytes of the images of a class, as they are stored, that are looked at together: for each such
# block the projection is drawn again. And float64 numbers of each array beside them.
_IMAGE_BYTES = 128 << 20
_NUMBERS = 1 << 22

_LEAST = 2.0**-54  # half of the least step of a uniform number; ndtri(0) is no number


def corrupt(
    images: Images, labels: np.ndarray, num_classes: int, rate: float, seed: int
) -> np.ndarray:
    """Draws a given label for every true label, by what its image looks like.

    Image i of true class y is wrong with probability q_i, from a normal N(rate, 0.1 ** 2) that is
    truncated to [0, 1]. Where to is drawn from softmax(x_i W_y) over the other classes, where W_y
    [D, C] are standard normals, one matrix a class, and x_i [D] are the pixels in [0, 1] or the
    features, standardised by mean and standard deviation of `images` (a channel of pictures, a
    column of features; of more than 4 GiB, of 10,000 images).

    As in the paper the scores are not divided by the root of D: on CIFAR-10 they spread by 50 over
    the classes, and the softmax gives 0.98 to one of them in the mean. Where a wrong label goes is
    thus almost a function of the image, and alike images go alike. The authors' code takes the
    pixels as they are, from 0 to 255 and not centred. What all images have in common then outweighs
    what they differ in: 0.64 of a class's wrong labels are of one other class there, 0.25 here.

    The share of wrong labels is the mean of that truncated normal: the rate from 0.3 to 0.7, and
    0.206 at 0.2, 0.129 at 0.1, 0.871 at 0.9, 0.920 at 1. At a rate of 0 it would be 0.08; there no
    label is wrong.

    Who is wrong depends on (seed, rate) and the place of the image alone, so that it is the same
    for a prefix; where to depends on the images, through their mean and standard deviation on all
    of them. Scores come out the same to the last bit whatever the blocks, the BLAS and its threads.
    What is left to the machine are the last bits of elementary functions; that they change any
    label of a data set of CIFAR's size is less likely than 1e-5.

    Args:
      images: uint8 [N, H, W, 3], in memory or on disk, or float32 [N, D]. Only those that get a
        wrong label are read, after all of up to 4 GiB for the mean.
      labels: integers [N] in [0, num_classes), the true labels; left as they are.
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
        # The first class whose sum is above the draw: never one with nothing, as the true class.
        cdf = shares.cumsum(axis=1)
        given[members] = (cdf > draws[members, 1:] * cdf[:, -1:]).argmax(axis=1)
    return given


def distribution(
    images: Images, labels: np.ndarray, num_classes: int, rate: float, seed: int
) -> np.ndarray:
    """What `corrupt` draws from: float64 [N, C], P(given j | image i); rows sum to 1.

    Images of a class that are the same have the same row, but for their rates.

    Args:
      images, labels, num_classes, rate, seed: as of `corrupt`.

    Raises:
      InputError: as `corrupt` does.
    """
    rates, _, labels = _drawn(images, labels, num_classes, rate, seed)
    everyone = np.arange(labels.size)
    found = np.empty((labels.size, num_classes))
    for members, shares in _destinations(images, labels, everyone, num_classes, rate, seed):
        found[members] = rates[members, None] * shares
    found[everyone, labels] = 1 - rates
    return found


def _drawn(
    images: Images, labels: np.ndarray, num_classes: int, rate: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rates q, float64 [N] in [0, 1], the two further numbers of each image, float64 [N, 2] in
    [0, 1), and the labels as an array; InputError if something is not as it must be."""
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
    """Some of `members` [n], of one class, and what wrong labels of theirs may be: float64 [n, C],
    rows sum to 1, 0 for the true class."""
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
            # The same projection for every block: each begins its stream anew.
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
        # By the inverse of the distribution function: NumPy's own normals may change by version.
        weights = np.rint(_WEIGHT_PARTS * ndtri(np.maximum(uniform, _LEAST)))
        scores += values @ weights
    return scores / (_VALUE_PARTS * _WEIGHT_PARTS)
