"""Embeddings, or a classifier's logits, that were computed elsewhere, from a .npy or .npz: one row
per image, put in the data's order."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import shown
from rmdnet_jax.data import npy
from rmdnet_jax.data.dataset import Dataset, as_images, check_features
from rmdnet_jax.machine import memory

# The share of the host's memory that a table may take.
_MEMORY_SHARE = 0.5


class Rows(NamedTuple):
    """What a file is to contain.

    Attributes:
      field: the config field that names the file.
      what: the rows' name, in the file too.
      needs_test: whether there must be rows for the test images.
    """

    field: str
    what: str
    needs_test: bool

    def right(self, data: Dataset | None) -> str:
        """For an error: what was expected for this data, or, if it is not known yet, for any."""
        joined = f"`{self.what}` [K, D] and"
        split = f"`train` [N, D] and {'' if self.needs_test else 'optionally '}`test` [M, D]"
        if data is None:
            return (
                f"expected a .npz with {joined} `paths` [K] for picture files, or {split} for "
                "arrays, or a .npy with one row per image, in the data's order"
            )
        has_files = data.train_files is not None
        if data.in_one_list:
            keys = "`index` [K]" + (" or `paths` [K]" if has_files else "")
            return (
                "expected a .npy with one row per image, in the list's order, or a .npz with "
                f"{joined} {keys}"
            )
        if has_files:
            return f"expected a .npz with {joined} `paths` [K], as in label_issues.csv"
        return f"expected a .npz with {split}, or a .npy with one row per image, training first"


EMBEDDINGS = Rows("config.encoder.path", "embeddings", needs_test=True)
LOGITS = Rows("config.teacher.path", "logits", needs_test=False)


def read(path: Path, data: Dataset, kind: Rows = EMBEDDINGS) -> tuple[np.ndarray, np.ndarray]:
    """The rows for the training and the test images, float32 [N, D] and [M, D], or [0, D] if the
    file has none for the test images and needs none.

    Args:
      path: the file.
      data: the data set with the images; rows are joined by its paths or its index.
      kind: what the rows are.

    Raises:
      InputError: it is not such a file, an image has no row, or rows are not of this kind.
    """
    where = f"{kind.field}, {path}"
    right = kind.right(data)
    held = _held(path, where, right)
    names = set(held)
    if path.suffix.lower() == ".npy":
        rows = _floats(held["rows"], where, kind.what, right)
        if data.in_one_list:
            return _placed(rows, data, where)
        if data.train_files is not None:
            raise InputError(
                f"{where}: the rows of a .npy are in order, but picture files have none; {right}"
            )
        counts = len(data.train_images), len(data.test_images)
        is_whole = len(rows) == sum(counts)
        if not (is_whole or (not kind.needs_test and len(rows) == counts[0])):
            raise InputError(
                f"{where}, has {len(rows):,} rows for {counts[0]:,} training and {counts[1]:,} "
                "test images; expected one row per image, training images first"
            )
        return rows[: counts[0]], rows[counts[0] :]
    if names >= ({"train", "test"} if kind.needs_test else {"train"}):
        return _split(held, data, where, kind.what, right)
    if kind.what in names and names & {"paths", "index"}:
        return _joined(held, data, where, kind, right)
    raise _unlike(held, where, right)


def size(path: Path) -> int:
    """D, the number of features of the embeddings in a file.

    Raises:
      InputError: it is not such a file.
    """
    what, right = EMBEDDINGS.what, EMBEDDINGS.right(None)
    where = f"{EMBEDDINGS.field}, {path}"
    held = _held(path, where, right)
    for name in ("rows", "train", what):
        if name in held:
            return _floats(held[name], where, what, right).shape[1]
    raise _unlike(held, where, right)


def _held(path: Path, where: str, right: str) -> dict[str, np.ndarray]:
    """The arrays of a file by name; that of a .npy is called "rows"."""
    largest = _MEMORY_SHARE * memory.host_bytes()
    if not os.path.isfile(path):
        raise InputError(f"{where}, is not a file; {right}")
    try:
        is_one = path.suffix.lower() == ".npy"
        return {"rows": npy.load(path)} if is_one else npy.load_all(path, largest)
    except InputError as error:
        raise InputError(f"{where}, cannot be read: {error}") from error


def _unlike(held: dict[str, np.ndarray], where: str, right: str) -> InputError:
    return InputError(f"{where}, contains {', '.join(sorted(map(shown, held)))}; {right}")


def _placed(rows: np.ndarray, data: Dataset, where: str) -> tuple[np.ndarray, np.ndarray]:
    """The rows of both splits, of one row per image of the one list that the user gave, and of the
    open images that were added to it."""
    assert data.list_size is not None
    length = max(data.list_size, int(data.train_places[-1]) + 1)
    if len(rows) != length:
        raise InputError(
            f"{where}, has {len(rows):,} rows for a list of {length:,} images; expected one row "
            "per image, in the list's order"
        )
    return rows[data.train_places], rows[data.test_places]


def _floats(array: np.ndarray, where: str, what: str, right: str) -> np.ndarray:
    if array.dtype.kind != "f" or array.ndim != 2:
        raise InputError(f"{where}: {what} are {array.dtype} {array.shape}; {right}")
    rows = as_images(array)
    check_features(rows, where)
    return rows


def _split(
    held: dict[str, np.ndarray], data: Dataset, where: str, what: str, right: str
) -> tuple[np.ndarray, np.ndarray]:
    if data.in_one_list or data.train_files is not None:
        reason = "picture files have no order"
        if data.in_one_list:
            reason = "the split of this data is drawn here"
        raise InputError(f"{where}: it has a train and a test array, but {reason}; {right}")
    train = _floats(held["train"], f"{where}: train", what, right)
    test = train[:0]
    if "test" in held:
        test = _floats(held["test"], f"{where}: test", what, right)
    for name, rows, images in (
        ("train", train, data.train_images), ("test", test, data.test_images),
    ):  # fmt: skip
        if name in held and len(rows) != len(images):
            raise InputError(
                f"{where}: {name} has {len(rows):,} rows for {len(images):,} images; expected a "
                "row per image, in the images' order"
            )
    if train.shape[1] != test.shape[1]:
        raise InputError(
            f"{where}: train has {train.shape[1]} features and test {test.shape[1]}; {right}"
        )
    return train, test


def _joined(
    held: dict[str, np.ndarray], data: Dataset, where: str, kind: Rows, right: str
) -> tuple[np.ndarray, np.ndarray]:
    """By path, or by the image's position in what the user gave."""
    rows = _floats(held[kind.what], f"{where}: {kind.what}", kind.what, right)
    by = "paths" if "paths" in held else "index"
    keys = held[by]
    is_right = keys.dtype.kind in ("U" if by == "paths" else "iu")
    if keys.shape != (len(rows),) or not len(keys) or not is_right:
        raise InputError(
            f"{where}: {by} are {keys.dtype} {keys.shape} for {len(rows):,} rows; {right}"
        )
    wanted: tuple
    if by == "paths":
        if data.train_files is None or data.test_files is None:
            raise InputError(f"{where}: it has paths, but {data.name} has none; {right}")
        names = [shown(str(key)) for key in keys]
        wanted = data.train_files, data.test_files
    else:
        if not data.in_one_list:
            raise InputError(
                f"{where}: it has an index, but the images of {data.name} are not in one list; "
                f"{right}"
            )
        names = keys.tolist()
        wanted = data.train_places.tolist(), data.test_places.tolist()
    place: dict = {name: row for row, name in enumerate(names)}
    if len(place) != len(names):
        twice = next(name for i, name in enumerate(names) if place[name] != i)
        raise InputError(f"{where}: {by} has {twice!r} twice; expected one row per picture")
    if not kind.needs_test and not any(name in place for name in wanted[1]):
        wanted = wanted[0], ()
    missing = [name for part in wanted for name in part if name not in place]
    if missing:
        raise InputError(
            f"{where}: {len(missing):,} of {sum(map(len, wanted)):,} pictures have no row, first "
            f"{missing[0]!r}; {by} starts with {names[0]!r}"
        )
    train, test = (rows[np.array([place[name] for name in part], int)] for part in wanted)
    return train, test
