"""The trained classifier at config.teacher.path, read before anything is trained: the model of a
run, a saved model, an ONNX file, or a table of logits."""

import dataclasses
import json
import os
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from rmdnet_jax.base.digest import fingerprint, text_digest
from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import brief, cut, shown
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.encoders import onnx_file, opening, table_file
from rmdnet_jax.encoders.interface import Asked
from rmdnet_jax.methods.interface import Prediction
from rmdnet_jax.model import Model
from rmdnet_jax.runs import encoding
from rmdnet_jax.runs.encoding import Encoded
from rmdnet_jax.teachers.classifier import ClassifierNetwork, ClassifierTable
from rmdnet_jax.teachers.source import Trained
from rmdnet_jax.training import handover

_FIELD = "config.teacher.path"

_RIGHT = (
    "expected the workdir of a finished run, a folder written by Model.save, an .onnx classifier, "
    "or a .npy or .npz of logits"
)

# Rows whose sums are this close to 1, and without negative values, are probabilities.
_ROUNDING = 1e-3
# Lower limit of probabilities before their logarithm: the smallest normal float32.
_LEAST = float(np.finfo(np.float32).tiny)


class Said(NamedTuple):
    """A classifier's predictions for the unaugmented training and test images; those for the test
    images may be missing."""

    train: Prediction
    test: Prediction


@dataclasses.dataclass(frozen=True)
class Found:
    """The classifier at the path, for a data set.

    Attributes:
      origin, digest, accuracy, parameters: as in Trained.
      model: the network that is applied to every view; None for a table.
      said: the table, possibly with zeros until `compute` is called; None for a network.
      compute: None if everything is known.
    """

    origin: str
    digest: str
    accuracy: float | None = None
    parameters: int | None = None
    model: Model | None = None
    said: Said | None = None
    compute: Callable[[], Said] | None = None

    def finished(self) -> "Found":
        """The classifier with its actual predictions: a network now reads every image.

        Raises:
          InputError: the predictions are not logits.
        """
        if self.compute is None:
            return self
        return dataclasses.replace(self, said=self.compute(), compute=None)

    def trained(self, data: Dataset, train_rows: np.ndarray, test_rows: np.ndarray) -> Trained:
        """The teacher of a run.

        Args:
          data: the data of the run; its mean and standard deviation are those of the views.
          train_rows, test_rows: rows of its images in a table.
        """
        facts = self.origin, self.digest
        more = {"accuracy": self.accuracy, "parameters": self.parameters}
        if self.model:
            network = _network(self.model, *data.mean_std())
            return Trained(network, *facts, **more)  # type: ignore[arg-type]
        assert self.said
        test = Prediction(*(None if part is None else part[test_rows] for part in self.said.test))
        table = ClassifierTable(self.said.train).of_images(train_rows)
        return Trained(table, *facts, test, **more)  # type: ignore[arg-type]


def find(config: ConfigDict, data: Dataset, given: np.ndarray, workdir: Path | None) -> Found:
    """The classifier, as far as it can be determined without reading all images.

    Args:
      config: of the run.
      data: its images.
      given: int [N], their given labels, by which the normalisation of an ONNX file is chosen if it
        is not stated.
      workdir: where computed predictions are stored; None: nowhere.

    Raises:
      InputError: there is nothing, or it is not a classifier of these images and classes.
    """
    path = Path(os.path.expanduser(config.teacher.path))
    cache = Path(os.path.expanduser(config.encoder.cache)) if config.encoder.cache else None
    suffix = path.suffix.lower()
    if os.path.isdir(path):
        found = _of_model(path, config, data, cache, workdir)
    elif suffix in opening.TABLES:
        found = _of_table(path, data)
    elif suffix == ".onnx" and os.path.isfile(path):
        found = _of_onnx(path, data, given, cache)
    else:
        what = "no folder or file" if not os.path.exists(path) else "no classifier in"
        raise InputError(f"{what} {cut(path)} ({_FIELD}); {_RIGHT}")
    if found.model is None and config.rgrl.teacher_view != "same":
        raise InputError(
            f"config.rgrl.teacher_view is {config.rgrl.teacher_view!r} with {cut(path)}, which is "
            "only applied to unaugmented images; expected 'same'"
        )
    return found


def as_logits(rows: np.ndarray) -> tuple[np.ndarray, str]:
    """Logits float32 [N, C] of rows that may be probabilities, and which of the two they were."""
    are_probabilities = (
        len(rows) and rows.min() >= 0 and np.abs(rows.sum(axis=1) - 1).max() <= _ROUNDING
    )
    if not are_probabilities:
        return rows, "logits"
    return np.log(np.maximum(rows, _LEAST)), "probabilities"


def _of_model(
    path: Path, config: ConfigDict, data: Dataset, cache: Path | None, workdir: Path | None
) -> Found:
    where = f"{_FIELD}, {cut(path)}"
    try:
        model = Model.load(path)
    except InputError as error:
        raise InputError(f"{_FIELD}: {error}") from error
    _check_classes(model.classes, data, where)
    reads = "pictures" if model.picture_shape else f"{model.image_shape[0]} features"
    has = "pictures" if data.are_pictures else f"{data.image_shape[0]} features"
    is_same = model.image_shape == data.image_shape
    if not (is_same or (model.picture_shape and data.are_pictures)):
        raise InputError(
            f"{where}, reads {reads} and {data.name} has {has}; expected a classifier of the "
            "student's inputs, or a .npz of its logits"
        )
    accuracy = _accuracy(path)
    alone = dataclasses.replace(model, issues=None, files=None)
    origin = f"{cut(path)}: {alone!r}, trained with labels"
    if accuracy is not None:
        origin += f"; accuracy {accuracy:.1%} on its own test images"
    asked = _network(model, model.network.mean, model.network.std)
    digest = fingerprint(asked.frozen)
    facts = origin, digest, accuracy, asked.parameters
    is_seen = config.model.kind != "mlp" if data.are_pictures else True
    if is_seen and (model.encoder is None or is_same):
        return Found(*facts, model=model)

    def ask() -> dict[str, np.ndarray]:
        parts = _features(model, data, cache) or (data.train_images, data.test_images)
        return {
            f"{name}_{part}": array
            for name, said in zip(Said._fields, asked.asked(*parts), strict=True)
            for part, array in said._asdict().items()
            if array is not None
        }

    def compute() -> Said:
        of_all = text_digest(digest, data.fingerprint_of_all())
        kept = handover.kept(workdir and workdir / "teacher", f"classifier-{of_all}", ask)
        return Said(
            *(Prediction(*(kept.get(f"{name}_{part}") for part in Prediction._fields))
              for name in Said._fields)
        )  # fmt: skip

    return Found(*facts, said=_zeros(data, len(model.classes), asked.size), compute=compute)


def _features(
    model: Model, data: Dataset, cache: Path | None
) -> tuple[np.ndarray, np.ndarray] | None:
    """The images as embedded by the model's encoder; None without one."""
    encoder = model.encoder
    if encoder is None:
        return None
    source = encoding.Source(encoder.path, encoder.used, encoder, cache)
    nothing = np.zeros((0, encoder.size), np.float32)
    found = source.finished(Encoded(encoder, nothing, nothing, encoder.story), data)
    return found.train, found.test


def _of_table(path: Path, data: Dataset) -> Found:
    where = f"{_FIELD}, {cut(path)}"
    train, test = table_file.read(path, data, table_file.LOGITS)
    _check_columns(train.shape[1], data, where)
    (train, what), (test, _) = as_logits(train), as_logits(test)
    known = f"{len(train):,} training and {len(test):,} test images"
    origin = f"{cut(path)}: {what} of {known}, computed elsewhere"
    of_test = Prediction(test if len(test) else None, None)
    digest = fingerprint((train, test))
    return Found(origin, digest, said=Said(Prediction(train, None), of_test))


def _of_onnx(path: Path, data: Dataset, given: np.ndarray, cache: Path | None) -> Found:
    where = f"{_FIELD}, {cut(path)}"
    if not data.are_pictures:
        raise InputError(
            f"{where}, reads pictures and {data.name} has feature vectors; expected a .npy or .npz "
            "of its logits"
        )
    encoder = onnx_file.read(path, Asked(), data.num_classes)
    _check_columns(encoder.size, data, where)
    if names := _names(encoder.session.get_modelmeta().custom_metadata_map.get("class_names")):
        _check_classes(names, data, where)
    asked = Asked(output=encoder.output)
    source = encoding.Source(path, asked, encoder, cache)
    begun, reason = source.begun(data, given)
    assert begun.encoder
    origin = begun.story + (f" ({reason})" if reason else "")

    def compute() -> Said:
        found = source.finished(begun, data)
        parts = (as_logits(part)[0] for part in (found.train, found.test))
        return Said(*(Prediction(part, None) for part in parts))

    zeros = _zeros(data, encoder.size, 0)
    return Found(origin, begun.encoder.digest, said=zeros, compute=compute)


def _network(model: Model, mean: np.ndarray, std: np.ndarray) -> ClassifierNetwork:
    """The model as a network for views with this mean and standard deviation."""
    return ClassifierNetwork(model.network, model.weights, model.image_shape, mean, std)


def _zeros(data: Dataset, classes: int, size: int) -> Said:
    """Placeholders for predictions that are not computed yet; they take no memory."""

    def of(count: int) -> Prediction:
        zero = np.float32(0)
        embedding = np.broadcast_to(zero, (count, size)) if size else None
        return Prediction(np.broadcast_to(zero, (count, classes)), embedding)

    return Said(of(len(data.train_images)), of(len(data.test_images)))


def _names(text: str | None) -> tuple | None:
    """The class names in an ONNX file's metadata, as JSON; None if there are none."""
    try:
        names = json.loads(text or "")
    except ValueError:
        return None
    are_names = isinstance(names, list) and all(isinstance(name, str | int) for name in names)
    return tuple(names) if are_names else None


def _accuracy(workdir: Path) -> float | None:
    """The test accuracy of the run that wrote a model, as it measured it; None if it is not
    recorded."""
    try:
        found = json.loads((workdir / "results.json").read_text())["test_accuracy"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    is_share = isinstance(found, float | int) and 0 <= found <= 1
    return float(found) if is_share else None


def _values(names: tuple[str, ...]) -> tuple[Decimal | str, ...] | None:
    """The values of names that are all numbers; None if one is not."""
    try:
        values = tuple(map(Decimal, names))
    except InvalidOperation:
        return None
    return values if all(value.is_finite() for value in values) else None  # "inf" is a word


def _check_columns(columns: int, data: Dataset, where: str) -> None:
    if columns != data.num_classes:
        raise InputError(
            f"{where}, has {columns:,} classes and {data.name} has {data.num_classes:,}; expected "
            "a classifier of the same classes"
        )


def _check_classes(classes: tuple, data: Dataset, where: str) -> None:
    """Raises InputError for other classes than the data's, or another order.

    Numbers are compared by value. Plain class numbers, 0 to C - 1, of a source without names are
    assumed to be in the order of the other source's names.
    """
    _check_columns(len(classes), data, where)
    theirs, ours = (
        tuple(map(str, names)) for names in (classes, data.class_numbers or data.class_names)
    )
    one, other = _values(theirs), _values(ours)
    if one is None or other is None:
        if tuple(map(str, range(len(classes)))) in (theirs, ours):
            return
        one, other = theirs, ours
    first = next((i for i, pair in enumerate(zip(one, other, strict=True)) if len({*pair}) > 1), -1)
    if first < 0:
        return
    raise InputError(
        f"{where}: its class {first} is {brief(theirs[first])}, and that of {shown(data.name)} is "
        f"{brief(ours[first])}; expected the same classes in the same order"
    )
