"""An average of parameters forgets by its decay; ramps rise from the start to the end."""

import jax.numpy as jnp
import numpy as np

from rmdnet_jax.methods import averages


def test_an_average_of_a_tree_by_hand():
    mean = {"w": jnp.array([1.0, 2.0]), "deep": {"b": jnp.array(0.0)}}
    now = {"w": jnp.array([3.0, -2.0]), "deep": {"b": jnp.array(1.0)}}
    after = averages.average(mean, now, 0.75)
    np.testing.assert_allclose(after["w"], [1.5, 1.0])
    np.testing.assert_allclose(after["deep"]["b"], 0.25)
    np.testing.assert_array_equal(averages.average(mean, now, 0.0)["w"], now["w"])
    np.testing.assert_array_equal(averages.average(mean, now, 1.0)["w"], mean["w"])


def test_ramps_by_hand():
    share = jnp.array([-1.0, 0.0, 0.25, 0.5, 1.0, 7.0])
    np.testing.assert_allclose(averages.linear_ramp(share), [0, 0, 0.25, 0.5, 1, 1])
    expected = np.exp(-5 * (1 - np.array([0, 0, 0.25, 0.5, 1, 1])) ** 2)
    np.testing.assert_allclose(averages.sigmoid_ramp(share), expected, rtol=1e-6)
    np.testing.assert_allclose(averages.sigmoid_ramp(jnp.array(0.0)), 0.0067379, rtol=1e-4)
