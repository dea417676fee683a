"""Exports the results of a finished run for other tools: `--export=FORMAT`."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from rmdnet_jax.base.atomic import check_writable, open_atomic
from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import cut, shown
from rmdnet_jax.export import fiftyone, labelstudio, pred_probs
from rmdnet_jax.model import Model

# The file suffix of each format.
FORMATS = {"onnx": ".onnx", "fiftyone": ".json", "labelstudio": ".json", "cleanlab": ".npz"}


def write(form: str, workdir: str | Path, out: str | Path) -> str:
    """Writes the classifier of a run, or its results for the training labels; returns a one-line
    summary.

    Args:
      form: one of FORMATS. onnx is the classifier (Model.to_onnx); fiftyone and labelstudio are
        label issues of pictures in files; cleanlab is the run's pred_probs.npz.
      workdir: of a finished run with a student.
      out: the file, which is overwritten; labelstudio also writes a labelling interface beside it,
        which overwrites only such an interface.

    Raises:
      InputError: there is no such format, or no model in the workdir; the run lacks what the format
        needs; or the file cannot be written.
    """
    if form not in FORMATS:
        raise InputError(f"--export is {cut(form)!r}; expected one of {', '.join(FORMATS)}")
    workdir, path = (Path(os.path.expanduser(place)) for place in (workdir, out))
    try:
        check_writable(path, "--out", FORMATS[form])
        if form == "labelstudio":
            labelstudio.check_interface(path)
        written = {"onnx": _model, "cleanlab": _arrays}.get(form, _issues(form))(workdir, path)
    except OSError as error:
        raise InputError(f"cannot write {cut(path)} ({error.strerror}) (--out)") from error
    return f"{written}: {' and '.join(shown(str(file)) for file in _written(path, form))}"


def _written(path: Path, form: str) -> list[Path]:
    """The files of a format."""
    return [path, labelstudio.interface_of(path)] if form == "labelstudio" else [path]


def _model(workdir: Path, path: Path) -> str:
    model = Model.load(workdir)
    model.to_onnx(path)
    head = f", on features of {shown(model.encoder.path.name)}" if model.encoder else ""
    return f"a classifier of {len(model.classes)} classes{head}"


def _arrays(workdir: Path, path: Path) -> str:
    given = workdir / pred_probs.NAME
    if not given.is_file():
        Model.load(workdir)  # raises the better error if there is no run at all
        raise InputError(
            f"{cut(workdir)} has no {pred_probs.NAME} (the run is of an older version, or has too "
            "many images and classes); expected the workdir of a new run"
        )
    with open(given, "rb") as source, open_atomic(path, "wb") as copy:
        shutil.copyfileobj(source, copy)
    return "pred_probs, labels, index and class_names"


def _issues(form: str) -> Callable[[Path, Path], str]:
    def write_issues(workdir: Path, path: Path) -> str:
        model = Model.load(workdir)
        if model.issues is None or model.files is None:
            raise InputError(
                f"the label issues in {cut(workdir)} have no file paths, which --export={form} "
                "needs; expected a run on a folder or a list of pictures"
            )
        writer = fiftyone if form == "fiftyone" else labelstudio
        writer.write(path, model.issues, model.classes, model.files)
        return f"{len(model.files):,} labels"

    return write_issues
