"""The predictions of a trained model for a folder of new pictures: predictions.csv."""

import csv
import dataclasses
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rmdnet_jax.base.atomic import check_writable, open_atomic
from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import cell, shown
from rmdnet_jax.data import lazy_images, pictures
from rmdnet_jax.data.lazy_images import LazyImages
from rmdnet_jax.data.picture_reader import progress
from rmdnet_jax.model import Model

NAME = "predictions.csv"

# Pictures in one block, decoded together; a block smaller than the network's batch is padded.
_BLOCK = 256

_SUFFIXES = ", ".join(pictures.SUFFIXES)

# path, predicted_class, probability, error
_Row = tuple[str, str, str, str]


def write(folder: str | Path, workdir: str | Path, to: str | Path | None = None) -> str:
    """Predicts every picture below `folder` with the model of `workdir` and writes a CSV; returns a
    one-line summary with the number of unreadable files.

    Columns: path (below the folder), predicted_class, probability (of that class, in [0, 1]), error
    (why a file could not be read; the two before are then empty). Rows are in the order of the
    paths. A folder that cannot be read also has a row with the error, and so has a link to a folder
    outside of `folder` or above the link itself; other links are followed, and every folder is read
    once. Files that are not named as pictures are counted; names that begin with a dot are skipped.
    Names and paths are escaped by text.cell.

    Args:
      folder: the folder of the pictures.
      workdir: of a finished run with a student.
      to: the CSV; None is workdir/predictions.csv.

    Raises:
      InputError: there is no such folder, no picture in it, or no model in the workdir; or the CSV
        cannot be written.
    """
    given, workdir = os.fspath(folder), Path(os.path.expanduser(workdir))
    folder = Path(os.path.expanduser(given))
    if not given or not os.path.isdir(folder):
        raise InputError(f"no folder {given!r} (--predict); expected a folder of pictures")
    model = Model.load(workdir)
    if model.picture_shape is None:
        raise InputError(
            f"the model in {workdir} reads feature vectors, not pictures (--predict); expected "
            "Model.load(...).predict(features)"
        )
    path = workdir / NAME if to is None else Path(os.path.expanduser(to))
    check_writable(path, "--predict_to", ".csv")
    found = _found(folder)
    if not found.files:
        raise _no_pictures(folder, found)
    rows = _predict(model, folder, found.files)
    rows += [(file, "", "", f"its name does not end in {_SUFFIXES}") for file in found.unlike]
    broken = sum(bool(error) for *_, error in rows)
    said = f"{len(rows):,} pictures" + (f", {broken:,} of them cannot be read" if broken else "")
    said += _counted(len(found.unread), "cannot be read", "folder or link", "folders or links")
    said += _counted(
        len(found.others), "skipped", "file that is not a picture", "files that are not pictures"
    )
    rows += [(place, "", "", error) for place, error in found.unread.items()]
    _write(path, sorted(rows))
    return f"{said}: {shown(str(path))}"


def _write(path: Path, rows: list[_Row]) -> None:
    try:
        # A link is followed, so that its target is written.
        with open_atomic(os.path.realpath(path)) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("path", "predicted_class", "probability", "error"))
            writer.writerows(map(cell, row) for row in rows)
    except OSError as error:
        raise InputError(
            f"cannot write {path} ({error.strerror}); expected --predict_to=FILE.csv elsewhere"
        ) from error


def _counted(count: int, what: str, one: str, more: str) -> str:
    return f"; {count:,} {one if count == 1 else more} {what}" if count else ""


@dataclasses.dataclass(frozen=True)
class _Found:
    """The files below a folder, by their paths in it.

    Attributes:
      files: pictures to read.
      unlike: pictures in formats that are not supported.
      others: files whose names are not those of pictures.
      unread: folders and links that are not followed, with the reason.
    """

    files: list[str] = dataclasses.field(default_factory=list)
    unlike: list[str] = dataclasses.field(default_factory=list)
    others: list[str] = dataclasses.field(default_factory=list)
    unread: dict[str, str] = dataclasses.field(default_factory=dict)


def _no_pictures(folder: Path, found: _Found) -> InputError:
    why = "".join(f"; {error}" for error in list(found.unread.values())[:1])
    if names := found.unlike + found.others:
        why = f", only files that end in {pictures.endings(names)}{why}"
    return InputError(f"no pictures below {folder} (--predict){why}; expected files in {_SUFFIXES}")


def _found(folder: Path) -> _Found:
    """The files below a folder; every folder is read once, even if several links lead to it.

    Raises:
      InputError: the folder itself cannot be read.
    """
    found, seen = _Found(), set[str]()
    # Folders to read; links last, so that a file is listed by its own path.
    places, links = [""], list[str]()
    while places or links:
        place = places.pop() if places else links.pop(0)
        real = os.path.realpath(folder / place)
        if real in seen:
            continue
        seen.add(real)
        try:
            with os.scandir(folder / place) as entries:
                listed = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            found.unread[place] = f"{folder / place} cannot be read ({error.strerror})"
            if not place:
                raise InputError(f"{found.unread[place]} (--predict)") from error
            continue
        for entry in sorted(listed, key=lambda entry: entry.name):
            path = os.path.join(place, entry.name)
            if why := _wrong(entry, folder):
                found.unread[path] = why
            elif entry.is_dir():
                (links if entry.is_symlink() else places).append(path)
            elif pictures.is_picture(entry.name):
                found.files.append(path)
            else:
                is_unlike = pictures.is_other_picture(entry.name)
                (found.unlike if is_unlike else found.others).append(path)
    found.files.sort()
    return found


def _wrong(entry: os.DirEntry, folder: Path) -> str:
    """Why an entry is not followed; "" except for links without a valid target. A link to a picture
    is always followed, and an error is reported when it is read."""
    try:
        is_folder = entry.is_dir()
    except OSError as error:  # a link in a circle, or without permission
        return f"{entry.path} cannot be read ({error.strerror})"
    if not entry.is_symlink() or (not is_folder and pictures.is_picture(entry.name)):
        return ""
    real = Path(os.path.realpath(entry.path))
    if not is_folder:
        return "" if os.path.exists(real) else f"{entry.path} is a link to nothing"
    if not real.is_relative_to(os.path.realpath(folder)):
        return f"{entry.path} is a link to outside of {folder}"
    if Path(os.path.realpath(os.path.dirname(entry.path))).is_relative_to(real):
        return f"{entry.path} is a link to a folder that contains it"
    return ""


def _predict(model: Model, folder: Path, files: list[str]) -> list[_Row]:
    """One row per file; an unreadable file goes through the model as a black picture."""
    errors: dict[int, str] = {}
    shape = model.picture_shape
    assert shape

    def read(places: np.ndarray) -> Iterator[np.ndarray]:
        for place in places.tolist():
            try:
                yield model.read(folder / files[place])
            except InputError as error:
                errors[place] = str(error)
                yield np.zeros(shape, np.uint8)

    images = LazyImages(read, np.arange(len(files)), shape)
    blocks = lazy_images.blocks(images, _BLOCK)
    shown_blocks = progress(blocks, "predicting", -(-len(files) // _BLOCK))
    probabilities = itertools.chain.from_iterable(map(model.predict_proba, shown_blocks))
    rows: list[_Row] = []
    for place, (file, row) in enumerate(zip(files, probabilities, strict=True)):
        if place in errors:
            rows.append((file, "", "", errors[place]))
        else:
            rows.append((file, str(model.classes[row.argmax()]), f"{row.max():.6f}", ""))
    return rows
