"""What a trained model says of a folder of new pictures: predictions.csv."""

import csv
import dataclasses
import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rmdnet_jax.base.atomic import open_atomic
from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import cell, shown
from rmdnet_jax.data import lazy_images, pictures
from rmdnet_jax.data.lazy_images import LazyImages
from rmdnet_jax.data.picture_reader import progress
from rmdnet_jax.model import Model

NAME = "predictions.csv"

# Pictures that a thread decodes at a time; of fewer than the network's batch the rest is padding.
_BLOCK = 256

_SUFFIXES = ", ".join(pictures.SUFFIXES)

# path, predicted_class, probability, error
_Row = tuple[str, str, str, str]


def write(folder: str | Path, workdir: str | Path, to: str | Path | None = None) -> str:
    """Predicts every picture below `folder` with the model of `workdir` and writes a CSV; returns
    one line that says so, and counts what could not be read.

    Columns: path (below the folder), predicted_class, probability (of that class, in [0, 1]), error
    (why a file could not be read; the two before are then empty). Rows come in the order of the
    paths. A folder that cannot be looked into has a row with the error too, and so has a link to a
    folder that leads out of `folder` or back to where it stands; other links are followed, and
    every folder is looked into once. Files whose names are not those of pictures are counted; what
    begins with a dot is passed over. Names and paths are as text.cell makes them.

    Args:
      folder: where the pictures are.
      workdir: of a finished run with a student.
      to: the CSV; None is workdir/predictions.csv.

    Raises:
      InputError: there is no such folder, no picture in it, or no model in the workdir, or the CSV
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
    _check_writable(path)
    found = _found(folder)
    if not found.files:
        raise _no_pictures(folder, found)
    rows = _predict(model, folder, found.files)
    rows += [(file, "", "", f"its name does not end in {_SUFFIXES}") for file in found.unlike]
    broken = sum(bool(error) for *_, error in rows)
    told = f"{len(rows):,} pictures" + (f", {broken:,} of them cannot be read" if broken else "")
    told += _counted(
        len(found.unread), "cannot be looked into", "folder or link", "folders or links"
    )
    told += _counted(
        len(found.others), "passed over", "file that is no picture", "files that are no pictures"
    )
    rows += [(place, "", "", error) for place, error in found.unread.items()]
    _write(path, sorted(rows))
    return f"{told}: {shown(str(path))}"


def _check_writable(path: Path) -> None:
    """Raises InputError for a place where no CSV can be written, and leaves nothing there."""
    right = "expected --predict_to=FILE.csv, in a folder that you may write to"
    is_other = os.path.exists(path) and not os.path.isfile(path)
    if path.suffix.lower() != ".csv" or is_other:
        raise InputError(f"{str(path)!r} (--predict_to) is no CSV file; {right}")
    try:
        with tempfile.TemporaryFile(dir=os.path.dirname(os.path.realpath(path))):
            pass
    except OSError as error:
        raise InputError(f"cannot write {path} ({error.strerror}); {right}") from error


def _write(path: Path, rows: list[_Row]) -> None:
    try:
        # Who gives a link means the file that it leads to.
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
    """What lies below a folder, by path in it.

    Attributes:
      files: pictures to be read.
      unlike: pictures of kinds that are not read.
      others: files that are no pictures by their names.
      unread: folders and links that are not looked into, with the reason.
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
    """What lies below a folder; every folder, however links lead to it, is looked into once.

    Raises:
      InputError: the folder itself cannot be read.
    """
    found, seen = _Found(), set[str]()
    # To look into; links last, so that a file goes by its own path.
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
    """Why an entry is not looked into; "" for all but links that lead nowhere or astray. A link to
    a picture is followed anywhere, and is told when it is read."""
    try:
        is_folder = entry.is_dir()
    except OSError as error:  # a link in a circle, or to where nobody may look
        return f"{entry.path} cannot be read ({error.strerror})"
    if not entry.is_symlink() or (not is_folder and pictures.is_picture(entry.name)):
        return ""
    real = Path(os.path.realpath(entry.path))
    if not is_folder:
        return "" if os.path.exists(real) else f"{entry.path} is a link to nothing"
    if not real.is_relative_to(os.path.realpath(folder)):
        return f"{entry.path} is a link that leads out of {folder}"
    if Path(os.path.realpath(os.path.dirname(entry.path))).is_relative_to(real):
        return f"{entry.path} is a link to a folder that it is in"
    return ""


def _predict(model: Model, folder: Path, files: list[str]) -> list[_Row]:
    """A row a file; what cannot be read goes through the model as a black picture."""
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
    told = progress(blocks, "predicting", -(-len(files) // _BLOCK))
    probabilities = itertools.chain.from_iterable(map(model.predict_proba, told))
    rows: list[_Row] = []
    for place, (file, row) in enumerate(zip(files, probabilities, strict=True)):
        if place in errors:
            rows.append((file, "", "", errors[place]))
        else:
            rows.append((file, str(model.classes[row.argmax()]), f"{row.max():.6f}", ""))
    return rows
