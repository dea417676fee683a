"""Random crops, flips and SimSiam views of uint8 image batches, on device, inside the train step.

Every random function takes the key first and its options by keyword, and draws all it needs for a
batch at once, so that a batch sharded over devices gives the same result as on one. Which images
make up a batch is decided elsewhere, and views are not normalised: `normalise` is a separate last
step.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from rmdnet_jax.base.errors import InputError

_RATIO_LIMITS = (3 / 4, 4 / 3)
_CROP_ATTEMPTS = 10
_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601


def to_float(images: Array) -> Array:
    """Images uint8 [B, H, W, 3] as float32 in [0, 1]; raises InputError on another dtype."""
    _check_uint8(images)
    return images.astype(jnp.float32) / 255


def as_input(images: Array, mean: Array | np.ndarray, std: Array | np.ndarray) -> Array:
    """The network's input from uint8 [B, H, W, 3], or from feature vectors float32 [B, D]:
    normalised by the mean and standard deviation of each channel, [3] of images in [0, 1], or
    [D]."""
    if images.ndim == 2:
        return normalise(images, mean, std)
    return normalise(to_float(images), mean, std)


def normalise(images: Array, mean: Array | np.ndarray, std: Array | np.ndarray) -> Array:
    """(images - mean) / std per channel: images float32 [B, H, W, 3] in [0, 1], mean, std [3]; or
    per feature, [B, D] and [D]."""
    return (images - _channels(mean, images.ndim)) / _channels(std, images.ndim)


def crop_flip(key: Array, images: Array, *, pad: int = 4, flip: bool = True) -> Array:
    """Pads with zeros, crops back to size at random, flips half of the images left to right.

    The augmentation for training the student (RMDNet, section 4.3).

    Args:
      key: PRNG key.
      images: uint8 [B, H, W, 3].
      pad: pixels of zeros on each of the four sides; all (2 pad + 1)^2 offsets are equally likely.
      flip: whether to flip, with probability 0.5 per image.

    Returns:
      uint8 [B, H, W, 3].

    Raises:
      InputError: images of another dtype, a negative pad.
    """
    _check_uint8(images)
    if pad < 0:
        raise InputError(f"crop padding is {pad}; expected 0 or more pixels")
    batch, height, width, _ = images.shape
    top_key, left_key, flip_key = jax.random.split(key, 3)
    top = jax.random.randint(top_key, (batch,), 0, 2 * pad + 1)
    left = jax.random.randint(left_key, (batch,), 0, 2 * pad + 1)
    padded = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))

    def crop(image, top, left):
        return lax.dynamic_slice(image, (top, left, 0), (height, width, 3))

    # By vmap, so that a batch that is split over devices is cropped where it is.
    cropped = jax.vmap(crop)(padded, top, left)
    return random_flip(flip_key, cropped) if flip else cropped


def simsiam_view(
    key: Array,
    images: Array,
    *,
    min_area: float = 0.2,
    flip: bool = True,
    jitter_probability: float = 0.8,
    greyscale_probability: float = 0.2,
) -> Array:
    """One random view of every image, for relation modelling (Chen and He 2021, arXiv 2011.10566).

    Random resized crop, left-right flip, colour jitter and greyscale; without blur, which is for
    images larger than CIFAR's.

    Args:
      key: PRNG key.
      images: uint8 [B, H, W, 3].
      min_area: smallest crop, as a share of the image's area, in (0, 1].
      flip: whether to flip, with probability 0.5 per image; turn it off if left and right differ in
        meaning.
      jitter_probability: share of the images whose colours are jittered.
      greyscale_probability: share of the images that lose their colours.

    Returns:
      float32 [B, H, W, 3] in [0, 1], not normalised.

    Raises:
      InputError: images of another dtype, min_area out of range.
    """
    crop_key, flip_key, jitter_key, greyscale_key = jax.random.split(key, 4)
    views = random_resized_crop(crop_key, to_float(images), min_area=min_area)
    if flip:
        views = random_flip(flip_key, views)
    views = color_jitter(jitter_key, views, probability=jitter_probability)
    return random_greyscale(greyscale_key, views, probability=greyscale_probability)


def two_views(key: Array, images: Array, **options: Any) -> tuple[Array, Array]:
    """Two independent `simsiam_view`s of every image; `options` are its keywords."""
    first, second = jax.random.split(key)
    return simsiam_view(first, images, **options), simsiam_view(second, images, **options)


def random_resized_crop(key: Array, images: Array, *, min_area: float = 0.2) -> Array:
    """Crops every image to a box of `random_boxes` and scales it back: float32 [B, H, W, 3]."""
    batch, height, width, _ = images.shape
    boxes = random_boxes(key, batch, height, width, min_area=min_area)
    return jax.vmap(resized_crop)(images, *boxes)


def random_boxes(
    key: Array, batch: int, height: int, width: int, *, min_area: float = 0.2
) -> tuple[Array, Array, Array, Array]:
    """Boxes as torchvision's RandomResizedCrop draws them.

    The area is uniform in [min_area, 1] of the image's, width / height log-uniform in [3/4, 4/3],
    both sides rounded to whole pixels. Of 10 candidates the first that fits is taken; if none does,
    the largest central box whose ratio is allowed. The position is uniform among those possible.

    Returns:
      (top, left, height, width), each int32 [batch]; all boxes lie within the image.

    Raises:
      InputError: min_area not in (0, 1].
    """
    if not 0 < min_area <= 1:
        raise InputError(f"smallest crop area is {min_area}; expected above 0 and at most 1")
    area_key, ratio_key, top_key, left_key = jax.random.split(key, 4)
    shape = (batch, _CROP_ATTEMPTS)
    area = height * width * jax.random.uniform(area_key, shape, minval=min_area, maxval=1)
    low, high = map(math.log, _RATIO_LIMITS)
    ratio = jnp.exp(jax.random.uniform(ratio_key, shape, minval=low, maxval=high))
    box_height = jnp.round(jnp.sqrt(area / ratio)).astype(jnp.int32)
    box_width = jnp.round(jnp.sqrt(area * ratio)).astype(jnp.int32)
    fits = (box_height > 0) & (box_height <= height) & (box_width > 0) & (box_width <= width)

    first = jnp.argmax(fits, axis=1)[:, None]
    found = fits.any(axis=1)
    central_height, central_width = _central_box(height, width)
    box_height = jnp.take_along_axis(box_height, first, axis=1)[:, 0]
    box_width = jnp.take_along_axis(box_width, first, axis=1)[:, 0]
    box_height = jnp.where(found, box_height, central_height)
    box_width = jnp.where(found, box_width, central_width)
    top = jax.random.randint(top_key, (batch,), 0, height - box_height + 1)
    left = jax.random.randint(left_key, (batch,), 0, width - box_width + 1)
    top = jnp.where(found, top, (height - central_height) // 2)
    left = jnp.where(found, left, (width - central_width) // 2)
    return top, left, box_height, box_width


def resized_crop(image: Array, top: Array, left: Array, height: Array, width: Array) -> Array:
    """Crops one image to a box and scales the box to the image's size, bilinearly.

    Nothing outside the box is read, as if it had been cut out first. A box is never larger than
    the image, so there is no shrinking and nothing to antialias.

    Args:
      image: float32 [H, W, 3].
      top, left: int32 [], the box's first row and column.
      height, width: int32 [], the box's size, at least 1 and within the image.

    Returns:
      float32 [H, W, 3], in the range of the box's values up to rounding.
    """
    rows = _interpolation(top, height, image.shape[0])
    columns = _interpolation(left, width, image.shape[1])
    # Full float32: some GPUs would otherwise multiply with 10 bits of mantissa. Two products with
    # small dense matrices take about half the time of gathering the four neighbours (1.7 against
    # 3.3 ms, 256 images of 32x32, 2 CPU cores).
    image = jnp.einsum("yh,hwc->ywc", rows, image, precision="highest")
    return jnp.einsum("xw,ywc->yxc", columns, image, precision="highest")


def random_flip(key: Array, images: Array, *, probability: float = 0.5) -> Array:
    """Flips each image [B, H, W, 3] left to right with the given probability."""
    flipped = jax.random.bernoulli(key, probability, (images.shape[0],))
    return jnp.where(_per_image(flipped), images[:, :, ::-1], images)


def color_jitter(
    key: Array,
    images: Array,
    *,
    probability: float = 0.8,
    brightness: float = 0.4,
    contrast: float = 0.4,
    saturation: float = 0.4,
    hue: float = 0.1,
) -> Array:
    """Jitters the colours of each image with the given probability, as torchvision's ColorJitter.

    The four operations come in random order, one order for the whole batch.

    Args:
      key: PRNG key.
      images: float32 [B, H, W, 3] in [0, 1].
      probability: share of the images that are jittered at all.
      brightness, contrast, saturation: x draws a factor per image, uniform in
        [max(0, 1 - x), 1 + x].
      hue: x draws a shift per image, uniform in [-x, x] turns of the colour circle; at most 0.5.

    Returns:
      float32 [B, H, W, 3] in [0, 1].
    """
    batch = images.shape[0]
    order_key, factor_key, chosen_key = jax.random.split(key, 3)
    lowest = [*(max(0.0, 1 - strength) for strength in (brightness, contrast, saturation)), -hue]
    highest = [1 + brightness, 1 + contrast, 1 + saturation, hue]
    low, high, none = (jnp.array(v, jnp.float32)[:, None] for v in (lowest, highest, [1, 1, 1, 0]))
    factors = jax.random.uniform(factor_key, (4, batch), minval=low, maxval=high)
    # Images that are not jittered get factors that change nothing, which saves a pass over the
    # batch.
    factors = jnp.where(jax.random.bernoulli(chosen_key, probability, (1, batch)), factors, none)
    # A separate order for every image would be four times the work: all four operations each time,
    # and a selection. The distribution of a single image is the same either way.
    order = jax.random.permutation(order_key, 4)
    for position in range(4):
        operation = order[position]
        # A GPU would ask the host which branch to take, and wait; there all four are computed.
        images = lax.platform_dependent(
            operation, images, factors[operation], cpu=_adjusted_by_one, default=_one_of_adjusted
        )
    return images


def _adjusted_by_one(operation: Array, images: Array, factor: Array) -> Array:
    return lax.switch(operation, _ADJUST, images, factor)


def _one_of_adjusted(operation: Array, images: Array, factor: Array) -> Array:
    return lax.select_n(operation, *(adjust(images, factor) for adjust in _ADJUST))


def random_greyscale(key: Array, images: Array, *, probability: float = 0.2) -> Array:
    """Makes each image, float32 [B, H, W, 3], grey with the given probability."""
    chosen = jax.random.bernoulli(key, probability, (images.shape[0],))
    return jnp.where(_per_image(chosen), _luma(images), images)


def adjust_brightness(images: Array, factor: Array) -> Array:
    """Blends float32 [B, H, W, 3] with black: factor [B], 0 black, 1 unchanged; within [0, 1]."""
    return jnp.clip(images * _per_image(factor), 0, 1)


def adjust_contrast(images: Array, factor: Array) -> Array:
    """Blends float32 [B, H, W, 3] with its mean grey: factor [B], 1 unchanged; within [0, 1]."""
    # The mean of the luma is the luma of the mean, which is faster (0.5 against 1.9 ms).
    return _blend(images, _luma(images.mean(axis=(1, 2), keepdims=True)), factor)


def adjust_saturation(images: Array, factor: Array) -> Array:
    """Blends float32 [B, H, W, 3] with its greyscale: factor [B], 1 unchanged; within [0, 1]."""
    return _blend(images, _luma(images), factor)


def adjust_hue(images: Array, shift: Array) -> Array:
    """Turns the hue by `shift` [B], in turns of the colour circle from -0.5 to 0.5.

    Gives the result of a round trip through HSV, without the trip: value and chroma stay, and a
    channel is the value minus the chroma times (distance of the hue from the channel's own colour,
    in sixths of the circle, minus one), this factor clipped to [0, 1].

    Args:
      images: float32 [B, H, W, 3] in [0, 1].
      shift: float32 [B].

    Returns:
      float32 [B, H, W, 3] in [0, 1]; greys stay as they are.
    """
    red, green, blue = images[..., 0], images[..., 1], images[..., 2]
    value = jnp.maximum(jnp.maximum(red, green), blue)
    chroma = value - jnp.minimum(jnp.minimum(red, green), blue)
    offset = jnp.where(
        value == red,
        green - blue,
        jnp.where(value == green, blue - red + 2 * chroma, red - green + 4 * chroma),
    )
    # A grey has no hue; any value will do, as its chroma of 0 cancels it.
    hue = offset / jnp.where(chroma > 0, chroma, 1) + 6 * shift[:, None, None]
    from_pure = hue[..., None] - _channels(jnp.array([0, 2, 4], jnp.float32), 4)
    from_pure = jnp.abs(from_pure - 6 * jnp.round(from_pure / 6))  # the short way round, 0 to 3
    return value[..., None] - chroma[..., None] * jnp.clip(from_pure - 1, 0, 1)


_ADJUST = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)


def _interpolation(start: Array, size: Array, length: int) -> Array:
    """Weights [length, length] that stretch `size` pixels from `start` over a side of `length`."""
    pixel = jnp.arange(length, dtype=jnp.float32)
    scale = size.astype(jnp.float32) / length
    # Pixel centres are at halves; beyond the outermost centres the border pixel continues.
    place = jnp.clip((pixel + 0.5) * scale - 0.5, 0, size.astype(jnp.float32) - 1)
    place = place + start.astype(jnp.float32)
    return jnp.maximum(1 - jnp.abs(place[:, None] - pixel[None, :]), 0)


def _central_box(height: int, width: int) -> tuple[int, int]:
    """The largest (height, width) within the image whose ratio is allowed."""
    narrowest, widest = _RATIO_LIMITS
    if width / height < narrowest:
        return round(width / narrowest), width
    if width / height > widest:
        return height, round(height * widest)
    return height, width


def _blend(images: Array, other: Array, factor: Array) -> Array:
    factor = _per_image(factor)
    return jnp.clip(factor * images + (1 - factor) * other, 0, 1)


def _luma(images: Array) -> Array:
    red, green, blue = _LUMA
    grey = red * images[..., 0] + green * images[..., 1] + blue * images[..., 2]
    return grey[..., None]


def _per_image(values: Array) -> Array:
    return values[:, None, None, None]


def _channels(values: Array | np.ndarray, ndim: int) -> Array:
    """[C] as the last of `ndim` axes."""
    return jnp.asarray(values).reshape((1,) * (ndim - 1) + (-1,))


def _check_uint8(images: Array) -> None:
    if images.dtype != jnp.uint8:
        raise InputError(f"images to augment are {images.dtype}; expected uint8 from 0 to 255")
