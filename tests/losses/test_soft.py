"""Losses against distributions: hand-worked values, SciPy's, limits, and extreme logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from scipy.stats import entropy

from rmdnet_jax.losses import robust, soft

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(5, 4)).astype(np.float32) * 3
OTHER = RNG.normal(size=(5, 4)).astype(np.float32) * 3
TARGET = RNG.dirichlet(np.ones(4), 5).astype(np.float32)
P, Q = softmax(LOGITS.astype(np.float64), axis=1), softmax(OTHER.astype(np.float64), axis=1)


def test_by_hand():
    """p = (1/2, 1/4, 1/4), q = (1, 0, 0) and (1/2, 1/2, 0)."""
    logits = jnp.log(jnp.array([[0.5, 0.25, 0.25]] * 2))
    target = jnp.array([[1.0, 0, 0], [0.5, 0.5, 0]])
    log2 = np.log(2)
    np.testing.assert_allclose(
        soft.soft_cross_entropy(logits, target), [log2, 1.5 * log2], rtol=1e-6
    )
    np.testing.assert_allclose(soft.brier(logits, target), [0.375 / 3, 0.125 / 3], rtol=1e-5)
    np.testing.assert_allclose(soft.negative_entropy(logits), [-1.5 * log2] * 2, rtol=1e-6)
    # The mean of p is p: (log 1/3 - mean of log p).
    expected = -np.log(3) + (log2 + 4 * log2) / 3
    np.testing.assert_allclose(soft.prior_penalty(logits), expected, rtol=1e-5)
    # p and (1/4, 1/2, 1/4): (1/4)(log 2) - (1/4)(-log 2).
    other = jnp.log(jnp.array([[0.25, 0.5, 0.25]] * 2))
    np.testing.assert_allclose(soft.symmetric_kl(logits, other), [log2 / 2] * 2, rtol=1e-5)


def test_against_scipy():
    log_p = log_softmax(LOGITS.astype(np.float64), axis=1)
    np.testing.assert_allclose(
        soft.soft_cross_entropy(LOGITS, TARGET), -(TARGET * log_p).sum(axis=1), rtol=1e-5
    )
    np.testing.assert_allclose(
        soft.brier(LOGITS, TARGET), ((P - TARGET) ** 2).mean(axis=1), rtol=1e-4
    )
    np.testing.assert_allclose(soft.negative_entropy(LOGITS), -entropy(P, axis=1), rtol=1e-4)
    np.testing.assert_allclose(
        soft.prior_penalty(LOGITS), entropy(np.full(4, 0.25), P.mean(axis=0)), rtol=1e-4
    )
    np.testing.assert_allclose(
        soft.symmetric_kl(LOGITS, OTHER), entropy(P, Q, axis=1) + entropy(Q, P, axis=1), rtol=1e-4
    )


def test_limits():
    labels = jnp.arange(5) % 4
    one_hot = jax.nn.one_hot(labels, 4, dtype=jnp.float32)
    np.testing.assert_allclose(
        soft.soft_cross_entropy(LOGITS, one_hot), robust.ce(LOGITS, labels), rtol=1e-6
    )
    np.testing.assert_allclose(soft.brier(LOGITS, jax.nn.softmax(LOGITS)), 0, atol=1e-12)
    np.testing.assert_array_equal(soft.symmetric_kl(LOGITS, LOGITS), np.zeros(5))
    even = jnp.log(jnp.array([[0.7, 0.3], [0.3, 0.7]]))
    np.testing.assert_allclose(soft.prior_penalty(even), 0, atol=1e-6)
    np.testing.assert_allclose(soft.negative_entropy(jnp.zeros((2, 3))), -np.log(3), rtol=1e-6)


def test_the_gradient_of_cross_entropy_is_p_less_q():
    gradient = jax.grad(lambda x: soft.soft_cross_entropy(x, TARGET).sum())(jnp.asarray(LOGITS))
    np.testing.assert_allclose(gradient, P - TARGET, atol=1e-5)


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_extreme_logits_are_finite_in_value_and_gradient(size):
    logits = jnp.asarray(size * np.eye(4, dtype=np.float32)[[0, 0, 0, 0, 0]])
    for loss in (
        lambda x: soft.soft_cross_entropy(x, TARGET).mean(),
        lambda x: soft.brier(x, TARGET).mean(),
        soft.prior_penalty,
        lambda x: soft.negative_entropy(x).mean(),
        lambda x: soft.symmetric_kl(x, OTHER).mean(),
    ):
        value, gradient = jax.value_and_grad(loss)(logits)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


def test_distillation_is_a_divergence_of_softened_words():
    for temperature in (1, 4):
        p, q = (softmax(x.astype(np.float64) / temperature, axis=1) for x in (LOGITS, OTHER))
        found = soft.distillation(LOGITS, OTHER, temperature)
        np.testing.assert_allclose(found, temperature**2 * entropy(q, p, axis=1), rtol=1e-4)
    np.testing.assert_allclose(soft.distillation(LOGITS, LOGITS, 4), 0, atol=1e-5)
