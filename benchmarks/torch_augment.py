"""Augmentation of whole batches on the device in PyTorch, as an expert would write it: the peer of
rmdnet_jax/data/augment.py, with the same distributions."""

import math
import random

import torch
from torch.nn import functional as F

_ATTEMPTS = 10
_LUMA = (0.299, 0.587, 0.114)


def to_channels_first(images: torch.Tensor) -> torch.Tensor:
    """uint8 [B, H, W, 3] -> float32 [B, 3, H, W] in [0, 1]; in memory format channels_last."""
    return images.permute(0, 3, 1, 2).float() / 255


def normalise(images: torch.Tensor) -> torch.Tensor:
    """With mean and standard deviation 0.5, as in ours.py."""
    return (images - 0.5) / 0.5


def crop_flip(images: torch.Tensor, pad: int = 4) -> torch.Tensor:
    """Random crop of the padded image and flip, as one gather: uint8 [B, H, W, 3] to the same."""
    batch, height, width, _ = images.shape
    device = images.device
    top, left = torch.randint(0, 2 * pad + 1, (2, batch, 1), device=device)
    column = torch.arange(width, device=device)[None, :]
    flipped = torch.rand(batch, 1, device=device) < 0.5
    columns = left + torch.where(flipped, width - 1 - column, column)
    rows = top + torch.arange(height, device=device)[None, :]
    padded = F.pad(images, (0, 0, pad, pad, pad, pad))
    sample = torch.arange(batch, device=device)[:, None, None]
    return padded[sample, rows[:, :, None], columns[:, None, :]]


def resized_crop_flip(images: torch.Tensor, min_area: float = 0.2) -> torch.Tensor:
    """RandomResizedCrop and flip of float32 [B, 3, H, W], one box per image."""
    batch, _, height, width = images.shape
    device = images.device
    area = height * width * torch.empty(batch, _ATTEMPTS, device=device).uniform_(min_area, 1)
    limit = math.log(4 / 3)
    ratio = torch.empty(batch, _ATTEMPTS, device=device).uniform_(-limit, limit).exp()
    box_height, box_width = (area / ratio).sqrt().round(), (area * ratio).sqrt().round()
    fits = (box_height <= height) & (box_width <= width) & (box_height > 0) & (box_width > 0)
    first = fits.int().argmax(1, keepdim=True)
    found = fits.gather(1, first)[:, 0]
    # Square images: if none of the candidates fits, the central box is the whole image.
    box_height = torch.where(found, box_height.gather(1, first)[:, 0], height)
    box_width = torch.where(found, box_width.gather(1, first)[:, 0], width)
    top = (torch.rand(batch, device=device) * (height - box_height + 1)).floor()
    left = (torch.rand(batch, device=device) * (width - box_width + 1)).floor()
    flipped = torch.rand(batch, device=device) < 0.5
    return resized_crop(images, top, left, box_height, box_width, flipped)


def resized_crop(images, top, left, box_height, box_width, flipped) -> torch.Tensor:
    """Boxes [B] of images [B, 3, H, W], stretched to H x W bilinearly; reads no pixel outside."""
    _, _, height, width = images.shape
    rows = _places(height, top, box_height)
    columns = _places(width, left, box_width)
    columns = torch.where(flipped[:, None], columns.flip(1), columns)
    # grid_sample's coordinates: -1 and 1 are the outer edges of the outermost pixels.
    y = ((2 * rows + 1) / height - 1)[:, :, None].expand(-1, -1, width)
    x = ((2 * columns + 1) / width - 1)[:, None, :].expand(-1, height, -1)
    grid = torch.stack([x, y], dim=-1)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _places(length: int, start: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
    pixel = torch.arange(length, device=start.device, dtype=torch.float32)
    place = (pixel + 0.5) * (size[:, None] / length) - 0.5
    return start[:, None] + torch.minimum(place.clamp(min=0), size[:, None] - 1)


def _luma(images: torch.Tensor) -> torch.Tensor:
    red, green, blue = images.unbind(1)
    return (_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue)[:, None]


def _blend(images, other, factor):
    factor = factor[:, None, None, None]
    return (factor * images + (1 - factor) * other).clamp(0, 1)


def brightness(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """float32 [B, 3, H, W] times factor [B]."""
    return (images * factor[:, None, None, None]).clamp(0, 1)


def contrast(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Blends with the mean grey level."""
    return _blend(images, _luma(images.mean((2, 3), keepdim=True)), factor)


def saturation(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Blends with the greyscale."""
    return _blend(images, _luma(images), factor)


def hue(images: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Shifts the hue by shift [B], in full turns; the same closed form as ours, no HSV."""
    red, green, blue = images.unbind(1)
    value, chroma = images.amax(1), images.amax(1) - images.amin(1)
    offset = torch.where(value == green, blue - red + 2 * chroma, red - green + 4 * chroma)
    offset = torch.where(value == red, green - blue, offset)
    turned = offset / torch.where(chroma > 0, chroma, 1) + 6 * shift[:, None, None]
    pure = torch.tensor([0.0, 2.0, 4.0], device=images.device)[None, :, None, None]
    distance = turned[:, None] - pure
    distance = (distance - 6 * (distance / 6).round()).abs()
    return value[:, None] - chroma[:, None] * (distance - 1).clamp(0, 1)


def greyscale(images: torch.Tensor, probability: float = 0.2) -> torch.Tensor:
    """Removes the colours of some images."""
    chosen = torch.rand(len(images), device=images.device) < probability
    return torch.where(chosen[:, None, None, None], _luma(images), images)


class Augment:
    """Both stages' views, from uint8 batches [B, H, W, 3] to normalised [B, 3, H, W].

    Args:
      compiled: whether torch.compile fuses the parts; the four colour operations are compiled
        separately, as their order is random.
    """

    def __init__(self, compiled: bool):
        fuse = torch.compile if compiled else lambda function: function
        self.supervised = fuse(self._supervised)
        self._crop, self._finish = fuse(self._cropped), fuse(self._finished)
        self._colours = [fuse(part) for part in (brightness, contrast, saturation, hue)]

    def simsiam(self, images: torch.Tensor) -> torch.Tensor:
        """One view, as ours: one order of the colour operations per batch, one factor per image."""
        batch, device = len(images), images.device
        spread = torch.tensor([0.4, 0.4, 0.4, 0.1], device=device)[:, None]
        centre = torch.tensor([1.0, 1.0, 1.0, 0.0], device=device)[:, None]
        jittered = torch.rand(batch, device=device) < 0.8
        factors = centre + jittered * spread * torch.empty(4, batch, device=device).uniform_(-1, 1)
        views = self._crop(images)
        for i in random.sample(range(4), 4):
            views = self._colours[i](views, factors[i])
        return self._finish(views)

    @staticmethod
    def _supervised(images):
        return normalise(to_channels_first(crop_flip(images)))

    @staticmethod
    def _cropped(images):
        return resized_crop_flip(to_channels_first(images))

    @staticmethod
    def _finished(views):
        return normalise(greyscale(views))
