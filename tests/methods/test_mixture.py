"""Two Gaussians in one dimension are found where they are, and the same ones every time."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.mixture import GaussianMixture

from rmdnet_jax.methods import mixture
from rmdnet_jax.methods.mixture import Mixture

RNG = np.random.default_rng(0)


def losses(rate, size=4000, spread=0.5):
    """Of right and wrong labels, from 0 to 1."""
    right, wrong = RNG.gamma(spread, 0.5, size), RNG.normal(4, 1.2, size).clip(0)
    values = np.where(RNG.random(size) < rate, wrong, right)
    return (values - values.min()) / np.ptp(values)


def test_it_finds_what_was_drawn():
    values = np.concatenate([RNG.normal(0.1, 0.05, 6000), RNG.normal(0.7, 0.1, 2000)])
    found = mixture.fit(values, floor=0, steps=100, tolerance=1e-8)
    np.testing.assert_allclose(found.means, [0.1, 0.7], atol=0.01)
    np.testing.assert_allclose(np.sqrt(found.variances), [0.05, 0.1], atol=0.005)
    np.testing.assert_allclose(found.weights, [0.75, 0.25], atol=0.01)


def test_a_step_by_hand():
    """Values 0, 0, 1: the first two are one component, the last the other; floor 0.25. Then the
    shares of each value by Bayes, and the moments under them."""
    values = np.array([0.0, 0.0, 1.0])
    start = norm.pdf(values[:, None], [0, 1], 0.5) * [2 / 3, 1 / 3]
    shares = start / start.sum(axis=1, keepdims=True)
    counts = shares.sum(axis=0)
    means = values @ shares / counts
    variances = ((values[:, None] - means) ** 2 * shares).sum(axis=0) / counts + 0.25
    found = mixture.fit(values, steps=1, floor=0.25)
    for one, expected in zip(found, (means, variances, counts / 3), strict=True):
        np.testing.assert_allclose(one, expected, rtol=1e-9)


def test_responsibilities_are_bayes_rule():
    of = Mixture(np.array([0.0, 1.0]), np.array([0.04, 0.25]), np.array([0.7, 0.3]))
    values = np.array([-0.2, 0.3, 0.9])
    joint = norm.pdf(values[:, None], [0, 1], [0.2, 0.5]) * [0.7, 0.3]
    shares = mixture.responsibilities(of, values)
    assert shares.dtype == np.float64
    np.testing.assert_allclose(shares, joint / joint.sum(axis=1, keepdims=True), rtol=1e-12)
    far = mixture.responsibilities(of, np.array([-1e6, 1e6]))
    np.testing.assert_allclose(far.sum(axis=1), 1)


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.4, 0.6])
def test_it_divides_losses_as_scikit_learn_does(rate):
    values = losses(rate)
    theirs = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=0)
    theirs.fit(values[:, None])
    small = theirs.predict_proba(values[:, None])[:, theirs.means_.argmin()] > 0.5
    ours = mixture.responsibilities(mixture.fit(values), values)[:, 0] > 0.5
    assert (small == ours).mean() > 0.97


def test_the_order_of_the_values_does_not_matter_and_nothing_is_drawn():
    values = losses(0.3)
    found = mixture.fit(values)
    for one, again, permuted in zip(
        found, mixture.fit(values), mixture.fit(RNG.permutation(values)), strict=True
    ):
        np.testing.assert_array_equal(one, again)
        np.testing.assert_allclose(one, permuted, rtol=1e-9)


@pytest.mark.parametrize(
    "values",
    [np.zeros(9), np.array([0.0]), np.array([0.0, 1.0]), np.array([0.0] * 99 + [1.0])],
    ids=["equal", "one", "two", "an outlier"],
)
@pytest.mark.parametrize("components", [2, 5])
def test_values_that_are_equal_or_few_have_a_mixture(values, components):
    found = mixture.fit(values, components)
    shares = mixture.responsibilities(found, values)
    assert np.isfinite(np.concatenate(found)).all()
    assert shares.shape == (len(values), components)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert (np.diff(found.means) >= 0).all()


def test_most_losses_may_be_the_same():
    """A network that is sure of nearly all: the few large losses are a component."""
    values = np.concatenate([np.zeros(970), np.full(30, 0.9)])
    small = mixture.responsibilities(mixture.fit(values), values)[:, 0]
    assert small[:970].min() > 0.99
    assert small[970:].max() < 0.01
