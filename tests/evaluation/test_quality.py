"""One pass over pictures, and which of them show nothing."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from rmdnet_jax.data import lazy_images
from rmdnet_jax.evaluation import quality

RNG = np.random.default_rng(0)


def scene(side=96, seed=0):
    """A picture with edges at all scales."""
    rng = np.random.default_rng(seed)
    layers = [
        np.asarray(
            Image.fromarray(rng.integers(0, 256, (n, n, 3), np.uint8)).resize((side, side), 0)
        )
        for n in (4, 12, 48)
    ]
    mean = np.mean(layers, axis=0)
    return np.clip(128 + 1.8 * (mean - 128), 0, 255).astype(np.uint8)


def issues_of(*pictures):
    found = quality.issues(quality.look(np.stack(pictures)))
    return [{issue for issue, score in found.items() if score[i]} for i in range(len(pictures))]


def test_numbers_by_hand():
    picture = np.zeros((1, 40, 60, 3), np.uint8)
    picture[:, :, 30:] = 255, 0, 0
    looks = quality.look(picture)
    red = 77 / 256
    assert looks.thumbnail.shape == (1, 32, 32)
    np.testing.assert_allclose(looks.thumbnail[0, 0, [0, 31]], [0, red], atol=1e-6)
    np.testing.assert_allclose(looks.thumbnail.mean(), red / 2, rtol=1e-5)
    np.testing.assert_allclose(looks.chroma[0, :, :4], 0, atol=1e-6)
    np.testing.assert_allclose(
        looks.chroma[0, :, 4:], np.tile([1 - red, -red], (8, 4, 1)), atol=1e-6
    )
    np.testing.assert_allclose(looks.contrast, red / 2, rtol=1e-4)
    np.testing.assert_allclose([looks.low[0], looks.high[0]], [0, red], atol=1e-6)
    assert np.isnan(looks.sharpness[0])  # too small to tell


def test_sharpness_is_the_laplacians_variance_beside_the_pictures():
    grey = RNG.integers(0, 256, (70, 80)).astype(np.uint8)
    looks = quality.look(np.repeat(grey[None, :, :, None], 3, axis=3))
    g = grey.astype(float)
    laplacian = g[:-2, 1:-1] + g[2:, 1:-1] + g[1:-1, :-2] + g[1:-1, 2:] - 4 * g[1:-1, 1:-1]
    np.testing.assert_allclose(looks.sharpness, laplacian.var() / g.var(), rtol=1e-3)


@pytest.mark.parametrize("shape", [(8, 8), (32, 32), (33, 70), (96, 96)])
def test_digests_tell_pixels_apart_and_blocks_are_no_matter(shape, monkeypatch):
    pictures = RNG.integers(0, 256, (7, *shape, 3), np.uint8)
    pictures[5] = pictures[2]
    whole = quality.look(pictures)
    assert len(np.unique(whole.digest, axis=0)) == 6
    np.testing.assert_array_equal(whole.digest[5], whole.digest[2])
    monkeypatch.setattr(quality, "_BLOCK", 1)
    lazily = quality.look(lazy_images.LazyImages(pictures.__getitem__, np.arange(7), (*shape, 3)))
    for field in ("digest", "thumbnail", "low", "high", "contrast", "sharpness"):
        np.testing.assert_allclose(getattr(whole, field), getattr(lazily, field), rtol=1e-4)


def test_what_shows_nothing_is_called_what_it_is():
    good = scene()
    blurred = np.asarray(Image.fromarray(good).filter(ImageFilter.GaussianBlur(6)))
    found = issues_of(
        good, np.full_like(good, 90), np.zeros_like(good), good // 6, 232 + good // 12, blurred
    )
    assert found == [set(), {"blank"}, {"blank"}, {"dark"}, {"bright"}, {"blurry"}]


def test_an_object_before_white_or_black_is_no_issue():
    for background in (0, 255):
        picture = np.full((96, 96, 3), background, np.uint8)
        picture[30:60, 30:60] = scene(30)
        assert issues_of(picture) == [set()]


def test_sizes_tell_thumbnails_and_banners_from_the_rest():
    sizes = np.tile([[400, 600], [500, 375], [640, 480], [300, 300]], (10, 1))
    sizes[3], sizes[8] = (90, 120), (200, 1400)  # a fortieth of the pixels, 7 to 1
    found = quality.shapes(sizes)
    assert np.flatnonzero(found["tiny"]).tolist() == [3]
    assert np.flatnonzero(found["oblong"]).tolist() == [8]
    assert found["tiny"][3] == pytest.approx(1 - 90 * 120 / np.median(sizes.prod(axis=1)))
    same = quality.shapes(np.full((5, 2), 32))
    assert not any(score.any() for score in same.values())
    banners = quality.shapes(np.tile([[100, 500]], (5, 1)))  # as all here are
    assert not banners["oblong"].any()
