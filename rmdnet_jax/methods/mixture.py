"""A one-dimensional Gaussian mixture: which losses are small, and with what probability.

Computed on the host, in float64, without randomness: it runs once per epoch, and the same losses
always give the same mixture.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp, softmax

# Values beyond these quantiles are outliers.
_STARTS = 0.05, 0.95


class Mixture(NamedTuple):
    """Gaussians in order of their means.

    Attributes:
      means, variances, weights: float64 [K]; the weights are above 0 and sum to 1.
    """

    means: np.ndarray
    variances: np.ndarray
    weights: np.ndarray


def fit(
    values: np.ndarray,
    components: int = 2,
    steps: int = 10,
    tolerance: float = 1e-2,
    floor: float = 5e-4,
) -> Mixture:
    """Fits a mixture by expectation maximisation.

    Initially each value is in the component whose quantile of the distinct values, from 5 to 95 %,
    is nearest; scikit-learn's start, k-means, gives nearly the same result, but needs a seed.

    Args:
      values: float [N], finite.
      components: K, 2 or more.
      steps: largest number of iterations.
      tolerance: a smaller rise of the mean log likelihood stops the fit.
      floor: added to every variance, so that a component of equal values keeps a density.
    """
    values = np.asarray(values, np.float64)
    starts = np.quantile(np.unique(values), np.linspace(*_STARTS, components))
    nearest = np.abs(values[:, None] - starts).argmin(axis=1)
    fitted = _maximised(values, np.eye(components)[nearest], floor)
    before = -np.inf
    for _ in range(steps):
        log = _log_joint(fitted, values)
        likelihood = logsumexp(log, axis=1).mean()
        fitted = _maximised(values, softmax(log, axis=1), floor)
        if likelihood - before < tolerance:
            break
        before = likelihood
    order = np.argsort(fitted.means, kind="stable")
    return Mixture(*(x[order] for x in fitted))


def responsibilities(mixture: Mixture, values: np.ndarray) -> np.ndarray:
    """P(component | value), float64 [N, K], of values float [N]; rows sum to 1."""
    return softmax(_log_joint(mixture, np.asarray(values, np.float64)), axis=1)


def _log_joint(mixture: Mixture, values: np.ndarray) -> np.ndarray:
    """log P(value, component), [N, K]."""
    square = (values[:, None] - mixture.means) ** 2 / mixture.variances
    return np.log(mixture.weights) - (np.log(2 * np.pi * mixture.variances) + square) / 2


def _maximised(values: np.ndarray, shares: np.ndarray, floor: float) -> Mixture:
    """The most likely mixture if value n belongs to component k with weight shares[n, k]."""
    counts = shares.sum(axis=0) + 10 * np.finfo(np.float64).eps  # a component may be empty
    means = values @ shares / counts
    variances = ((values[:, None] - means) ** 2 * shares).sum(axis=0) / counts + floor
    return Mixture(means, variances, counts / counts.sum())
