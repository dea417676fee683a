"""Pictures unlike all others, by their embeddings."""

import numpy as np

# Directions that are kept of embeddings: those of the largest variance.
_DIRECTIONS = 128

# Nearest of a bank of at most so many images, evenly spaced, and how many of them are asked.
_BANK, _NEAREST = 2000, 5

# An outlier is farther from its nearest than the upper quartile by so many times the distance
# between the quartiles.
_FENCE = 2.0

_ROWS = 1024  # asked at a time


def directions(embeddings: np.ndarray) -> np.ndarray:
    """What is compared of embeddings, float [N, D]: float32 [N, d], d up to 128, of length 1.

    Their mean is taken off first: the embeddings of a network with a ReLU at its end all point one
    way, and what tells them apart is the rest. The largest principal components are what is kept.
    A row that is at the mean stays zero.
    """
    rows = _unit(np.asarray(embeddings, np.float32))
    rows = rows - rows.mean(axis=0)
    if rows.shape[1] > _DIRECTIONS:
        _, axes = np.linalg.eigh((rows.T @ rows).astype(np.float64))
        rows = rows @ axes[:, -_DIRECTIONS:].astype(np.float32)
    return _unit(rows)


def distances(embeddings: np.ndarray) -> np.ndarray:
    """Mean cosine distance of each embedding, float [N, D], to the 5 nearest others, or to as many
    as there are: float64 [N] in [0, 2].

    Of the embeddings as they are: what tells an outlier lies in directions that hardly vary
    otherwise, which `directions` leaves out.
    """
    rows = _unit(np.asarray(embeddings, np.float32))
    size = len(rows)
    bank = np.linspace(0, size - 1, min(size, _BANK)).astype(int)
    count = min(_NEAREST, len(bank) - 1)
    if count < 1:
        return np.zeros(size)
    own = np.full(size, -1)
    own[bank] = np.arange(len(bank))
    found = np.empty(size)
    for start in range(0, size, _ROWS):
        products = rows[start : start + _ROWS] @ rows[bank].T
        mine = own[start : start + _ROWS]
        products[np.flatnonzero(mine >= 0), mine[mine >= 0]] = -np.inf
        nearest = np.partition(products, -count, axis=1)[:, -count:]
        found[start : start + _ROWS] = 1 - nearest.mean(axis=1)
    return np.clip(found, 0, 2)


def scores(distance: np.ndarray) -> np.ndarray:
    """float64 [N] in [0, 1]: how much of an outlier each image is by its distance; 0 is none."""
    low, high = np.quantile(distance, (0.25, 0.75))
    fence = high + _FENCE * (high - low)
    is_far = (distance > fence) & (high > low)
    return np.where(is_far, 1 - fence / np.maximum(distance, 1e-12) * 0.5, 0)


def _unit(rows: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 1e-12, length, 1)
