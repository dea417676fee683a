import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rmdnet_jax.losses import simsiam


@pytest.fixture
def outputs():
    """q1, q2, y1, y2 of eight samples, as a predictor and a projector might give them."""
    rng = np.random.default_rng(0)
    return tuple(jnp.asarray(rng.normal(size=(8, 12)), jnp.float32) for _ in range(4))


def numpy_negative_cosine(q, y):
    q, y = np.asarray(q, np.float64), np.asarray(y, np.float64)
    norms = np.linalg.norm(q, axis=1) * np.linalg.norm(y, axis=1)
    return -np.mean((q * y).sum(axis=1) / norms)


class TestNegativeCosine:
    def test_equals_equation_1(self, outputs):
        q, _, y, _ = outputs
        actual = simsiam.negative_cosine(q, y)
        assert actual.dtype == jnp.float32
        assert actual.shape == ()
        np.testing.assert_allclose(actual, numpy_negative_cosine(q, y), rtol=1e-5)

    def test_equals_a_case_worked_by_hand(self):
        q = jnp.asarray([[3.0, 4.0], [1.0, 0.0]])
        y = jnp.asarray([[4.0, 3.0], [0.0, 2.0]])
        np.testing.assert_allclose(simsiam.negative_cosine(q, y), -(0.96 + 0) / 2, rtol=1e-6)

    def test_is_minus_one_for_equal_directions_and_one_for_opposite(self, outputs):
        q = outputs[0]
        np.testing.assert_allclose(simsiam.negative_cosine(q, 3 * q), -1, rtol=1e-6)
        np.testing.assert_allclose(simsiam.negative_cosine(q, -q), 1, rtol=1e-6)

    def test_gradient_equals_finite_differences(self, x64):
        rng = np.random.default_rng(1)
        q, y = rng.normal(size=(2, 3, 4))
        loss = jax.jit(lambda q: simsiam.negative_cosine(q, jnp.asarray(y)))
        gradient = jax.grad(loss)(jnp.asarray(q))
        numeric, step = np.zeros_like(q), 1e-6
        for at in np.ndindex(*q.shape):
            moved = np.zeros_like(q)
            moved[at] = step
            numeric[at] = (loss(q + moved) - loss(q - moved)) / (2 * step)
        np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-9)

    def test_a_zero_vector_counts_0_and_gets_no_gradient(self, outputs):
        q, _, y, _ = outputs
        q = q.at[0].set(0)
        value, gradient = jax.value_and_grad(simsiam.negative_cosine)(q, y)
        np.testing.assert_allclose(value, numpy_negative_cosine(q[1:], y[1:]) * 7 / 8, rtol=1e-5)
        assert np.all(np.isfinite(gradient))
        assert not np.any(gradient[0])

    def test_bfloat16_is_raised_to_float32(self, outputs):
        q, y = (x.astype(jnp.bfloat16) for x in outputs[:2])
        actual = simsiam.negative_cosine(q, y)
        assert actual.dtype == jnp.float32
        np.testing.assert_allclose(actual, numpy_negative_cosine(q, y), rtol=1e-5, atol=1e-7)

    def test_refuses_different_shapes(self, outputs):
        q = outputs[0]
        with pytest.raises(ValueError, match=r"\(8, 12\), targets \(8, 6\)"):
            simsiam.negative_cosine(q, q[:, :6])


class TestSymmetricLoss:
    def test_sets_each_prediction_against_the_other_views_target(self, outputs):
        q1, q2, y1, y2 = outputs
        expected = numpy_negative_cosine(q1, y2) / 2 + numpy_negative_cosine(q2, y1) / 2
        np.testing.assert_allclose(simsiam.symmetric_loss(*outputs), expected, rtol=1e-5)

    def test_does_not_change_when_the_views_are_swapped(self, outputs):
        q1, q2, y1, y2 = outputs
        swapped = simsiam.symmetric_loss(q2, q1, y2, y1)
        np.testing.assert_allclose(simsiam.symmetric_loss(*outputs), swapped, rtol=1e-6)

    def test_gradient_through_the_targets_is_exactly_zero(self, outputs):
        gradients = jax.grad(simsiam.symmetric_loss, argnums=(0, 1, 2, 3))(*outputs)
        to_q1, to_q2, to_y1, to_y2 = (np.asarray(gradient) for gradient in gradients)
        assert np.any(to_q1)
        assert np.any(to_q2)
        assert not np.any(to_y1)
        assert not np.any(to_y2)

    def test_gradient_of_the_predictions_is_that_of_fixed_targets(self, outputs):
        q1, _, _, y2 = outputs
        actual = jax.grad(simsiam.symmetric_loss)(*outputs)
        expected = jax.grad(simsiam.negative_cosine)(q1, y2) / 2
        np.testing.assert_allclose(actual, expected, rtol=1e-6)


class TestSpread:
    def test_is_about_1_for_directions_spread_evenly(self):
        z = np.random.default_rng(0).normal(size=(512, 64))
        np.testing.assert_allclose(simsiam.spread(jnp.asarray(z, jnp.float32)), 1, atol=0.02)

    def test_is_0_when_all_directions_are_the_same(self):
        direction = np.random.default_rng(0).normal(size=64)
        z = np.linspace(0.5, 5, 32)[:, None] * direction  # lengths do not matter
        np.testing.assert_allclose(simsiam.spread(jnp.asarray(z, jnp.float32)), 0, atol=1e-5)

    def test_equals_its_definition(self, outputs):
        z = np.asarray(outputs[0], np.float64)
        z /= np.linalg.norm(z, axis=1, keepdims=True)
        expected = z.std(axis=0).mean() * np.sqrt(12)
        np.testing.assert_allclose(simsiam.spread(outputs[0]), expected, rtol=1e-5)
