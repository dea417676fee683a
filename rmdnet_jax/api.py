"""`rmdnet_jax.fit`: trains a model on images, or feature vectors, and labels, and flags suspicious
labels, in one call."""

import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ml_collections import ConfigDict

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import brief, cut
from rmdnet_jax.config import automatic, default
from rmdnet_jax.config import checking as configuration
from rmdnet_jax.data import given_images, given_labels, picture_files
from rmdnet_jax.data.dataset import Dataset, as_images, check_images
from rmdnet_jax.data.given_images import GivenImages
from rmdnet_jax.data.picture_files import PictureFiles, Split
from rmdnet_jax.data.validation import held_out_for_testing
from rmdnet_jax.evaluation import label_issues
from rmdnet_jax.model import Model
from rmdnet_jax.runs import single

# Fields of config.dataset that apply to data in memory or in a list of paths.
_OF_DATA = tuple(
    f"dataset.{name}" for name in ("image_size", "max_broken", "cache", "memory_budget", "workers")
)


def fit(
    images: GivenImages,
    labels: npt.ArrayLike,
    fields: Mapping[str, Any] | None = None,
    *,
    test_fraction: float = 0.1,
    workdir: str | Path | None = None,
) -> Model:
    """Trains a classifier on labels of which some may be wrong, with a teacher that learns from the
    images alone or a pretrained encoder (`encoder.path`), and scores every label. Progress is
    printed on the terminal.

    Args:
      images: uint8 [N, H, W, 3] or greyscale [N, H, W], or the paths of N image files of any size,
        which are resized to squares of one size. Files that are not images are skipped and named,
        up to the share dataset.max_broken. Or feature vectors of any data, float [N, D]: of texts,
        sounds, tables, or images embedded by an encoder. Arrays may be NumPy's, JAX's, PyTorch's or
        pandas', or N of one shape in a list.
      labels: N class names, or N integers of any values, in a list, an array or a Series; none
        missing. Names that differ only by blanks around them, or by Unicode's form of the same
        characters, are one class.
      fields: values of config fields, such as {"train.epochs": 20}; other fields are chosen from
        the data (rmdnet_jax/config/automatic.py).
      test_fraction: share of each class, in (0, 1), that is held out from training to measure the
        accuracy (the agreement with the given labels). Its labels are scored too, by the
        classifier's predictions for these unseen images.
      workdir: where to store checkpoints, results and the report, so that the same call resumes
        after a stop; None stores nothing.

    Returns:
      The model. Its label_issues() cover all N labels, except those of files that were skipped.

    Raises:
      InputError: an input is invalid; nothing was written.
      DivergedError: the loss is not finite.

    Examples:
      Feature vectors of two kinds, and one wrong label:

      >>> import numpy as np
      >>> import rmdnet_jax
      >>> right = np.arange(40) % 2
      >>> vectors = np.random.default_rng(0).normal(size=(40, 3)) + 4 * right[:, None]
      >>> labels = np.array(["cat", "dog"])[right]
      >>> labels[0] = "dog"
      >>> model = rmdnet_jax.fit(vectors, labels, {"train.epochs": 20})
      data     own: 36 training and 4 test images, 3 features, 2 classes
      ...
      >>> first = model.label_issues()[0]
      >>> int(first.index), str(first.given), str(first.suggested)
      (0, 'dog', 'cat')
    """
    config = _config(fields or {})
    if workdir is None:  # they would not be shown
        config.report.tsne_points = config.report.gallery = 0
    if given_images.is_path(images):
        raise InputError(f"images is one path, {cut(images)}; expected a list of paths or an array")
    pictures = given_images.read(images)
    given = _labels(labels, len(pictures))
    classes, numbers = given_labels.numbered(given)
    if isinstance(pictures, np.ndarray):  # before the split: errors name rows of the user's array
        pictures = as_images(pictures)
        check_images(pictures, "features" if pictures.ndim == 2 else "images")
    kept, tested = _split(numbers, test_fraction)
    of_classes: dict[str, Any] = {
        "class_names": tuple(map(str, classes)),
        "class_numbers": classes if given.dtype.kind == "i" else None,
    }
    if isinstance(pictures, np.ndarray):
        if config.dataset.image_size:
            raise InputError(
                f"fields: dataset.image_size is {config.dataset.image_size} with images in memory, "
                "which are not resized; give paths, or leave it out"
            )
        data: Dataset | PictureFiles = Dataset(
            "own", pictures[kept], numbers[kept], pictures[tested], numbers[tested], {},
            train_index=kept, test_index=tested, list_size=len(numbers), **of_classes,
        )  # fmt: skip
    else:
        train, test = (
            Split([pictures[i] for i in part], numbers[part], index=part) for part in (kept, tested)
        )
        data = PictureFiles(
            "own", Path(), _place(pictures), of_classes["class_names"], train, test,
            class_numbers=of_classes["class_numbers"],
        )  # fmt: skip
        data = picture_files.look(data, config.dataset.max_broken, config.dataset.cache)
    folder = None if workdir is None else Path(os.path.expanduser(workdir))
    outcome, trained, _ = single.run(
        config, folder, "rmdnet_jax.fit(images, labels, ...)", data, fields or {}
    )
    suspicion = outcome.suspicion
    assert trained
    assert suspicion
    issues = label_issues.joined(suspicion.train, suspicion.test)
    judged = None
    if isinstance(pictures, list):
        judged = tuple(pictures[i] for i in issues.index)
    return dataclasses.replace(trained, issues=issues, files=judged)


def _config(fields: Mapping[str, Any]) -> ConfigDict:
    """The config of a run on data in memory, with the values of `fields`, checked."""
    if not isinstance(fields, Mapping) or not all(isinstance(field, str) for field in fields):
        raise InputError('fields has no field names; expected {"train.epochs": 20}, for example')
    foreign = [
        field
        for field in fields
        if field.startswith(("dataset.", "noise.")) and field not in _OF_DATA
    ]
    if foreign:
        raise InputError(
            f"fields: {cut(foreign[0], 40)} defines the source of the data, but fit is given the "
            f"data; expected {', '.join(_OF_DATA)} and the fields of training"
        )
    config = automatic.leave_open(default())
    config.dataset.name, config.noise.kind, config.tensorboard = "own", "none", False
    config = configuration.with_values(config, fields, "fields: ")
    if config.train.epochs == 0:
        raise InputError(
            "fields: train.epochs is 0, which trains no classifier; expected 1 or more"
        )
    configuration.check(config, automatic.FIELDS)  # before images are decoded with it
    return config


def _labels(labels: npt.ArrayLike, size: int) -> np.ndarray:
    """The labels of so many images: str [N] or int64 [N]."""
    given = given_labels.read(labels)
    if len(given) != size:
        raise InputError(
            f"there are {len(given):,} labels for {size:,} images; expected one per image"
        )
    if not size:
        raise InputError("no images; expected at least two of a class")
    for warning in given_labels.warnings(given):
        print(f"warning: {warning}", file=sys.stderr, flush=True)
    return given


def _split(numbers: np.ndarray, test_fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """The indices of the samples [N] to train on and of those to hold out: the same share of every
    class, and the same samples in every call."""
    if not (isinstance(test_fraction, float | np.floating) and 0 < test_fraction < 1):
        raise InputError(f"test_fraction is {brief(test_fraction)}; expected a number in (0, 1)")
    is_held = held_out_for_testing(numbers, test_fraction)
    if not is_held.any():
        raise InputError(f"{len(numbers)} images are too few; expected at least two of a class")
    return np.flatnonzero(~is_held), np.flatnonzero(is_held)


def _place(files: Sequence[str]) -> Path:
    """The name of a list of paths, also used to cache their decoded images: all files of their
    common folder."""
    folders = {os.path.dirname(os.path.abspath(file)) for file in files}
    return Path(os.path.commonpath(folders)) / "*"
