"""`rmdnet_jax.fit`: images and labels in, a model and the labels to doubt out, in one call."""

import dataclasses
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from rmdnet_jax import automatic, experiment
from rmdnet_jax import config as configuration
from rmdnet_jax.data import pictures
from rmdnet_jax.data.dataset import Dataset, SkippedFile, with_three_channels
from rmdnet_jax.data.validation import per_class
from rmdnet_jax.errors import InputError
from rmdnet_jax.evaluation import label_issues
from rmdnet_jax.model import Model
from rmdnet_jax.training import cpu

Pictures = np.ndarray | Sequence[str | Path]
Labels = np.ndarray | Sequence[str] | Sequence[int]

# Fields of config.dataset that hold for data in memory.
_OF_DATA = ("dataset.image_size", "dataset.max_broken")


def fit(
    images: Pictures,
    labels: Labels,
    fields: Mapping[str, Any] | None = None,
    *,
    held_out: float = 0.1,
    workdir: str | Path | None = None,
) -> Model:
    """Trains a teacher on the images and a classifier on the labels, some of which may be wrong,
    and judges every label. What it does and how far it is goes to the terminal.

    Args:
      images: uint8 [N, H, W, 3] or grey [N, H, W], or the paths of N pictures of any size, which
        become squares of one. Files that are no pictures are left out and named, up to the share
        dataset.max_broken.
      labels: N class names, or N integers of any values.
      fields: values of config fields, {"rgrl.epochs": 20} say; those that are not given are chosen
        from the data (rmdnet_jax/automatic.py).
      held_out: share of each class, in (0, 1), that training does not see and the accuracy (the
        agreement with the given labels) is measured on. Its labels are judged too, by what the
        classifier says of images that it has not learned from.
      workdir: where to keep checkpoints, results and the report, so that the same call goes on
        where it was stopped; None keeps nothing.

    Returns:
      The model. Its label_issues() are of all N labels, but those of files that were left out.

    Raises:
      InputError: something given cannot be used; nothing was written.
      DivergedError: the loss is not finite.
    """
    config = _config(fields or {})
    if workdir is None:  # nobody would see them
        config.report.tsne_points = config.report.gallery = 0
    given = _labels(labels, images)
    files = None if isinstance(images, np.ndarray) else tuple(map(str, images))
    pixels, skipped = _pixels(images, config.dataset.image_size, config.dataset.max_broken)
    config.dataset.image_size = 0  # of what is in memory nothing is resized any more
    usable = np.setdiff1d(np.arange(len(images)), list(skipped))
    classes, numbers = np.unique(given[usable], return_inverse=True)
    kept, tested = _split(numbers, held_out)
    train_index, test_index = usable[kept], usable[tested]
    data = Dataset(
        name="own",
        train_images=pixels[kept],
        train_labels=numbers[kept].astype(np.int32),
        test_images=pixels[tested],
        test_labels=numbers[tested].astype(np.int32),
        label_sets={},
        class_names=tuple(map(str, classes)),
        train_files=files and tuple(files[i] for i in train_index),
        test_files=files and tuple(files[i] for i in test_index),
        train_index=train_index,
        test_index=test_index,
        class_numbers=tuple(classes.tolist()) if classes.dtype.kind == "i" else None,
        skipped_files=tuple(skipped.values()),
    )
    with tempfile.TemporaryDirectory() as passing:
        folder = Path(workdir or passing)
        experiment.run(config, folder, "rmdnet_jax.fit(images, labels, ...)", data)
        trained = Model.load(folder)
        of_tested, _ = label_issues.read_csv(folder / "test_label_issues.csv")
    assert trained.issues
    issues = label_issues.joined(trained.issues, of_tested)
    judged = files and tuple(files[i] for i in issues.index)
    return dataclasses.replace(trained, issues=issues, files=judged)


def _config(fields: Mapping[str, Any]) -> ConfigDict:
    """The config of a run on data in memory, with the values of `fields`, checked."""
    if not isinstance(fields, Mapping) or not all(isinstance(field, str) for field in fields):
        raise InputError('fields are not by their names; right is {"rgrl.epochs": 20}, say')
    foreign = [
        field
        for field in fields
        if field.startswith(("dataset.", "noise.")) and field not in _OF_DATA
    ]
    if foreign:
        raise InputError(
            f"fields: {foreign[0]} says where data comes from, which fit is given; right are "
            f"{', '.join(_OF_DATA)} and the fields of training"
        )
    config = automatic.leave_open(configuration.default())
    config.dataset.name, config.noise.kind, config.tensorboard = "own", "none", False
    config = configuration.with_values(config, fields, "fields: ")
    if config.rgrl.epochs == 0:
        raise InputError("fields: rgrl.epochs is 0, which trains no classifier; right is 1 or more")
    configuration.check(config, automatic.FIELDS)  # before pictures are decoded by it
    return config


def _labels(labels: Labels, images: Pictures) -> np.ndarray:
    """The labels [N] as strings or integers, one an image."""
    if isinstance(images, str | Path):
        raise InputError(f"images is one path, {images}; right is a list of paths or an array")
    if not hasattr(images, "__len__") or getattr(images, "ndim", 1) == 0:
        raise InputError(f"images is {type(images).__name__}; right is a list of paths or an array")
    try:
        given = np.asarray(labels)
    except ValueError as error:  # lists of several lengths
        raise InputError("labels are lists in a list; right is one label an image") from error
    if given.shape != (len(images),):
        raise InputError(
            f"labels have shape {given.shape} with {len(images)} images; right is one an image"
        )
    if not len(images):
        raise InputError("no images; right is two of a class, at least")
    if given.dtype.kind == "O" and all(isinstance(label, str) for label in given):
        given = given.astype(str)
    if given.dtype.kind not in "Uiu":
        raise InputError(
            f"labels are {given.dtype}; right is class names or integers, none missing"
        )
    return given if given.dtype.kind == "U" else given.astype(np.int64)


def _split(numbers: np.ndarray, held_out: float) -> tuple[np.ndarray, np.ndarray]:
    """Which of the samples [N] to train on and which to hold out: the same share of every class,
    the same samples at every call."""
    if not (isinstance(held_out, float | np.floating) and 0 < held_out < 1):
        raise InputError(f"held_out is {held_out!r}; right is a number in (0, 1)")
    draw = np.random.default_rng(0).random(len(numbers))
    is_held = per_class(numbers, held_out, draw, at_least=1)
    if not is_held.any():
        raise InputError(f"{len(numbers)} images are too few; right is two of a class, at least")
    return np.flatnonzero(~is_held), np.flatnonzero(is_held)


def _pixels(
    images: Pictures, side: int | None, max_broken: float
) -> tuple[np.ndarray, dict[int, SkippedFile]]:
    """uint8 [n, H, W, 3]: arrays as they are, files as squares of `side` pixels, or of a side that
    fits them where that is not given. Beside it, by their places, files that are no pictures."""
    if isinstance(images, np.ndarray):
        if side:
            raise InputError(
                f"fields: dataset.image_size is {side} with images in memory, which are not "
                "resized; right is to give paths, or to leave it out"
            )
        return with_three_channels(images), {}
    if not all(isinstance(image, str | Path) for image in images):
        raise InputError("images is a list, not of paths; right is one array of them all, or paths")
    files = list(map(str, images))
    skipped: dict[int, SkippedFile] = {}

    def each(read: Callable[[str], Any]) -> list:
        """What `read` makes of every file that is not skipped."""

        def attempt(row: int) -> Any:
            try:
                return read(files[row])
            except pictures.BrokenPicture as error:
                return SkippedFile(files[row], error.reason)

        rows = [row for row in range(len(files)) if row not in skipped]
        with ThreadPoolExecutor(cpu.cores()) as pool:  # Pillow lets go of Python's lock
            found = dict(zip(rows, pool.map(attempt, rows), strict=True))
        broken = {row: x for row, x in found.items() if isinstance(x, SkippedFile)}
        skipped.update(sorted(broken.items()))
        made = [x for row, x in found.items() if row not in broken]
        if len(skipped) > max_broken * len(files):
            first = next(iter(skipped.values()))
            raise InputError(
                f"{len(skipped):,} of {len(files):,} files cannot be used (first {first.path}: "
                f"{first.reason}), which is more than dataset.max_broken, {max_broken:g}; right is "
                "to leave them out, or a larger share in fields"
            )
        return made

    if not side:
        short = each(lambda file: min(pictures.size(file, file)))
        largest = automatic.means(jax.default_backend()).largest_side
        side = automatic.image_size(int(np.median(short)), largest)
    shape = side, side, 3
    return np.stack(each(lambda file: pictures.decode(file, file, shape, resize=True))), skipped
