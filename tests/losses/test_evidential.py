"""Subjective-logic losses: hand-worked values, the definition with the variance of a Dirichlet."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import dirichlet

from rmdnet_jax.losses import evidential

LOGITS = st.floats(-50, 50, width=32)


def test_by_hand():
    """K = 2: evidence (3, 0), alpha (4, 1), p (0.8, 0.2), S 5; without evidence p is (1/2, 1/2)."""
    logits = jnp.array([[3.0, -1], [3, -1], [0, 0]])
    found = evidential.subjective_logic(logits, jnp.array([0, 1, 0]))
    expected = [2 * 0.04 + 2 * 0.16 / 6, 2 * 0.64 + 2 * 0.16 / 6, 2 / 3]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(expected[:2], [0.1333, 1.3333], atol=1e-4)
    assert found.dtype == jnp.float32


@given(arrays.arrays(np.float32, (3, 4), elements=LOGITS), st.integers(0, 3))
def test_it_is_the_expected_squared_error(logits, label):
    found = evidential.subjective_logic(jnp.asarray(logits), jnp.full(3, label))
    for row, loss in zip(np.maximum(logits.astype(np.float64), 0) + 1, found, strict=True):
        error = (np.eye(4)[label] - dirichlet.mean(row)) ** 2
        assert loss == pytest.approx((error + dirichlet.var(row)).sum(), rel=1e-4)
        assert 0 < loss < 2


def test_the_smallest_and_the_largest():
    logits = jnp.array([[1e4, 0, 0], [0, 1e4, 0]])
    found = evidential.subjective_logic(logits, jnp.zeros(2, int))
    np.testing.assert_allclose(found, [0, 2], atol=1e-3)
