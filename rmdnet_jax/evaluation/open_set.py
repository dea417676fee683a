"""Which images show none of the classes: from embeddings and given labels, without a classifier.

An image of one of the classes is closer to the mean of that class than images in general; an image
of none of the classes is not. So the measure is the relative Mahalanobis distance (Ren et al. 2021,
arXiv 2106.09022): the squared distance to the nearest class mean minus that to the mean of all
images, each with its own covariance. It is twice the log likelihood ratio of "any image" to "an
image of this class".

docs/label_issues.md lists the alternatives that were compared.
"""

import numpy as np

# Features that are kept, those of the largest variance; at most one per ten images, as covariances
# must be estimated from the images.
_FEATURES = 256
_IMAGES_A_FEATURE = 10

# Share of a covariance that is replaced by a multiple of the identity with the same trace.
_SHRINKAGE = 0.1

# Folds, each left out of the means and covariances that its images are compared with: an image that
# contributes to them lies closer to them.
_FOLDS = 5

# How far beyond the median of trusted images an image counts as open, in units of the distance from
# their first decile to their median: open images that are trusted by chance are far away, and do
# not change the lower half.
_FAR = 3.0

# With fewer images there is no estimate.
_FEWEST = 100

# Images whose distances to all class means are computed together.
_ROWS = 1024


def openness(embeddings: np.ndarray, given: np.ndarray, num_classes: int) -> np.ndarray:
    """The evidence that each image shows none of the classes.

    Class means are those of images whose given label is that of the nearest mean, computed twice,
    so that wrong labels and open images have little influence on them.

    Args:
      embeddings: float [N, D], finite.
      given: int [N] in [0, num_classes), right or wrong.
      num_classes: C.

    Returns:
      float64 [N] in [0, 1]; above 0.5 is farther away than nearly all images of the classes. Zeros
      if there are fewer than 100 images, or the embeddings do not distinguish them.

    References:
      Ren et al. 2021, arXiv 2106.09022, section 3.
    """
    size = len(given)
    if size < _FEWEST or num_classes < 2:
        return np.zeros(size)
    x = _principal(embeddings, min(_FEATURES, size // _IMAGES_A_FEATURE))
    fold = np.random.default_rng(0).permutation(size) % _FOLDS
    trusted = np.ones(size, bool)
    for _ in range(2):
        distance, nearest = _relative(x, given, num_classes, fold, trusted)
        trusted = nearest == given
    if not trusted.any():
        return np.zeros(size)
    lowest, middle = np.quantile(distance[trusted], (0.1, 0.5))
    if not middle > lowest:
        return np.zeros(size)
    beyond = (distance - middle) / (middle - lowest) - _FAR
    return 1 / (1 + np.exp(-np.clip(beyond, -500, 500)))


def is_open(
    embeddings: np.ndarray, given: np.ndarray, num_classes: int, is_issue: np.ndarray
) -> np.ndarray:
    """bool [N]: the issues, bool [N], whose image shows none of the classes; the other arguments
    are those of `openness`."""
    if not is_issue.any():
        return np.zeros(len(given), bool)
    return is_issue & (openness(embeddings, given, num_classes) > 0.5)


def _principal(embeddings: np.ndarray, features: int) -> np.ndarray:
    """The largest principal components of the rows, scaled to length 1: float64 [N, features] or
    fewer."""
    length = np.linalg.norm(embeddings, axis=1, keepdims=True)
    rows = embeddings / np.where(length > 0, length, 1)
    rows -= rows.mean(axis=0)
    _, axes = np.linalg.eigh((rows.T @ rows).astype(np.float64))
    return (rows @ axes[:, -features:].astype(rows.dtype)).astype(np.float64)


def _relative(
    x: np.ndarray, given: np.ndarray, num_classes: int, fold: np.ndarray, trusted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Relative Mahalanobis distance of each row, float64 [N], and the class of the nearest mean,
    int [N]; with means and covariances of the other folds."""
    distance, nearest = np.empty(len(x)), np.empty(len(x), np.int64)
    for part in range(_FOLDS):
        known, asked = fold != part, np.flatnonzero(fold == part)
        of_classes = known & trusted if (known & trusted).any() else known
        means, is_empty = _class_means(x[of_classes], given[of_classes], num_classes)
        within = _whitening(x[of_classes] - means[given[of_classes]])
        middle = x[known].mean(axis=0)
        overall = _whitening(x[known] - middle)
        for rows in np.array_split(asked, -(-len(asked) // _ROWS)):
            to_means = _squared(x[rows] @ within, means @ within)
            to_means[:, is_empty] = np.inf
            nearest[rows] = to_means.argmin(axis=1)
            to_middle = (((x[rows] - middle) @ overall) ** 2).sum(axis=1)
            distance[rows] = to_means.min(axis=1) - to_middle
    return distance, nearest


def _class_means(
    x: np.ndarray, given: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Means float64 [C, D], zero for an empty class, and which classes are empty, bool [C]."""
    sums = np.zeros((num_classes, x.shape[1]))
    np.add.at(sums, given, x)
    counts = np.bincount(given, minlength=num_classes)
    return sums / np.maximum(counts, 1)[:, None], counts == 0


def _squared(x: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Squared distances float64 [n, C] of rows to centres."""
    return (x**2).sum(axis=1)[:, None] - 2 * x @ centres.T + (centres**2).sum(axis=1)


def _whitening(rows: np.ndarray) -> np.ndarray:
    """float64 [D, D]: multiplied by it, rows with the shrunken covariance of these have covariance
    1; the identity if all rows are zero."""
    size = rows.shape[1]
    covariance = rows.T @ rows / len(rows)
    mean = np.trace(covariance) / size
    if not mean > 0:
        return np.eye(size)
    shrunken = (1 - _SHRINKAGE) * covariance + _SHRINKAGE * mean * np.eye(size)
    return np.linalg.cholesky(np.linalg.inv(shrunken))
