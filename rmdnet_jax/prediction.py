"""What a trained model says of a folder of new pictures: predictions.csv."""

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rmdnet_jax.atomic import open_atomic
from rmdnet_jax.data import pictures
from rmdnet_jax.errors import InputError
from rmdnet_jax.model import Model

NAME = "predictions.csv"

# Pictures in memory at a time.
_BLOCK = 1024


def write(folder: str | Path, workdir: str | Path) -> str:
    """Predicts every picture below `folder` with the model of `workdir` and writes
    workdir/predictions.csv; returns one line that says so.

    Columns: path (below the folder), predicted_class, probability (of that class, in [0, 1]), error
    (why a file could not be read; the two before are then empty). Rows come in the order of the
    paths. Files whose names are not those of pictures, or begin with a dot, are passed over.

    Raises:
      InputError: there is no such folder, no picture in it, or no model in the workdir.
    """
    folder, path = Path(folder).expanduser(), Path(workdir) / NAME
    if not folder.is_dir():
        raise InputError(f"no folder {str(folder)!r} (--predict); right is a folder of pictures")
    model = Model.load(workdir)
    files = sorted(_pictures(folder))
    if not files:
        suffixes = ", ".join(pictures.SUFFIXES)
        raise InputError(f"no pictures below {folder} (--predict); right are files in {suffixes}")
    rows = []
    for start in range(0, len(files), _BLOCK):
        rows += _predict(model, folder, files[start : start + _BLOCK])
    with open_atomic(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "predicted_class", "probability", "error"))
        writer.writerows(rows)
    broken = sum(bool(error) for *_, error in rows)
    note = f", {broken:,} of them cannot be read" if broken else ""
    return f"{len(rows):,} pictures{note}: {path}"


def _pictures(folder: Path) -> Iterator[str]:
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if name.lower().endswith(pictures.SUFFIXES) and not name.startswith("."):
                yield os.path.relpath(os.path.join(place, name), folder)


def _predict(model: Model, folder: Path, files: list[str]) -> list[tuple[str, str, str, str]]:
    images, errors = [], {}
    for file in files:
        try:
            images.append(model.read(folder / file))
        except InputError as error:
            errors[file] = str(error)
    probabilities = iter(model.predict_proba(np.stack(images)) if images else ())
    rows = []
    for file in files:
        if file in errors:
            rows.append((file, "", "", errors[file]))
        else:
            row = next(probabilities)
            rows.append((file, str(model.classes[row.argmax()]), f"{row.max():.6f}", ""))
    return rows
