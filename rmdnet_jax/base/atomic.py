"""Files and folders that appear complete or not at all: written under a temporary name, then
renamed."""

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from rmdnet_jax.base.errors import InputError


@contextlib.contextmanager
def open_atomic(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    """A file that replaces `path` when the block ends; an error in the block leaves no trace.

    Until then a reader of `path` sees the old file, or none. A process killed in the block leaves
    a hidden `.NAME.XXXXXXXX.tmp` next to it, which is never read.

    Args:
      path: where the file will be; its folder must exist.
      mode: "w" (UTF-8 text) or "wb".

    Yields:
      The open file.

    Raises:
      OSError: the folder is missing or cannot be written, or the disk is full.
    """
    path = Path(path)
    # Not with tempfile: its files are readable by their owner only, and results are for everybody.
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    encoding = None if "b" in mode else "utf-8"
    try:
        with open(beside, mode, encoding=encoding) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def folder_atomic(path: str | Path) -> Iterator[Path]:
    """A folder that gets the name `path` when the block ends; an error in it leaves no trace.

    A process killed in the block leaves a hidden `.NAME.XXXXXXXX.tmp` next to it, which is never
    read.

    Args:
      path: must not exist yet, or be an empty folder; its parent folders are created.

    Yields:
      The folder to fill.

    Raises:
      OSError: it cannot be written, or something else was created there in the meantime.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    beside.mkdir()
    try:
        yield beside
        os.rename(beside, path)  # replaces an empty folder, and nothing else
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def check_writable(path: Path, flag: str, suffix: str) -> None:
    """Raises InputError for a path, the value of a command line's `flag`, where no file that ends
    in `suffix` can be written; creates nothing there."""
    right = f"expected {flag}=FILE{suffix} in a writable folder"
    is_other = os.path.exists(path) and not os.path.isfile(path)
    if path.suffix.lower() != suffix or is_other:
        raise InputError(f"{str(path)!r} ({flag}) is not a {suffix} file; {right}")
    try:
        with tempfile.TemporaryFile(dir=os.path.dirname(os.path.realpath(path))):
            pass
    except OSError as error:
        raise InputError(f"cannot write {path} ({error.strerror}); {right}") from error
