"""What a trained model says of a folder of new pictures: predictions.csv."""

import csv
import itertools
import os
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


def write(folder: str | Path, workdir: str | Path) -> str:
    """Predicts every picture below `folder` with the model of `workdir` and writes
    workdir/predictions.csv; returns one line that says so.

    Columns: path (below the folder), predicted_class, probability (of that class, in [0, 1]), error
    (why a file could not be read; the two before are then empty). Rows come in the order of the
    paths. Files whose names are not those of pictures, or begin with a dot, are passed over. Names
    and paths are as names.cell makes them.

    Raises:
      InputError: there is no such folder, no picture in it, or no model in the workdir.
    """
    given, path = os.fspath(folder), Path(workdir) / NAME
    folder = Path(os.path.expanduser(given))
    if not given or not os.path.isdir(folder):
        raise InputError(f"no folder {given!r} (--predict); right is a folder of pictures")
    model = Model.load(workdir)
    if model.picture_shape is None:
        raise InputError(
            f"the model in {workdir} reads feature vectors, not pictures (--predict); right is "
            "Model.load(...).predict(features)"
        )
    files = sorted(_pictures(folder))
    if not files:
        suffixes = ", ".join(pictures.SUFFIXES)
        raise InputError(f"no pictures below {folder} (--predict); right are files in {suffixes}")
    rows = _predict(model, folder, files)
    with open_atomic(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "predicted_class", "probability", "error"))
        writer.writerows(map(cell, row) for row in rows)
    broken = sum(bool(error) for *_, error in rows)
    note = f", {broken:,} of them cannot be read" if broken else ""
    return f"{len(rows):,} pictures{note}: {shown(str(path))}"


def _pictures(folder: Path) -> Iterator[str]:
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if name.lower().endswith(pictures.SUFFIXES) and not name.startswith("."):
                yield os.path.relpath(os.path.join(place, name), folder)


def _predict(model: Model, folder: Path, files: list[str]) -> list[tuple[str, str, str, str]]:
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
    rows = []
    for place, (file, row) in enumerate(zip(files, probabilities, strict=True)):
        if place in errors:
            rows.append((file, "", "", errors[place]))
        else:
            rows.append((file, str(model.classes[row.argmax()]), f"{row.max():.6f}", ""))
    return rows
