"""Quarter turns: four are none, and every picture appears in each."""

import jax
import jax.numpy as jnp
import numpy as np

from rmdnet_jax.methods import rotations

IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(5, 6, 6, 3)), jnp.float32)


def test_every_picture_is_in_all_turns():
    turned, turn = rotations.of_each(IMAGES)
    assert turned.shape == (20, 6, 6, 3)
    assert turn.dtype == jnp.int32
    for quarter in range(4):
        of_quarter = np.asarray(turned[turn == quarter])
        for image, expected in zip(of_quarter, np.asarray(IMAGES), strict=True):
            np.testing.assert_array_equal(image, np.rot90(expected, quarter))


def test_four_quarters_are_the_picture():
    x = IMAGES
    for _ in range(4):
        x = rotations.of_each(x)[0][5:10]
    np.testing.assert_array_equal(x, IMAGES)


def test_one_turn_is_drawn_for_each():
    images = jnp.tile(IMAGES, (20, 1, 1, 1))
    turned, turn = jax.jit(rotations.drawn)(jax.random.key(0), images)
    assert set(turn.tolist()) == {0, 1, 2, 3}
    for image, quarter, expected in zip(turned, turn, images, strict=True):
        np.testing.assert_array_equal(image, np.rot90(expected, int(quarter)))
