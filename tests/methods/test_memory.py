"""What a student said is kept as a mean in which later epochs weigh more."""

import jax
import jax.numpy as jnp
import numpy as np

from rmdnet_jax.methods import memory


def test_weights_grow_as_the_cube_of_the_epoch():
    said = np.random.default_rng(0).dirichlet(np.ones(3), (6, 1)).astype(np.float32)
    kept = memory.empty(2, 3)
    for probabilities in said:
        kept = jax.jit(memory.remember)(kept, jnp.array([1]), jnp.asarray(probabilities))
    # The weights of polynomial-decay averaging with eta = 3: epoch (epoch + 1) (epoch + 2).
    weights = np.array([n * (n + 1) * (n + 2) for n in range(1, 7)], float)
    expected = np.average(said[:, 0], axis=0, weights=weights)
    np.testing.assert_allclose(kept["probabilities"][1], expected, rtol=1e-5)
    assert kept["visits"].tolist() == [0, 6]


def test_an_image_that_was_never_seen_is_what_is_said_at_the_end():
    kept = memory.remember(memory.empty(3, 2), jnp.array([2]), jnp.array([[0.25, 0.75]]))
    otherwise = np.array([[1, 0], [0, 1], [1, 0]], np.float32)
    np.testing.assert_array_equal(memory.recalled(kept, otherwise), [[1, 0], [0, 1], [0.25, 0.75]])


def test_what_is_too_large_is_not_kept():
    assert memory.fits(50_000, 100)
    assert not memory.fits(1_281_167, 1000)
