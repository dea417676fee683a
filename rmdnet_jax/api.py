"""`rmdnet_jax.fit`: images and labels in, a model and the labels to doubt out, in one call."""

import dataclasses
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rmdnet_jax import automatic, experiment
from rmdnet_jax import config as configuration
from rmdnet_jax.data import pictures
from rmdnet_jax.data.dataset import Dataset, SkippedFile, with_three_channels
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
        become squares of one. Files that are no pictures are left out and named, up to the share
        dataset.max_broken.
      labels: N class names, or N integers of any values.
      fields: values of config fields, {"rgrl.epochs": 20} say; those that are not given are chosen
        from the data (rmdnet_jax/automatic.py).
      held_out: share of each class, in (0, 1), that training does not see and the accuracy (the
        agreement with the given labels) is measured on. Its labels are judged like all others.
      workdir: where to keep checkpoints, results and the report, so that the same call goes on
        where it was stopped; None keeps nothing.

    Returns:
      The model. Its label_issues() are of all N labels, but those of files that were left out.

    Raises:
      InputError: something given cannot be used; nothing was written.
      DivergedError: the loss is not finite.
    """
    config = automatic.leave_open(configuration.default())
    config.noise.kind, config.tensorboard = "none", False
    if workdir is None:  # nobody would see them
        config.report.tsne_points = config.report.gallery = 0
    config = configuration.with_values(config, fields or {}, "fields: ")
    if np.shape(labels) != (len(images),):
        raise InputError(
            f"labels have shape {np.shape(labels)} with {len(images)} images; right is one an image"
        )
    if not len(images):
        raise InputError("no images; right is two of a class, at least")
    files = None if isinstance(images, np.ndarray) else tuple(map(str, images))
    pixels, skipped = _pixels(images, config.dataset.image_size, config.dataset.max_broken)
    config.dataset.image_size = 0  # of what is in memory nothing is resized any more
    usable = np.setdiff1d(np.arange(len(images)), list(skipped))
    files = files and tuple(files[i] for i in usable)
    classes, numbers = np.unique(np.asarray(labels)[usable], return_inverse=True)
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
        skipped_files=tuple(skipped.values()),
    )
    with tempfile.TemporaryDirectory() as passing:
        folder = Path(workdir or passing)
        experiment.run(config, folder, "rmdnet_jax.fit(images, labels, ...)", data)
        trained = Model.load(folder)
        of_tested, _ = label_issues.read_csv(folder / "test_label_issues.csv")
    assert trained.issues
    issues = label_issues.joined(
        dataclasses.replace(trained.issues, index=usable[kept[trained.issues.index]]),
        dataclasses.replace(of_tested, index=usable[tested[of_tested.index]]),
    )
    return dataclasses.replace(trained, classes=tuple(classes.tolist()), issues=issues, files=files)


def _split(numbers: np.ndarray, held_out: float) -> tuple[np.ndarray, np.ndarray]:
    """Which of the samples [N] to train on and which to hold out: the same share of every class,
    the same samples at every call."""
    if not 0 < held_out < 1:
        raise InputError(f"held_out is {held_out}; right is in (0, 1)")
    draw = np.random.default_rng(0).random(len(numbers))
    is_held = np.zeros(len(numbers), bool)
    for number in np.unique(numbers):
        members = np.flatnonzero(numbers == number)
        count = min(max(round(held_out * len(members)), 1), len(members) - 1)
        is_held[members[np.argsort(draw[members])[:count]]] = True
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
    files = list(map(str, images))
    skipped: dict[int, SkippedFile] = {}

    def each(read: Callable[[str], Any]) -> list:
        """What `read` makes of every file that is not skipped."""
        made = []
        for row, file in enumerate(files):
            if row not in skipped:
                try:
                    made.append(read(file))
                except pictures.BrokenPicture as error:
                    skipped[row] = SkippedFile(file, error.reason)
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
