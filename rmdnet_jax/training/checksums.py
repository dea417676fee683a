"""SHA-256 of every file in a folder, in the folder: what disks and copies do to a file shows.

The list is as `sha256sum -c` takes it.
"""

import hashlib
from pathlib import Path

from rmdnet_jax.atomic import open_atomic

NAME = "sha256.txt"


def write(folder: Path, without: str) -> None:
    """Lists the files below `folder` as they are, but for those of the name `without`.

    Raises:
      OSError: a file cannot be read, or the list not be written.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != without)
    with open_atomic(folder / NAME) as listed:
        for file in files:
            listed.write(f"{_of(file)}  {file.relative_to(folder).as_posix()}\n")


def check(folder: Path) -> None:
    """Reads every listed file again. A folder without a list, from before there was one, is not
    looked at.

    Raises:
      ValueError: a file is missing or is not as it was, or the list is none.
    """
    if not (folder / NAME).exists():
        return
    for line in (folder / NAME).read_text().splitlines():
        expected, _, name = line.partition("  ")
        file = folder / name
        if not file.is_file():
            raise ValueError(f"{name or line} is missing")
        if _of(file) != expected:
            raise ValueError(f"{name} is not as it was written")


def _of(file: Path) -> str:
    with open(file, "rb") as read:
        return hashlib.file_digest(read, "sha256").hexdigest()
