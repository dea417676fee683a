"""SHA-256 of every file in a folder, stored in the folder, to detect damage by disks and copies.

The list has the format of `sha256sum -c`.
"""

import hashlib
from collections.abc import Container
from pathlib import Path

from rmdnet_jax.base.atomic import open_atomic

NAME = "sha256.txt"


class DamagedError(Exception):
    """A file differs from what it was when the list was written."""


def write(folder: Path, without: Container[str]) -> None:
    """Lists the current files below `folder` except those in `without`, by name in the folder.

    Raises:
      OSError: a file cannot be read, or the list cannot be written.
    """
    with open_atomic(folder / NAME) as listed:
        for name in sorted(_files(folder, without)):
            listed.write(f"{_of(folder / name)}  {name}\n")


def check(folder: Path, without: Container[str]) -> None:
    """Reads every file again except those in `without`. A folder without a list, from before lists
    existed, is not checked.

    Raises:
      DamagedError: a file is missing, new or changed, or the list is not a list.
      OSError: a file cannot be read.
    """
    if not (folder / NAME).exists():
        return
    try:
        lines = (folder / NAME).read_text().splitlines() if (folder / NAME).is_file() else []
        listed = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    except UnicodeDecodeError as error:
        raise DamagedError(f"{NAME} is not a list") from error
    differing = listed.keys() ^ _files(folder, without)
    for name in sorted(differing) or sorted(listed):
        if name in differing or _of(folder / name) != listed[name]:
            raise DamagedError(f"{name} is not as it was written")


def _files(folder: Path, without: Container[str]) -> set[str]:
    """Names in the folder of all files except those and the list, complete or not."""
    files = (path for path in folder.rglob("*") if path.is_file() and NAME not in path.name)
    names = {file.relative_to(folder).as_posix() for file in files}
    return {name for name in names if name not in without}


def _of(file: Path) -> str:
    with open(file, "rb") as read:
        return hashlib.file_digest(read, "sha256").hexdigest()
