"""Duplicate images: the same pixels, or the same image stored, cropped, lit or mirrored
differently.

Candidates are pairs whose embeddings or tiny greyscale images are similar; a pair is reported only
if the pixels confirm it (same_picture.py), in brightness and in colour, so that neither a teacher
that embeds all cats alike nor one product in two colours produces false pairs. Of exact copies only
one is compared (`distinct`): otherwise their pairs would crowd out all others. Every pair of rows
is compared, a block at a time; memory grows with images, not with pairs.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from rmdnet_jax.evaluation import outliers, same_picture

# Similarity from which a pair is compared in detail: of embeddings (cosine, mean subtracted) and of
# greyscale images of 8 x 8 (correlation).
_EMBEDDING, _GREY = 0.7, 0.85

# About so many pairs per image, the most similar, are compared in detail: embeddings of a weak
# teacher are all alike. An image has at most so many pairs with later ones, so that a cluster of
# near copies does not use them all; one pair with a later image keeps it in its cluster's group.
_PAIRS, _OF_ONE = 1, 4

# Where all images are alike, as digits are, the correlation of a pair must exceed that of typical
# nearest neighbours: its gap to 1 may be at most this share of theirs.
_USUAL = 0.25

# Feature vectors are compared by their cosine similarity alone, mean subtracted.
_SAME_VECTOR = 0.999

# Rows that are compared with all others at once; fewer if there are very many, to bound memory.
_ROWS, _PRODUCTS = 1024, 1 << 24
_CLOSELY = 4096  # pairs


class Pairs(NamedTuple):
    """first < second, int64 [P], rows of the images; similarity float64 [P] in [0, 1]."""

    first: np.ndarray
    second: np.ndarray
    similarity: np.ndarray


class Near(NamedTuple):
    """Pairs of near duplicates; and the number of candidate pairs that were skipped because there
    were too many to compare in detail."""

    pairs: Pairs
    passed_over: int


def exact(digests: np.ndarray) -> Pairs:
    """Pairs of equal digests, uint8 [N, B]: every repeated image with its first occurrence."""
    _, first, which = np.unique(digests, axis=0, return_index=True, return_inverse=True)
    first = first[which.reshape(-1)]  # of its own digest
    again = np.flatnonzero(first < np.arange(len(digests)))
    return Pairs(first[again], again, np.ones(len(again)))


def distinct(size: int, same: Pairs) -> np.ndarray:
    """Rows int64 [R] of `size` without copies: only the first of each, as found by `exact`."""
    is_first = np.ones(size, bool)
    is_first[same.second] = False
    return np.flatnonzero(is_first)


def near(embeddings: np.ndarray, thumbnails: np.ndarray, chroma: np.ndarray) -> Near:
    """Pairs of images that are nearly the same.

    Args:
      embeddings: float32 [N, D], centred rows of length 1 (outliers.directions).
      thumbnails: float32 [N, s, s], greyscale.
      chroma: float32 [N, c, c, 2], as in quality.Looks.
    """
    sides = same_picture.COARSE, same_picture.FINE
    small, close = (same_picture.grey(thumbnails, side) for side in sides)
    mirrored = same_picture.grey(thumbnails[:, :, ::-1], same_picture.COARSE)
    found = [
        _alike(embeddings, embeddings, _EMBEDDING),
        _alike(small, small, _GREY),
        _alike(small, mirrored, _GREY),
    ]
    first, second = (
        np.concatenate([getattr(one.pairs, name) for one in found]) for name in ("first", "second")
    )
    pairs = np.unique(np.stack([first, second], axis=1), axis=0)
    similarity = _by_parts(pairs, lambda part: same_picture.correlation(thumbnails, part))
    enough = max(same_picture.CONFIRMED, 1 - _USUAL * (1 - _usual(close)))
    kept = np.flatnonzero(similarity >= enough)
    agree = _by_parts(pairs[kept], lambda part: same_picture.same_colours(thumbnails, chroma, part))
    kept = kept[agree > 0]
    passed_over = sum(one.passed_over for one in found)
    return Near(Pairs(pairs[kept, 0], pairs[kept, 1], similarity[kept]), passed_over)


def near_vectors(vectors: np.ndarray) -> Near:
    """Pairs of feature vectors, float [N, D], with almost the same direction, mean subtracted.

    Candidates are close in the largest principal components, where no distance exceeds that in the
    full space: so no pair is missed. Only those that are close in one component are compared,
    which skips most pairs.
    """
    middle = outliers.middle(vectors)
    rows = outliers.projected(vectors, middle)
    widest = rows[:, np.argmax(rows.var(axis=0))] if rows.shape[1] else np.zeros(len(rows))
    order = np.argsort(widest, kind="stable")
    rows, widest = rows[order], widest[order]
    # |a - b|^2 = 2 - 2 a.b for unit vectors; the last term allows for rounding.
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
    confirmed = Pairs(pairs[kept, 0], pairs[kept, 1], similarity[kept])
    return Near(confirmed, candidates.passed_over)


def groups(size: int, pairs: Pairs) -> np.ndarray:
    """int64 [size]: the group of each row, numbered from 0 in order of first members; -1 for a row
    that is in no pair. Rows that pairs connect are in one group (union-find)."""
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


def _alike(rows: np.ndarray, others: np.ndarray, least: float) -> Near:
    """The pairs of a row with a later one of the `others` whose product is at least `least`; only
    the most similar of them if there are too many."""
    size = len(rows)
    sample = np.linspace(0, size - 1, min(size, 256)).astype(int)
    products = rows[sample] @ others.T
    products[np.arange(len(sample)), sample] = -1
    # Each pair is seen from both ends. Few count per row, so that a cluster does not decide.
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
    """From the products [n, m] of rows from `start` on with rows from `start` on: each row's most
    similar later rows with a product of at least `enough`. Changes the products in place."""
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
    """The start and the end of each block of rows."""
    rows = max(1, min(_ROWS, _PRODUCTS // max(size, 1)))
    return ((start, min(start + rows, size)) for start in range(0, size, rows))


def _joined(found: list[Near]) -> Near:
    pairs = zip(*(one.pairs for one in found), strict=True)
    return Near(
        Pairs(*(np.concatenate(parts) for parts in pairs)), sum(one.passed_over for one in found)
    )


def _by_parts(pairs: np.ndarray, measure: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """A measure of pairs, int [P, 2], as float64 [P], computed in batches."""
    starts = range(0, len(pairs), _CLOSELY)
    return np.concatenate(
        [np.zeros(0), *(measure(pairs[start : start + _CLOSELY]) for start in starts)]
    )


def _cosines(vectors: np.ndarray, middle: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    first, second = (outliers.centred(vectors[pairs[:, side]], middle) for side in (0, 1))
    return np.clip(np.einsum("ij,ij->i", first, second).astype(np.float64), 0, 1)


def _usual(close: np.ndarray) -> float:
    """Correlation of an image with its nearest neighbour, the median over a sample."""
    sample = np.linspace(0, len(close) - 1, min(len(close), 512)).astype(int)
    products = close[sample] @ close.T
    products[np.arange(len(sample)), sample] = -1
    return float(np.median(products.max(axis=1)))
