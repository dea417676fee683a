"""A mixture of Gaussians in one dimension: which losses are small, and how surely.

On the host, in float64, and without chance: it runs once an epoch, and the same losses always have
the same mixture.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp, softmax

# Beyond these quantiles lie outliers.
_STARTS = 0.05, 0.95


class Mixture(NamedTuple):
    """Gaussians in the order of their means.

    Attributes:
      means, variances, weights: float64 [K]; the weights, above 0, have the sum 1.
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
    """By expectation and maximisation.

    It starts from every value in the component whose quantile of the distinct values, from 5 to
    95 %, is the nearest; scikit-learn's start, k-means, ends nearly the same, but needs a seed.

    Args:
      values: float [N], finite.
      components: K, 2 or more.
      steps: at most.
      tolerance: a rise of the mean log likelihood that ends it.
      floor: is added to every variance, so that a component of equal values keeps a density.
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
    """P(component | value), float64 [N, K], of values float [N]; rows have the sum 1."""
    return softmax(_log_joint(mixture, np.asarray(values, np.float64)), axis=1)


def _log_joint(mixture: Mixture, values: np.ndarray) -> np.ndarray:
    """log P(value, component), [N, K]."""
    square = (values[:, None] - mixture.means) ** 2 / mixture.variances
    return np.log(mixture.weights) - (np.log(2 * np.pi * mixture.variances) + square) / 2


def _maximised(values: np.ndarray, shares: np.ndarray, floor: float) -> Mixture:
    """The mixture that is likeliest where value n belongs to component k by shares[n, k]."""
    counts = shares.sum(axis=0) + 10 * np.finfo(np.float64).eps  # one that has lost all its values
    means = values @ shares / counts
    variances = ((values[:, None] - means) ** 2 * shares).sum(axis=0) / counts + floor
    return Mixture(means, variances, counts / counts.sum())
