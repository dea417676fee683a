"""An estimate of the label noise, P(given label | true class), without true labels.

By anchor points: where the evidence for a class is strongest, the class is taken to be the true
one, and the given labels are counted. The evidence must not come from the very label that is
counted: a student that has begun to learn its labels by heart is surest where label and picture
agree, and finds no noise. What it says of an image's neighbours is free of that (0.39 in the demo,
where 0.40 of the labels are wrong; 0.12 by its word on the image itself), but not all anchors are
of their class where teacher and student are weak, and the rate comes out too high: by 0.20 in the
mean of four runs on 10,000 CIFAR-10 images with a teacher whose neighbours are right in 48 % of
the cases (docs/label_issues.md).
"""

from typing import NamedTuple

import numpy as np

# Anchors a class: this share of a class's mean size, and no fewer than so many, which may be up to
# a third of a class.
_SHARE = 0.03
_FEWEST = 50

# Standard errors by which class k must turn into j more often than j into k to count as a habit
# of whoever labelled, and the share of all wrong labels from which on habits are heeded.
_ERRORS, _HABITUAL = 3, 0.25


class Noise(NamedTuple):
    """What the labels are taken to have gone through.

    Attributes:
      transition: float64 [C, C], P(given | true), rows sum to 1.
      rate: share of wrong labels, in [0, 1].
      habits: float64 [C, C], T as far as some classes turn into others by habit; None where they
        do not.
    """

    transition: np.ndarray
    rate: float
    habits: np.ndarray | None


def estimate(evidence: np.ndarray, given: np.ndarray) -> Noise:
    """The estimated noise.

    Args:
      evidence: float [N, C] in [0, 1], for each class of each sample; of knn.neighbours_mean where
        there is a teacher.
      given: int [N], the labels.

    References:
      Liu and Tao 2016 (arXiv 1411.7718) and Patrini et al. 2017 (arXiv 1609.03683) estimate noise
      at anchor points; they read one anchor's probabilities where here given labels are counted.
    """
    size, num_classes = evidence.shape
    class_size = size / num_classes
    count = max(1, round(max(_SHARE * class_size, min(_FEWEST, class_size / 3))))
    counts = np.empty((num_classes, num_classes))
    for label in range(num_classes):
        anchors = np.argpartition(evidence[:, label], size - count)[size - count :]
        counts[label] = np.bincount(given[anchors], minlength=num_classes)
    matrix = counts / count
    classes = np.bincount(evidence.argmax(axis=1), minlength=num_classes) / size
    rate = float(classes @ (1 - matrix.diagonal()))
    return Noise(matrix, rate, habits(counts, classes))


def habits(counts: np.ndarray, shares: np.ndarray) -> np.ndarray | None:
    """T as if all wrong labels were spread evenly but for those that are there by habit, k -> j
    clearly more often than j -> k; None where habits are few.

    Networks take alike classes for one another both ways, which looks like noise; what goes one way
    is of the labels.

    Args:
      counts: float [C, C], how often a true class k was seen to have become j.
      shares: float [C], of the true classes; they sum to 1.
    """
    classes = len(counts)
    sizes = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    rates = counts / sizes
    variance = (rates * (1 - rates) + 1 / sizes) / sizes
    others = ~np.eye(classes, dtype=bool)
    difference = rates - rates.T
    is_habit = others & (difference > _ERRORS * np.sqrt(variance + variance.T))
    excess = np.where(is_habit, difference, 0)
    wrong = shares @ (1 - rates.diagonal())
    if not is_habit.any() or shares @ excess.sum(axis=1) < _HABITUAL * wrong:
        return None
    rest = others & ~is_habit
    found = excess + (rates[rest].mean() if rest.any() else 0)
    np.fill_diagonal(found, 0)
    np.fill_diagonal(found, np.maximum(1 - found.sum(axis=1), 0.05))
    return found / found.sum(axis=1, keepdims=True)


def error(estimated: np.ndarray, realised: np.ndarray) -> float:
    """How far two transition matrices [C, C] are from each other, in [0, 1]: the total variation
    distance of their rows, in the mean."""
    return float(np.abs(estimated - realised).sum(axis=1).mean() / 2)
