"""An estimate of the label noise, P(given label | true class), without true labels.

By anchors: samples of which the evidence is sure are taken to be of the class that it says, and
their given labels are counted. What a student says of an image's neighbours has the surest few for
anchors. What it says of the image itself needs more: it is surest of labels that it has learned,
and shows too little noise there; of all images it gets some wrong itself, and shows too much
(docs/label_issues.md has figures). What has not learned from the labels needs no anchors:
unseen.py.
"""

import math
from typing import NamedTuple

import numpy as np

# The surest of a class: this share of the samples that the evidence takes for it, and no fewer than
# so many, which may be up to a third of them.
_SHARE = 0.03
_FEWEST = 50

# Of a network that has learned the labels, instead: the share whose label agrees, to this power.
# Were it least sure where it is wrong, 1 would leave all of that out; it is not quite so.
_POWER = 1.5

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


def estimate(evidence: np.ndarray, given: np.ndarray, learned: bool = False) -> Noise:
    """The estimated noise.

    Args:
      evidence: float [N, C] in [0, 1], for each class of each sample; of knn.neighbours_mean where
        there is a teacher.
      given: int [N], the labels.
      learned: whether the evidence is what a network says of images whose labels it has learned,
        so that the surest are not enough.

    References:
      Liu and Tao 2016 (arXiv 1411.7718) and Patrini et al. 2017 (arXiv 1609.03683) estimate noise
      at anchor points; they read one anchor's probabilities where here given labels are counted.
    """
    said = evidence.argmax(axis=1)
    surest, more = _counted(evidence, said, given)
    anchors = more if learned else surest
    shares = np.bincount(said, minlength=evidence.shape[1]) / len(said)
    rate = _rate(anchors, shares)
    if learned:  # a wrong label that it has learned is one that it agrees with
        rate = min(rate, float(np.mean(said != given)))
    return noise(
        _rows(anchors), rate, _rate(surest, shares), anchors.sum(), habits(surest, shares), said,
        given,
    )  # fmt: skip


def noise(
    matrix: np.ndarray,
    rate: float,
    surely: float,
    seen: float,
    habits: np.ndarray | None,
    said: np.ndarray,
    given: np.ndarray,
) -> Noise:
    """An estimate, with what can be known of it.

    The evidence is against `disagreement` of the labels: those that are wrong, but for the few that
    are wrong in its own way, and those that it gets wrong itself. So no rate can be above it, but
    by chance, and how far it is above what is surely wrong is how far that may be off.

    Args:
      matrix: float64 [C, C], the estimated T.
      rate: the estimated share of wrong labels.
      surely: the least of it that can be said.
      seen: samples that the rate is of.
      habits: as `habits` finds them.
      said: int [N], the classes that the evidence favours.
      given: int [N], the labels.
    """
    disagreement = float(np.mean(said != given))
    majority = np.bincount(given).max() / len(given)
    spread = math.sqrt(majority * (1 - majority) / len(given))
    is_witness = 1 - disagreement > majority + _CLEARLY * spread or not disagreement
    by_chance = _CLEARLY * math.sqrt(rate * (1 - rate) / seen)
    is_known = is_witness and rate <= disagreement + by_chance
    rate = min(rate, disagreement)
    lowest = max(0.0, 2 * min(surely, rate) - disagreement) if is_known else 0.0
    known = rate if is_known else None
    return Noise(matrix, known, (lowest, disagreement), habits)


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


def _counted(
    evidence: np.ndarray, said: np.ndarray, given: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How often samples that the evidence takes for k have been given j, float64 [C, C]: of the
    surest, and of more. A class that it never names has its own label once."""
    classes = evidence.shape[1]
    surest, more = np.eye(classes), np.eye(classes)
    for label in np.unique(said):
        members = np.flatnonzero(said == label)
        labels = given[members[np.argsort(-evidence[members, label], kind="stable")]]
        size = len(members)
        fewest = max(1, round(max(_SHARE * size, min(_FEWEST, size / 3))))
        agreeing = float(np.mean(labels == label))
        count = max(fewest, round(agreeing**_POWER * size))
        surest[label] = np.bincount(labels[:fewest], minlength=classes)
        more[label] = np.bincount(labels[:count], minlength=classes)
    return surest, more


def _rows(counts: np.ndarray) -> np.ndarray:
    return counts / counts.sum(axis=1, keepdims=True)


def _rate(counts: np.ndarray, shares: np.ndarray) -> float:
    return float(shares @ (1 - _rows(counts).diagonal()))
