"""Whether two images are one and the same picture: by their pixels, in the best alignment.

Brightness is compared by correlation, which no change of lighting affects. That cannot tell a red
cup from a blue one, so colour is compared too, on a coarse grid.
"""

import functools
import itertools
from collections.abc import Iterator

import numpy as np

# Two greyscale images are duplicates from this correlation on, the best after cropping either.
CONFIRMED = 0.97

# Two images have the same colours if no cell of a grid differs in chroma by more than this. On 600
# CIFAR-10 images, over 99 % of copies stay below it that are JPEGs of quality 20, cropped to 85 %,
# resized to 2/3, brighter by 1.3 (which clips), of 1.5 times the contrast or of 0.6 to 1.4 times
# the saturation; 96 % whose red is 10 % stronger and blue as much weaker. Discs of 8 % of an
# image and whose hues are 60 degrees apart, both vivid, differ by more.
SAME_COLOUR = 0.12

# Side in pixels of greyscale images: to find pairs, and to confirm them; and of the colours' grid.
COARSE, FINE, _GRID = 8, 16, 4

# An image in which no cell has more chroma is grey. A greyscale copy keeps the mean and the
# deviation of the brightness, except for a crop; a grey cup in place of a blue one seldom does.
_GREY, _AS_BRIGHT = 0.01, 0.05

# Chroma may differ by up to this factor, as brightness, contrast and saturation change it.
_STRONGER = 2.0

# Shares of a side that a crop keeps, and its offsets as shares of the remainder.
_CROPS, _PLACES = (0.95, 0.9, 0.85), (0.0, 0.25, 0.5, 0.75, 1.0)

# Only pairs that reach this at 8 x 8 in some crop, with every other offset, are tried with all.
_HOPEFUL = 0.93


def grey(thumbnails: np.ndarray, side: int) -> np.ndarray:
    """float32 [N, side * side], of length 1 and mean 0, so that a product is a correlation; a
    uniform image is all zero and similar to none."""
    return _standardised(_part(thumbnails, side, 1, 0, 0))


def correlation(thumbnails: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Correlation float64 [P] of the pixels of each pair, int [P, 2], for the best alignment of the
    two: as they are or one mirrored, whole or one cropped."""
    first, second = thumbnails[pairs[:, 0]], thumbnails[pairs[:, 1]]
    as_is, mirrored = (
        (grey(first, FINE) * grey(other, FINE)).sum(axis=1)
        for other in (second, second[:, :, ::-1])
    )
    second = np.where((mirrored > as_is)[:, None, None], second[:, :, ::-1], second)
    best = np.maximum(as_is, mirrored)
    unsure = np.flatnonzero(best < CONFIRMED)
    coarse = _of_crops(first[unsure], second[unsure], COARSE, _PLACES[::2])
    unsure = unsure[coarse >= _HOPEFUL]
    fine = _of_crops(first[unsure], second[unsure], FINE, _PLACES)
    best[unsure] = np.maximum(best[unsure], fine)
    return np.clip(best.astype(np.float64), 0, 1)


def same_colours(thumbnails: np.ndarray, chroma: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Whether the colours of each pair agree in some alignment, bool [P]. The weaker ones are
    scaled to fit. A grey image agrees with one that is as bright: it may be a greyscale copy.

    Args:
      thumbnails: float32 [N, s, s] in [0, 1], greyscale.
      chroma: float32 [N, c, c, 2], as in quality.Looks.
      pairs: int [P, 2].
    """
    first, second = chroma[pairs[:, 0]], chroma[pairs[:, 1]]
    least = np.full(len(pairs), np.inf)
    for other in (second, second[:, :, ::-1]):
        for one, two in _alignments(first, other):
            least = np.minimum(least, _apart(one, two))
    is_grey = np.minimum(*(_strength(part).max(axis=(1, 2)) for part in (first, second))) <= _GREY
    light = np.stack([thumbnails.mean(axis=(1, 2)), thumbnails.std(axis=(1, 2))], axis=1)
    unlike = np.abs(light[pairs[:, 0]] - light[pairs[:, 1]]).max(axis=1)
    return (least <= SAME_COLOUR) | (is_grey & (unlike <= _AS_BRIGHT))


def _of_crops(
    first: np.ndarray, second: np.ndarray, side: int, places: tuple[float, ...]
) -> np.ndarray:
    """Best correlation float32 [P] of one image of each pair [P, s, s] with a crop of the other."""
    best = np.full(len(first), -1, np.float32)
    for one, other in ((first, second), (second, first)):
        whole = grey(one, side)
        for share, top, left in itertools.product(_CROPS, places, places):
            part = _standardised(_part(other, side, share, top, left))
            best = np.maximum(best, (whole * part).sum(axis=1))
    return best


def _alignments(first: np.ndarray, second: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The colours [P, grid, grid, 2] of both images whole, and of either with crops of the
    other."""
    whole = _cells(first, 1, 0, 0), _cells(second, 1, 0, 0)
    yield whole
    for share, top, left in itertools.product(_CROPS, _PLACES[::2], _PLACES[::2]):
        yield _cells(first, share, top, left), whole[1]
        yield whole[0], _cells(second, share, top, left)


def _cells(chroma: np.ndarray, share: float, top: float, left: float) -> np.ndarray:
    parts = (_part(chroma[..., channel], _GRID, share, top, left) for channel in (0, 1))
    return np.stack([*parts], axis=-1)


def _apart(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The largest difference float64 [P] of the cells of each pair [P, grid, grid, 2]."""
    product = (first * second).sum(axis=(1, 2, 3))
    squares = [(part**2).sum(axis=(1, 2, 3)) for part in (first, second)]
    is_weaker = (squares[0] < squares[1])[:, None, None, None]
    weak, strong = np.where(is_weaker, first, second), np.where(is_weaker, second, first)
    fitted = product / np.maximum(np.minimum(*squares), 1e-12)
    scale = np.clip(fitted, 1, _STRONGER)[:, None, None, None]
    return _strength(strong - scale * weak).max(axis=(1, 2)).astype(np.float64)


def _strength(chroma: np.ndarray) -> np.ndarray:
    return np.linalg.norm(chroma, axis=-1)


def _standardised(pictures: np.ndarray) -> np.ndarray:
    rows = pictures.reshape(len(pictures), pictures.shape[1] * pictures.shape[2])
    rows = rows - rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    # The remainder of a uniform image is rounding.
    return np.where(length > 1e-4 * rows.shape[1] ** 0.5, rows / np.maximum(length, 1e-12), 0)


def _part(pictures: np.ndarray, side: int, share: float, top: float, left: float) -> np.ndarray:
    """float32 [n, side, side] of [n, H, W], or of a crop with `share` of either side, whose offset
    is `top` and `left` of the remainder."""
    rows, columns = (
        _box(length, side, share, place)
        for length, place in zip(pictures.shape[1:], (top, left), strict=True)
    )
    return rows @ pictures @ columns.T


@functools.cache
def _box(length: int, side: int, share: float, place: float) -> np.ndarray:
    """float32 [side, length]: averages over `side` equal boxes of a part of the `length` pixels,
    `share` of them, whose offset is `place` of the remainder."""
    edges = (place * (1 - share) + share * np.arange(side + 1) / side) * length
    pixels = np.arange(length)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights = np.maximum(overlap, 0)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
