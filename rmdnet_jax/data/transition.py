"""An estimate of the label noise, P(given label | true class), without true labels.

By anchors: samples with confident evidence are taken to be of the class that it favours, and their
given labels are counted. For a student's predictions on an image's neighbours, the most confident
few are the anchors. Its predictions on the image itself need more anchors: they are most confident
for labels that it has learned, and show too little noise there; on all images, its own mistakes
would show too much (docs/label_issues.md has numbers). Predictions of a network that has not
learned from the labels need no anchors: unseen.py.
"""

import math
from typing import NamedTuple

import numpy as np

# The most confident of a class: this share of the samples that the evidence assigns to it, but at
# least so many, or a third of the samples if that is less.
_SHARE = 0.03
_FEWEST = 50

# For a network that has learned the labels, instead: the share whose label agrees, to this power
# times how steep the evidence is, one minus its flatness. Flat evidence makes no mistakes, which
# would have to be left out. At the flatness where it was chosen, .43, this is a power of 1.5.
_POWER = 2.6

# Standard errors by which the evidence must agree with the labels more often than predicting the
# largest class would, to say anything about them.
_CLEARLY = 3

# N samples without a single event exclude shares of events above 3 / N (a chance of 1 in 20).
_NONE_OF = 3

# Evidence is weak if its agreement with the labels exceeds the largest class's share by less than
# this part of the rest. Then no part of the rate is certain; and if its flatness is below the
# second number, its own mistakes cannot be distinguished from wrong labels. Runs that were far off
# had at most .47, runs at 80 % noise that were right .62 and more (docs/label_issues.md).
_WEAK, _FLAT = 0.2, 0.55

# Standard errors by which class k must turn into j more often than j into k to count as a habit of
# the annotators, and the share of all wrong labels from which habits are taken into account.
_ERRORS, _HABITUAL = 3, 0.25


class Noise(NamedTuple):
    """The estimated noise of the labels.

    Attributes:
      transition: float64 [C, C], P(given | true), rows sum to 1.
      rate: share of wrong labels, in [0, 1]; None if the evidence does not determine it.
      range: of the rate, (lowest, highest). What the estimate attributes to mistakes of the
        evidence may be noise; and as much of the estimate may not be noise. It reaches at least to
        3 / N.
      habits: float64 [C, C], the part of T by which some classes turn into others by habit; None if
        there is none.
      withheld: the estimate where `rate` is None only because the evidence is weak.
    """

    transition: np.ndarray
    rate: float | None
    range: tuple[float, float]
    habits: np.ndarray | None
    withheld: float | None = None

    @property
    def guess(self) -> float:
        """The rate for training that needs one, whatever its uncertainty: an estimate that is not
        reported, too, or the middle of the range."""
        found = (one for one in (self.rate, self.withheld) if one is not None)
        return next(found, sum(self.range) / 2)

    def at_least(self, share: float) -> "Noise":
        """The noise if other evidence shows that this share of the labels is wrong, or more.

        A lower rate, or none, is raised to it, and the matrix with it; evenly, if there was no
        estimate above 0. Evidence that bounds the rate from above (`range`) still does.
        """
        share = min(share, self.range[1])
        if share <= self.range[0]:
            return self
        rate = max(share, self.rate or 0.0)
        classes = len(self.transition)
        if before := self.withheld if self.rate is None else self.rate:
            wrong = self.transition * (rate / before)
        else:
            wrong = np.full((classes, classes), rate / (classes - 1))
        np.fill_diagonal(wrong, 0)
        wrong /= np.maximum(wrong.sum(axis=1, keepdims=True), 1)
        matrix = wrong + np.diag(1 - wrong.sum(axis=1))
        return self._replace(transition=matrix, rate=rate, range=(share, self.range[1]))


def estimate(evidence: np.ndarray, given: np.ndarray, learned: bool = False) -> Noise:
    """The estimated noise.

    Args:
      evidence: float [N, C] in [0, 1], for each class of each sample; from knn.neighbours_mean if
        there is a teacher.
      given: int [N], the labels.
      learned: whether the evidence is a network's predictions for images whose labels it has
        learned, so that the most confident are not enough.

    References:
      Liu and Tao 2016 (arXiv 1411.7718) and Patrini et al. 2017 (arXiv 1609.03683) estimate noise
      at anchor points; they use one anchor's probabilities, while here given labels are counted.
    """
    said = evidence.argmax(axis=1)
    flat = flatness(said, evidence.max(axis=1), given)
    surest, more = _counted(evidence, said, given, flat)
    anchors = more if learned else surest
    shares = np.bincount(said, minlength=evidence.shape[1]) / len(said)
    rate = _rate(anchors, shares)
    if learned:  # it agrees with the wrong labels that it has learned
        rate = min(rate, float(np.mean(said != given)))
    return noise(
        _rows(anchors), rate, _rate(surest, shares), anchors.sum(), habits(surest, shares), said,
        given, flat,
    )  # fmt: skip


def noise(
    matrix: np.ndarray,
    rate: float,
    surely: float,
    seen: float,
    habits: np.ndarray | None,
    said: np.ndarray,
    given: np.ndarray,
    flat: float = 1.0,
) -> Noise:
    """An estimate, with its uncertainty.

    The evidence contradicts a share `disagreement` of the labels: those that are wrong, except for
    the few where it makes the same mistake, and those where only the evidence is wrong. So, except
    by chance, the rate cannot be higher, and its distance to what is certainly wrong bounds the
    error of that.

    Args:
      matrix: float64 [C, C], the estimated T.
      rate: the estimated share of wrong labels.
      surely: the part of it that is certain.
      seen: number of samples from which the rate is estimated.
      habits: as from `habits`.
      said: int [N], the classes that the evidence favours.
      given: int [N], the labels.
      flat: as from `flatness`; 1 if the evidence is calibrated in another way.
    """
    rate = min(rate, 1.0)  # a sum of shares may be rounded up
    disagreement = float(np.mean(said != given))
    majority = _largest(given)
    is_weak = 1 - disagreement < majority + _WEAK * (1 - majority)
    spread = math.sqrt(majority * (1 - majority) / len(given))
    is_witness = 1 - disagreement > majority + _CLEARLY * spread or not disagreement
    by_chance = _CLEARLY * math.sqrt(rate * (1 - rate) / seen)
    is_possible = is_witness and rate <= disagreement + by_chance
    rate = min(rate, disagreement)
    is_sure = is_possible and not is_weak
    lowest = max(0.0, 2 * min(surely, rate) - disagreement) if is_sure else 0.0
    found = rate if is_possible else None
    known, withheld = (None, found) if is_weak and flat < _FLAT else (found, None)
    highest = max(disagreement, min(1.0, _NONE_OF / len(given)))
    return Noise(matrix, known, (lowest, highest), habits, withheld)


def flatness(said: np.ndarray, confidence: np.ndarray, given: np.ndarray) -> float:
    """How little the agreement with the labels depends on the confidence, in [0, 1].

    Labels that are wrong at random lower the agreement of confident and of other evidence alike;
    its own mistakes lower that of the other. So 1 is evidence without mistakes, whatever the
    labels, and near 0 its less confident half agrees no more often than the largest class would.
    Evidence that is equally confident of all says nothing by it, and has 1.

    Args:
      said: int [N], the classes that the evidence favours.
      confidence: float [N], in them; compared within each class.
      given: int [N], the labels.
    """
    halves: tuple[list, list] = [], []
    for label in np.unique(said):
        rows = np.flatnonzero(said == label)
        half = np.median(confidence[rows])
        is_high = confidence[rows] > half
        if not is_high.any():  # many are as confident as can be
            is_high = confidence[rows] >= half
        if not is_high.all():
            halves[0].append(rows[is_high])
            halves[1].append(rows[~is_high])
    if not halves[0]:
        return 1.0
    agrees, largest = said == given, _largest(given)
    high, low = (float(agrees[np.concatenate(half)].mean()) - largest for half in halves)
    return min(1.0, max(0.0, low / high)) if high > 0 else 0.0


def _largest(given: np.ndarray) -> float:
    """The share of the largest class among the labels."""
    return float(np.bincount(given).max() / len(given))


def habits(counts: np.ndarray, shares: np.ndarray) -> np.ndarray | None:
    """T as if all wrong labels were spread evenly except for those by habit, where k -> j is
    clearly more frequent than j -> k; None if habits are few.

    Networks confuse similar classes in both directions, which looks like noise; what goes only one
    way is due to the labels.

    Args:
      counts: float [C, C], how often a true class k was observed as j.
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
    """The distance of two transition matrices [C, C], in [0, 1]: the mean total variation distance
    of their rows."""
    return float(np.abs(estimated - realised).sum(axis=1).mean() / 2)


def _counted(
    evidence: np.ndarray, said: np.ndarray, given: np.ndarray, flat: float
) -> tuple[np.ndarray, np.ndarray]:
    """How often samples that the evidence assigns to k have the given label j, float64 [C, C]: for
    the most confident, and for more. A class that is never predicted gets one count of itself."""
    classes = evidence.shape[1]
    surest, more = np.eye(classes), np.eye(classes)
    for label in np.unique(said):
        members = np.flatnonzero(said == label)
        labels = given[members[np.argsort(-evidence[members, label], kind="stable")]]
        size = len(members)
        fewest = max(1, round(max(_SHARE * size, min(_FEWEST, size / 3))))
        agreeing = float(np.mean(labels == label))
        count = max(fewest, round(agreeing ** (_POWER * (1 - flat)) * size))
        surest[label] = np.bincount(labels[:fewest], minlength=classes)
        more[label] = np.bincount(labels[:count], minlength=classes)
    return surest, more


def _rows(counts: np.ndarray) -> np.ndarray:
    return counts / counts.sum(axis=1, keepdims=True)


def _rate(counts: np.ndarray, shares: np.ndarray) -> float:
    return float(shares @ (1 - _rows(counts).diagonal()))
