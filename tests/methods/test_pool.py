"""Pools of label weights: what is drawn, what is added, and where that leads (GSS, section 5.1)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rmdnet_jax.losses import robust
from rmdnet_jax.methods import pool


def drawn(rows, times, seed=0):
    """How often each class is drawn from weights [B, C]: float [B, C]."""
    keys = jax.random.split(jax.random.key(seed), times)
    found = np.asarray(jax.vmap(lambda key: pool.draw(key, jnp.asarray(rows)))(keys))
    return np.stack([(found == k).mean(axis=0) for k in range(rows.shape[1])], axis=1)


def test_the_given_label_has_weight_1_beside_what_was_added():
    found = pool.weights(jnp.array([[0.0, 3, 0], [0.5, 0, 2]]), jnp.array([0, 2]))
    np.testing.assert_array_equal(found, [[1, 3, 0], [0.5, 0, 3]])
    np.testing.assert_allclose(pool.shares(found)[0], [0.25, 0.75, 0])


def test_a_label_is_drawn_as_often_as_its_weight_says_and_never_without_one():
    times = 20_000
    rows = np.array([[1, 3, 0], [1e4, 0, 0], [0, 2, 6]], np.float32)
    found = drawn(rows, times)
    p = rows / rows.sum(axis=1, keepdims=True)
    assert (np.abs(found - p) <= 5 * np.sqrt(p * (1 - p) / times)).all()
    assert (found[rows == 0] == 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)  # no draw is outside the classes


@pytest.mark.parametrize(
    ("p", "weight_by", "expected"),
    [
        ((0.1, 0.7, 0.2), "given", (0.158333, 0.133333, 0.083333)),
        ((0.1, 0.7, 0.2), "predicted", (0.158333, 0.433333, 0.083333)),
        ((0.6, 0.3, 0.1), "given", (0.833333, 0.083333, 0.083333)),
        ((0.6, 0.3, 0.1), "predicted", (0.833333, 0.083333, 0.083333)),
    ],
)
def test_increments_worked_by_hand(p, weight_by, expected):
    """s = 0.25 and lambdas of (2, 1): of p_y 0.1, 0.075 + 0.0833; of max p 0.7, 0.35 + 0.0833."""
    logits, given, progress = jnp.log(jnp.array([p])) + 3, jnp.array([0]), jnp.float32(0.25)
    found = pool.increment(logits, given, progress, 2.0, 1.0, weight_by)
    np.testing.assert_allclose(found, [expected], atol=2e-6)


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(scale=2, size=(6, 4)), jnp.float32)
    return logits, jnp.asarray(rng.integers(0, 4, 6), jnp.int32)


def test_the_sum_of_an_increment_is_that_of_the_three_weights(batch):
    logits, given = batch
    found = np.asarray(pool.increment(logits, given, jnp.float32(0.3), 2.0, 1.0))
    p = np.asarray(jax.nn.softmax(logits))
    p_given = p[np.arange(6), np.asarray(given)]
    np.testing.assert_allclose(found.sum(axis=1), 0.7 * p_given + 0.6 * p.max(axis=1) + 0.3,
                               rtol=1e-5)  # fmt: skip
    assert (found >= 0).all()


def test_at_the_start_and_without_lambdas_only_the_given_label_gains(batch):
    logits, given = batch
    for progress, lambdas in ((0.0, (2.0, 1.0)), (0.8, (0.0, 0.0))):
        found = np.asarray(pool.increment(logits, given, jnp.float32(progress), *lambdas))
        others = ~np.eye(4, dtype=bool)[np.asarray(given)]
        assert (found[others] == 0).all()
        assert (found[~others] > 0).all()


def test_no_gradient_goes_through_an_increment(batch):
    logits, given = batch
    of = jax.grad(lambda x: pool.increment(x, given, jnp.float32(0.5), 2.0, 1.0)[:, 0].sum())
    assert not np.asarray(of(logits)).any()


LIMITS = {
    # (what is said of an image given 0, weighed by) -> where the share of the said class goes.
    (0, "predicted"): 0.775,  # (1 + lambda1 + lambda2 / C) / (1 + lambda1 + lambda2)
    (1, "predicted"): 0.70,  # (lambda1 + lambda2 / C) / (lambda1 + lambda2)
    (1, "given"): 0.1,  # 1 / C: nothing but lambda2 is added
}


@pytest.mark.parametrize("case", LIMITS, ids=str)
def test_where_the_pool_of_a_sure_image_ends_after_many_epochs(case):
    (said, weight_by), epochs = case, 1000
    logits, given = jnp.zeros((1, 10)).at[0, said].set(20.0), jnp.array([0])

    def visit(added, epoch):
        progress = epoch.astype(jnp.float32) / epochs
        return added + pool.increment(logits, given, progress, 2.0, 1.0, weight_by), None

    added, _ = jax.lax.scan(visit, jnp.zeros((1, 10)), jnp.arange(epochs))
    share = pool.shares(pool.weights(added, given))[0, said]
    np.testing.assert_allclose(share, LIMITS[case], atol=1e-2)


def test_the_expected_cross_entropy_is_that_to_the_soft_label(batch):
    logits, _ = batch
    shares = jnp.asarray(np.random.default_rng(1).dirichlet([1] * 4, 6), jnp.float32)
    soft = -(shares * jax.nn.log_softmax(logits)).sum(axis=1)
    np.testing.assert_allclose(pool.expected(robust.ce, logits, shares), soft, rtol=1e-5)


@pytest.mark.parametrize("name", ["ce", "gce", "nce_rce"])
def test_the_expected_gradient_is_the_mean_of_many_draws(batch, name):
    logits, given = batch
    loss, times = robust.get(name), 4096
    weights = pool.weights(jnp.asarray(np.random.default_rng(2).gamma(1, 1, (6, 4)), jnp.float32),
                           given)  # fmt: skip
    weights = weights.at[0, (given[0] + 1) % 4].set(0)  # one that is never drawn

    def of_a_draw(key):
        return jax.grad(lambda x: loss(x, pool.draw(key, weights)).sum())(logits)

    keys = jax.random.split(jax.random.key(0), times)
    found = np.asarray(jax.vmap(of_a_draw)(keys), np.float64)
    exact = jax.grad(lambda x: pool.expected(loss, x, pool.shares(weights)).sum())(logits)
    error = found.std(axis=0) / np.sqrt(times)
    assert (np.abs(found.mean(axis=0) - exact) <= 5 * error + 1e-6).all()
