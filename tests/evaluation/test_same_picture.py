"""Two images are one picture if brightness and colour agree in some alignment."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from rmdnet_jax.evaluation import quality, same_picture


def photo(seed=0, side=48):
    """Coarse patches of many colours, on a background that is brighter than grey."""
    rng = np.random.default_rng(seed)
    patches = Image.fromarray(rng.integers(40, 230, (5, 5, 3), np.uint8))
    return patches.resize((side, side), Image.Resampling.BICUBIC)


def agree(*images):
    looks = quality.look(np.stack([np.asarray(image.convert("RGB")) for image in images]))
    return same_picture.same_colours(looks.thumbnail, looks.chroma, np.array([[0, 1], [1, 0]]))


def turned(image, degrees):
    """Every hue turned, the brightness about as before."""
    hue, saturation, value = image.convert("HSV").split()
    hue = hue.point(lambda h: (h + degrees * 256 // 360) % 256)
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")


@pytest.mark.parametrize(
    "change",
    [
        lambda image: ImageEnhance.Brightness(image).enhance(1.3),
        lambda image: ImageEnhance.Brightness(image).enhance(0.6),
        lambda image: ImageEnhance.Contrast(image).enhance(1.4),
        lambda image: ImageEnhance.Color(image).enhance(0.6),
        lambda image: image.resize((48, 48), 2, box=(7, 0, 48, 41)),
        lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        lambda image: image.convert("L"),
    ],
    ids=["brighter", "darker", "contrast", "paler", "crop", "mirrored", "grey"],
)
def test_a_change_of_the_picture_keeps_its_colours(change):
    assert agree(photo(), change(photo())).tolist() == [True, True]


@pytest.mark.parametrize("degrees", [60, 120, 180])
def test_other_hues_are_other_colours(degrees):
    assert agree(photo(), turned(photo(), degrees)).tolist() == [False, False]


@pytest.mark.parametrize(("brightness", "same"), [(1.0, True), (0.6, False)])
def test_a_grey_picture_is_a_copy_only_if_it_is_as_bright(brightness, same):
    grey = ImageEnhance.Brightness(photo().convert("L")).enhance(brightness)
    assert agree(photo(), grey).tolist() == [same, same]


def test_one_small_part_of_another_colour_is_seen_on_the_same_ground():
    pictures = [Image.new("RGB", (48, 48), (60, 90, 190)) for _ in range(2)]
    for picture, colour in zip(pictures, [(255, 0, 0), (0, 128, 0)], strict=True):
        picture.paste(colour, (20, 20, 32, 32))
    assert agree(*pictures).tolist() == [False, False]


def test_correlation_is_that_of_the_best_alignment():
    image = photo(1)
    crop = image.resize((48, 48), 2, box=(0, 7.2, 40.8, 48))
    mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    pictures = np.stack([np.asarray(one) for one in (image, crop, mirrored, photo(2))])
    thumbnails = quality.look(pictures).thumbnail
    found = same_picture.correlation(thumbnails, np.array([[0, 1], [0, 2], [1, 2], [0, 3]]))
    assert (found[:2] > same_picture.CONFIRMED).all()
    assert found[3] < 0.9
