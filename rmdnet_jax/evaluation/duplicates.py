"""Pictures that are there twice: the same pixels, or the same picture stored, cropped, lit or
mirrored otherwise.

Candidates are pairs whose embeddings or tiny grey pictures are alike; a pair is reported only if
the pixels confirm it, so that a teacher that takes all cats for one makes none. Of exact copies one
is to be looked at (`distinct`): they would be all pairs that are. Every pair of rows is compared, a
block at a time; memory grows with pictures, not with pairs.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from rmdnet_jax.evaluation import outliers

# Correlation of two grey pictures from which they are one, at best after cropping either.
CONFIRMED = 0.97

# From which similarity pairs are looked at closely: of embeddings (cosine, less the mean) and of
# grey pictures of 8 x 8 (correlation).
_EMBEDDING, _GREY = 0.7, 0.85

# Closely looked at are about so many pairs a picture, the most similar: embeddings of a weak
# teacher are all alike. A picture has at most so many with later ones, so that a crowd of nearly
# the same does not take all; who has one with a later one stays in one group with its crowd.
_PAIRS, _OF_ONE = 1, 4

# Where all pictures are alike, as digits are, a pair must be so much more alike than two nearest
# ones usually are.
_USUAL = 0.25

# Without pictures there are only embeddings to go by: cosine similarity, less the mean.
_SAME_VECTOR = 0.999

_SIDE, _CLOSE = 8, 16  # pixels of grey pictures: to find pairs, and to confirm them

# Shares of a side that a crop leaves, and where in what is left over it begins.
_CROPS, _PLACES = (0.95, 0.9, 0.85), (0.0, 0.25, 0.5, 0.75, 1.0)

# Only pairs that correlate so well at 8 x 8 in some crop, in every other place, are tried in all.
_HOPEFUL = 0.93

# Compared with all others at a time: so many, and fewer of very many, for memory.
_ROWS, _PRODUCTS = 1024, 1 << 24
_CLOSELY = 4096  # pairs


class Pairs(NamedTuple):
    """first < second, int64 [P], rows of the pictures; similarity float64 [P] in [0, 1]."""

    first: np.ndarray
    second: np.ndarray
    similarity: np.ndarray


class Near(NamedTuple):
    """Pairs that are nearly the same; and of how many that are alike at a glance nobody knows, as
    there were too many to look at closely."""

    pairs: Pairs
    passed_over: int


def exact(digests: np.ndarray) -> Pairs:
    """Pairs of equal digests, uint8 [N, B]: each picture that is there again with the first."""
    _, first, which = np.unique(digests, axis=0, return_index=True, return_inverse=True)
    first = first[which.reshape(-1)]  # of its own digest
    again = np.flatnonzero(first < np.arange(len(digests)))
    return Pairs(first[again], again, np.ones(len(again)))


def distinct(size: int, same: Pairs) -> np.ndarray:
    """Rows int64 [R] of `size` without the copies: the first of each, by `exact`."""
    is_first = np.ones(size, bool)
    is_first[same.second] = False
    return np.flatnonzero(is_first)


def near(embeddings: np.ndarray, thumbnails: np.ndarray) -> Near:
    """Pairs of pictures that are nearly the same.

    Args:
      embeddings: float32 [N, D], rows of length 1 less their mean (outliers.directions).
      thumbnails: float32 [N, s, s], grey.
    """
    small, close = (_grey(thumbnails, side) for side in (_SIDE, _CLOSE))
    mirrored = _grey(thumbnails[:, :, ::-1], _SIDE)
    found = [
        _alike(embeddings, embeddings, _EMBEDDING),
        _alike(small, small, _GREY),
        _alike(small, mirrored, _GREY),
    ]
    first, second = (
        np.concatenate([getattr(one.pairs, name) for one in found]) for name in ("first", "second")
    )
    pairs = np.unique(np.stack([first, second], axis=1), axis=0)
    similarity = _by_parts(pairs, lambda part: _confirmed(thumbnails, part))
    kept = similarity >= max(CONFIRMED, 1 - _USUAL * (1 - _usual(close)))
    passed_over = sum(one.passed_over for one in found)
    return Near(Pairs(pairs[kept, 0], pairs[kept, 1], similarity[kept]), passed_over)


def near_vectors(vectors: np.ndarray) -> Near:
    """Pairs of feature vectors, float [N, D], that point the same way to a hair, less their mean.

    Candidates are nearest in the largest principal components, where none are farther from each
    other than in all of them: so none is lost. Only those that are alike in one component are
    compared, which spares most of the pairs.
    """
    middle = outliers.middle(vectors)
    rows = outliers.projected(vectors, middle)
    widest = rows[:, np.argmax(rows.var(axis=0))] if rows.shape[1] else np.zeros(len(rows))
    order = np.argsort(widest, kind="stable")
    rows, widest = rows[order], widest[order]
    # |a - b|^2 = 2 - 2 a.b of length 1; the last term is rounding.
    reach = 2 - 2 * _SAME_VECTOR + 1e-5
    half = (rows**2).sum(axis=1) / 2
    ends = np.searchsorted(widest, widest + reach**0.5, side="right")
    found = []
    for start, stop in _blocks(len(rows)):
        others = slice(start, ends[stop - 1])
        closeness = rows[start:stop] @ rows[others].T - half[start:stop, None] - half[others]
        found.append(_of_block(closeness, start, -reach / 2, -reach / 2))
    candidates = _joined(found)
    sides = order[candidates.pairs.first], order[candidates.pairs.second]
    pairs = np.stack([np.minimum(*sides), np.maximum(*sides)], axis=1)
    similarity = _by_parts(pairs, lambda part: _cosines(vectors, middle, part))
    kept = np.flatnonzero(similarity >= _SAME_VECTOR)
    kept = kept[np.lexsort((pairs[kept, 1], pairs[kept, 0]))]
    told = Pairs(pairs[kept, 0], pairs[kept, 1], similarity[kept])
    return Near(told, candidates.passed_over)


def groups(size: int, pairs: Pairs) -> np.ndarray:
    """int64 [size]: the number of the group of each row, from 0 in order of the first of each; -1
    of a row that is in no pair. Rows that pairs connect are in one group (union-find)."""
    root = np.arange(size)

    def find(row: int) -> int:
        while root[row] != row:
            root[row] = root[root[row]]
            row = root[row]
        return row

    for one, other in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True):
        low, high = sorted((find(one), find(other)))
        root[high] = low
    of_row = np.array([find(row) for row in range(size)], np.int64).reshape(size)
    paired = np.zeros(size, bool)
    paired[pairs.first] = paired[pairs.second] = True
    number = np.full(size, -1)
    number[paired] = np.unique(of_row[paired], return_inverse=True)[1]
    return number


def _grey(thumbnails: np.ndarray, side: int) -> np.ndarray:
    """float32 [N, side * side], of length 1 and mean 0, so that a product is a correlation; a plain
    picture is all zero and like none."""
    return _standardised(_part(thumbnails, side, 1, 0, 0))


def _standardised(pictures: np.ndarray) -> np.ndarray:
    rows = pictures.reshape(len(pictures), pictures.shape[1] * pictures.shape[2])
    rows = rows - rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    # What is left of a plain picture is rounding.
    return np.where(length > 1e-4 * rows.shape[1] ** 0.5, rows / np.maximum(length, 1e-12), 0)


def _part(pictures: np.ndarray, side: int, share: float, top: float, left: float) -> np.ndarray:
    """float32 [n, side, side] of [n, H, W], or of a crop: `share` of either side, which begins at
    `top` and `left` of what is left over."""
    rows, columns = (
        _box(length, side, share, place)
        for length, place in zip(pictures.shape[1:], (top, left), strict=True)
    )
    return rows @ pictures @ columns.T


@functools.cache
def _box(length: int, side: int, share: float, place: float) -> np.ndarray:
    """float32 [side, length]: the means of `side` equal boxes of a part of so many pixels, `share`
    of them, which begins at `place` of what is left over."""
    edges = (place * (1 - share) + share * np.arange(side + 1) / side) * length
    pixels = np.arange(length)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights = np.maximum(overlap, 0)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _confirmed(thumbnails: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Correlation float64 [P] of the pixels of each pair, int [P, 2], in the best of ways to put
    one upon the other: as it is or mirrored, whole or a crop of either."""
    first, second = thumbnails[pairs[:, 0]], thumbnails[pairs[:, 1]]
    as_is, mirrored = (
        (_grey(first, _CLOSE) * _grey(other, _CLOSE)).sum(axis=1)
        for other in (second, second[:, :, ::-1])
    )
    second = np.where((mirrored > as_is)[:, None, None], second[:, :, ::-1], second)
    best = np.maximum(as_is, mirrored)
    unsure = np.flatnonzero(best < CONFIRMED)
    coarse = _of_crops(first[unsure], second[unsure], _SIDE, _PLACES[::2])
    unsure = unsure[coarse >= _HOPEFUL]
    fine = _of_crops(first[unsure], second[unsure], _CLOSE, _PLACES)
    best[unsure] = np.maximum(best[unsure], fine)
    return np.clip(best.astype(np.float64), 0, 1)


def _of_crops(
    first: np.ndarray, second: np.ndarray, side: int, places: tuple[float, ...]
) -> np.ndarray:
    """Correlation float32 [P] of each of the pictures [P, s, s] with a crop of its fellow, the
    best."""
    best = np.full(len(first), -1, np.float32)
    for one, other in ((first, second), (second, first)):
        whole = _grey(one, side)
        for share, top, left in itertools.product(_CROPS, places, places):
            part = _standardised(_part(other, side, share, top, left))
            best = np.maximum(best, (whole * part).sum(axis=1))
    return best


def _alike(rows: np.ndarray, others: np.ndarray, least: float) -> Near:
    """The pairs of a row with a later one of the `others` whose product is `least` or more, or the
    most similar of them where they are too many."""
    size = len(rows)
    sample = np.linspace(0, size - 1, min(size, 256)).astype(int)
    products = rows[sample] @ others.T
    products[np.arange(len(sample)), sample] = -1
    # Each pair is seen from both its ends. Of a row few count, so that a crowd does not decide.
    counted = min(_OF_ONE, size)
    products = np.partition(products, -counted, axis=1)[:, -counted:]
    wanted = min(2 * _PAIRS * len(sample), products.size)
    enough = max(least, float(np.partition(products, -wanted, axis=None)[-wanted]))
    return _joined(
        [
            _of_block(rows[start:stop] @ others[start:].T, start, least, enough)
            for start, stop in _blocks(size)
        ]
    )


def _of_block(products: np.ndarray, start: int, least: float, enough: float) -> Near:
    """Of the products [n, m] of rows from `start` on with those from `start` on: each row's most
    similar later ones, of which the product is `enough`. It changes the products."""
    count = len(products)
    products[:, :count][np.tril_indices(count)] = -np.inf
    is_alike = products >= enough
    alike = np.count_nonzero(products >= least) if least < enough else np.count_nonzero(is_alike)
    crowded = np.flatnonzero(np.count_nonzero(is_alike, axis=1) > _OF_ONE)
    if len(crowded):
        most = products[crowded]
        is_alike[crowded] = most >= np.partition(most, -_OF_ONE, axis=1)[:, [-_OF_ONE]]
    first, second = np.nonzero(is_alike)
    untied = np.arange(len(first)) - np.searchsorted(first, first) < _OF_ONE
    first, second = first[untied], second[untied]
    similarity = np.clip(products[first, second].astype(np.float64), 0, 1)
    return Near(Pairs(start + first, start + second, similarity), int(alike) - len(first))


def _blocks(size: int) -> Iterator[tuple[int, int]]:
    """Where each block of rows begins and ends."""
    rows = max(1, min(_ROWS, _PRODUCTS // max(size, 1)))
    return ((start, min(start + rows, size)) for start in range(0, size, rows))


def _joined(found: list[Near]) -> Near:
    pairs = zip(*(one.pairs for one in found), strict=True)
    return Near(
        Pairs(*(np.concatenate(parts) for parts in pairs)), sum(one.passed_over for one in found)
    )


def _by_parts(pairs: np.ndarray, similarity: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The similarity float64 [P] of pairs, int [P, 2], of so many at a time."""
    starts = range(0, len(pairs), _CLOSELY)
    return np.concatenate(
        [np.zeros(0), *(similarity(pairs[start : start + _CLOSELY]) for start in starts)]
    )


def _cosines(vectors: np.ndarray, middle: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    first, second = (outliers.centred(vectors[pairs[:, side]], middle) for side in (0, 1))
    return np.clip(np.einsum("ij,ij->i", first, second).astype(np.float64), 0, 1)


def _usual(close: np.ndarray) -> float:
    """Correlation of a picture with its nearest, the median over a sample."""
    sample = np.linspace(0, len(close) - 1, min(len(close), 512)).astype(int)
    products = close[sample] @ close.T
    products[np.arange(len(sample)), sample] = -1
    return float(np.median(products.max(axis=1)))
