"""Images of another source as open-set images: a folder of pictures, or an array in a .npz or .npy.
Labels are not read."""

import dataclasses
import functools
import os
from pathlib import Path

import numpy as np

from rmdnet_jax.base.digest import content_digests
from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import cut, listed, shown
from rmdnet_jax.data import lazy_images, npy, picture_files, pictures
from rmdnet_jax.data.dataset import SkippedFile, as_images, check_images
from rmdnet_jax.data.lazy_images import Images, LazyImages
from rmdnet_jax.data.open_pool import Pool
from rmdnet_jax.data.picture_reader import PictureReader, TolerantReader, decoding
from rmdnet_jax.machine import memory

# Possible names of their array in a .npz.
_ARRAYS = ("x_train", "images")

# The share of the host's memory that an array may take.
_MEMORY_SHARE = 1 / 2

_RIGHT = (
    "expected a folder of pictures, or a .npz (array x_train or images) or .npy of uint8 "
    "[M, H, W, 3], or of float [M, D] for feature vectors"
)


def read(path: str, image_shape: tuple[int, ...]) -> Pool:
    """The images of an array, or of a folder and its subfolders, in the order of their paths.

    Images of another size than the data's become squares of its side, as `pictures.decode` makes
    them; those of a folder are decoded when they are read, and `whole` finds the broken ones. In a
    folder, entries that begin with a dot are ignored, and links to folders are not followed.

    Args:
      path: the folder or file.
      image_shape: of the data's images, (H, W, 3) or (D,).

    Raises:
      InputError: there is no such folder or file, or it has no images that match the data's.
    """
    place, where = Path(os.path.expanduser(path)), f"noise.open_path, {cut(path)}"
    if os.path.isdir(place):
        return _of_folder(place, image_shape, where)
    suffix = place.suffix.lower()
    if suffix not in (".npz", ".npy") or not os.path.isfile(place):
        problem = "is another kind of file" if os.path.exists(place) else "does not exist"
        raise InputError(f"{where}, {problem}; {_RIGHT}")
    if suffix == ".npy":
        array = npy.load(place)
    else:
        held = npy.load_all(place, _MEMORY_SHARE * memory.host_bytes())
        name = next((name for name in _ARRAYS if name in held), None)
        if name is None:
            raise InputError(f"{where}, contains {listed(sorted(held)) or 'nothing'}; {_RIGHT}")
        array = held[name]
    array = as_images(array)
    check_images(array, where)
    if array.shape[1:] == image_shape:
        return Pool(shown(str(path)), array)
    if array.ndim == 2 or len(image_shape) == 1:
        raise InputError(
            f"{where}, has images of shape {array.shape[1:]}, but the data's are {image_shape}; "
            "expected feature vectors of the same size for both, or images for both"
        )
    squares = functools.partial(lazy_images.squares, array)
    return Pool(shown(str(path)), squares(_side(image_shape, where)), originals=squares)


def whole(
    pool: Pool, order: np.ndarray, count: int, in_memory: bool, max_broken: float
) -> tuple[Pool, tuple[SkippedFile, ...]]:
    """The first `count` images in `order` that are whole, or fewer if there are not enough, and the
    broken ones among them, which were replaced by others.

    If the pool may have broken pictures, these and no others are decoded now.

    Args:
      pool: as from `read`.
      order: int [M], its rows.
      count: from 0.
      in_memory: whether the pixels are kept; else they are decoded again when they are read.
      max_broken: share of the pool that may be broken.

    Raises:
      InputError: more are broken; or the system refuses to read one.
    """
    if pool.are_whole:
        return pool.take(order[:count]), ()
    images = pool.images
    assert isinstance(images, LazyImages)
    assert isinstance(images.read, PictureReader)
    root, files = Path(images.read.root), images.read.files
    tolerant = TolerantReader(images.read)
    lenient = dataclasses.replace(images, read=tolerant)
    broken: dict[str, str] = {}
    kept, parts, seen = order[:0], [images[:0]], 0
    while len(kept) < count and seen < len(order):
        rows = order[seen : seen + count - len(kept)]
        seen += len(rows)
        is_there = np.array([picture_files.state(root, files[row]) is not None for row in rows])
        broken |= {files[row]: picture_files.ABSENT for row in rows[~is_there]}
        rows = rows[is_there]
        part = lenient.subset(rows)
        if in_memory:
            parts.append(lazy_images.decoded(part))
        else:
            for _ in decoding(part):
                pass
        is_whole = np.array([files[row] not in tolerant.broken for row in rows], bool)
        kept = np.concatenate([kept, rows[is_whole]])
        if in_memory and not is_whole.all():
            parts[-1] = parts[-1][is_whole]
    broken |= tolerant.broken
    skipped = tuple(SkippedFile(shown(str(root / file)), broken[file]) for file in sorted(broken))
    place = f"{pool.name} (noise.open_path)"
    picture_files.check_lost(skipped, len(pool), place, max_broken)
    taken = dataclasses.replace(pool.take(kept), are_whole=True)
    if in_memory:
        taken = dataclasses.replace(taken, images=np.concatenate(parts))
    return taken, skipped


def _of_folder(folder: Path, image_shape: tuple[int, ...], where: str) -> Pool:
    files = pictures.below(folder)
    if not files:
        raise InputError(f"{where}, has no pictures in {', '.join(pictures.SUFFIXES)}; {_RIGHT}")
    if len(image_shape) == 1:
        raise InputError(
            f"{where}, is a folder of pictures, but the data is feature vectors; expected a .npz "
            f"or .npy of float [M, {image_shape[0]}]"
        )

    def squares(side: int) -> Images:
        read = PictureReader(str(folder), files, (side, side, 3), True)
        return LazyImages(read, np.arange(len(files)), (side, side, 3))

    names = tuple(shown(str(folder / file)) for file in files)
    images = squares(_side(image_shape, where))
    digests = _digests(folder, files)
    return Pool(shown(str(folder)), images, names, digests, squares, are_whole=False)


def _side(image_shape: tuple[int, ...], where: str) -> int:
    """The side of the squares that images of another size become."""
    if image_shape[0] != image_shape[1]:
        height, width = image_shape[:2]
        raise InputError(
            f"{where}: its images become squares, but the data's have {height}x{width} pixels; "
            f"expected an array of {height}x{width}, or data of square images"
        )
    return image_shape[0]


def _digests(folder: Path, files: list[str]) -> np.ndarray:
    """Identifies each file without reading it, by its path and size: uint8 [M, 16]."""

    def size(path: Path) -> int:
        return os.path.getsize(path) if os.path.exists(path) else 0  # reported when it is read

    return content_digests(os.fsencode(file) + b"\0%d" % size(folder / file) for file in files)
