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

import math
from typing import NamedTuple

import numpy as np

# Anchors of a class: this share of the samples that the evidence takes for it, and no fewer than so
# many, which may be up to a third of them.
_SHARE = 0.03
_FEWEST = 50

# Standard errors by which the evidence must agree with the labels more often than the largest class
# alone would, to say anything of them.
_CLEARLY = 3

# Standard errors by which class k must turn into j more often than j into k to count as a habit
# of whoever labelled, and the share of all wrong labels from which on habits are heeded.
_ERRORS, _HABITUAL = 3, 0.25


class Noise(NamedTuple):
    """What the labels are taken to have gone through.

    Attributes:
      transition: float64 [C, C], P(given | true), rows sum to 1.
      rate: share of wrong labels, in [0, 1]; None where the evidence cannot tell.
      range: of the rate, (lowest, highest). What the evidence gets wrong by itself, of which the
        estimate takes none for noise, may be noise; and as much of the estimate may be none.
      habits: float64 [C, C], T as far as some classes turn into others by habit; None where they
        do not.
    """

    transition: np.ndarray
    rate: float | None
    range: tuple[float, float]
    habits: np.ndarray | None

    @property
    def guess(self) -> float:
        """The rate for whoever cannot do without one: where it is not known, the middle of its
        range."""
        return sum(self.range) / 2 if self.rate is None else self.rate


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
    said = evidence.argmax(axis=1)
    sizes = np.bincount(said, minlength=num_classes)
    counts = np.eye(num_classes)  # of a class that the evidence never names nothing is known
    for label in np.flatnonzero(sizes):
        of_class = sizes[label]
        count = max(1, round(max(_SHARE * of_class, min(_FEWEST, of_class / 3))))
        anchors = np.argpartition(evidence[:, label], size - count)[size - count :]
        counts[label] = np.bincount(given[anchors], minlength=num_classes)
    matrix = counts / counts.sum(axis=1, keepdims=True)
    classes = sizes / size
    rate = float(classes @ (1 - matrix.diagonal()))
    return noise(counts, matrix, rate, classes, said, given)


def noise(
    counts: np.ndarray,
    matrix: np.ndarray,
    rate: float,
    shares: np.ndarray,
    said: np.ndarray,
    given: np.ndarray,
) -> Noise:
    """An estimate, with what can be known of it.

    The evidence is against `disagreement` of the labels: those that are wrong, but for the few that
    are wrong in its own way, and those that it gets wrong itself. So no rate can be above it, but
    by chance, and how far it is above the estimate is how far that may be off.

    Args:
      counts, shares: as `habits` takes them.
      matrix: float64 [C, C], the estimated T.
      rate: the estimated share of wrong labels.
      said: int [N], the classes that the evidence favours.
      given: int [N], the labels.
    """
    disagreement = float(np.mean(said != given))
    majority = np.bincount(given).max() / len(given)
    spread = math.sqrt(majority * (1 - majority) / len(given))
    is_witness = 1 - disagreement > majority + _CLEARLY * spread or not disagreement
    by_chance = _CLEARLY * math.sqrt(rate * (1 - rate) / counts.sum())
    is_known = is_witness and rate <= disagreement + by_chance
    rate = min(rate, disagreement)
    lowest = max(0.0, 2 * rate - disagreement) if is_known else 0.0
    known = rate if is_known else None
    return Noise(matrix, known, (lowest, disagreement), habits(counts, shares))


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
