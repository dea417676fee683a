"""SHA-256 of every file in a folder, in the folder: what disks and copies do to a file shows.

The list is as `sha256sum -c` takes it.
"""

import hashlib
from collections.abc import Container
from pathlib import Path

from rmdnet_jax.base.atomic import open_atomic

NAME = "sha256.txt"


class DamagedError(Exception):
    """A file is not as it was when the list was written."""


def write(folder: Path, without: Container[str]) -> None:
    """Lists the files below `folder` as they are, but for those `without`, by name in the folder.

    Raises:
      OSError: a file cannot be read, or the list not be written.
    """
    with open_atomic(folder / NAME) as listed:
        for name in sorted(_files(folder, without)):
            listed.write(f"{_of(folder / name)}  {name}\n")


def check(folder: Path, without: Container[str]) -> None:
    """Reads every file but those `without` again. A folder without a list, from before there was
    one, is not looked at.

    Raises:
      DamagedError: a file is missing, is new or is not as it was, or the list is none.
      OSError: a file cannot be read.
    """
    if not (folder / NAME).exists():
        return
    try:
        lines = (folder / NAME).read_text().splitlines() if (folder / NAME).is_file() else []
        listed = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    except UnicodeDecodeError as error:
        raise DamagedError(f"{NAME} is no list") from error
    differing = listed.keys() ^ _files(folder, without)
    for name in sorted(differing) or sorted(listed):
        if name in differing or _of(folder / name) != listed[name]:
            raise DamagedError(f"{name} is not as it was written")


def _files(folder: Path, without: Container[str]) -> set[str]:
    """Names in the folder of all files but those, and the list, finished or not."""
    files = (path for path in folder.rglob("*") if path.is_file() and NAME not in path.name)
    names = {file.relative_to(folder).as_posix() for file in files}
    return {name for name in names if name not in without}


def _of(file: Path) -> str:
    with open(file, "rb") as read:
        return hashlib.file_digest(read, "sha256").hexdigest()
