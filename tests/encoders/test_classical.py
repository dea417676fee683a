"""The built-in eyes: colours and gradients, the same for the same picture, different for others."""

import numpy as np
import pytest

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.encoders import opening
from rmdnet_jax.encoders.classical import ClassicalEncoder
from rmdnet_jax.encoders.interface import Asked

SIDE = 64


def flat(*colour):
    return np.full((1, SIDE, SIDE, 3), colour, np.uint8)


def stripes(axis):
    rows = np.where(np.arange(SIDE) // 4 % 2, 255, 0).astype(np.uint8)
    shape = (SIDE, 1, 1) if axis == 0 else (1, SIDE, 1)
    return np.broadcast_to(rows.reshape(shape), (SIDE, SIDE, 3))[None].copy()


@pytest.mark.parametrize("side", [64, 128, 256])
def test_it_has_the_size_that_it_says_and_is_finite(side):
    encoder = ClassicalEncoder(side)
    pictures = np.random.default_rng(0).integers(0, 256, (3, side, side, 3)).astype(np.uint8)
    found = encoder.embed(pictures)
    assert found.shape == (3, encoder.size)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    np.testing.assert_allclose(encoder.embed(pictures[1:2])[0], found[1], rtol=1e-5, atol=1e-6)


def test_a_picture_without_gradients_has_none_and_colours_are_told_apart():
    encoder = ClassicalEncoder(SIDE)
    gradients = 9 * 36
    red, blue = encoder.embed(flat(200, 0, 0))[0], encoder.embed(flat(0, 0, 200))[0]
    assert not red[:gradients].any()
    assert np.abs(red - blue).max() >= 0.7
    histogram = red[gradients : gradients + 64]
    assert histogram[3 * 16] == pytest.approx(1)
    assert histogram.sum() == pytest.approx(1)
    np.testing.assert_allclose(red[-96:-48].reshape(16, 3), [[200 / 255, 0, 0]] * 16, atol=1e-5)


def test_gradients_are_told_apart_by_their_direction_not_by_their_strength():
    encoder = ClassicalEncoder(SIDE)
    across, down = (encoder.embed(stripes(axis))[0][: 9 * 36] for axis in (0, 1))
    faint = encoder.embed(stripes(0) // 2 + 60)[0][: 9 * 36]
    assert across @ down < 0.3 * (across @ across)
    np.testing.assert_allclose(across, faint, atol=0.05)
    np.testing.assert_allclose((across.reshape(9, 36) ** 2).sum(axis=1), 1, atol=1e-3)


def test_it_is_opened_by_its_name_and_takes_a_side():
    path = opening.located("classical")
    assert opening.read(path, Asked()).side == 128
    small = opening.read(path, Asked(64))
    assert small.side == 64
    assert opening.read(path, small.used).digest == small.digest != ClassicalEncoder().digest


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (Asked(100), "image_size is 100 with the encoder classical; expected a multiple of 64"),
        (Asked(normalisation="clip"), "normalisation is 'clip', but the encoder classical has no"),
        (Asked(output="x"), "output is 'x', but the encoder classical has no output"),
    ],
)
def test_what_it_has_not_is_refused(asked, says):
    with pytest.raises(InputError, match=says):
        opening.read(opening.located("classical"), asked)
