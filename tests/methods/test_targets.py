"""Targets by hand: sharpened, refined by how far a label is trusted, guessed from several."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rmdnet_jax.methods import targets

P = jnp.array([[0.5, 0.25, 0.25], [0.2, 0.8, 0.0]])


def test_sharpening_by_hand():
    """T = 1/2 squares: (4, 1, 1) / 6 and (1, 16, 0) / 17."""
    sharp = targets.sharpen(P, 0.5)
    expected = [[4 / 6, 1 / 6, 1 / 6], [1 / 17, 16 / 17, 0]]
    np.testing.assert_allclose(sharp, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(targets.sharpen(P, 1.0), P, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("temperature", [0.01, 0.5])
def test_sharpened_rows_are_distributions_however_flat_or_sure(temperature):
    p = jnp.array([[1 / 3, 1 / 3, 1 / 3], [1.0, 0.0, 0.0], [1e-30, 1e-38, 1.0], [0.4, 0.4, 0.2]])
    sharp = np.asarray(targets.sharpen(p, temperature))
    np.testing.assert_allclose(sharp.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(sharp[0], 1 / 3, rtol=1e-5)
    np.testing.assert_allclose(sharp[3, :2].sum(), 1 if temperature < 0.1 else 0.32 / 0.36, 1e-5)


def test_a_label_is_trusted_by_its_share():
    given = jax.nn.one_hot(jnp.array([2, 0]), 3, dtype=jnp.float32)
    refined = targets.refine(given, jnp.array([0.75, 0.0]), P)
    np.testing.assert_allclose(refined, [[0.125, 0.0625, 0.8125], [0.2, 0.8, 0]], rtol=1e-6)
    np.testing.assert_array_equal(targets.refine(given, jnp.ones(2), P), given)


def test_a_guess_is_the_mean():
    np.testing.assert_allclose(
        targets.guess([P, P[::-1], P, P]), (3 * np.asarray(P) + np.asarray(P)[::-1]) / 4, rtol=1e-6
    )
    np.testing.assert_array_equal(targets.guess([P]), P)
