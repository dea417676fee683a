"""Files and folders that appear whole or not at all: written beside their place, then moved into
it."""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


@contextlib.contextmanager
def open_atomic(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    """A file that takes `path`'s place when the block ends; an error in the block leaves no trace.

    Until then a reader of `path` sees the old file, or none. A process killed in the block leaves
    a hidden `.NAME.XXXXXXXX.tmp` beside it, which nobody reads.

    Args:
      path: where the file shall be; its folder must exist.
      mode: "w" (UTF-8 text) or "wb".

    Yields:
      The open file.

    Raises:
      OSError: the folder is missing or cannot be written, or the disk is full.
    """
    path = Path(path)
    # Not tempfile's: those are readable by their owner alone, and the results are for everybody.
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

    A process killed in the block leaves a hidden `.NAME.XXXXXXXX.tmp` beside, which nobody reads.

    Args:
      path: where there is nothing yet, or an empty folder; the folders above are made.

    Yields:
      The folder to fill.

    Raises:
      OSError: it cannot be written, or something has been put in its place.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    beside.mkdir()
    try:
        yield beside
        os.rename(beside, path)  # takes the place of an empty folder, and of nothing else
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
