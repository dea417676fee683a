"""Embeddings that were made elsewhere, from a .npy or .npz: a row a picture, put in the data's
order."""

import os
from pathlib import Path

import numpy as np

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import shown
from rmdnet_jax.data import npy
from rmdnet_jax.data.dataset import Dataset, as_images, check_features
from rmdnet_jax.machine import memory

# Of the host's memory, what a table may take.
_MEMORY_SHARE = 0.5

RIGHT = (
    "right is a .npz of `train` [N, D] and `test` [M, D], or of `embeddings` [K, D] with `paths` "
    "[K] or, for rmdnet_jax.fit, `index` [K], or a .npy of rows in the images' order, training "
    "images first"
)


def read(path: Path, data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """The embeddings of the training and of the test images, float32 [N, D] and [M, D].

    Args:
      path: the file.
      data: whose images they are of; its files and places join the rows.

    Raises:
      InputError: it is no such file, a picture has no row, or rows are no embeddings.
    """
    where = f"config.encoder.path, {path}"
    held = _held(path)
    names = set(held)
    if path.suffix.lower() == ".npy":
        rows = _floats(held["rows"], where)
        if (places := _places(data)) is not None:
            return _placed(rows, places, sum(map(len, places)) + len(data.skipped_files), where)
        if data.train_files is not None:
            raise InputError(f"{where}: rows of a .npy have an order, and files have none; {RIGHT}")
        counts = len(data.train_images), len(data.test_images)
        if len(rows) != sum(counts):
            raise InputError(
                f"{where}, has {len(rows):,} rows for {counts[0]:,} training and {counts[1]:,} "
                "test images; right is a row each, training images first"
            )
        return rows[: counts[0]], rows[counts[0] :]
    if names >= {"train", "test"}:
        return _split(held, data, where)
    if "embeddings" in names and names & {"paths", "index"}:
        return _joined(held, data, where)
    raise _unlike(held, where)


def size(path: Path) -> int:
    """D, features of the embeddings in a file.

    Raises:
      InputError: it is no such file.
    """
    where, held = f"config.encoder.path, {path}", _held(path)
    for name in ("rows", "train", "embeddings"):
        if name in held:
            return _floats(held[name], where).shape[1]
    raise _unlike(held, where)


def _held(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file by name; that of a .npy is "rows"."""
    where = f"config.encoder.path, {path}"
    largest = _MEMORY_SHARE * memory.host_bytes()
    if not os.path.isfile(path):
        raise InputError(f"{where}, is no file; {RIGHT}")
    try:
        is_one = path.suffix.lower() == ".npy"
        return {"rows": npy.load(path)} if is_one else npy.load_all(path, largest)
    except InputError as error:
        raise InputError(f"{where}, cannot be read: {error}") from error


def _unlike(held: dict[str, np.ndarray], where: str) -> InputError:
    return InputError(f"{where}, holds {', '.join(sorted(map(shown, held)))}; {RIGHT}")


def _places(data: Dataset) -> tuple[np.ndarray, np.ndarray] | None:
    """Where the images of both splits stand in the one list that a user gave (rmdnet_jax.fit), if
    there is one."""
    if data.train_index is None or data.test_index is None:
        return None
    return data.train_index, data.test_index


def _placed(
    rows: np.ndarray, places: tuple[np.ndarray, np.ndarray], length: int, where: str
) -> tuple[np.ndarray, np.ndarray]:
    if len(rows) != length:
        raise InputError(
            f"{where}, has {len(rows):,} rows for a list of {length:,} images; right is a row "
            "each, in the list's order"
        )
    train, test = (rows[part] for part in places)
    return train, test


def _floats(array: np.ndarray, where: str) -> np.ndarray:
    if array.dtype.kind != "f" or array.ndim != 2:
        raise InputError(f"{where}: embeddings are {array.dtype} {array.shape}; {RIGHT}")
    rows = as_images(array)
    check_features(rows, where)
    return rows


def _split(held: dict[str, np.ndarray], data: Dataset, where: str) -> tuple[np.ndarray, np.ndarray]:
    if _places(data) is not None or data.train_files is not None:
        raise InputError(
            f"{where}: train and test, but which images are held out is drawn here; right is "
            "`embeddings` with `paths`, or for rmdnet_jax.fit with `index`, or a .npy"
        )
    train, test = (_floats(held[name], f"{where}: {name}") for name in ("train", "test"))
    for name, rows, images in (
        ("train", train, data.train_images), ("test", test, data.test_images),
    ):  # fmt: skip
        if len(rows) != len(images):
            raise InputError(
                f"{where}: {name} has {len(rows):,} rows for {len(images):,} images; right is a "
                "row an image, in the images' order"
            )
    if train.shape[1] != test.shape[1]:
        raise InputError(
            f"{where}: train has {train.shape[1]} features and test {test.shape[1]}; {RIGHT}"
        )
    return train, test


def _joined(
    held: dict[str, np.ndarray], data: Dataset, where: str
) -> tuple[np.ndarray, np.ndarray]:
    """By path, or by the image's place in what the user gave."""
    rows = _floats(held["embeddings"], f"{where}: embeddings")
    by = "paths" if "paths" in held else "index"
    keys = held[by]
    is_right = keys.dtype.kind in ("U" if by == "paths" else "iu")
    if keys.shape != (len(rows),) or not len(keys) or not is_right:
        raise InputError(
            f"{where}: {by} are {keys.dtype} {keys.shape} beside {len(rows):,} rows; {RIGHT}"
        )
    wanted: tuple
    if by == "paths":
        if data.train_files is None or data.test_files is None:
            raise InputError(f"{where}: paths, but {data.name} has no files; {RIGHT}")
        names = [shown(str(key)) for key in keys]
        wanted = data.train_files, data.test_files
    else:
        if (places := _places(data)) is None:
            raise InputError(
                f"{where}: an index, but the images of {data.name} are no one list; right is a "
                ".npz of `train` and `test`"
            )
        names = keys.tolist()
        wanted = tuple(part.tolist() for part in places)
    place: dict = {name: row for row, name in enumerate(names)}
    if len(place) != len(names):
        twice = next(name for i, name in enumerate(names) if place[name] != i)
        raise InputError(f"{where}: {by} has {twice!r} twice; right is one row a picture")
    missing = [name for part in wanted for name in part if name not in place]
    if missing:
        raise InputError(
            f"{where}: {len(missing):,} of {sum(map(len, wanted)):,} pictures have no row, first "
            f"{missing[0]!r}; {by} begins with {names[0]!r}"
        )
    train, test = (rows[[place[name] for name in part]] for part in wanted)
    return train, test
