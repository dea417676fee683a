"""An encoder without a download: histograms of colours and of gradients, as images were described
before neural networks. Much worse than a pretrained encoder, but better than what a laptop learns
from a few thousand images in an hour (docs/encoders.md)."""

import dataclasses
from pathlib import Path
from typing import ClassVar

import numpy as np

from rmdnet_jax.base.digest import text_digest
from rmdnet_jax.encoders.interface import Asked

NAME = "classical"

_CELL = 16  # pixels
_ORIENTATIONS = 9  # of a gradient, regardless of its sign
_LEVELS = 4  # of each channel in a histogram of colours
_GRID = 4  # cells per side whose mean and deviation of colour are taken

# To be changed with what is computed: it is part of the key of stored embeddings.
_VERSION = "1"


@dataclasses.dataclass(frozen=True)
class ClassicalEncoder:
    """The encoder. Histograms of oriented gradients in blocks of 2 x 2 cells (Dalal and Triggs
    2005), histograms of colours of the image and of its quarters, and colours on a coarse grid.

    Attributes:
      side: of the square images in pixels, a multiple of 64.
    """

    side: int = 128

    path: ClassVar[Path] = Path(NAME)
    normalised: ClassVar[str] = "none"

    @property
    def used(self) -> Asked:
        """Its side."""
        return Asked(self.side)

    @property
    def size(self) -> int:
        """D, the number of features of an embedding."""
        blocks = (self.side // _CELL - 1) ** 2
        return blocks * 4 * _ORIENTATIONS + 5 * _LEVELS**3 + 6 * _GRID**2

    @property
    def digest(self) -> str:
        """A hash of its version and side."""
        return text_digest(NAME, _VERSION, str(self.side))

    @property
    def story(self) -> str:
        """A line that describes it."""
        return f"{NAME}: images of {self.side} pixels, {self.size:,} colour and gradient features"

    def embed(self, pictures: np.ndarray) -> np.ndarray:
        """Embeddings float32 [n, D] of uint8 [n, side, side, 3]."""
        x = pictures.astype(np.float32) / 255
        return np.concatenate([_gradients(x), _histograms(pictures), _coarse(x)], axis=1)


def _gradients(x: np.ndarray) -> np.ndarray:
    """[n, blocks * 4 * orientations], square roots, every block of unit length."""
    grey = x.mean(axis=3)
    rows, columns = np.gradient(grey, axis=(1, 2))
    strength = np.hypot(rows, columns)
    angle = np.arctan2(rows, columns) % np.pi
    which = np.minimum((angle * (_ORIENTATIONS / np.pi)).astype(int), _ORIENTATIONS - 1)
    cells = np.stack(
        [_sums(np.where(which == number, strength, 0)) for number in range(_ORIENTATIONS)], axis=-1
    )
    corners = (cells[:, :-1, :-1], cells[:, :-1, 1:], cells[:, 1:, :-1], cells[:, 1:, 1:])
    blocks = np.concatenate(corners, axis=-1)
    blocks /= blocks.sum(axis=-1, keepdims=True) + 1e-3
    return np.sqrt(blocks).reshape(len(x), -1)


def _sums(x: np.ndarray) -> np.ndarray:
    """[n, H, W] -> [n, cells, cells]."""
    n, height, width = x.shape
    return x.reshape(n, height // _CELL, _CELL, width // _CELL, _CELL).sum(axis=(2, 4))


def _histograms(pictures: np.ndarray) -> np.ndarray:
    """[n, 5 * levels^3]: square roots of the shares of colours in the image and in its quarters."""
    level = pictures.astype(int) * _LEVELS // 256
    colour = (level[..., 0] * _LEVELS + level[..., 1]) * _LEVELS + level[..., 2]
    n, half = len(pictures), pictures.shape[1] // 2
    quarters = [
        colour[:, rows, columns].reshape(n, -1)
        for rows in (slice(half), slice(half, None))
        for columns in (slice(half), slice(half, None))
    ]
    counted = [
        np.bincount((part + _LEVELS**3 * np.arange(n)[:, None]).ravel(), minlength=n * _LEVELS**3)
        for part in quarters
    ]
    shares = [one.reshape(n, -1) / quarters[0].shape[1] for one in counted]
    return np.sqrt(np.concatenate([np.mean(shares, axis=0), *shares], axis=1), dtype=np.float32)


def _coarse(x: np.ndarray) -> np.ndarray:
    """[n, 6 * grid^2]: mean and deviation of each channel in each cell of a coarse grid."""
    n, side = len(x), x.shape[1] // _GRID
    cells = x.reshape(n, _GRID, side, _GRID, side, 3)
    return np.concatenate(
        [cells.mean(axis=(2, 4)).reshape(n, -1), cells.std(axis=(2, 4)).reshape(n, -1)], axis=1
    )
