"""Images unlike all others, by their embeddings."""

import numpy as np

# Directions that are kept of embeddings: those of the largest variance, over at most so many evenly
# spaced rows. More rows would cost time and add no direction that many of them share.
_DIRECTIONS, _SAMPLE = 128, 1024

# At most so many images in the bank, evenly spaced, and the number of nearest ones that count.
_BANK, _NEAREST = 2000, 5

# For wide embeddings the bank is smaller, so that it has about so many numbers, but not fewer than
# so many rows: 50,000 x 1,280 features then take two seconds of CPU time.
_NUMBERS, _LEAST_BANK = 1 << 20, 500

# An outlier's distance to its nearest neighbours exceeds the upper quartile by so many times the
# interquartile range.
_FENCE = 2.0

# Quartiles that are closer than this are equal: half of all images are copies.
_ROUNDING = 1e-6

# Rows that are processed together: copies of all rows would cost more than the computation itself,
# and with smaller products threads wait for each other.
_ROWS = 1024


def middle(embeddings: np.ndarray) -> np.ndarray:
    """Mean float32 [D] of embeddings, float [N, D], each of length 1."""
    total = np.zeros(embeddings.shape[1])
    for start in range(0, len(embeddings), _ROWS):
        total += _unit(embeddings[start : start + _ROWS]).sum(axis=0, dtype=np.float64)
    return (total / len(embeddings)).astype(np.float32)


def centred(embeddings: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """float32 [N, D] of length 1, after the middle is subtracted: the embeddings of a network that
    ends in a ReLU share one direction and differ in the rest. A row at the middle stays zero."""
    rows = _unit(embeddings)
    rows -= middle
    return _unit(rows)


def projected(embeddings: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """The centred embeddings, float [N, D], projected onto their largest principal components:
    float32 [N, d], d up to 128.

    No distance between rows grows. Memory is that of a sample and of the returned array.
    """
    size = len(embeddings)
    if embeddings.shape[1] <= _DIRECTIONS:
        return centred(embeddings, middle)
    sample = np.linspace(0, size - 1, min(size, _SAMPLE)).astype(int)
    axes = _axes(centred(embeddings[sample], middle))
    found = np.empty((size, axes.shape[1]), np.float32)
    for start in range(0, size, _ROWS):
        found[start : start + _ROWS] = centred(embeddings[start : start + _ROWS], middle) @ axes
    return found


def directions(embeddings: np.ndarray) -> np.ndarray:
    """Directions of embeddings, float [N, D], to compare: float32 [N, d], d up to 128, length 1.

    They are centred and projected onto their largest principal components. A row at the middle
    stays zero.
    """
    return _unit(projected(embeddings, middle(embeddings)))


def distances(embeddings: np.ndarray) -> np.ndarray:
    """Mean cosine distance of each embedding, float [N, D], to the 5 nearest others, or to all if
    there are fewer: float64 [N] in [0, 2].

    The embeddings are not projected: outliers differ in directions that hardly vary otherwise,
    which `directions` drops.
    """
    size, width = embeddings.shape
    most = min(_BANK, max(_LEAST_BANK, _NUMBERS // width))
    places = np.linspace(0, size - 1, min(size, most)).astype(int)
    count = min(_NEAREST, len(places) - 1)
    if count < 1:
        return np.zeros(size)
    bank = _unit(embeddings[places])
    own = np.full(size, -1)
    own[places] = np.arange(len(places))
    found = np.empty(size)
    for start in range(0, size, _ROWS):
        products = _unit(embeddings[start : start + _ROWS]) @ bank.T
        mine = own[start : start + _ROWS]
        products[np.flatnonzero(mine >= 0), mine[mine >= 0]] = -np.inf
        nearest = np.partition(products, -count, axis=1)[:, -count:]
        found[start : start + _ROWS] = 1 - nearest.mean(axis=1)
    return np.clip(found, 0, 2)


def scores(distance: np.ndarray) -> np.ndarray:
    """float64 [N] in [0, 1]: how much of an outlier each image is by its distance; 0 is none."""
    low, high = np.quantile(distance, (0.25, 0.75))
    fence = high + _FENCE * (high - low)
    is_far = (distance > fence) & (high - low > _ROUNDING)
    return np.where(is_far, 1 - fence / np.maximum(distance, 1e-12) * 0.5, 0)


def _axes(rows: np.ndarray) -> np.ndarray:
    """The largest principal components of rows, float32 [n, D]: orthonormal columns, float32
    [D, d]. Uses n x n products if there are fewer rows than features, so that D may be large."""
    if len(rows) >= rows.shape[1]:
        _, vectors = np.linalg.eigh((rows.T @ rows).astype(np.float64))
        return vectors[:, -_DIRECTIONS:].astype(np.float32)
    values, vectors = np.linalg.eigh((rows @ rows.T).astype(np.float64))
    # Components without variance have no direction.
    kept = np.flatnonzero(values > 1e-6 * max(values[-1], 1e-12))[-_DIRECTIONS:]
    return rows.T @ (vectors[:, kept] / np.sqrt(values[kept])).astype(np.float32)


def _unit(rows: np.ndarray) -> np.ndarray:
    """float32 [n, D] of float [n, D], of length 1; zeros stay."""
    rows = np.asarray(rows, np.float32)
    length = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    return rows / np.where(length > 1e-12, length, np.float32(1))
