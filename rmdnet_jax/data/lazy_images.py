"""Images that are on disk and are decoded when they are read, with an array's interface.

Images of a data set are either `np.ndarray` or `LazyImages`; the functions here work on both. The
source reads the files, streaming.py orders and prefetches them.
"""

import collections
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import numpy as np

from rmdnet_jax.data import pictures
from rmdnet_jax.machine.cpu import cores

# Decoded bytes of a block: many images, yet little compared to what else a run holds.
_BLOCK = 16 << 20


@dataclasses.dataclass(frozen=True, eq=False)
class LazyImages:
    """Looks like uint8 [N, H, W, 3]; an index decodes, `subset` does not.

    Can be pickled, and then read in another process, if `read` can be.

    Attributes:
      read: positions in the source int64 [n] -> the n images there, uint8 [H, W, 3] each.
      rows: int64 [N], the position in the source of each image.
      image_shape: (H, W, 3).
      is_decoded: whether `read` only copies, so that more processes would not help.
    """

    read: Callable[[np.ndarray], Iterable[np.ndarray]]
    rows: np.ndarray
    image_shape: tuple[int, int, int]
    is_decoded: bool = False

    ndim = 4
    dtype = np.dtype(np.uint8)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, H, W, 3)."""
        return len(self.rows), *self.image_shape

    @property
    def nbytes(self) -> int:
        """Size of all decoded images in bytes."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __getitem__(self, key: int | np.integer | slice | np.ndarray) -> np.ndarray:
        """The decoded images of an index, a slice or an array of indices, as a NumPy array."""
        rows = self.rows[key]
        images = np.empty((rows.size, *self.image_shape), np.uint8)
        read = self.read(rows.reshape(-1)) if rows.size else ()
        for place, image in zip(images, read, strict=True):
            place[...] = image
        return images.reshape(*rows.shape, *self.image_shape)

    def subset(self, key: slice | np.ndarray) -> "LazyImages":
        """The images of a slice or an array of indices, not decoded."""
        return dataclasses.replace(self, rows=self.rows[key])


Images: TypeAlias = np.ndarray | LazyImages


def subset(images: Images, key: slice | np.ndarray) -> Images:
    """`images[key]` if they are in memory, the same images without decoding if they are not."""
    return images.subset(key) if isinstance(images, LazyImages) else images[key]


def squares(images: Images, side: int) -> Images:
    """The same images as squares of so many pixels, as pictures.decode makes them: uint8
    [N, side, side, 3], computed when they are read."""
    if images.shape[1:3] == (side, side):
        return images
    return LazyImages(_Squares(images, side), np.arange(len(images)), (side, side, 3))


@dataclasses.dataclass(frozen=True, eq=False)
class _Squares:
    """Reads images as squares of so many pixels; can be pickled if they can be."""

    images: Images
    side: int

    def __call__(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """The images of `rows` int [n], one by one: uint8 [side, side, 3]."""
        return (pictures.square(self.images[row], self.side) for row in rows)


def joined(first: Images, second: Images) -> Images:
    """The first images, then the second, of the same shape: in memory if the first are, else
    decoded when they are read."""
    if not isinstance(first, LazyImages):
        return np.concatenate([first, decoded(second)])
    is_decoded = first.is_decoded and getattr(second, "is_decoded", True)
    size = len(first) + len(second)
    return LazyImages(_Joined(first, second), np.arange(size), first.image_shape, is_decoded)


@dataclasses.dataclass(frozen=True, eq=False)
class _Joined:
    """Reads the images of two arrays in sequence; can be pickled if both can be."""

    first: Images
    second: Images

    def __call__(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """The images of `rows` int [n], one by one: uint8 [H, W, 3]."""
        size = len(self.first)
        for row in rows:
            yield self.first[row] if row < size else self.second[row - size]


def block_size(images: Images) -> int:
    """How many images make 16 MB, at least one."""
    image_bytes = images.dtype.itemsize * int(np.prod(images.shape[1:]))
    return max(1, _BLOCK // max(1, image_bytes))


def blocks(images: Images, size: int = 0) -> Iterator[np.ndarray]:
    """The images in order, uint8 [n, H, W, 3] at a time; those on disk are decoded by several
    threads, as Pillow releases Python's global lock while it decodes.

    Args:
      images: [N, H, W, 3].
      size: n, except in the last block; 0 is `block_size`.
    """
    size = size or block_size(images)
    parts = [slice(start, start + size) for start in range(0, len(images), size)]
    if not isinstance(images, LazyImages):
        yield from (images[part] for part in parts)
        return
    threads = cores()
    pool = ThreadPoolExecutor(threads)
    pending: collections.deque = collections.deque()
    try:
        for part in parts:
            pending.append(pool.submit(images.__getitem__, part))
            if len(pending) > threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def decoded(images: Images) -> np.ndarray:
    """All the images in memory: uint8 [N, H, W, 3]."""
    if not isinstance(images, LazyImages):
        return images
    whole = np.empty(images.shape, images.dtype)
    filled = 0
    for block in blocks(images):
        whole[filled : filled + len(block)] = block
        filled += len(block)
    return whole
