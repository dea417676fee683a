"""How wrong the given labels are, by what networks say that have not seen them.

The model: a label is the true class, or one that a class-dependent draw put in its place,
P(given = j | x) = sum_k P(true = k | x) T[k, j]. The networks' probabilities, brought to a right
temperature, stand for P(true | x); T and the temperature are those under which the given labels are
likeliest (expectation and maximisation, as Dawid and Skene 1979 for annotators). The labels say how
sure the networks may be, so their confidence, which robust losses leave low, does no harm.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

# Temperatures that are tried; the likeliest is taken.
_TEMPERATURES = np.geomspace(0.25, 4, 13)

# Iterations of each, at most, and a change of T that ends them.
_ITERATIONS, _CHANGE = 60, 1e-4

# Entries [n, C] that are looked at in an iteration: of more samples some, evenly spaced.
_ENTRIES = 1_000_000

# Rows of T have this many samples' worth of a rate that is the same for all classes, times
# C^3 / N: a row of few samples, or of many classes, says little of itself.
_PRIOR = 20

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

    def judged(self, probabilities: np.ndarray, given: np.ndarray) -> np.ndarray:
        """What to judge labels by, float32 [N, C]: the probabilities, or with habits those given
        the label and the habit."""
        if self.habits is not None:
            probabilities, _ = _posterior(probabilities.astype(np.float64), given, self.habits)
        return np.asarray(probabilities, np.float32)


def noise(probabilities: np.ndarray, given: np.ndarray) -> Noise:
    """An estimate of the noise.

    Args:
      probabilities: float [N, C], of each sample by a network that has not learned from its label.
      given: int [N].
    """
    size, classes = probabilities.shape
    rows = np.linspace(0, size - 1, min(size, max(2000, _ENTRIES // classes))).astype(int)
    log, labels = np.log(np.maximum(probabilities, 1e-12), dtype=np.float64), given
    prior = _PRIOR * classes**3 / size
    start = np.full((classes, classes), 0.3 / (classes - 1))
    np.fill_diagonal(start, 0.7)
    fitted = [
        (*_fit(_tempered(log[rows], temperature), labels[rows], start, prior), temperature)
        for temperature in _TEMPERATURES
    ]
    _, matrix, temperature = max(fitted, key=lambda one: one[0])
    _, matrix = _fit(_tempered(log, temperature), labels, matrix, prior)
    posterior, _ = _posterior(_tempered(log, temperature), labels, matrix)
    rate = float(1 - posterior[np.arange(size), labels].mean())
    return Noise(matrix, rate, _habits(_counts(posterior, labels)))


def _tempered(log: np.ndarray, temperature: float) -> np.ndarray:
    scaled = log / temperature
    return np.exp(scaled - logsumexp(scaled, axis=1, keepdims=True))


def _fit(
    probabilities: np.ndarray, given: np.ndarray, matrix: np.ndarray, prior: float
) -> tuple[float, np.ndarray]:
    """The mean log-likelihood of the labels and the T that makes it largest."""
    likelihood = -np.inf
    for _ in range(_ITERATIONS):
        posterior, likelihood = _posterior(probabilities, given, matrix)
        before, matrix = matrix, _maximised(_counts(posterior, given), prior)
        if np.abs(matrix - before).max() < _CHANGE:
            break
    return likelihood, matrix


def _posterior(
    probabilities: np.ndarray, given: np.ndarray, matrix: np.ndarray
) -> tuple[np.ndarray, float]:
    """P(true | x, given) float64 [N, C], and the mean log-likelihood of the labels."""
    joint = probabilities * matrix.T[given]
    likelihood = np.maximum(joint.sum(axis=1), 1e-300)
    return joint / likelihood[:, None], float(np.log(likelihood).mean())


def _counts(posterior: np.ndarray, given: np.ndarray) -> np.ndarray:
    """How often a true class k has become j: float64 [C, C]."""
    classes = posterior.shape[1]
    counts = np.zeros((classes, classes))
    order = np.argsort(given, kind="stable")
    ends = np.searchsorted(given[order], np.arange(classes + 1))
    for label in range(classes):
        counts[:, label] = posterior[order[ends[label] : ends[label + 1]]].sum(axis=0)
    return counts


def _maximised(counts: np.ndarray, prior: float) -> np.ndarray:
    classes = len(counts)
    kept = np.trace(counts) / counts.sum()
    usual = np.full((classes, classes), (1 - kept) / (classes - 1))
    np.fill_diagonal(usual, kept)
    return (counts + prior * usual) / (counts.sum(axis=1, keepdims=True) + prior)


def _habits(counts: np.ndarray) -> np.ndarray | None:
    """T as if all wrong labels were spread evenly but for those that are there by habit, k -> j
    clearly more often than j -> k; None where habits are few.

    Networks take alike classes for one another both ways, which looks like noise; what goes one way
    is of the labels.
    """
    classes = len(counts)
    sizes = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    rates = counts / sizes
    variance = (rates * (1 - rates) + 1 / sizes) / sizes
    others = ~np.eye(classes, dtype=bool)
    difference = rates - rates.T
    is_habit = others & (difference > _ERRORS * np.sqrt(variance + variance.T))
    excess = np.where(is_habit, difference, 0)
    shares = counts.sum(axis=1) / counts.sum()
    wrong = shares @ (1 - rates.diagonal())
    if not is_habit.any() or shares @ excess.sum(axis=1) < _HABITUAL * wrong:
        return None
    rest = others & ~is_habit
    habits = excess + (rates[rest].mean() if rest.any() else 0)
    np.fill_diagonal(habits, 0)
    np.fill_diagonal(habits, np.maximum(1 - habits.sum(axis=1), 0.05))
    return habits / habits.sum(axis=1, keepdims=True)
