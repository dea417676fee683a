"""What every source returns: a data set of images, or of feature vectors in their place, and int32
labels, checked once."""

import dataclasses
import functools
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import cut
from rmdnet_jax.data import lazy_images
from rmdnet_jax.data.lazy_images import Images, LazyImages
from rmdnet_jax.data.open_pool import Pool

# Means and standard deviations of the training images, in [0, 1] (SPEC of the data sets' authors
# and of the noisy-label literature). Other data sets' are computed.
_MEAN_STD = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}


# Above so many bytes (decoded), statistics of the training images do not read all of them. A data
# set has to give the same in memory as on disk, so this does not depend on the memory's size.
_LARGE = 4 << 30

# How many images of a large set, evenly spaced, its mean and standard deviation are computed from:
# the mean of ImageNet is then accurate to 0.003.
_SAMPLE = 10_000


#: The true label of an image that shows none of the classes (open-set noise).
NO_CLASS = -1

# Feature vectors that are checked together.
_CHECKED = 4096

# Noise and mistakes are reported as matrices of C x C classes, 0.8 GB each with so many.
_MOST_CLASSES = 10_000


@dataclasses.dataclass(frozen=True)
class SkippedFile:
    """A file, or a folder of them, that is left out of a data set.

    Attributes:
      path: as the user knows it.
      reason: why.
      is_picture: whether it is a picture by its name or by a list of the user's, and so a picture
        that is lost. Only these count towards dataset.max_broken.
    """

    path: str
    reason: str
    is_picture: bool = True


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Images, in memory or on disk, with their labels. All that is said about images holds for
    feature vectors, which take their place if the data is not pictures, or was encoded.

    Attributes:
      name: what the source calls it.
      train_images: uint8 [N, H, W, 3], or float32 [N, D].
      train_labels: int32 [N], the source's labels, taken to be true unless there are `true_labels`.
      test_images: uint8 [M, H, W, 3], or float32 [M, D].
      test_labels: int32 [M].
      label_sets: further labels of the training images (human labels, for example), int32 [N] by
        field name.
      class_names: one name per class; their number is the number of classes.
      train_digests, test_digests: uint8 [N, 16] and [M, 16], a hash of what each image is decoded
        from, or None if the source has none.
      true_labels: int32 [N], if the source knows both `train_labels` and the right ones; NO_CLASS
        for an image that shows none of the classes. Given labels and test labels are always
        classes.
      train_files, test_files: the path of each image as the user knows it, or None.
      train_index, test_index: int64 [N] and [M], ascending, the position of each image in what the
        user gave; None is 0 to N - 1 and 0 to M - 1.
      list_size: number of images in the one list of both splits that these are positions in
        (rmdnet_jax.fit, a .npz without a test split); None: each split has its own list.
      class_numbers: the user's own integers for the classes; None: classes go by name.
      tests_truth: whether test_labels are known to be true; None: if the training images' are.
      skipped_files: what the source found and could not use.
      not_cached: why decoded pictures are not cached, although a cache was requested.
      originals: side -> the pictures of both splits as squares of so many pixels, read again from
        their files; None: there is nothing beyond the images.
      pool: the training images of classes that were left out, which show none of those that stay.
      changes: what was left out of the data, added to it, or read differently from how the source
        has it, one line each.
      train_sizes, test_sizes: int32 [N, 2] and [M, 2], height and width of the pictures before they
        were resized, or None if the source does not say.

    Examples:
      >>> import numpy as np
      >>> from rmdnet_jax.data.dataset import Dataset
      >>> images, labels = np.zeros((6, 8, 8, 3), np.uint8), np.arange(6) % 2
      >>> train, test = (images[:4], labels[:4]), (images[4:], labels[4:])
      >>> data = Dataset("pets", *train, *test, {}, ("cat", "dog"))
      >>> data.num_classes
      2
    """

    name: str
    train_images: Images
    train_labels: np.ndarray
    test_images: Images
    test_labels: np.ndarray
    label_sets: Mapping[str, np.ndarray]
    class_names: tuple[str, ...]
    train_digests: np.ndarray | None = None
    test_digests: np.ndarray | None = None
    true_labels: np.ndarray | None = None
    train_files: tuple[str, ...] | None = None
    test_files: tuple[str, ...] | None = None
    train_index: np.ndarray | None = None
    test_index: np.ndarray | None = None
    list_size: int | None = None
    class_numbers: tuple[int, ...] | None = None
    tests_truth: bool | None = None
    skipped_files: tuple[SkippedFile, ...] = ()
    not_cached: str = ""
    originals: Callable[[int], tuple[Images, Images]] | None = None
    train_sizes: np.ndarray | None = None
    test_sizes: np.ndarray | None = None
    pool: Pool | None = None
    changes: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        """Number of classes C; labels lie in [0, C)."""
        return len(self.class_names)

    @property
    def truth(self) -> np.ndarray:
        """int32 [N], the true labels of the training images, or those that are taken as true."""
        return self.train_labels if self.true_labels is None else self.true_labels

    @property
    def train_places(self) -> np.ndarray:
        """int64 [N], `train_index`, or 0 to N - 1."""
        return np.arange(len(self.train_labels)) if self.train_index is None else self.train_index

    @property
    def test_places(self) -> np.ndarray:
        """int64 [M], `test_index`, or 0 to M - 1."""
        return np.arange(len(self.test_labels)) if self.test_index is None else self.test_index

    @property
    def in_one_list(self) -> bool:
        """Whether `train_index` and `test_index` are positions in one list of both splits."""
        return self.list_size is not None

    @property
    def are_pictures(self) -> bool:
        """Whether the images are pictures, not feature vectors."""
        return self.train_images.ndim == 4

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(H, W, 3) of pictures, (D,) of feature vectors."""
        return self.train_images.shape[1:]

    @property
    def nbytes(self) -> int:
        """Size of all images in bytes, decoded."""
        return self.train_images.nbytes + self.test_images.nbytes

    @property
    def is_on_disk(self) -> bool:
        """Whether training images are decoded as they are read."""
        return isinstance(self.train_images, LazyImages)

    def in_memory(self) -> "Dataset":
        """The same data with every image decoded."""
        return dataclasses.replace(
            self,
            train_images=lazy_images.decoded(self.train_images),
            test_images=lazy_images.decoded(self.test_images),
        )

    def check(self) -> "Dataset":
        """Returns the data set itself if it can be trained on; raises InputError if not."""
        for split, images in (("train", self.train_images), ("test", self.test_images)):
            check_images(images, f"{split} images of {self.name}")
            if not len(images):
                raise InputError(f"no {split} images in {self.name}; expected at least one")
            for what in ("files", "digests", "sizes", "index"):
                of_each = getattr(self, f"{split}_{what}")
                if of_each is not None and len(of_each) != len(images):
                    raise InputError(
                        f"{split}_{what} of {self.name} has {len(of_each):,} entries for "
                        f"{len(images):,} {split} images; expected one for each"
                    )
        if self.test_images.shape[1:] != self.image_shape:
            raise InputError(
                f"test images of {self.name} have shape {self.test_images.shape[1:]}, "
                f"train images {self.image_shape}; expected the same shape"
            )
        if self.num_classes == 1:
            raise InputError(
                f"{self.name} has only one class, {cut(self.class_names[0])!r}; expected two or "
                "more"
            )
        if self.num_classes > _MOST_CLASSES:
            raise InputError(
                f"{self.name} has {self.num_classes:,} classes; expected up to {_MOST_CLASSES:,} "
                "(is its label the number of an image?)"
            )
        for name, count in Counter(self.class_names).items():
            if count > 1 or not name.strip():
                raise InputError(
                    f"{self.name} has {count:,} classes with the name {cut(name, 60)!r}; expected "
                    "unique names that are not blank"
                )
        self.check_training_labels(self.train_labels, "train labels")
        for field, values in self.label_sets.items():  # values matter only when trained on
            check_label_array(values, len(self.train_images), f"{field} of {self.name}")
        if self.true_labels is not None:
            where = f"true labels of {self.name}"
            check_true_labels(self.true_labels, len(self.train_images), self.num_classes, where)
        where = f"test labels of {self.name}"
        check_labels(self.test_labels, len(self.test_images), self.num_classes, where)
        return self

    def check_training_labels(self, labels: np.ndarray, what: str) -> None:
        """Raises InputError unless these can be trained on: int [N], with every class in them.

        Args:
          labels: the training labels, or one of `label_sets`, which are not checked until they are
            trained on.
          what: what to call them.
        """
        where = f"{what} of {self.name}"
        check_labels(labels, len(self.train_images), self.num_classes, where)
        counts = np.bincount(labels.astype(np.int32), minlength=self.num_classes)
        if not counts.all():
            empty = int(np.argmin(counts))
            tested = np.flatnonzero(self.test_labels == empty)
            row = f", and test image {tested[0]:,} has it" if len(tested) else ""
            raise InputError(
                f"class {empty} ({cut(self.class_names[empty])}) is empty in the {where}{row}; "
                "expected at least one image for every class from 0 to "
                f"{self.num_classes - 1}"
            )

    def mean_std(self) -> tuple[np.ndarray, np.ndarray]:
        """Per-channel mean and standard deviation of the training images in [0, 1], float32 [3];
        per feature for vectors, float32 [D].

        Those of CIFAR are from the literature; for more than 4 GiB, they are computed from 10,000
        images.
        """
        if self.name in _MEAN_STD and self.are_pictures:
            mean, std = _MEAN_STD[self.name]
            return np.asarray(mean, np.float32), np.asarray(std, np.float32)
        return self._computed_mean_std

    @functools.cached_property
    def _computed_mean_std(self) -> tuple[np.ndarray, np.ndarray]:
        return mean_std_of(self.train_images)

    def subset(self, train_size: int, test_size: int, skip: int = 0) -> "Dataset":
        """The first images of each split, for the training images after the first `skip`; a size of
        0 means all of them.

        Raises:
          InputError: a size is negative or larger than the split.
        """
        train, test = first(
            len(self.train_images), len(self.test_images), train_size, test_size, skip, self.name
        )
        return self.take(train).take_test(test)

    def knows_tests(self, true: np.ndarray | None) -> bool:
        """Whether the test labels are true. Unless the source states it, they are if and only if
        true labels of the training images, `true`, are known."""
        return true is not None if self.tests_truth is None else self.tests_truth

    def take(self, key: slice | np.ndarray) -> "Dataset":
        """The same data with some of its training images: a slice or an array of indices."""

        def part(array: np.ndarray | None) -> np.ndarray | None:
            return None if array is None else array[key]

        return dataclasses.replace(
            self,
            train_images=lazy_images.subset(self.train_images, key),
            train_labels=self.train_labels[key],
            label_sets={field: labels[key] for field, labels in self.label_sets.items()},
            train_digests=part(self.train_digests),
            train_sizes=part(self.train_sizes),
            true_labels=part(self.true_labels),
            train_index=self.train_places[key],
            train_files=files_of(self.train_files, key),
            originals=None,
        )

    def take_test(self, key: slice | np.ndarray) -> "Dataset":
        """The same data with some of its test images: a slice or an array of indices."""
        return dataclasses.replace(
            self,
            test_images=lazy_images.subset(self.test_images, key),
            test_labels=self.test_labels[key],
            test_digests=None if self.test_digests is None else self.test_digests[key],
            test_sizes=None if self.test_sizes is None else self.test_sizes[key],
            test_files=files_of(self.test_files, key),
            test_index=self.test_places[key],
            originals=None,
        )

    def squares(self, side: int) -> tuple[Images, Images]:
        """The training and test pictures as squares of so many pixels, from the best available
        resolution, for an encoder: uint8 [N, side, side, 3] and [M, side, side, 3], not computed
        yet."""
        if self.originals:
            return self.originals(side)
        train, test = (
            lazy_images.squares(images, side) for images in (self.train_images, self.test_images)
        )
        return train, test

    def with_features(self, train: np.ndarray, test: np.ndarray) -> "Dataset":
        """The same data with float32 [N, D] and [M, D] in place of its images."""
        return dataclasses.replace(
            self, train_images=train, test_images=test, train_digests=None, test_digests=None,
            originals=None,
        )  # fmt: skip

    def images_fingerprint(self) -> str:
        """SHA-256 of the training images: a teacher belongs to the images it was trained on.

        Above 4 GiB, what they are decoded from (`train_digests`) is hashed instead of the pixels.
        """
        return self._fingerprint

    @functools.cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256(repr(self.train_images.shape).encode())
        if self.train_images.nbytes > _LARGE and self.train_digests is not None:
            digest.update(np.ascontiguousarray(self.train_digests).data)
        else:
            for block in lazy_images.blocks(self.train_images):
                digest.update(np.ascontiguousarray(block).data)
        return digest.hexdigest()

    def fingerprint_of_all(self) -> str:
        """SHA-256 that identifies these images, training and test.

        For test images on disk, what they are decoded from (`test_digests`) is hashed instead of
        the pixels, if the source has it.
        """
        return self._fingerprint_of_all

    @functools.cached_property
    def _fingerprint_of_all(self) -> str:
        digest = hashlib.sha256(self.images_fingerprint().encode())
        digest.update(repr(self.test_images.shape).encode())
        if self.is_on_disk and self.test_digests is not None:
            digest.update(np.ascontiguousarray(self.test_digests).data)
        else:
            for block in lazy_images.blocks(self.test_images):
                digest.update(np.ascontiguousarray(block).data)
        return digest.hexdigest()


def mean_std_of(images: Images) -> tuple[np.ndarray, np.ndarray]:
    """What `Dataset.mean_std` computes for a data set without a known name: float32 [3] or [D], all
    std > 0.

    Args:
      images: uint8 [N, H, W, 3] or float32 [N, D]; at least one.
    """
    if images.nbytes > _LARGE:
        images = lazy_images.subset(images, slice(None, None, -(-len(images) // _SAMPLE)))
    if images.ndim == 2:
        size = len(images)
        mean = sum(block.sum(axis=0, dtype=np.float64) for block in lazy_images.blocks(images))
        mean = mean / size
        variance = sum(((block - mean) ** 2).sum(axis=0) for block in lazy_images.blocks(images))
        std = np.sqrt(variance / size)
    else:
        # Through a histogram: exact, and without a float copy of the images.
        values = np.arange(256) / 255
        counts = np.zeros((3, 256), np.int64)
        for block in lazy_images.blocks(images):
            counts += [np.bincount(block[..., c].ravel(), minlength=256) for c in range(3)]
        share = counts / counts.sum(axis=1, keepdims=True)
        mean = share @ values
        std = np.sqrt((share * (values - mean[:, None]) ** 2).sum(axis=1))
    # A constant channel has nothing to scale: 1 keeps it finite.
    return mean.astype(np.float32), np.where(std > 0, std, 1).astype(np.float32)


def first(
    train: int, test: int, train_size: int, test_size: int, skip: int, name: str
) -> tuple[slice, slice]:
    """The slices of the first `train_size` of `train` images, after the first `skip`, and of the
    first `test_size` of `test`; a size of 0 is all.

    Raises:
      InputError: the splits of `name` do not have so many images.
    """
    if not (skip == 0 or 0 < skip < train):
        raise InputError(f"skip is {skip} for {name}; expected 0 (none) to {train - 1}")
    for field, size, available in (
        ("train_size", train_size, train - skip),
        ("test_size", test_size, test),
    ):
        if not 0 <= size <= available:
            raise InputError(f"{field} is {size} for {name}; expected 0 (all) to {available}")
    return slice(skip, skip + train_size if train_size else None), slice(test_size or None)


def files_of(files: tuple[str, ...] | None, key: slice | np.ndarray) -> tuple[str, ...] | None:
    """Some of the paths of images, if they have any: a slice or an array of indices."""
    return None if files is None else tuple(files[i] for i in np.arange(len(files))[key])


def with_three_channels(images: np.ndarray) -> np.ndarray:
    """Greyscale [N, H, W] or [N, H, W, 1] repeated to [N, H, W, 3]; other shapes unchanged."""
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim == 4 and images.shape[-1] == 1:
        return np.repeat(images, 3, axis=-1)
    return images


def as_images(array: np.ndarray) -> np.ndarray:
    """An array as a data set has it: images with three channels, feature vectors as float32;
    anything else unchanged."""
    if array.ndim == 2 and array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # values beyond float32 are reported as not finite
            return array.astype(np.float32)
    return with_three_channels(array)


def check_images(images: Images, where: str) -> None:
    """Raises InputError unless `images` is uint8 [N, H, W, 3] with sides of at least 8 pixels, or
    finite float32 [N, D] with two features or more."""
    if isinstance(images, np.ndarray) and images.ndim == 2:
        check_features(images, where)
        return
    if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[-1] != 3:
        raise InputError(
            f"{where} have shape {images.shape}; expected [N, height, width, 3], as from "
            "x.transpose(0, 2, 3, 1)"
        )
    if images.ndim != 4 or images.shape[-1] != 3:
        raise InputError(
            f"{where} have shape {images.shape}; expected [N, height, width, 3] for images, or "
            "[N, D] for feature vectors"
        )
    if images.dtype != np.uint8:
        hint = ', as from (x * 255).round().astype("uint8")' if _is_scaled(images) else ""
        raise InputError(f"{where} are {images.dtype}; expected uint8 from 0 to 255{hint}")
    if min(images.shape[1:3]) < 8:
        raise InputError(f"{where} have {images.shape[1:3]} pixels; expected at least 8x8")


def _is_scaled(images: Images) -> bool:
    """Whether these are floats in [0, 1]."""
    if not isinstance(images, np.ndarray) or images.dtype.kind != "f" or not images.size:
        return False
    return bool(images.min() >= 0 and images.max() <= 1)  # False for NaN


def check_features(features: np.ndarray, where: str) -> None:
    """Raises InputError unless `features` is finite float32 [N, D] with D of 2 or more."""
    if features.dtype != np.float32:
        raise InputError(f"{where} are {features.dtype} {features.shape}; expected float32 [N, D]")
    if features.shape[1] < 2:
        raise InputError(f"{where} have {features.shape[1]} feature; expected two or more")
    for start in range(0, len(features), _CHECKED):
        is_finite = np.isfinite(features[start : start + _CHECKED]).all(axis=1)
        if not is_finite.all():
            row = start + int(is_finite.argmin())
            raise InputError(
                f"{where} have values that are not finite as float32, first in row {row}; expected "
                "finite numbers"
            )


def check_labels(labels: np.ndarray, size: int, num_classes: int, where: str) -> None:
    """Raises InputError unless `labels` is int [size] with values in [0, num_classes)."""
    check_label_array(labels, size, where)
    if size and (labels.min() < 0 or labels.max() >= num_classes):
        raise InputError(
            f"{where} range from {labels.min()} to {labels.max()}; "
            f"expected 0 to {num_classes - 1} ({num_classes} classes)"
        )


def check_true_labels(labels: np.ndarray, size: int, num_classes: int, where: str) -> None:
    """Raises InputError unless `labels` is int [size] with values in [0, num_classes), or NO_CLASS,
    and at least one image shows a class."""
    check_label_array(labels, size, where)
    if size and (labels.min() < NO_CLASS or labels.max() >= num_classes):
        raise InputError(
            f"{where} range from {labels.min()} to {labels.max()}; expected 0 to {num_classes - 1} "
            f"({num_classes} classes), or {NO_CLASS} for none of them"
        )
    if size and labels.max() == NO_CLASS:
        raise InputError(
            f"{where} are all {NO_CLASS}, none of the classes; expected at least one class"
        )


def check_label_array(labels: np.ndarray, size: int, where: str) -> None:
    """Raises InputError unless `labels` is int [size], of any values."""
    if labels.dtype.kind not in "iu":  # NumPy counts time differences as integers, too
        raise InputError(f"{where} are {labels.dtype}; expected integers from 0")
    if labels.shape != (size,):
        raise InputError(f"{where} have shape {labels.shape}; expected one per image, ({size},)")
