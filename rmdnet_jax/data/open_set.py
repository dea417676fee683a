"""Open-set noise: images that show none of the classes, but are labelled as some. They come from
classes that are left out of the data, or from another source, and follow its own images.

The labels of the data's own images are made wrong in labels.py.
"""

import dataclasses

import numpy as np

from rmdnet_jax.base.digest import content_digests
from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import listed
from rmdnet_jax.data import dataset as datasets
from rmdnet_jax.data import lazy_images, noise, open_source
from rmdnet_jax.data.dataset import NO_CLASS, Dataset
from rmdnet_jax.data.lazy_images import Images
from rmdnet_jax.data.open_pool import Pool
from rmdnet_jax.data.picture_files import PictureFiles

_KIND = "universal"

# Streams of the generator of open-set noise: which images, and with which labels.
_WHICH, _LABELS = 0, 1

_MOST_NAMED = 5


def share(kind: str, rate: float, rho2: float, open_share: float) -> float:
    """The share of open images among all training images, in [0, 1), that a noise requires.

    Args:
      kind: one of noise.KINDS, or "human".
      rate: for kind "universal", rho1, the share of wrong labels among all.
      rho2: for kind "universal", the share of open images among the wrong labels.
      open_share: for every other kind.

    Raises:
      InputError: every image would be open, or `open_share` is given to kind "universal".
    """
    if kind != _KIND:
        return open_share
    if open_share:
        raise InputError(
            f"noise.open_share is {open_share} with noise.kind = {_KIND!r}, whose open share is "
            "rate * rho2; expected 0"
        )
    return noise.open_rate(rate, rho2)


def count(known: int, open_share: float) -> int:
    """How many open images have to be added to `known` images of known classes, so that they are
    the share `open_share` of all, in [0, 1)."""
    return round(known * open_share / (1 - open_share))


def chosen(
    found: Dataset | PictureFiles,
    classes: tuple[int, ...],
    skip: int,
    train_size: int,
    test_size: int,
) -> Dataset | PictureFiles:
    """The first images of each split that are not labelled as one of `classes`, for the training
    images after the first `skip`; and all that are, which `without_classes` removes once they are
    decoded.

    Raises:
      InputError: there are not so many, or there are no such classes.
    """
    if not classes:
        return found.subset(train_size, test_size, skip)
    check_classes(classes, len(found.class_names), found.name)
    given, tested = _given(found)
    is_left, is_tested_left = np.isin(given, classes), np.isin(tested, classes)
    known, test = np.flatnonzero(~is_left), np.flatnonzero(~is_tested_left)
    kept, held = datasets.first(len(known), len(test), train_size, test_size, skip, found.name)
    rows = np.union1d(known[kept], np.flatnonzero(is_left))
    test_rows = np.union1d(test[held], np.flatnonzero(is_tested_left))
    if isinstance(found, PictureFiles):
        return dataclasses.replace(
            found, train=found.train.take(rows), test=found.test.take(test_rows)
        )
    return found.take(rows).take_test(test_rows)


def known_images(found: Dataset | PictureFiles, classes: tuple[int, ...]) -> int:
    """How many training images are not labelled as one of `classes`."""
    return int(np.count_nonzero(~np.isin(_given(found)[0], classes)))


def _given(found: Dataset | PictureFiles) -> tuple[np.ndarray, np.ndarray]:
    """The source's labels of both splits."""
    if isinstance(found, PictureFiles):
        return found.train.labels, found.test.labels
    return found.train_labels, found.test_labels


def check_classes(classes: tuple[int, ...], num_classes: int, name: str) -> None:
    """Raises InputError unless at least two of `num_classes` classes are left without `classes`."""
    if max(classes) >= num_classes or len(classes) > num_classes - 2:
        raise InputError(
            f"dataset.open_classes is {tuple(classes)} for {name}; expected numbers from 0 to "
            f"{num_classes - 1}, which leave two classes or more"
        )


def without_classes(data: Dataset, classes: tuple[int, ...]) -> Dataset:
    """The data without the images labelled as one of `classes`; the other classes are renumbered,
    in order.

    The removed training images that show one of `classes`, or no class at all, become its `pool`.
    The true label of an image that stays and shows one of `classes` becomes NO_CLASS, and so do
    these classes in label sets: a label set that has them cannot be trained on.

    Args:
      data: checked.
      classes: class numbers; empty leaves the data unchanged.

    Raises:
      InputError: there are no such classes, or fewer than two are left.
    """
    if not classes:
        return data
    check_classes(classes, data.num_classes, data.name)
    stay = [number for number in range(data.num_classes) if number not in classes]
    number = np.full(data.num_classes, NO_CLASS, np.int32)
    number[stay] = np.arange(len(stay), dtype=np.int32)

    def renumbered(labels: np.ndarray) -> np.ndarray:
        is_class = (labels >= 0) & (labels < len(number))  # label sets may hold anything
        return np.where(is_class, number[np.where(is_class, labels, 0)], labels).astype(np.int32)

    is_left, is_tested_left = (
        np.isin(labels, classes) for labels in (data.train_labels, data.test_labels)
    )
    train, test = np.flatnonzero(~is_left), np.flatnonzero(~is_tested_left)
    pooled = np.flatnonzero(is_left & np.isin(data.truth, (*classes, NO_CLASS)))
    kept, left = data.take(train).take_test(test), data.take(pooled)
    names = listed((data.class_names[one] for one in classes), _MOST_NAMED)
    change = (
        f"without the classes {names}: {is_left.sum():,} training and {is_tested_left.sum():,} "
        "test images left out"
    )
    of_data = data.originals

    def originals(side: int) -> tuple[Images, Images]:
        assert of_data
        first, second = of_data(side)
        return lazy_images.subset(first, train), lazy_images.subset(second, test)

    def originals_left(side: int) -> Images:
        assert of_data
        return lazy_images.subset(of_data(side)[0], pooled)

    return dataclasses.replace(
        kept,
        train_labels=number[kept.train_labels],
        test_labels=number[kept.test_labels],
        true_labels=None if kept.true_labels is None else renumbered(kept.true_labels),
        label_sets={field: renumbered(labels) for field, labels in kept.label_sets.items()},
        class_names=tuple(data.class_names[one] for one in stay),
        class_numbers=data.class_numbers and tuple(data.class_numbers[one] for one in stay),
        originals=originals if of_data else None,
        pool=Pool(
            f"the classes {names}", left.train_images, left.train_files, left.train_digests,
            originals_left if of_data else None,
        ),
        changes=(*data.changes, change),
    )  # fmt: skip


def added(
    data: Dataset,
    kind: str,
    rate: float,
    seed: int,
    rho2: float = 0.0,
    open_path: str = "",
    open_share: float = 0.0,
    max_broken: float = 0.01,
) -> Dataset:
    """The data with as many open images as its noise requires.

    Args:
      data: checked; without an `open_path` the images are from its `pool`.
      kind, rate, rho2, open_share: as for `share`.
      seed: as for `with_open`.
      open_path: as for `open_source.read`; empty is none.
      max_broken: as for `with_open`.

    Raises:
      InputError: there are too few of them or none, or they do not match the data's images; or for
        kind "universal", whose shares are of all images, the data already has open images.
    """
    wanted = count(len(data.train_images), share(kind, rate, rho2, open_share))
    if not wanted:
        return data
    if kind == _KIND and (own := np.count_nonzero(data.truth == NO_CLASS)):
        raise InputError(
            f"noise.kind is {_KIND} and {own:,} training images of {data.name} show none of the "
            "classes already; expected another kind, and noise.open_share for more of them"
        )
    pool = open_source.read(open_path, data.image_shape) if open_path else data.pool
    if pool is None:
        raise InputError(
            f"the noise needs {wanted:,} open images, but there are none; expected "
            "noise.open_path or dataset.open_classes"
        )
    return with_open(data, pool, wanted, seed, max_broken)


def with_open(
    data: Dataset, pool: Pool, count: int, seed: int, max_broken: float = 0.01
) -> Dataset:
    """The data with `count` images of the pool after its training images.

    Which images, their order, and their given labels, uniform over the classes and the same in
    every label set, depend only on `seed` and the size of the pool; a smaller count gives the
    beginning of what a larger one gives. A broken image is replaced by the next in that order, and
    reported as a skipped file. Their true label is NO_CLASS. The true labels of the other images,
    if the source has none, are then its labels.

    Args:
      data: checked.
      pool: of images of the data's shape.
      count: from 0.
      seed: an integer from 0, of the noise.
      max_broken: share of the pool that may be broken pictures.

    Raises:
      InputError: the pool has fewer images, or more broken ones.
    """
    _check_enough(count, len(pool), data, pool.name)
    if not count:
        return data
    which = noise.generator(seed, "open", 0.0, _WHICH).random(len(pool))
    order = np.argsort(which, kind="stable")
    in_memory = not data.is_on_disk
    pool, skipped = open_source.whole(pool, order, count, in_memory, max_broken)
    _check_enough(count, len(pool), data, f"{pool.name} that are not broken")
    uniform = noise.generator(seed, "open", 0.0, _LABELS).random(count)
    given = np.floor(uniform * data.num_classes).astype(np.int32)
    index = data.train_places
    last = max(int(index[-1]), (data.list_size or 0) - 1)

    def labelled(labels: np.ndarray, others: np.ndarray = given) -> np.ndarray:
        return np.concatenate([labels, others]).astype(np.int32)

    files = data.train_files
    if files is not None:
        files += pool.files or tuple(f"{pool.name}, picture {row}" for row in order[:count])

    def originals(side: int) -> tuple[Images, Images]:
        train, test = data.squares(side)
        return lazy_images.joined(train, pool.squares(side)), test

    change = f"{count:,} open images of {pool.name} added, with indices from {last + 1:,}"
    return dataclasses.replace(
        data,
        train_images=lazy_images.joined(data.train_images, pool.images),
        train_labels=labelled(data.train_labels),
        true_labels=labelled(data.truth, np.full(count, NO_CLASS)),
        label_sets={field: labelled(labels) for field, labels in data.label_sets.items()},
        train_digests=_joined_digests(data, pool),
        train_sizes=None,
        train_files=files,
        train_index=np.concatenate([index, last + 1 + np.arange(count)]),
        originals=originals if data.originals or pool.originals else None,
        skipped_files=(*data.skipped_files, *skipped),
        pool=None,
        changes=(*data.changes, change),
    )


def _check_enough(count: int, available: int, data: Dataset, name: str) -> None:
    """Raises InputError if fewer than `count` open images are available."""
    if count > available:
        raise InputError(
            f"the noise needs {count:,} open images for {len(data.train_images):,} images, but "
            f"there are only {available:,} of {name}; expected more, a smaller share, or a smaller "
            "dataset.train_size"
        )


def _joined_digests(data: Dataset, pool: Pool) -> np.ndarray | None:
    """The digests of both; None if the data has none. For images in an array, their pixels are
    hashed."""
    if data.train_digests is None:
        return None
    found = pool.digests
    if found is None:
        images = (image for block in lazy_images.blocks(pool.images) for image in block)
        found = content_digests(np.ascontiguousarray(image).data for image in images)
    return np.concatenate([data.train_digests, found])
