"""Picture files with a label each, from whatever listed them to a `Dataset`.

A source (folder_source.py, manifest_source.py) says which files there are; here they are looked at,
without decoding, and then decoded: once, where there is a cache. Files that are not whole pictures
are left out and named, up to a stated share.
"""

import csv
import dataclasses
import functools
import hashlib
import math
import os
import stat
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from rich.progress import track

from rmdnet_jax.atomic import open_atomic
from rmdnet_jax.data import lazy_images, pictures
from rmdnet_jax.data.dataset import Dataset, SkippedFile, check_size
from rmdnet_jax.data.lazy_images import Images, LazyImages
from rmdnet_jax.data.picture_cache import CachedReader, PictureCache
from rmdnet_jax.errors import InputError

# Files whose heads are read at the same time: on a network's disk each waits.
_READERS = 16

# Files that an error names before it says how many more there are.
_NAMED = 3


@dataclasses.dataclass(frozen=True)
class Split:
    """The pictures of one split.

    Attributes:
      files: their paths in the root folder.
      labels: int32 [N].
      true_labels: int32 [N], where they are known beside the given ones.
    """

    files: list[str]
    labels: np.ndarray
    true_labels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.files)

    def take(self, rows: np.ndarray | slice) -> "Split":
        """The pictures of these rows, int [n]."""
        true = None if self.true_labels is None else self.true_labels[rows]
        return Split(list(np.array(self.files, object)[rows]), self.labels[rows], true)


@dataclasses.dataclass(frozen=True)
class PictureFiles:
    """What a source found; nothing is decoded.

    Attributes:
      name: what the data set is called.
      root: the folder that paths are in.
      place: the folder or manifest as the user gave it.
      class_names: one a class.
      train, test: the splits.
      skipped: files that cannot be used.
      sizes: (height, width), upright, by file; filled by `look`.
      file_bytes: by file; filled by `look`.
      cache: where what is read of the files is kept, if anywhere; filled by `look`.
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

    @property
    def short_sides(self) -> np.ndarray:
        """int [N], the shorter side of every picture, in pixels."""
        return np.array([min(self.sizes[file]) for file in self._files()])

    def subset(self, train_size: int, test_size: int) -> "PictureFiles":
        """The first pictures of each split; 0 means all of them."""
        check_size("train_size", train_size, len(self.train), self.name)
        check_size("test_size", test_size, len(self.test), self.name)
        train, test = (
            split.take(slice(size or None))
            for split, size in ((self.train, train_size), (self.test, test_size))
        )
        return dataclasses.replace(self, train=train, test=test)

    def without(self, broken: Mapping[str, str], max_broken: float) -> "PictureFiles":
        """Without these files, which have been found to be no whole pictures, path -> reason.

        Raises:
          InputError: with those skipped before they are more than the share `max_broken`; or a
            split or a class has no pictures to train on.
        """
        listed = len(self.train) + len(self.test) + len(self.skipped)
        skipped = (*self.skipped, *(SkippedFile(shown(f), broken[f]) for f in sorted(broken)))
        if len(skipped) > max_broken * listed:
            named = [f"{file.path}: {file.reason}" for file in skipped[:_NAMED]]
            if more := len(skipped) - len(named):
                named.append(f"and {more:,} more")
            raise InputError(
                f"{len(skipped):,} of {listed:,} files of {self.place} cannot be used "
                f"({'; '.join(named)}), which is more than dataset.max_broken, {max_broken:g}; "
                "right is to mend or remove them, or "
                f"--config.dataset.max_broken={math.ceil(100 * len(skipped) / listed) / 100:g}"
            )
        train, test = (
            split.take(np.array([file not in broken for file in split.files], bool))
            for split in (self.train, self.test)
        )
        found = dataclasses.replace(self, train=train, test=test, skipped=skipped)
        found._check()
        return found

    def decoded(self, image_size: int, max_broken: float, budget: int) -> Dataset:
        """The data set, its images where the cache has them.

        With a cache every picture was decoded before, or is now. Without one they are decoded now
        if they take no more than `budget` bytes, and else whenever they are read.

        Args:
          image_size: every picture becomes a square of so many pixels, as `pictures.decode` says; 0
            leaves them as they are, and all must have one size.
          max_broken: share of the files that may be left out as no whole pictures.
          budget: bytes.

        Raises:
          InputError: the pictures are of several sizes and no `image_size` is given; more than the
            share are broken; the cache cannot be written.
        """
        files, shape = sorted(self._files()), self._shape(image_size)
        read = PictureReader(str(self.root), files, shape, bool(image_size))
        strict = LazyImages(read, np.arange(len(files)), shape)
        tolerant = _TolerantReader(read)
        decoding = functools.partial(_decoding, dataclasses.replace(strict, read=tolerant))
        images: Images
        if self.cache:
            file, broken = self.cache.decoded(
                files, strict.shape, decoding, told=lambda: tolerant.broken
            )
            images = dataclasses.replace(strict, read=CachedReader(str(file)))
        elif strict.nbytes <= budget:
            images = np.empty(strict.shape, np.uint8)
            filled = 0
            for block in decoding():
                images[filled : filled + len(block)] = block
                filled += len(block)
            broken = tolerant.broken
        else:
            images, broken = strict, {}  # a broken one ends the run when it is met
        found = self.without(broken, max_broken) if broken else self
        row = {file: i for i, file in enumerate(files)}
        train, test = (
            lazy_images.subset(images, np.array([row[file] for file in split.files], np.int64))
            for split in (found.train, found.test)
        )
        return Dataset(
            name=self.name,
            train_images=train,
            train_labels=found.train.labels,
            test_images=test,
            test_labels=found.test.labels,
            label_sets={},
            class_names=tuple(map(shown, self.class_names)),
            train_digests=_digests(found.train.files, self.file_bytes),
            true_labels=found.train.true_labels,
            train_files=tuple(map(shown, found.train.files)),
            skipped_files=found.skipped,
        )

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
                f"{self.root / other} has {found} pixels, others have {height}x{width}; right is "
                "--config.dataset.image_size=SIDE for pictures of several sizes"
            )
        return height, width, 3

    def _check(self) -> None:
        if len(self.class_names) < 2:
            raise InputError(
                f"{self.place} has {len(self.class_names)} class, {shown(self.class_names[0])!r}; "
                "right are two or more"
            )
        counts = np.bincount(self.train.labels, minlength=len(self.class_names))
        if not counts.all():
            raise InputError(
                f"class {shown(self.class_names[int(counts.argmin())])!r} of {self.place} has no "
                "training pictures; every class needs at least one"
            )
        if not len(self.test):
            raise InputError(
                f"{self.place} has no pictures to test on; right is a test split, or a larger "
                "dataset.held_out"
            )


@dataclasses.dataclass(frozen=True)
class PictureReader:
    """Decodes the pictures at given positions of a list of files; can be pickled."""

    root: str
    files: list[str]
    shape: tuple[int, int, int]
    resize: bool

    def __call__(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """The pictures of `rows` int [n], one by one: uint8 [H, W, 3]."""
        for row in rows:
            file = os.path.join(self.root, self.files[row])
            yield pictures.decode(file, file, self.shape, self.resize)


class _TolerantReader:
    """Reads as `reader` does; a broken picture is black, and told in `broken`, path -> reason."""

    def __init__(self, reader: PictureReader):
        self._reader = reader
        self.broken: dict[str, str] = {}

    def __call__(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        for row in rows:
            try:
                (image,) = self._reader(np.array([row]))
            except pictures.BrokenPicture as error:
                self.broken[self._reader.files[row]] = error.reason
                image = np.zeros(self._reader.shape, np.uint8)
            yield image


def look(found: PictureFiles, max_broken: float, cache: str) -> PictureFiles:
    """What a source found, with the sizes of its pictures and without what is none.

    The heads of the files are read, or what was kept of them in the folder `cache`; "" is none.

    Raises:
      InputError: more than the share `max_broken` of the files are no pictures; a class or a split
        is empty.
    """
    files = sorted(found._files())
    with ThreadPoolExecutor(_READERS) as pool:
        looked = pool.map(functools.partial(_state, found.root), files)
        states = dict(zip(files, looked, strict=True))
    broken = {file: "there is no such file" for file, state in states.items() if state is None}
    known = {file: state for file, state in states.items() if state is not None}
    kept = (
        PictureCache.of(cache, found.place, ((file, *state) for file, state in known.items()))
        if cache
        else None
    )
    heads = functools.partial(_heads, found.root, list(known))
    told = kept.told(heads) if kept else heads()
    found = dataclasses.replace(
        found,
        sizes={
            file: (height, width)
            for file, height, width in zip(known, told["heights"], told["widths"], strict=True)
        },
        file_bytes={file: size for file, (size, _) in known.items()},
        cache=kept,
    )
    return found.without(broken | told["broken"], max_broken)


def in_turns(files: Mapping[str, Sequence[str]]) -> list[tuple[int, str]]:
    """(label, file) of the first file of every class, then of the second of every class, and so on,
    so that the first n are of all classes."""
    turns = sorted(
        (turn, label, file)
        for label, of_class in enumerate(files.values())
        for turn, file in enumerate(of_class)
    )
    return [(label, file) for _, label, file in turns]


def held_out(files: Sequence[str], share: float) -> set[str]:
    """The files of a class to test on: the nearest number to the share, but not all.

    By a hash of their paths: the same files wherever the folder lies.
    """
    by_hash = sorted(files, key=lambda file: hashlib.sha256(os.fsencode(file)).digest())
    return set(by_hash[: min(round(share * len(files)), len(files) - 1)])


def write_skipped(path: Path, skipped: Sequence[SkippedFile]) -> None:
    """Writes a CSV of the files that were left out, path and reason; without any, none."""
    if skipped:
        with open_atomic(path) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("path", "reason"))
            writer.writerows((one.path, one.reason) for one in skipped)


def shown(path: str) -> str:
    """A path or a class's name as it can be printed: what is no UTF-8 becomes escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _state(root: Path, file: str) -> tuple[int, int] | None:
    """(bytes, mtime in ns) of a file; None if there is none, or a pipe or the like."""
    try:
        found = os.stat(root / file)
    except OSError:
        return None
    return (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


def _heads(root: Path, files: list[str]) -> dict:
    """What the heads of files say, JSON-able: the heights and widths, 0 of the broken, and why."""

    def look(file: str) -> tuple[int, int, str]:
        try:
            return *pictures.size(str(root / file), file), ""
        except pictures.BrokenPicture as error:
            return 0, 0, error.reason

    with ThreadPoolExecutor(_READERS) as pool:
        looked = list(_progress(pool.map(look, files), "looking at pictures", len(files)))
    return {
        "heights": [height for height, _, _ in looked],
        "widths": [width for _, width, _ in looked],
        "broken": {file: why for file, (_, _, why) in zip(files, looked, strict=True) if why},
    }


def _decoding(images: LazyImages) -> Iterator[np.ndarray]:
    """All images in order, uint8 [n, H, W, 3] at a time."""
    size = lazy_images.block_size(images)
    blocks = lazy_images.blocks(images, size)
    return iter(_progress(blocks, "decoding pictures", -(-len(images) // size)))


def _progress(items: Iterable, what: str, count: int) -> Iterable:
    return track(items, what, count, transient=True, disable=not sys.stdout.isatty())


def _digests(files: list[str], sizes: Mapping[str, int]) -> np.ndarray:
    """What tells each file from others without reading it, its name and size: uint8 [N, 16]."""
    digests = (
        hashlib.blake2b(os.fsencode(file) + b"\0%d" % sizes[file], digest_size=16).digest()
        for file in files
    )
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16)
