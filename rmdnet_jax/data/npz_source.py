"""A .npz of images, or of feature vectors, and labels."""

import dataclasses
from pathlib import Path

import numpy as np

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import cut, shown
from rmdnet_jax.data import annotators, lazy_images, npy, validation
from rmdnet_jax.data.cifar100_classes import CIFAR100_CLASSES
from rmdnet_jax.data.dataset import (
    NO_CLASS,
    Dataset,
    as_images,
    check_images,
    check_label_array,
    check_labels,
    check_true_labels,
)
from rmdnet_jax.data.noise import CIFAR10_CLASSES
from rmdnet_jax.machine import memory

_IMAGES = ("x_train", "x_test")
_LABELS = ("y_train", "y_test")
_TRUTH = "y_train_true"
_KNOWN_CLASSES = {
    **dict.fromkeys(("cifar10", "cifar10_n"), CIFAR10_CLASSES),
    **dict.fromkeys(("cifar100", "cifar100_n"), CIFAR100_CLASSES),
}
# The share of a machine's memory for the arrays: training needs the rest.
_MEMORY_SHARE = 1 / 2
# Images that are moved together.
_MOVED = 1024

_CONTENTS = (
    "expected x_train, y_train, optionally x_test and y_test, y_train_true, class_names and label "
    "sets [N]"
)


def load(file: Path, test_fraction: float = 0.2, name: str = "") -> Dataset:
    """A data set from one .npz file, read without pickle and up to half of the host's memory.

    The arrays: x_train and x_test uint8 [N, H, W, 3], or greyscale [N, H, W] or [N, H, W, 1], or
    feature vectors float [N, D]; y_train and y_test integers [N]; optionally class_names, C
    strings, without which the largest label determines the number of classes (named as CIFAR's if
    `name` is CIFAR); optionally y_train_true, integers [N], the right labels if y_train is wrong in
    places, -1 for an image that shows none of the classes. Every other array is a label set of the
    training images, integers [N], and keeps its name; the values of its labels are checked when it
    is trained on. Labels may also be a column, [N, 1]. An array `annotators` [N, A], integers with
    -1 or floats with NaN in its gaps, becomes one label set per column, "label:0" and so on;
    without y_train their majority is used.

    Without x_test and y_test, the test fraction of each class is held out, by the positions of its
    images, and at least one of two. They are tested against their true labels if the file has
    these; images of none of the classes all stay in training.

    Args:
      file: the file.
      test_fraction: share of each class, in (0, 1), to test on if the file has no test split.
      name: what to call the data set; empty takes the file's name.

    Raises:
      InputError: the file or one of its arrays is missing or not as above; both are named.
    """
    place = cut(file, 70)
    arrays = npy.load_all(file, _MEMORY_SHARE * memory.host_bytes())
    _take_annotators(arrays, place)
    has_tests = "x_test" in arrays or "y_test" in arrays
    needed = ("x_train", "x_test", "y_train", "y_test") if has_tests else ("x_train", "y_train")
    missing = [key for key in needed if key not in arrays]
    if missing:
        raise InputError(f"{place} has no array {', '.join(missing)}; {_CONTENTS}")
    images = {key: as_images(arrays.pop(key)) for key in needed if key in _IMAGES}
    for key, value in images.items():
        check_images(value, f"{key} of {place}")
    given_names = arrays.pop("class_names", None)
    labels = {key: _labels(value, key, place) for key, value in arrays.items()}
    numbering = [key for key in (*_LABELS, _TRUTH) if key in labels]
    names = None if given_names is None else given_names.size
    _check_from_zero([labels[key] for key in numbering], names, place)
    if given_names is None:
        numbered = _numbered_classes(place, *(labels[key] for key in numbering))
        known = _KNOWN_CLASSES.get(name, ())
        class_names = known if len(known) == len(numbered) else numbered
    else:
        class_names = _class_names(given_names, f"class_names of {place}")
    for key in numbering:
        size = len(images["x_test" if key == "y_test" else "x_train"])
        check = check_true_labels if key == _TRUTH else check_labels
        check(labels[key], size, len(class_names), f"{key} of {place}")
    known_labels = {key: labels.pop(key).astype(np.int32) for key in numbering}
    train = images["x_train"]
    data = Dataset(
        name=shown(name or file.stem),
        train_images=train,
        train_labels=known_labels["y_train"],
        test_images=images.get("x_test", train[:0]),
        test_labels=known_labels.get("y_test", np.zeros(0, np.int32)),
        true_labels=known_labels.get(_TRUTH),
        label_sets={
            key: _label_set(value, len(train), f"{key} of {place}") for key, value in labels.items()
        },
        class_names=class_names,
    )
    return data if has_tests or not len(train) else _with_tests(data, test_fraction, place)


def _with_tests(data: Dataset, share: float, place: str) -> Dataset:
    """The data with a share of the training images of each class as its test images.

    Raises:
      InputError: no class has two images.
    """
    is_held = validation.held_out_for_testing(data.train_labels, share, data.truth != NO_CLASS)
    tested, kept = np.flatnonzero(is_held), np.flatnonzero(~is_held)
    if not len(tested):
        raise InputError(
            f"no class of {place} has two images that show it, of which one could be tested on; "
            "expected x_test and y_test, or more images"
        )
    images = lazy_images.decoded(data.train_images)
    test_images = images[tested]
    change = (
        f"{len(tested):,} of {len(is_held):,} images are held out for testing, as the file has no "
        "x_test (dataset.test_fraction)"
    )
    return dataclasses.replace(
        data,
        train_images=_in_front(images, kept),
        train_labels=data.train_labels[kept],
        true_labels=None if data.true_labels is None else data.true_labels[kept],
        label_sets={key: labels[kept] for key, labels in data.label_sets.items()},
        test_images=test_images,
        test_labels=data.truth[tested],
        train_index=kept,
        test_index=tested,
        list_size=len(is_held),
        changes=(change,),
    )


def _in_front(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """These rows, ascending, moved to the front of the images' own memory: a copy of most of a
    large file would need as much again."""
    for start in range(0, len(rows), _MOVED):
        part = rows[start : start + _MOVED]
        images[start : start + len(part)] = images[part]
    return images[: len(rows)]


def _take_annotators(arrays: dict[str, np.ndarray], place: str) -> None:
    """Replaces the array of several annotators' labels by label sets, and adds their majority if
    there are no other labels.

    Raises:
      InputError: they are not such labels.
    """
    if arrays.get("annotators", np.empty(0)).ndim != 2:
        return
    people = annotators.with_gaps(arrays.pop("annotators"), f"annotators of {place}")
    arrays |= {f"{annotators.PREFIX}{number}": labels for number, labels in enumerate(people.T)}
    if "y_train" not in arrays:
        names = arrays.get("class_names")
        classes = int(people.max(initial=0)) + 1 if names is None else names.size
        annotators.check(people, classes)
        arrays["y_train"], _ = annotators.majority(people, classes)


def _labels(labels: np.ndarray, key: str, place: str) -> np.ndarray:
    """An array of a .npz that must be labels, [N] or a column [N, 1], as [N]."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dtype.kind == "U":
        raise InputError(
            f"{cut(key, 30)} of {place} is text, {cut(labels.dtype, 40)}; expected integers from 0 "
            "and class_names: numpy.unique(labels, return_inverse=True) gives names and integers"
        )
    if labels.ndim != 1 and key not in _LABELS:
        raise InputError(f"{place} has an unknown array {cut(key, 30)} {labels.shape}; {_CONTENTS}")
    return labels


def _label_set(labels: np.ndarray, size: int, where: str) -> np.ndarray:
    """Labels that matter only when they are trained on, as int32 [N]: Dataset.check_training_labels
    finds a number that is not a class, even after it is clipped to int32."""
    check_label_array(labels, size, where)
    limits = np.iinfo(np.int32)
    return np.clip(labels.astype(np.float64), limits.min, limits.max).astype(np.int32)


def _numbered_classes(place: str, *label_arrays: np.ndarray) -> tuple[str, ...]:
    """'0', '1', ... up to the largest label."""
    # Labels that are not integers are ignored here; the check of each array reports them.
    integers = [labels for labels in label_arrays if labels.dtype.kind in "iu"]
    largest = max((int(labels.max()) for labels in integers if labels.size), default=-1)
    images = max(labels.size for labels in label_arrays)
    if largest >= images:
        raise InputError(
            f"labels of {place} go up to {largest} with only {images} images; "
            "expected labels from 0 to the number of classes minus 1"
        )
    return tuple(str(label) for label in range(largest + 1))


def _check_from_zero(label_arrays: list[np.ndarray], names: int | None, place: str) -> None:
    """Raises InputError if classes are numbered from 1: of all labels, none is 0.

    Args:
      label_arrays: of all splits; those that are not integers are ignored, as their own check
        reports them.
      names: the number of class names, or None if there are none.
      place: what to call the file.
    """
    values = [array[array != NO_CLASS] for array in label_arrays if array.dtype.kind in "iu"]
    values = [array for array in values if array.size]
    least = min((int(array.min()) for array in values), default=0)
    largest = max((int(array.max()) for array in values), default=0)
    # With another number of names than classes, it is these that may be wrong.
    if least == 1 and names in (None, largest):
        raise InputError(
            f"the labels of {place} go from 1 to {largest}, so that class 0 is empty; expected "
            "labels from 0: subtract 1 from the labels"
        )


def _class_names(names: np.ndarray, where: str) -> tuple[str, ...]:
    if names.ndim != 1 or names.dtype.kind != "U":
        dtype = cut(names.dtype, 40)
        raise InputError(f"{where} is {dtype} {names.shape}; expected one string per class")
    return tuple(shown(name) for name in names.tolist())
