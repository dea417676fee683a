"""`rmdnet_jax.fit`: images and labels in, a model and the labels to doubt out, in one call."""

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rmdnet_jax import automatic, experiment
from rmdnet_jax import config as configuration
from rmdnet_jax.data import pictures
from rmdnet_jax.data.dataset import Dataset, with_three_channels
from rmdnet_jax.data.validation import per_class
from rmdnet_jax.errors import InputError
from rmdnet_jax.evaluation import label_issues
from rmdnet_jax.model import Model

Pictures = np.ndarray | Sequence[str | Path]
Labels = np.ndarray | Sequence[str] | Sequence[int]


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
        become squares of one.
      labels: N class names, or N integers of any values.
      fields: values of config fields, {"rgrl.epochs": 20} say; those that are not given are chosen
        from the data (rmdnet_jax/automatic.py).
      held_out: share of each class, in (0, 1), that training does not see and the accuracy (the
        agreement with the given labels) is measured on. Its labels are judged like all others.
      workdir: where to keep checkpoints, results and the report, so that the same call goes on
        where it was stopped; None keeps nothing.

    Returns:
      The model. Its label_issues() are of all N labels.

    Raises:
      InputError: something given cannot be used; nothing was written.
      DivergedError: the loss is not finite.
    """
    config = automatic.leave_open(configuration.default())
    config.noise.kind, config.tensorboard = "none", False
    if workdir is None:  # nobody would see them
        config.report.tsne_points = config.report.gallery = 0
    config = configuration.with_values(config, fields or {}, "fields: ")
    classes, numbers = np.unique(np.asarray(labels), return_inverse=True)
    if numbers.shape != (len(images),):
        raise InputError(
            f"labels have shape {np.shape(labels)} with {len(images)} images; right is one an image"
        )
    files = None if isinstance(images, np.ndarray) else tuple(map(str, images))
    pixels = _pixels(images, config.dataset.image_size)
    config.dataset.image_size = 0  # of what is in memory nothing is resized any more
    kept, tested = _split(numbers, held_out)
    data = Dataset(
        name="own",
        train_images=pixels[kept],
        train_labels=numbers[kept].astype(np.int32),
        test_images=pixels[tested],
        test_labels=numbers[tested].astype(np.int32),
        label_sets={},
        class_names=tuple(map(str, classes)),
        train_files=files and tuple(files[i] for i in kept),
        test_files=files and tuple(files[i] for i in tested),
    )
    with tempfile.TemporaryDirectory() as passing:
        folder = Path(workdir or passing)
        experiment.run(config, folder, "rmdnet_jax.fit(images, labels, ...)", data)
        trained = Model.load(folder)
        of_tested, _ = label_issues.read_csv(folder / "test_label_issues.csv")
    assert trained.issues
    issues = label_issues.joined(
        dataclasses.replace(trained.issues, index=kept[trained.issues.index]),
        dataclasses.replace(of_tested, index=tested[of_tested.index]),
    )
    return dataclasses.replace(trained, classes=tuple(classes.tolist()), issues=issues, files=files)


def _split(numbers: np.ndarray, held_out: float) -> tuple[np.ndarray, np.ndarray]:
    """Which of the samples [N] to train on and which to hold out: the same share of every class,
    the same samples at every call."""
    if not 0 < held_out < 1:
        raise InputError(f"held_out is {held_out}; right is in (0, 1)")
    draw = np.random.default_rng(0).random(len(numbers))
    is_held = per_class(numbers, held_out, draw, at_least=1)
    if not is_held.any():
        raise InputError(f"{len(numbers)} images are too few; right is two of a class, at least")
    return np.flatnonzero(~is_held), np.flatnonzero(is_held)


def _pixels(images: Pictures, side: int | None) -> np.ndarray:
    """uint8 [N, H, W, 3]: arrays as they are, files as squares of `side` pixels, or of a side that
    fits them where that is not given."""
    if isinstance(images, np.ndarray):
        if side:
            raise InputError(
                f"fields: dataset.image_size is {side} with images in memory, which are not "
                "resized; right is to give paths, or to leave it out"
            )
        return with_three_channels(images)
    files = list(map(str, images))
    if not side:
        short = [min(pictures.size(file, file)) for file in files]
        largest = automatic.means(jax.default_backend()).largest_side
        side = automatic.image_size(int(np.median(short)), largest)
    return np.stack([pictures.decode(file, file, (side, side, 3), resize=True) for file in files])
