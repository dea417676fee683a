"""Per-image transforms on Pillow images: torchvision's own, or equivalents if it is missing.

The equivalents follow torchvision.transforms on PIL images call by call (random numbers by
PyTorch, operations by Pillow), so that they cost about the same.
"""

import math

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps

try:
    from torchvision import transforms as T
except ImportError:
    T = None

SOURCE = "torchvision" if T else "Pillow (torchvision is missing)"
_HALF = (0.5, 0.5, 0.5)


def supervised(size: int):
    """Random crop after padding by 4, flip, conversion to a tensor, normalisation."""
    if T:
        parts = [T.RandomCrop(size, padding=4), T.RandomHorizontalFlip()]
        return T.Compose([*parts, T.ToTensor(), T.Normalize(_HALF, _HALF)])
    return _Chain(_RandomCrop(size, 4), _flip, _to_tensor, _normalise)


def simsiam(size: int):
    """SimSiam's view for CIFAR, from its public code."""
    if T:
        return T.Compose(
            [
                T.RandomResizedCrop(size, scale=(0.2, 1.0)),
                T.RandomHorizontalFlip(),
                T.RandomApply([T.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
                T.RandomGrayscale(p=0.2),
                T.ToTensor(),
                T.Normalize(_HALF, _HALF),
            ]
        )
    return _Chain(_ResizedCrop(size), _flip, _jitter, _greyscale, _to_tensor, _normalise)


class _Chain:
    def __init__(self, *parts):
        self.parts = parts

    def __call__(self, image):
        for part in self.parts:
            image = part(image)
        return image


class _RandomCrop:
    def __init__(self, size, padding):
        self.size, self.padding = size, padding

    def __call__(self, image):
        image = ImageOps.expand(image, self.padding)
        top = torch.randint(0, image.height - self.size + 1, (1,)).item()
        left = torch.randint(0, image.width - self.size + 1, (1,)).item()
        return image.crop((left, top, left + self.size, top + self.size))


class _ResizedCrop:
    def __init__(self, size):
        self.size = size

    def __call__(self, image):
        left, top, width, height = self._box(image)
        box = image.crop((left, top, left + width, top + height))
        return box.resize((self.size, self.size), Image.Resampling.BILINEAR)

    @staticmethod
    def _box(image):
        limit = math.log(4 / 3)
        for _ in range(10):
            area = image.height * image.width * _uniform(0.2, 1.0)
            ratio = math.exp(_uniform(-limit, limit))
            width, height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < width <= image.width and 0 < height <= image.height:
                top = torch.randint(0, image.height - height + 1, (1,)).item()
                left = torch.randint(0, image.width - width + 1, (1,)).item()
                return left, top, width, height
        return 0, 0, image.width, image.height


def _uniform(low, high):
    return torch.empty(1).uniform_(low, high).item()


def _flip(image):
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if torch.rand(1) < 0.5 else image


def _jitter(image):
    if torch.rand(1) > 0.8:
        return image
    enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for i in torch.randperm(4).tolist():
        if i == 3:
            image = _turn_hue(image, _uniform(-0.1, 0.1))
        else:
            image = enhancers[i](image).enhance(_uniform(0.6, 1.4))
    return image


def _turn_hue(image, shift):
    hue, saturation, value = image.convert("HSV").split()
    turned = np.array(hue, np.uint8) + np.uint8(int(shift * 255) % 256)
    return Image.merge("HSV", (Image.fromarray(turned), saturation, value)).convert("RGB")


def _greyscale(image):
    return Image.merge("RGB", [image.convert("L")] * 3) if torch.rand(1) < 0.2 else image


def _to_tensor(image):
    pixels = torch.from_numpy(np.array(image, np.uint8))
    return pixels.permute(2, 0, 1).contiguous().float().div(255)


def _normalise(tensor):
    mean = torch.tensor(_HALF).view(-1, 1, 1)
    return tensor.sub_(mean).div_(torch.tensor(_HALF).view(-1, 1, 1))
