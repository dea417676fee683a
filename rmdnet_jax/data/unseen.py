"""Estimates how many given labels are wrong, from predictions of networks that have not seen them.

The model: a label is the true class, or a class-dependent random replacement,
P(given = j | x) = sum_k P(true = k | x) T[k, j]. The networks' probabilities, at a fitted
temperature, are used for P(true | x); T and the temperature maximise the likelihood of the given
labels (expectation maximisation, as Dawid and Skene 1979 for annotators). The labels thus calibrate
the networks, so that their confidence, which is low after robust losses, does no harm.
"""

import numpy as np
from scipy.special import softmax

from rmdnet_jax.data import transition
from rmdnet_jax.data.transition import Noise

# Temperatures to try; then so many between the neighbours of the likeliest.
_TEMPERATURES, _BETWEEN = np.geomspace(0.25, 4, 10), 7

# The most iterations for each, and the change of T that ends them.
_ITERATIONS, _CHANGE = 60, 1e-4

# Size n x C of the random samples from which the temperature is chosen, and to which T is fitted.
_ENTRIES = 100_000, 2_000_000

# The fewest samples for either, whatever the number of classes; and the seed that draws them.
_FEWEST, _SEED = 2000, 0

# The prior of T's rows is a rate that is the same for all classes, weighted as this many samples
# times C^3 / N: a row with few samples, or with many classes, contains little information.
_PRIOR = 20


def noise(probabilities: np.ndarray, given: np.ndarray) -> Noise:
    """An estimate of the noise.

    Args:
      probabilities: float [N, C], for each sample from a network that has not learned its label.
      given: int [N].
    """
    tried, fitted = (_drawn(probabilities, given, entries) for entries in _ENTRIES)
    classes = probabilities.shape[1]
    start = np.full((classes, classes), 0.3 / (classes - 1))
    np.fill_diagonal(start, 0.7)

    def likeliest(temperatures: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, float]:
        fits = [_fit(softmax(tried[0] / one, axis=1), tried[1], start) for one in temperatures]
        best = max(range(len(fits)), key=lambda number: fits[number][0])
        return fits[best][1], temperatures[best]

    step = _TEMPERATURES[1] / _TEMPERATURES[0]
    matrix, near = likeliest(_TEMPERATURES, start)
    between = np.geomspace(near / step, near * step, _BETWEEN + 2)[1:-1]
    matrix, temperature = likeliest(between, matrix)
    log, labels = fitted
    tempered = softmax(log / temperature, axis=1)
    _, matrix = _fit(tempered, labels, matrix)
    posterior, _ = _posterior(tempered, labels, matrix)
    rate = float(1 - posterior[np.arange(len(labels)), labels].mean())
    counts = _counts(posterior, labels)
    found = transition.habits(counts, counts.sum(axis=1) / counts.sum())
    said = probabilities.argmax(axis=1)
    return transition.noise(matrix, rate, rate, counts.sum(), found, said, given)


def judged(noise: Noise, probabilities: np.ndarray, given: np.ndarray) -> np.ndarray:
    """The evidence to rank labels by, float32 [N, C]: the probabilities, or if there are habits,
    the probabilities conditioned on the label and the habits."""
    if noise.habits is not None:
        probabilities, _ = _posterior(probabilities, given, noise.habits)
    return np.asarray(probabilities, np.float32)


def _drawn(
    probabilities: np.ndarray, given: np.ndarray, entries: int
) -> tuple[np.ndarray, np.ndarray]:
    """The log-probabilities float64 [n, C] of some or all samples, and their labels."""
    size, classes = probabilities.shape
    count = max(_FEWEST, entries // classes)
    if count < size:
        rows = np.random.default_rng(_SEED).choice(size, count, replace=False)
        probabilities, given = probabilities[rows], given[rows]
    return np.log(np.maximum(probabilities, 1e-12), dtype=np.float64), given


def _fit(
    probabilities: np.ndarray, given: np.ndarray, matrix: np.ndarray
) -> tuple[float, np.ndarray]:
    """The mean log-likelihood of the labels and the T that makes it largest."""
    likelihood, prior = -np.inf, _PRIOR * len(matrix) ** 3 / len(given)
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
    """How often a true class k was labelled j: float64 [C, C]."""
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
