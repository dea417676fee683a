"""Image statistics from one pass over the images: a digest, a thumbnail, brightness, contrast and
sharpness; and which images are blank, dark, bright, blurry, tiny or oblong.

docs/label_issues.md says on which data the limits were measured.
"""

import dataclasses

import numpy as np

from rmdnet_jax.base.digest import content_digests
from rmdnet_jax.data import lazy_images
from rmdnet_jax.data.lazy_images import Images

# Pixels per side of a thumbnail; a smaller image is its own thumbnail.
THUMBNAIL = 32

# Side in pixels of an image's colours.
COLOURS = 8

# Pixels in one block: intermediate results stay in a core's cache, which makes the pass twice as
# fast as with blocks of 16 MB.
_BLOCK = 1 << 18

# Rec. 601 luma: the weights of red, green and blue, in 256ths.
_RED, _GREEN, _BLUE = (np.uint16(weight) for weight in (77, 150, 29))

# An image is dark if all but 5 % of it is darker than the first limit, bright if all but 5 % is
# brighter than the second, blank if its standard deviation is below the third; all in [0, 1].
_DARK, _BRIGHT, _BLANK = 0.2, 0.9, 0.01

# An image is tiny if it had less than a tenth of the median number of pixels, and oblong if its
# aspect ratio is more than so many times the median one.
_TINY, _OBLONG = 0.1, 3.0

# An image is blurry if the variance of its Laplacian is less than this share of its own. Not tested
# for small images: they were scaled down, which makes everything sharp.
_BLURRY = 0.01
_SHARP_FROM = 64


@dataclasses.dataclass(frozen=True)
class Looks:
    """Statistics of N images.

    Attributes:
      digest: uint8 [N, 16], equal only for equal pixels.
      thumbnail: float32 [N, s, s] in [0, 1], greyscale.
      chroma: float32 [N, c, c, 2] in [-1, 1], red and blue minus the brightness; 0 is grey.
      low, high: float32 [N] in [0, 1], brightness that 5 % are below, and above.
      contrast: float32 [N], standard deviation of the brightness.
      sharpness: float32 [N], variance of the Laplacian divided by that of the brightness, at least
        0; NaN for images of under 64 pixels per side.
    """

    digest: np.ndarray
    thumbnail: np.ndarray
    chroma: np.ndarray
    low: np.ndarray
    high: np.ndarray
    contrast: np.ndarray
    sharpness: np.ndarray


def look(images: Images) -> Looks:
    """Reads every image once, uint8 [N, H, W, 3], a block at a time."""
    size = max(1, _BLOCK // (images.shape[1] * images.shape[2]))
    return joined(*(_look(block) for block in lazy_images.blocks(images, size)))


def joined(*parts: Looks) -> Looks:
    """The statistics of all parts, in order."""
    return Looks(
        *(
            np.concatenate([getattr(part, field.name) for part in parts])
            for field in dataclasses.fields(Looks)
        )
    )


def issues(looks: Looks) -> dict[str, np.ndarray]:
    """Score float64 [N] in [0, 1] by issue: "blank", "dark", "bright", "blurry"; 0 if the
    image has no such issue, higher is worse. A blank image has no other issue."""
    is_blank = looks.contrast < _BLANK
    found = {
        "blank": np.where(is_blank, 1 - looks.contrast, 0),
        "dark": np.where(~is_blank & (looks.high < _DARK), 1 - looks.high, 0),
        "bright": np.where(~is_blank & (looks.low > _BRIGHT), looks.low, 0),
        "blurry": np.where(~is_blank & (looks.sharpness < _BLURRY), 1 - looks.sharpness, 0),
    }
    return {issue: np.clip(score, 0, 1).astype(np.float64) for issue, score in found.items()}


def shapes(sizes: np.ndarray) -> dict[str, np.ndarray]:
    """The same for the sizes of images before they were resized: "tiny" and "oblong".

    Args:
      sizes: int [N, 2], height and width.
    """
    height, width = np.maximum(sizes, 1).astype(np.float64).T
    share = height * width / np.median(height * width)
    longer = np.maximum(height / width, width / height)
    usual = np.median(longer)
    return {
        "tiny": np.where(share < _TINY, 1 - share, 0),
        "oblong": np.where(longer > _OBLONG * usual, 1 - usual / longer, 0),
    }


def _look(block: np.ndarray) -> Looks:
    red, green, blue = (block[..., channel].astype(np.uint16) for channel in range(3))
    grey = (_RED * red + _GREEN * green + _BLUE * blue).astype(np.float32)
    grey /= 255 << 8
    height, width = grey.shape[1:]
    side = min(THUMBNAIL, height, width)
    thumbnail = _means(_means(grey, side, axis=1), side, axis=2)
    few = min(COLOURS, height, width)
    coarse, *colours = (
        _means(_means(part, few, axis=1), few, axis=2)
        for part in (grey, *(channel.astype(np.float32) / 255 for channel in (red, blue)))
    )
    chroma = np.stack([part - coarse for part in colours], axis=-1)
    values = np.sort(thumbnail.reshape(len(block), -1), axis=1)
    twentieth = values.shape[1] // 20
    contrast = np.sqrt(_variances(grey))
    sharpness = np.full(len(block), np.nan, np.float32)
    if min(height, width) >= _SHARP_FROM:
        laplacian = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1]
        laplacian += grey[:, 1:-1, :-2]
        laplacian += grey[:, 1:-1, 2:]
        laplacian -= 4 * grey[:, 1:-1, 1:-1]
        sharpness = _variances(laplacian) / np.maximum(contrast**2, 1e-12)
    return Looks(
        content_digests(np.ascontiguousarray(one).data for one in block),
        thumbnail, chroma, values[:, twentieth], values[:, -1 - twentieth], contrast, sharpness,
    )  # fmt: skip


def _means(pixels: np.ndarray, parts: int, axis: int) -> np.ndarray:
    """float32 [n, H, W] with an axis replaced by the means of so many parts of it. Not a matrix
    product: for one this small, threads wait for each other ten times as long as they compute."""
    length = pixels.shape[axis]
    starts = np.arange(parts) * length // parts
    sizes = np.diff(starts, append=length).astype(np.float32)
    shape = [1, 1, 1]
    shape[axis] = parts
    return np.add.reduceat(pixels, starts, axis=axis) / sizes.reshape(shape)


def _variances(pixels: np.ndarray) -> np.ndarray:
    """float32 [n] of [n, H, W], in one pass without a copy."""
    rows = pixels.reshape(len(pixels), -1)
    squares = np.einsum("ij,ij->i", rows, rows) / rows.shape[1]
    return np.maximum(squares - rows.mean(axis=1) ** 2, 0)
