"""Picture files with a label each, from any list of them to a `Dataset`.

A source (folder_source.py, manifest_source.py) says which files there are; here they are inspected
without decoding, and then decoded: only once if there is a cache. Files that are not complete
pictures are left out and reported, up to a given share.
"""

import csv
import dataclasses
import errno
import functools
import hashlib
import math
import os
import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from rmdnet_jax.base.atomic import open_atomic
from rmdnet_jax.base.digest import content_digests
from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import cell, shown
from rmdnet_jax.data import dataset as datasets
from rmdnet_jax.data import lazy_images, pictures, validation
from rmdnet_jax.data.dataset import Dataset, SkippedFile
from rmdnet_jax.data.lazy_images import Images, LazyImages
from rmdnet_jax.data.picture_cache import CachedReader, NoRoomError, PictureCache
from rmdnet_jax.data.picture_reader import PictureReader, TolerantReader, decoding, progress

# Files whose headers are read at the same time: on a network drive each has to wait.
_READERS = 16

# Errors of os.stat that mean: there is no such file.
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)

# Why a missing file is left out.
ABSENT = "there is no such file"

# Files that an error names before it only counts the rest.
_NAMED = 3


@dataclasses.dataclass(frozen=True)
class Split:
    """The pictures of one split.

    Attributes:
      files: their paths in the root folder.
      labels: int32 [N].
      true_labels: int32 [N], if they are known in addition to the given ones; dataset.NO_CLASS for
        a picture that shows none of the classes.
      index: int64 [N], the position of each in the one list of both splits that a user gave; None
        if there is no such list.
      label_sets: as in Dataset, int32 [N] by name.
    """

    files: list[str]
    labels: np.ndarray
    true_labels: np.ndarray | None = None
    index: np.ndarray | None = None
    label_sets: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.files)

    def take(self, rows: np.ndarray | slice) -> "Split":
        """The pictures of these rows, int [n]."""
        true = None if self.true_labels is None else self.true_labels[rows]
        index = None if self.index is None else self.index[rows]
        sets = {name: labels[rows] for name, labels in self.label_sets.items()}
        files = list(np.array(self.files, object)[rows])
        return Split(files, self.labels[rows], true, index, sets)


@dataclasses.dataclass(frozen=True)
class PictureFiles:
    """What a source found; nothing is decoded.

    Attributes:
      name: what to call the data set.
      root: the folder that paths are in.
      place: the folder or manifest as the user gave it.
      class_names: one per class.
      train, test: the splits.
      skipped: files that are there but not used.
      sizes: (height, width), upright, by file; filled by `look`.
      file_bytes: by file; filled by `look`.
      cache: where to keep what is read from the files, if anywhere; filled by `look`.
      class_numbers: the user's own integers for the classes; None: classes go by name.
      changes: what was read differently from how the source has it, one line each.
    """

    name: str
    root: Path
    place: Path
    class_names: tuple[str, ...]
    train: Split
    test: Split
    skipped: tuple[SkippedFile, ...] = ()
    sizes: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    file_bytes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    cache: PictureCache | None = None
    class_numbers: tuple[int, ...] | None = None
    changes: tuple[str, ...] = ()

    @property
    def short_sides(self) -> np.ndarray:
        """int [N], the shorter side of every picture, in pixels."""
        return np.array([min(self.sizes[file]) for file in self._files()])

    def subset(self, train_size: int, test_size: int, skip: int = 0) -> "PictureFiles":
        """The first pictures of each split, for the training pictures after the first `skip`; a
        size of 0 means all of them."""
        train, test = datasets.first(
            len(self.train), len(self.test), train_size, test_size, skip, self.name
        )
        return dataclasses.replace(self, train=self.train.take(train), test=self.test.take(test))

    def without(self, broken: Mapping[str, str], max_broken: float) -> "PictureFiles":
        """Without these files, which are not complete pictures, path -> reason.

        Raises:
          InputError: together with the pictures skipped before, they are more than the share
            `max_broken`; or a split or a class has no pictures left.
        """
        skipped = (*self.skipped, *(SkippedFile(shown(f), broken[f]) for f in sorted(broken)))
        lost = [file for file in skipped if file.is_picture]
        listed = len(self.train) + len(self.test) + len(lost) - len(broken)
        check_lost(lost, listed, str(self.place), max_broken)
        train, test = (
            split.take(np.array([file not in broken for file in split.files], bool))
            for split in (self.train, self.test)
        )
        found = dataclasses.replace(self, train=train, test=test, skipped=skipped)
        found._check()
        return found

    def _sizes_of(self, split: Split) -> np.ndarray:
        """int32 [N, 2], height and width."""
        return np.array([self.sizes[file] for file in split.files], np.int32).reshape(-1, 2)

    def decoded(self, image_size: int, max_broken: float, budget: int) -> Dataset:
        """The data set, with its images in the cache if there is one.

        With a cache, every picture was decoded before, or is now. Without one, or if its disk is
        full, they are decoded now if they take no more than `budget` bytes, else whenever they are
        read.

        Args:
          image_size: every picture becomes a square of so many pixels, as `pictures.decode` does;
            0 leaves them as they are, and all must have one size.
          max_broken: share of the files that may be left out as incomplete pictures.
          budget: bytes.

        Raises:
          InputError: the pictures are of several sizes and no `image_size` is given; more than the
            share are broken; the cache cannot be written.
        """
        files, shape = sorted(self._files()), self._shape(image_size)
        read = PictureReader(str(self.root), files, shape, bool(image_size))
        strict = LazyImages(read, np.arange(len(files)), shape)
        tolerant = TolerantReader(read)
        lenient = dataclasses.replace(strict, read=tolerant)
        images: Images
        kept, not_cached = None, ""
        if self.cache:
            try:
                kept = self.cache.decoded(
                    files, strict.shape, lambda: decoding(lenient), lambda: tolerant.broken
                )
            except NoRoomError as error:
                not_cached = str(error)
        if kept:
            file, broken = kept
            images = dataclasses.replace(strict, read=CachedReader(str(file)), is_decoded=True)
        elif strict.nbytes <= budget:
            images, broken = lazy_images.decoded(lenient), tolerant.broken
        else:
            images, broken = strict, {}  # a broken one ends the run when it is read
        found = self.without(broken, max_broken) if broken else self
        row = {file: i for i, file in enumerate(files)}
        train, test = (
            lazy_images.subset(images, np.array([row[file] for file in split.files], np.int64))
            for split in (found.train, found.test)
        )
        return Dataset(
            name=shown(self.name),
            train_images=train,
            train_labels=found.train.labels,
            test_images=test,
            test_labels=found.test.labels,
            label_sets=found.train.label_sets,
            class_names=tuple(map(shown, self.class_names)),
            train_digests=_digests(found.train.files, self.file_bytes),
            test_digests=_digests(found.test.files, self.file_bytes),
            train_sizes=self._sizes_of(found.train),
            test_sizes=self._sizes_of(found.test),
            true_labels=found.train.true_labels,
            tests_truth=found.tests_truth,
            train_files=tuple(map(shown, found.train.files)),
            test_files=tuple(map(shown, found.test.files)),
            train_index=found.train.index,
            test_index=found.test.index,
            list_size=found._list_size,
            class_numbers=found.class_numbers,
            skipped_files=found.skipped,
            not_cached=not_cached,
            originals=found._squares,
            changes=found.changes,
        )

    @property
    def _list_size(self) -> int | None:
        """The number of files in the one list of both splits, if there is one."""
        if self.test.index is None:
            return None
        return len(self.train) + len(self.test) + len(self.skipped)

    def _squares(self, side: int) -> tuple[Images, Images]:
        """For Dataset.originals."""
        shape = side, side, 3
        train, test = (
            LazyImages(
                PictureReader(str(self.root), split.files, shape, True),
                np.arange(len(split)),
                shape,
            )
            for split in (self.train, self.test)
        )
        return train, test

    @property
    def tests_truth(self) -> bool | None:
        """As in Dataset: true labels for training alone say nothing about the test labels."""
        if self.test.true_labels is not None:
            return True
        return None if self.train.true_labels is None else False

    def _files(self) -> list[str]:
        return [*self.train.files, *self.test.files]

    def _shape(self, image_size: int) -> tuple[int, int, int]:
        shapes = Counter(self.sizes[file] for file in self._files())
        (height, width), _ = shapes.most_common(1)[0]
        if image_size:
            height = width = image_size
        elif len(shapes) > 1:
            other = next(file for file in self._files() if self.sizes[file] != (height, width))
            found = "{}x{}".format(*self.sizes[other])
            raise InputError(
                f"{self.root / other} has {found} pixels, others {height}x{width}; for pictures "
                "of several sizes, set --config.dataset.image_size=SIDE"
            )
        return height, width, 3

    def _check(self) -> None:
        if len(self.class_names) < 2:
            raise InputError(
                f"{self.place} has only {len(self.class_names)} class, {self.class_names[0]!r}; "
                "expected two or more"
            )
        counts = np.bincount(self.train.labels, minlength=len(self.class_names))
        if not counts.all():
            raise InputError(
                f"class {self.class_names[int(counts.argmin())]!r} of {self.place} has no "
                "training pictures; expected at least one for every class"
            )
        if not len(self.test):
            raise InputError(
                f"{self.place} has no pictures to test on; expected a test split, or a larger "
                "dataset.test_fraction"
            )


def look(found: PictureFiles, max_broken: float, cache: str) -> PictureFiles:
    """What a source found, with the sizes of its pictures and without files that are not pictures.

    The headers of the files are read, or their contents from the folder `cache`; "" is none.

    Raises:
      InputError: more than the share `max_broken` of the files are not pictures; the system refuses
        to read one; a class or a split is empty.
    """
    files = sorted(found._files())
    with ThreadPoolExecutor(_READERS) as pool:
        looked = pool.map(functools.partial(state, found.root), files)
        states = dict(zip(files, looked, strict=True))
    broken = {file: ABSENT for file, state in states.items() if state is None}
    known = {file: state for file, state in states.items() if state is not None}
    kept = (
        PictureCache.of(cache, found.place, ((file, *state) for file, state in known.items()))
        if cache
        else None
    )
    heads = functools.partial(_heads, found.root, list(known))
    facts = kept.told(heads) if kept else heads()
    found = dataclasses.replace(
        found,
        sizes={
            file: (height, width)
            for file, height, width in zip(known, facts["heights"], facts["widths"], strict=True)
        },
        file_bytes={file: size for file, (size, _, _) in known.items()},
        cache=kept,
    )
    return found.without(broken | facts["broken"], max_broken)


def check_lost(lost: Sequence[SkippedFile], listed: int, place: str, max_broken: float) -> None:
    """Raises InputError if more than the share `max_broken` of a place's files are lost."""
    if len(lost) <= max_broken * listed:
        return
    named = [f"{file.path}: {file.reason}" for file in lost[:_NAMED]]
    if more := len(lost) - len(named):
        named.append(f"and {more:,} more")
    share = math.ceil(100 * len(lost) / listed) / 100
    right = f", or set --config.dataset.max_broken={share:g}" if share < 1 else ""
    raise InputError(
        f"{len(lost):,} of {listed:,} files of {place} cannot be used ({'; '.join(named)}), which "
        f"is more than dataset.max_broken, {max_broken:g}; fix or remove them{right}"
    )


def in_turns(files: Mapping[str, Sequence[str]]) -> list[tuple[int, str]]:
    """(label, file) of the first file of every class, then of the second of every class, and so on,
    so that the first n cover all classes."""
    turns = sorted(
        (turn, label, file)
        for label, of_class in enumerate(files.values())
        for turn, file in enumerate(of_class)
    )
    return [(label, file) for _, label, file in turns]


def held_out(files: Sequence[str], share: float) -> set[str]:
    """The files of a class to test on: the nearest number to the share, but at least one of two,
    and not all.

    Chosen by a hash of their paths: the same files wherever the folder is.
    """
    hashes = b"".join(hashlib.sha256(os.fsencode(file)).digest()[:8] for file in files)
    is_held = validation.per_class(
        np.zeros(len(files), np.int32), share, draw=np.frombuffer(hashes, ">u8")
    )
    return {file for file, held in zip(files, is_held, strict=True) if held}


def write_skipped(path: Path, skipped: Sequence[SkippedFile]) -> None:
    """Writes a CSV of the files that were left out, path and reason, unless there are none."""
    if skipped:
        with open_atomic(path) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("path", "reason"))
            writer.writerows((cell(one.path), cell(one.reason)) for one in skipped)


def state(root: Path, file: str) -> tuple[int, int, int] | None:
    """(bytes, mtime, ctime, both in ns) of a file; None if it does not exist or is not a regular
    file.

    Raises:
      InputError: the system refuses access to it.
    """
    try:
        found = os.stat(root / file)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise InputError(
            f"{root / file} cannot be read ({error.strerror}); make it readable, or remove it"
        ) from error
    if not stat.S_ISREG(found.st_mode):
        return None
    # The ctime shows new content under an old mtime, as from `cp --preserve`.
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _heads(root: Path, files: list[str]) -> dict:
    """What the headers of files say, JSON-able: heights and widths, 0 for broken files, and why
    these are broken."""

    def look(file: str) -> tuple[int, int, str]:
        try:
            return *pictures.size(str(root / file), file), ""
        except pictures.BrokenPicture as error:
            return 0, 0, error.reason

    with ThreadPoolExecutor(_READERS) as pool:
        looked = list(progress(pool.map(look, files), "reading picture headers", len(files)))
    return {
        "heights": [height for height, _, _ in looked],
        "widths": [width for _, width, _ in looked],
        "broken": {file: why for file, (_, _, why) in zip(files, looked, strict=True) if why},
    }


def _digests(files: list[str], sizes: Mapping[str, int]) -> np.ndarray:
    """Identifies each file without reading it, by its name and size: uint8 [N, 16]."""
    return content_digests(os.fsencode(file) + b"\0%d" % sizes[file] for file in files)
