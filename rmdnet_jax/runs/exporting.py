"""What a finished run found, written for other people's tools: `--export=FORMAT`."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from rmdnet_jax.base.atomic import open_atomic
from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import cut, shown
from rmdnet_jax.export import fiftyone, labelstudio, pred_probs
from rmdnet_jax.model import Model

# What a format's file ends with.
FORMATS = {"onnx": ".onnx", "fiftyone": ".json", "labelstudio": ".json", "cleanlab": ".npz"}


def write(form: str, workdir: str | Path, out: str | Path) -> str:
    """Writes the classifier of a run, or what it says of the training labels; returns one line that
    says so.

    Args:
      form: of FORMATS. onnx is the classifier (Model.to_onnx); fiftyone and labelstudio are label
        issues of pictures that have files; cleanlab is the run's pred_probs.npz.
      workdir: of a finished run with a student.
      out: the file, which takes the place of another; labelstudio writes a labelling interface
        beside it, which takes the place of such a one alone.

    Raises:
      InputError: there is no such format, no model in the workdir, or not what the format needs; or
        the file cannot be written.
    """
    if form not in FORMATS:
        raise InputError(f"--export is {cut(form)!r}; expected one of {', '.join(FORMATS)}")
    workdir, path = (Path(os.path.expanduser(place)) for place in (workdir, out))
    try:
        _check_writable(path, form)
        told = {"onnx": _model, "cleanlab": _arrays}.get(form, _issues(form))(workdir, path)
    except OSError as error:
        raise InputError(f"cannot write {cut(path)} ({error.strerror}) (--out)") from error
    return f"{told}: {' and '.join(shown(str(file)) for file in _written(path, form))}"


def _written(path: Path, form: str) -> list[Path]:
    """The files that a format is written to."""
    return [path, labelstudio.interface_of(path)] if form == "labelstudio" else [path]


def _check_writable(path: Path, form: str) -> None:
    """Raises InputError for a place where no such files can be written, and leaves nothing
    there."""
    suffix = FORMATS[form]
    right = f"expected --out=FILE{suffix}, in a folder that you may write to"
    is_other = os.path.exists(path) and not os.path.isfile(path)
    if path.suffix.lower() != suffix or is_other:
        raise InputError(f"{cut(path)} (--out) is no {suffix} file; {right}")
    try:
        with tempfile.TemporaryFile(dir=os.path.dirname(os.path.realpath(path))):
            pass
    except OSError as error:
        raise InputError(f"cannot write {cut(path)} ({error.strerror}); {right}") from error
    if form == "labelstudio":
        labelstudio.check_interface(path)


def _model(workdir: Path, path: Path) -> str:
    model = Model.load(workdir)
    model.to_onnx(path)
    head = f", on features of {shown(model.encoder.path.name)}" if model.encoder else ""
    return f"a classifier of {len(model.classes)} classes{head}"


def _arrays(workdir: Path, path: Path) -> str:
    given = workdir / pred_probs.NAME
    if not given.is_file():
        Model.load(workdir)  # says what is missing where there is no run
        raise InputError(
            f"{cut(workdir)} has no {pred_probs.NAME} (a run from before there was one, or of too "
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
                f"the label issues in {cut(workdir)} are of no files, which --export={form} needs; "
                "expected a run on a folder or a list of pictures"
            )
        writer = fiftyone if form == "fiftyone" else labelstudio
        writer.write(path, model.issues, model.classes, model.files)
        return f"{len(model.files):,} labels"

    return write_issues
