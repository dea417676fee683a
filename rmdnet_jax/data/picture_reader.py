"""Pixels of listed picture files, strictly or with black for broken files; with a progress bar on a
terminal. Which files there are, and where pixels are kept, is defined elsewhere.
"""

import dataclasses
import os
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

import numpy as np
from rich.progress import track

from rmdnet_jax.data import lazy_images, pictures
from rmdnet_jax.data.lazy_images import LazyImages

Item = TypeVar("Item")


@dataclasses.dataclass(frozen=True)
class PictureReader:
    """Decodes the pictures at given positions of a list of files; can be pickled."""

    root: str
    files: list[str]
    shape: tuple[int, int, int]
    resize: bool

    def __call__(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """The pictures of `rows` int [n], one by one: uint8 [H, W, 3]."""
        for row in rows:
            file = os.path.join(self.root, self.files[row])
            yield pictures.decode(file, file, self.shape, self.resize)


class TolerantReader:
    """Reads like `reader`, but broken pictures are black and added to `broken`, path -> reason."""

    def __init__(self, reader: PictureReader):
        self._reader = reader
        self.broken: dict[str, str] = {}

    def __call__(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """The pictures of `rows` int [n], one by one: uint8 [H, W, 3]."""
        for row in rows:
            try:
                (image,) = self._reader(np.array([row]))
            except pictures.BrokenPicture as error:
                self.broken[self._reader.files[row]] = error.reason
                image = np.zeros(self._reader.shape, np.uint8)
            yield image


def decoding(images: LazyImages) -> Iterator[np.ndarray]:
    """All images in order, uint8 [n, H, W, 3] at a time."""
    size = lazy_images.block_size(images)
    blocks = lazy_images.blocks(images, size)
    return iter(progress(blocks, "decoding pictures", -(-len(images) // size)))


def progress(items: Iterable[Item], what: str, count: int) -> Iterable[Item]:
    """The items, with a progress bar up to `count` if this is a terminal."""
    return track(items, what, count, transient=True, disable=not sys.stdout.isatty())
