"""Data sets by name: the built-in digits, a .npz of arrays, a folder or a manifest of pictures, or
an image set of tensorflow-datasets.

All become one checked `Dataset`, in memory if it fits. Noise and augmentation are applied
elsewhere.
"""

import functools
import os
from pathlib import Path

import numpy as np

from rmdnet_jax.base import paths
from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import cut, shown
from rmdnet_jax.data import (
    annotators,
    labelstudio_source,
    manifest_source,
    npy,
    picture_files,
    picture_sources,
    tfds_source,
)
from rmdnet_jax.data.cifar100_classes import CIFAR100_CLASSES
from rmdnet_jax.data.dataset import (
    NO_CLASS,
    Dataset,
    as_images,
    check_images,
    check_label_array,
    check_labels,
    check_true_labels,
    with_three_channels,
)
from rmdnet_jax.data.noise import CIFAR10_CLASSES
from rmdnet_jax.data.picture_files import PictureFiles
from rmdnet_jax.machine import memory

# Extensions of files that list pictures.
_LISTS = (*manifest_source.SUFFIXES, labelstudio_source.SUFFIX)

_NPZ_IMAGES = ("x_train", "x_test")
_NPZ_LABELS = ("y_train", "y_test")
_NPZ_TRUTH = "y_train_true"
_KNOWN_CLASSES = {
    **dict.fromkeys(("cifar10", "cifar10_n"), CIFAR10_CLASSES),
    **dict.fromkeys(("cifar100", "cifar100_n"), CIFAR100_CLASSES),
}
# The share of a machine's memory for the arrays of a .npz: training needs the rest.
_MEMORY_SHARE = 1 / 2

_NPZ_CONTENTS = (
    "expected x_train, y_train, x_test, y_test, optionally y_train_true, class_names and label "
    "sets [N]"
)


def load(
    name: str,
    path: str = "",
    train_size: int = 0,
    test_size: int = 0,
    image_size: int = 0,
    test_fraction: float = 0.2,
    max_broken: float = 0.01,
    memory_budget: float = 0.0,
    cache: str = "",
    root: str = "",
) -> Dataset:
    """Loads a data set by name and checks it: `find`, then `read`.

    Returns:
      Images uint8 [N, H, W, 3], labels int32 [N]; see `Dataset`.

    Raises:
      InputError: there is no such data set or file, or its contents cannot be trained on.
    """
    found = find(name, path, image_size, test_fraction, max_broken, cache, root)
    return read(found, train_size, test_size, image_size, max_broken, memory_budget)


def find(
    name: str,
    path: str = "",
    image_size: int | None = 0,
    test_fraction: float = 0.2,
    max_broken: float = 0.01,
    cache: str = "",
    root: str = "",
) -> Dataset | PictureFiles:
    """A data set by name, unchecked; for picture files, the list of them, not decoded yet.

    Args:
      name: 'digits' (built in), 'npz', 'folder', 'manifest', 'own' (one of the last three,
        depending on the path), or a data set of tensorflow-datasets, for example 'cifar10'.
      path: for 'npz' and 'manifest' the file, for 'folder' the folder, which gives the data set its
        name; for a tensorflow-datasets name the folder with its data sets (empty: its own default,
        ~/tensorflow_datasets) or a .npz file to read instead, which then has that name and so what
        the name implies, such as CIFAR-10's mean.
      image_size: pictures of a folder, a manifest or of tensorflow-datasets become squares of so
        many pixels; 0 leaves them as they are, and all must have one size. None is not yet known.
      test_fraction: share of a folder or a manifest without a test split to test on.
      max_broken: share of its files that may be broken; they are left out.
      cache: folder in which to keep what was read from its files; empty is none.
      root: folder that a manifest's paths are in; empty is the manifest's own.

    Raises:
      InputError: there is no such data set or file, or its contents are invalid.
    """
    if name == "own":
        name = _kind(path)
    if root and name != "manifest":
        raise InputError(
            f"dataset.root is {cut(root)}, but {cut(path or name)} is not a manifest; leave it out"
        )
    if name == "manifest":
        listed = picture_sources.of_list(path, test_fraction, cache, root)
        return picture_files.look(listed, max_broken, cache)
    if name == "folder":
        return picture_files.look(
            picture_sources.in_folder(path, test_fraction, cache), max_broken, cache
        )
    is_npz = name == "npz" or path.endswith(".npz")
    if image_size and (is_npz or name == "digits"):
        raise InputError(
            f"dataset.image_size is {image_size}, but the images of {cut(path or name)} are not "
            "resized; expected 0"
        )
    if is_npz:
        if not path:
            raise InputError("data set 'npz' has no file; expected dataset.path=FILE.npz")
        return load_npz(Path(os.path.expanduser(path)), "" if name == "npz" else name)
    if name == "digits":
        if path:
            raise InputError(
                f"dataset.path is {cut(path)}, but data set 'digits' is built in; leave it out"
            )
        return load_digits()
    return tfds_source.load(name, os.path.expanduser(path), image_size or 0)


def read(
    found: Dataset | PictureFiles,
    train_size: int = 0,
    test_size: int = 0,
    image_size: int = 0,
    max_broken: float = 0.01,
    memory_budget: float = 0.0,
) -> Dataset:
    """What `find` found, as a checked data set, in memory if it fits.

    Args:
      found: from `find`, with the same `max_broken`.
      train_size: keep the first so many training images; 0 keeps all.
      test_size: keep the first so many test images; 0 keeps all.
      image_size: as for `find`.
      max_broken: likewise.
      memory_budget: in 10**9 bytes; 0 is the default of `memory.budget`. Images that take more when
        decoded stay on disk if they are there (`LazyImages`).

    Raises:
      InputError: it cannot be trained on.
    """
    budget = memory.budget(memory_budget)
    dataset = found.subset(train_size, test_size)
    if isinstance(dataset, PictureFiles):
        dataset = dataset.decoded(image_size, max_broken, budget)
    dataset.check()
    if dataset.is_on_disk and dataset.nbytes <= budget:
        dataset = dataset.in_memory()
    return dataset


def _kind(path: str) -> str:
    """Whether a path is a folder of pictures, a manifest of them or a .npz."""
    place = Path(os.path.expanduser(path))
    if path and os.path.isdir(place):
        return "folder"
    suffix = place.suffix.lower()
    if suffix in _LISTS:
        return "manifest"
    if suffix == ".npz":
        return "npz"
    problem = "no folder or file" if not path or not os.path.exists(place) else "no data set in"
    right = f"expected a folder with one subfolder per class, a manifest ({', '.join(_LISTS)}), or "
    raise InputError(
        f"{problem} {cut(path)!r} (dataset.path); {paths.right(path, right + 'a .npz')}"
    )


@functools.cache
def load_digits() -> Dataset:
    """Scikit-learn's handwritten digits, 1,437 to train and 360 to test; needs no network.

    The 8x8 images of values 0 to 16 are scaled to 0 to 255, enlarged to 16x16 (bilinear) and
    repeated over three channels. The split is stratified and always the same. A process reads them
    once; the arrays cannot be written to.
    """
    # Imported here: scikit-learn takes a second that other data sets need not pay.
    from PIL import Image
    from sklearn.datasets import load_digits as sklearn_digits
    from sklearn.model_selection import train_test_split

    digits = sklearn_digits()
    small = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    large = [Image.fromarray(image).resize((16, 16), Image.Resampling.BILINEAR) for image in small]
    images = with_three_channels(np.stack([np.asarray(image) for image in large]))
    labels = digits.target.astype(np.int32)
    train, test = train_test_split(
        np.arange(len(labels)), test_size=360, stratify=labels, random_state=0
    )
    parts = images[train], labels[train], images[test], labels[test]
    for part in parts:
        part.setflags(write=False)
    train_images, train_labels, test_images, test_labels = parts
    return Dataset(
        name="digits",
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        label_sets={},
        class_names=tuple(str(digit) for digit in digits.target_names),
    )


def load_npz(file: Path, name: str = "") -> Dataset:
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

    Args:
      file: the file.
      name: what to call the data set; empty takes the file's name.

    Raises:
      InputError: the file or one of its arrays is missing or not as above; both are named.
    """
    place = cut(file, 70)
    arrays = npy.load_all(file, _MEMORY_SHARE * memory.host_bytes())
    _take_annotators(arrays, place)
    missing = [key for key in (*_NPZ_IMAGES, *_NPZ_LABELS) if key not in arrays]
    if missing:
        raise InputError(f"{place} has no array {', '.join(missing)}; {_NPZ_CONTENTS}")
    images = {key: as_images(arrays.pop(key)) for key in _NPZ_IMAGES}
    for key, value in images.items():
        check_images(value, f"{key} of {place}")
    given_names = arrays.pop("class_names", None)
    labels = {key: _labels(value, key, place) for key, value in arrays.items()}
    numbering = [key for key in (*_NPZ_LABELS, _NPZ_TRUTH) if key in labels]
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
        check = check_true_labels if key == _NPZ_TRUTH else check_labels
        check(labels[key], size, len(class_names), f"{key} of {place}")
    known_labels = {key: labels.pop(key).astype(np.int32) for key in numbering}
    return Dataset(
        name=shown(name or file.stem),
        train_images=images["x_train"],
        train_labels=known_labels["y_train"],
        test_images=images["x_test"],
        test_labels=known_labels["y_test"],
        true_labels=known_labels.get(_NPZ_TRUTH),
        label_sets={
            key: _label_set(value, len(images["x_train"]), f"{key} of {place}")
            for key, value in labels.items()
        },
        class_names=class_names,
    )


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
    if labels.ndim != 1 and key not in _NPZ_LABELS:
        raise InputError(
            f"{place} has an unknown array {cut(key, 30)} {labels.shape}; {_NPZ_CONTENTS}"
        )
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
