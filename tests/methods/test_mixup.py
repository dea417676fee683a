"""A mixed batch is lam of itself and the rest of a partner, with one lam."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import beta, kstest

from rmdnet_jax.methods.mixup import mixup

X = jnp.asarray(np.random.default_rng(0).normal(size=(6, 2, 2, 3)).astype(np.float32))
Y = jax.nn.one_hot(jnp.arange(6) % 4, 4, dtype=jnp.float32)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("at_least_half", [False, True])
def test_images_and_labels_are_mixed_with_the_same_partner_and_share(seed, at_least_half):
    mixed = jax.jit(mixup, static_argnames=("alpha", "at_least_half"))(
        jax.random.key(seed), X, Y, alpha=0.8, at_least_half=at_least_half
    )
    lam, partner = np.float32(mixed.lam), np.asarray(mixed.partner)
    assert sorted(partner) == list(range(6))
    assert (0.5 if at_least_half else 0) <= lam <= 1
    x, y = np.asarray(X), np.asarray(Y)
    np.testing.assert_allclose(mixed.x, lam * x + (1 - lam) * x[partner], atol=1e-6)
    np.testing.assert_allclose(mixed.y, lam * y + (1 - lam) * y[partner], atol=1e-6)
    np.testing.assert_allclose(np.asarray(mixed.y).sum(axis=1), 1, rtol=1e-5)
    further = np.arange(6, dtype=np.float32)
    expected = lam * further + (1 - lam) * further[partner]
    np.testing.assert_allclose(mixed.blend(jnp.asarray(further)), expected, rtol=1e-5)


def test_the_share_is_of_a_beta_distribution():
    keys = jax.random.split(jax.random.key(0), 2000)
    shares = jax.vmap(lambda key: mixup(key, X, Y, 4.0).lam)(keys)
    assert kstest(np.asarray(shares), beta(4, 4).cdf).pvalue > 0.01
    larger = jax.vmap(lambda key: mixup(key, X, Y, 4.0, at_least_half=True).lam)(keys)
    np.testing.assert_array_equal(larger, np.maximum(shares, 1 - np.asarray(shares)))


def test_its_key_decides_all():
    first, again, other = (mixup(jax.random.key(seed), X, Y, 1.0) for seed in (3, 3, 4))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert first.lam != other.lam
