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
from rmdnet_jax.base.text import cut
from rmdnet_jax.data import (
    labelstudio_source,
    manifest_source,
    npz_source,
    picture_files,
    picture_sources,
    tfds_source,
)
from rmdnet_jax.data.dataset import Dataset, with_three_channels
from rmdnet_jax.data.picture_files import PictureFiles
from rmdnet_jax.machine import memory

# Extensions of files that list pictures.
_LISTS = (*manifest_source.SUFFIXES, labelstudio_source.SUFFIX)


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
      test_fraction: share of each class to test on, in (0, 1), for a folder, a manifest or a .npz
        without a test split.
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
        file = Path(os.path.expanduser(path))
        return npz_source.load(file, test_fraction, "" if name == "npz" else name)
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
