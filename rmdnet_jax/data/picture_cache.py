"""What was read from picture files, kept on disk while the files are unchanged: their sizes, and
the decoded pixels as one memory-mapped array.

The pictures of a folder or manifest (the place) as they are now (the state) have the files
PLACE-STATE.json and PLACE-STATE-IMAGES.npy (with a .json next to it); files of an earlier state are
removed. Which pictures there are, and how they are decoded, is defined elsewhere.
"""

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from rmdnet_jax.base.atomic import open_atomic
from rmdnet_jax.base.errors import InputError

# To be increased when the same files give other pixels than before.
_VERSION = 2

# The share of a disk's free space that may be used: it should not become full.
_SHARE = 0.9

_INSTEAD = "expected another --config.dataset.cache=FOLDER, or --config.dataset.cache= for none"


class NoRoomError(InputError):
    """The disk has too little space for the decoded pictures, which can be read without a cache."""


@dataclasses.dataclass(frozen=True)
class PictureCache:
    """The cache of one place.

    Attributes:
      folder: where the caches of all places are; created when first written to.
      place: identifies this folder or manifest.
      state: identifies this state of its files.
    """

    folder: Path
    place: str
    state: str

    @classmethod
    def of(
        cls, folder: str, place: Path, files: Iterable[tuple[str, int, int, int]]
    ) -> "PictureCache":
        """The cache in `folder` for the files of a place: path, bytes, mtime and ctime in ns."""
        state = hashlib.sha256(str(_VERSION).encode())
        for path, size, mtime, ctime in files:
            state.update(b"%s\0%d %d %d\n" % (_bytes(path), size, mtime, ctime))
        return cls(
            Path(os.path.expanduser(folder)),
            hashlib.sha256(_bytes(str(place.resolve()))).hexdigest()[:12],
            state.hexdigest()[:20],
        )

    def told(self, tell: Callable[[], dict]) -> dict:
        """The stored result of `tell` for this state, JSON-able; `tell` is called if there is
        none."""
        file = self.folder / f"{self.place}-{self.state}.json"
        found = _read_json(file)
        if found is None:
            with self._locked():
                found = _read_json(file)  # perhaps written by the process with the lock
                if found is None:
                    found = tell()
                    _write_json(file, found)
        return found

    def decoded(
        self,
        files: Iterable[str],
        shape: tuple[int, ...],
        decode: Callable[[], Iterable[np.ndarray]],
        told: Callable[[], dict],
    ) -> tuple[Path, dict]:
        """The array of the images of `files`, and what was stored with it.

        Args:
          files: all or some of the place's.
          shape: (N, H, W, 3).
          decode: gives the images, uint8 [n, H, W, 3] at a time; called if there is no array yet.
          told: gives what to store with the array, JSON-able; called after the last image.

        Returns:
          A .npy of uint8 `shape`, and what `told` returned.

        Raises:
          NoRoomError: the array would take more than _SHARE of the free space on the disk.
          InputError: the folder cannot be written, or its disk becomes full.
        """
        subset = hashlib.sha256(b"\0".join(map(_bytes, files))).hexdigest()[:12]
        height, width = shape[1:3]
        file = self.folder / f"{self.place}-{self.state}-{subset}-{height}x{width}.npy"
        beside = file.with_suffix(".json")
        if not _is_whole(file, beside, shape):
            with self._locked():
                if not _is_whole(file, beside, shape):
                    self._check_space(int(np.prod(shape, dtype=np.int64)))
                    with open_atomic(file, "wb") as array:
                        np.lib.format.write_array_header_2_0(
                            array,
                            {"descr": "|u1", "fortran_order": False, "shape": shape},
                        )
                        for block in decode():
                            array.write(np.ascontiguousarray(block).data)
                        # Before the array appears, so that it never exists without.
                        _write_json(beside, told())
        return file, _read_json(beside) or {}

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Lets one process at a time write, and removes files of earlier states."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(self.folder / f"{self.place}.lock", "a+") as lock:
                _wait_for(lock)
                for old in [
                    *self.folder.glob(f".{self.place}-*"),  # from a process that was killed
                    *self.folder.glob(f"{self.place}-*"),
                ]:
                    if not old.name.startswith(f"{self.place}-{self.state}"):
                        old.unlink(missing_ok=True)
                yield
        except OSError as error:
            raise InputError(
                f"cannot write the cache of pictures {self.folder} ({error.strerror or error}); "
                f"{_INSTEAD}"
            ) from error

    def _check_space(self, needed: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if needed > _SHARE * free:
            raise NoRoomError(
                f"decoded pictures take {needed / 1e9:,.2f} GB, but the disk of {self.folder} has "
                f"{free / 1e9:,.2f} GB left; expected another --config.dataset.cache=FOLDER"
            )


def _wait_for(lock: IO[str]) -> None:
    """Takes the lock, a file with its holder's process ID; prints a line if it has to wait."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        print(f"waiting  for process {lock.read()}, which reads the same pictures", flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()


@dataclasses.dataclass(frozen=True)
class CachedReader:
    """Reads the images at given positions of a cached array; can be pickled."""

    file: str

    def __call__(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """The images of `rows` int [n], one by one: uint8 [H, W, 3]."""
        images = _mapped(self.file)
        return (images[row] for row in rows)


@functools.lru_cache(maxsize=4)
def _mapped(file: str) -> np.ndarray:
    """A .npy mapped into memory. Kept, so that it stays readable if the cache is cleared."""
    try:
        # A plain array over the map: np.memmap's own indexing is several times slower.
        return np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{file} in the cache of pictures cannot be read ({error}); start again to recreate it"
        ) from error


def _is_whole(file: Path, beside: Path, shape: tuple[int, ...]) -> bool:
    try:
        found = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):  # missing, or damaged by hand
        return False
    return found.shape == shape and _read_json(beside) is not None


def _read_json(file: Path) -> dict | None:
    try:
        return json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):  # missing, or damaged by hand
        return None


def _write_json(file: Path, content: dict) -> None:
    with open_atomic(file) as text:
        json.dump(content, text)


def _bytes(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")
