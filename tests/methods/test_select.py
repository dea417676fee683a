"""The `keep` smallest losses of a batch, however many, in one program and without a gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmdnet_jax.methods import select


@pytest.mark.parametrize(
    ("keep", "expected"),
    [(0, [0, 0, 0, 0]), (1, [0, 0, 1, 0]), (3, [1, 0, 1, 1]), (4, [1, 1, 1, 1])],
)
def test_by_hand(keep, expected):
    weights = select.smallest(jnp.array([2.0, 5.0, -1.0, 3.0]), keep)
    assert weights.dtype == jnp.float32
    np.testing.assert_array_equal(weights, expected)


def test_of_equal_losses_the_first_in_the_batch_are_kept():
    weights = select.smallest(jnp.array([1.0, 0.0, 1.0, 1.0, 0.0]), 3)
    np.testing.assert_array_equal(weights, [1, 1, 0, 0, 1])
    np.testing.assert_array_equal(select.smallest(jnp.zeros(4), 2), [1, 1, 0, 0])


def test_how_many_may_be_known_only_when_it_runs():
    traced = []

    @jax.jit
    def smallest(losses, keep):
        traced.append(keep)
        return select.smallest(losses, keep)

    losses = jnp.array([0.5, 0.1, 0.4, 0.2])
    for keep in range(5):
        assert smallest(losses, jnp.int32(keep)).sum() == keep
    assert len(traced) == 1


def test_no_gradient_goes_through_the_choice():
    losses = jnp.array([0.5, 0.1, 0.4])
    gradient = jax.grad(lambda x: (select.smallest(x, 2) * jnp.array([1.0, 2.0, 3.0])).sum())
    np.testing.assert_array_equal(gradient(losses), [0, 0, 0])
    # Of the mean of what is kept, it is that of the kept ones alone.
    of_kept = jax.grad(lambda x: (select.smallest(x, 2) * x).sum() / 2)
    np.testing.assert_array_equal(of_kept(losses), [0, 0.5, 0.5])


@jax.jit
def compiled(losses, keep):
    return select.smallest(losses, keep)


@given(
    st.lists(st.sampled_from([-1e30, -1.0, 0.0, 0.25, 1.0, 1e30, np.inf]), min_size=7, max_size=7),
    st.integers(0, 7),
)
def test_it_is_numpys_stable_sort(losses, keep):
    expected = np.zeros(7)
    expected[np.argsort(losses, kind="stable")[:keep]] = 1
    np.testing.assert_array_equal(compiled(np.float32(losses), np.int32(keep)), expected)
