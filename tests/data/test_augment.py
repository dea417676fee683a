import colorsys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import augment

KEY = jax.random.key(0)
PICTURES = Path(__file__).resolve().parents[2].parent / "shared/data/cifar10/test.webp"
SHAPES = [(32, 32), (24, 40)]
two_views = jax.jit(augment.two_views)
resized_crop = jax.jit(augment.resized_crop)


def picture(height: int, width: int, *, seed: int = 0) -> np.ndarray:
    """uint8 [height, width, 3]: gradients, a disc and a grey bar; nothing is symmetric."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / np.array([height, width])[:, None, None]
    image = np.stack([x, y, 1 - 0.5 * (x + y)], axis=-1) * rng.uniform(0.7, 1, 3)
    centre_y, centre_x = rng.uniform(0.3, 0.7, 2)
    image[(y - centre_y) ** 2 + (x - centre_x) ** 2 < 0.04] = rng.uniform(0, 1, 3)
    image[:, : width // 5] = 0.5
    return np.rint(255 * image).astype(np.uint8)


def batch_of_pictures(size: int, height: int = 32, width: int = 32) -> jax.Array:
    return jnp.asarray(np.stack([picture(height, width, seed=seed) for seed in range(size)]))


def copies(image: np.ndarray, count: int) -> jax.Array:
    return jnp.asarray(np.broadcast_to(image, (count, *image.shape)))


def crop_box(image: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    return np.asarray(resized_crop(jnp.asarray(image), *(jnp.int32(side) for side in box)))


def resized_crop_by_hand(image, top, left, height, width):
    """Cut out first, then each output pixel from the four centres around it; float64."""
    box = image[top : top + height, left : left + width].astype(np.float64)
    out = np.zeros(image.shape)
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            y = min(max((row + 0.5) * height / image.shape[0] - 0.5, 0), height - 1)
            x = min(max((column + 0.5) * width / image.shape[1] - 0.5, 0), width - 1)
            y0, x0 = int(y), int(x)
            y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
            upper = (1 - (x - x0)) * box[y0, x0] + (x - x0) * box[y0, x1]
            lower = (1 - (x - x0)) * box[y1, x0] + (x - x0) * box[y1, x1]
            out[row, column] = (1 - (y - y0)) * upper + (y - y0) * lower
    return out


# Conversion


def test_to_float_and_normalise():
    images = jnp.array([0, 51, 255], jnp.uint8).reshape(1, 1, 1, 3)
    floats = augment.to_float(images)
    assert floats.dtype == jnp.float32
    np.testing.assert_allclose(floats.ravel(), [0, 0.2, 1], rtol=1e-6)
    mean, std = np.array([0.5, 0.1, 0], np.float32), np.array([0.5, 0.1, 2], np.float32)
    np.testing.assert_allclose(
        augment.normalise(floats, mean, std).ravel(), [-1, 1, 0.5], rtol=1e-6
    )


# Crop and flip of the supervised stage


@pytest.mark.parametrize("flip", [True, False])
def test_crop_flip_gives_each_of_the_possible_crops_about_equally_often(flip):
    image, pad, count = np.random.default_rng(0).integers(1, 256, (6, 9, 3), np.uint8), 2, 5000
    padded = np.zeros((10, 13, 3), np.uint8)
    padded[pad:-pad, pad:-pad] = image
    possible = [padded[y : y + 6, x : x + 9] for y in range(5) for x in range(5)]
    if flip:
        possible += [crop[:, ::-1] for crop in possible]

    crops = augment.crop_flip(KEY, copies(image, count), pad=pad, flip=flip)

    assert crops.dtype == jnp.uint8
    matches = (np.asarray(crops)[:, None] == np.stack(possible)).all(axis=(2, 3, 4))
    np.testing.assert_array_equal(matches.sum(axis=1), 1)
    expected = count / len(possible)
    assert np.abs(matches.sum(axis=0) - expected).max() < 5 * np.sqrt(expected)


def test_crop_flip_keeps_every_image_in_its_place():
    images = jnp.arange(1, 33, dtype=jnp.uint8)[:, None, None, None] * jnp.ones(
        (1, 8, 8, 3), jnp.uint8
    )
    crops = augment.crop_flip(KEY, images, pad=4)
    np.testing.assert_array_equal(crops.max(axis=(1, 2, 3)), np.arange(1, 33))


def test_crop_flip_without_padding_or_flip_is_the_identity():
    images = batch_of_pictures(4)
    np.testing.assert_array_equal(augment.crop_flip(KEY, images, pad=0, flip=False), images)


# Boxes of the random resized crop


@pytest.mark.parametrize(("height", "width"), SHAPES)
@pytest.mark.parametrize("min_area", [0.2, 0.6])
def test_boxes_lie_in_the_image_with_area_and_ratio_in_their_limits(height, width, min_area):
    boxes = augment.random_boxes(KEY, 4000, height, width, min_area=min_area)
    top, left, box_height, box_width = (np.asarray(side, np.float64) for side in boxes)
    assert min(top.min(), left.min()) == 0
    assert (top + box_height).max() == height
    assert (left + box_width).max() == width
    # Half a pixel of rounding on each side of the box.
    assert ((box_height + 0.5) * (box_width + 0.5)).min() >= min_area * height * width
    assert ((box_width + 0.5) / (box_height - 0.5)).min() >= 3 / 4
    assert ((box_width - 0.5) / (box_height + 0.5)).max() <= 4 / 3


def test_boxes_are_distributed_as_drawn_one_by_one():
    rng, areas, log_ratios = np.random.default_rng(0), [], []
    while len(areas) < 4000:
        area, ratio = 1024 * rng.uniform(0.2, 1), np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
        width, height = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
        if width <= 32 and height <= 32:
            areas.append(height * width)
            log_ratios.append(np.log(width / height))
    top, _, height, width = map(np.asarray, augment.random_boxes(KEY, 4000, 32, 32))
    deciles = np.linspace(0.1, 0.9, 9)
    np.testing.assert_allclose(
        np.quantile(height * width, deciles), np.quantile(areas, deciles), atol=25
    )
    np.testing.assert_allclose(
        np.quantile(np.log(width / height), deciles), np.quantile(log_ratios, deciles), atol=0.03
    )
    room = height < 32
    assert abs((top / np.maximum(32 - height, 1))[room].mean() - 0.5) < 0.02


@pytest.mark.parametrize(
    ("height", "width", "box"), [(8, 64, (0, 26, 8, 11)), (64, 8, (26, 0, 11, 8))]
)
def test_where_no_box_fits_the_largest_allowed_central_one_is_taken(height, width, box):
    boxes = augment.random_boxes(KEY, 50, height, width, min_area=1)
    for side, expected in zip(boxes, box, strict=True):
        np.testing.assert_array_equal(side, expected)


# The crop itself


@pytest.mark.parametrize(("height", "width"), SHAPES)
@pytest.mark.parametrize("box", [(0, 0, 13, 9), (3, 5, 17, 19), (11, 4, 13, 20), (7, 9, 1, 1)])
def test_resized_crop_equals_pillow_and_a_loop(height, width, box):
    image = picture(height, width)
    top, left, box_height, box_width = box
    cropped = crop_box(image.astype(np.float32) / 255, box)
    by_hand = resized_crop_by_hand(image / 255, *box)
    by_pillow = Image.fromarray(image).crop((left, top, left + box_width, top + box_height))
    by_pillow = by_pillow.resize((width, height), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(cropped, by_hand, atol=1e-5)
    np.testing.assert_allclose(cropped, np.asarray(by_pillow) / 255, atol=1.5 / 255)


@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_cropping_to_the_whole_image_is_the_identity(height, width):
    image = picture(height, width).astype(np.float32) / 255
    np.testing.assert_allclose(crop_box(image, (0, 0, height, width)), image, atol=1e-6)


def test_nothing_outside_the_box_reaches_the_crop():
    image = np.full((32, 32, 3), 1e6, np.float32)
    image[5:18, 9:20] = 0.25
    np.testing.assert_allclose(crop_box(image, (5, 9, 13, 11)), 0.25, rtol=1e-6)


@pytest.mark.slow
def test_resized_crop_of_real_pictures_equals_pillow():
    if not PICTURES.exists():
        pytest.skip(f"no real pictures: {PICTURES} is missing")
    with Image.open(PICTURES) as mosaic:  # 32x32 pixels a picture, 100 to a row
        row = mosaic.convert("RGB").crop((0, 0, 8 * 32, 32))
    for number in range(8):
        tile = row.crop((32 * number, 0, 32 * number + 32, 32))
        top, left, height, width = (
            np.asarray(side)[0]
            for side in augment.random_boxes(jax.random.fold_in(KEY, number), 1, 32, 32)
        )
        expected = tile.crop((left, top, left + width, top + height))
        expected = np.asarray(expected.resize((32, 32), Image.Resampling.BILINEAR)) / 255
        cropped = crop_box(np.asarray(tile, np.float32) / 255, (top, left, height, width))
        np.testing.assert_allclose(cropped, expected, atol=1.5 / 255)


# Colours


@pytest.mark.parametrize(
    ("adjust", "enhancer"),
    [
        (augment.adjust_brightness, ImageEnhance.Brightness),
        (augment.adjust_contrast, ImageEnhance.Contrast),
        (augment.adjust_saturation, ImageEnhance.Color),
    ],
)
def test_brightness_contrast_and_saturation_equal_pillow(adjust, enhancer):
    factors = [0.0, 0.6, 1.0, 1.4]
    images = batch_of_pictures(4, 20, 28)
    adjusted = adjust(augment.to_float(images), jnp.array(factors, jnp.float32))
    expected = [
        np.asarray(enhancer(Image.fromarray(np.asarray(image))).enhance(factor)) / 255
        for image, factor in zip(images, factors, strict=True)
    ]
    # Pillow rounds the grey it blends with to a whole level, and then the result.
    np.testing.assert_allclose(adjusted, np.stack(expected), atol=2 / 255)


def test_contrast_and_saturation_by_numpy():
    images = np.asarray(augment.to_float(batch_of_pictures(3)), np.float64)
    factors = np.array([0.6, 1.0, 1.4])
    grey = (images @ [0.299, 0.587, 0.114])[..., None]
    blend = factors[:, None, None, None]
    arguments = jnp.asarray(images, jnp.float32), jnp.asarray(factors, jnp.float32)
    for adjust, other in [
        (augment.adjust_contrast, grey.mean(axis=(1, 2), keepdims=True)),
        (augment.adjust_saturation, grey),
    ]:
        expected = np.clip(blend * images + (1 - blend) * other, 0, 1)
        np.testing.assert_allclose(adjust(*arguments), expected, atol=1e-6)


@pytest.mark.parametrize("shift", [-0.5, -0.1, 0.03, 0.1, 1 / 3, 0.5])
def test_hue_equals_a_round_trip_through_hsv(shift):
    levels = np.linspace(0, 1, 6, dtype=np.float32)  # every tie between channels is among them
    pixels = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, 3)

    def turned(pixel):
        hue, saturation, value = colorsys.rgb_to_hsv(*map(float, pixel))
        return colorsys.hsv_to_rgb((hue + shift) % 1, saturation, value)

    images = jnp.asarray(pixels.reshape(1, 12, 18, 3))
    adjusted = augment.adjust_hue(images, jnp.array([shift], jnp.float32))
    np.testing.assert_allclose(
        np.reshape(adjusted, (-1, 3)), [turned(pixel) for pixel in pixels], atol=1e-5
    )


@pytest.mark.parametrize("turns", [0.0, 1.0])
def test_whole_turns_of_the_hue_change_nothing(turns):
    images = augment.to_float(batch_of_pictures(2))
    adjusted = augment.adjust_hue(images, jnp.full(2, turns, jnp.float32))
    np.testing.assert_allclose(adjusted, images, atol=1e-6)


def test_greyscale_has_the_luma_of_itu_r_601_in_all_channels():
    images = augment.to_float(batch_of_pictures(2))
    grey = augment.random_greyscale(KEY, images, probability=1.0)
    expected = np.asarray(images, np.float64) @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(grey, np.stack([expected] * 3, axis=-1), atol=1e-6)


def test_jitter_draws_its_factors_in_the_limits_asked_for():
    grey = jnp.full((2000, 2, 2, 3), 0.5, jnp.float32)
    brightness_alone = partial(augment.color_jitter, probability=1.0, contrast=0, saturation=0)
    brightness = 2 * np.asarray(jax.jit(brightness_alone)(KEY, grey))[:, 0, 0, 0]
    assert 0.6 <= brightness.min() < 0.61
    assert 1.39 < brightness.max() <= 1.4
    assert abs(brightness.mean() - 1) < 0.02


def test_jitter_applies_each_operation_once_in_any_order(monkeypatch):
    write_down = [lambda images, factor, digit=digit: 10 * images + digit for digit in range(1, 5)]
    monkeypatch.setattr(augment, "_ADJUST", write_down)
    keys = jax.random.split(KEY, 300)
    orders = jax.vmap(augment.color_jitter, in_axes=(0, None))(keys, jnp.zeros((2, 1, 1, 3)))
    orders = np.asarray(orders, np.int32).reshape(300, -1)
    assert (orders == orders[:, :1]).all()  # one for the whole batch
    assert {"".join(sorted(str(order))) for order in orders[:, 0]} == {"1234"}
    assert len(np.unique(orders[:, 0])) == 24


def test_jitter_off_the_cpu_has_no_branches_and_is_the_same(monkeypatch):
    images, keys = augment.to_float(batch_of_pictures(4)), jax.random.split(KEY, 8)

    def compiled():
        jitter = jax.jit(lambda key, images: augment.color_jitter(key, images))
        return jitter.lower(keys[0], images).compile()

    here = compiled()
    monkeypatch.setattr(augment, "_adjusted_by_one", augment._one_of_adjusted)
    elsewhere = compiled()
    assert [x.as_text().count(" conditional(") for x in (here, elsewhere)] == [4, 0]
    for key in keys:
        np.testing.assert_allclose(elsewhere(key, images), here(key, images), atol=1e-6)


# How often


def share_changed(augmentation, count: int = 2000) -> float:
    images = augment.to_float(copies(picture(8, 8), count))
    change = jnp.abs(jax.jit(augmentation)(KEY, images) - images)
    return (np.asarray(change).max(axis=(1, 2, 3)) > 1e-5).mean()


@pytest.mark.parametrize("probability", [0.0, 0.2, 0.8, 1.0])
@pytest.mark.parametrize(
    "augmentation", [augment.random_flip, augment.color_jitter, augment.random_greyscale]
)
def test_probability_is_per_image(augmentation, probability):
    assert abs(share_changed(partial(augmentation, probability=probability)) - probability) < 0.04


def test_random_flip_mirrors_left_and_right():
    images = batch_of_pictures(3, 8, 10)
    flipped = augment.random_flip(KEY, images, probability=1.0)
    np.testing.assert_array_equal(flipped, images[:, :, ::-1])


# Whole views


@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_views_are_float_images_of_the_same_shape(height, width):
    images = batch_of_pictures(16, height, width)
    for view in two_views(KEY, images):
        assert (view.shape, view.dtype) == (images.shape, jnp.float32)
        assert view.min() >= 0
        assert view.max() <= 1 + 1e-6


@pytest.mark.parametrize("augmentation", [augment.crop_flip, augment.simsiam_view])
def test_same_key_same_images_other_key_other_images_jitted_or_not(augmentation):
    images = copies(picture(32, 32), 8)
    out = np.asarray(augmentation(KEY, images))
    np.testing.assert_array_equal(augmentation(KEY, images), out)
    np.testing.assert_allclose(jax.jit(augmentation)(KEY, images), out, atol=1e-5)
    assert (np.asarray(augmentation(jax.random.key(1), images)) != out).any()
    # Each image has its own draw; two of eight may draw the same of the 162 crops.
    assert len(np.unique(out.reshape(8, -1), axis=0)) >= 7


def test_two_views_are_independent_and_pass_options_on():
    images = copies(picture(32, 32), 16)
    first, second = two_views(KEY, images)
    assert np.abs(first - second).max(axis=(1, 2, 3)).min() > 0.01
    untouched = partial(
        augment.two_views,
        min_area=1.0,
        flip=False,
        jitter_probability=0.0,
        greyscale_probability=0.0,
    )
    for view in jax.jit(untouched)(KEY, images):
        # Boxes of the whole area that fit are the whole image, up to the rounding of their sides.
        assert np.abs(view - augment.to_float(images)).mean() < 0.02


def test_views_do_not_flip_where_flip_is_off():
    halves = np.zeros((32, 32, 3), np.uint8)
    halves[:, 16:] = 255
    plain = partial(augment.simsiam_view, jitter_probability=0.0, greyscale_probability=0.0)
    unflipped = jax.jit(partial(plain, flip=False))(KEY, copies(halves, 64))
    assert (unflipped[:, :, -1] >= unflipped[:, :, 0]).all()
    flipped = jax.jit(plain)(KEY, copies(halves, 64))
    assert not (flipped[:, :, -1] >= flipped[:, :, 0]).all()


# What cannot be augmented


@pytest.mark.parametrize(
    "augmentation", [augment.crop_flip, augment.simsiam_view, augment.two_views]
)
def test_images_that_are_not_uint8_are_refused(augmentation):
    with pytest.raises(InputError, match="float32; expected uint8"):
        augmentation(KEY, jnp.zeros((2, 8, 8, 3)))


def test_options_out_of_range_are_refused():
    images = batch_of_pictures(1)
    with pytest.raises(InputError, match="padding is -1"):
        augment.crop_flip(KEY, images, pad=-1)
    for min_area in (0, 1.5):
        with pytest.raises(InputError, match=f"area is {min_area}"):
            augment.simsiam_view(KEY, images, min_area=min_area)
