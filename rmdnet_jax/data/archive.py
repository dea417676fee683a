"""A zip of pictures unpacked into a folder, so that no zip can do harm; what is in the files is not
looked at."""

import lzma
import os
import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from pathlib import Path

from rmdnet_jax.errors import InputError

# What a file takes on a disk, at least; a million empty ones are no small zip.
_BLOCK = 4096

# What the reader raises of a damaged zip, an unknown way to compress, or a disk.
_FAILURES = (
    OSError,
    EOFError,
    ValueError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


def unpack(archive: str | Path, folder: str | Path, largest: float) -> None:
    """Unpacks a zip into `folder`, which appears whole or not at all. Hidden files, and what macOS
    adds (`__MACOSX`), are left out.

    Args:
      archive: the zip.
      folder: made here, with its parents.
      largest: what the files may take unpacked, in bytes; an empty one counts as 4,096.

    Raises:
      InputError: it is no whole zip, or is too large; a member leads out of the folder, is a link
        or has a password; the folder is there, or cannot be written.
    """
    archive, folder = Path(archive), Path(folder)
    if folder.exists():
        raise InputError(f"{folder} is there already; right is a new folder to unpack {archive} in")
    try:
        with zipfile.ZipFile(archive) as members:
            wanted = _wanted(members, archive, largest)
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(
                dir=folder.parent, prefix=f".{folder.name}."
            ) as passing:
                root = Path(passing) / "whole"
                root.mkdir()
                for name, member in wanted.items():
                    file = root / name
                    file.parent.mkdir(parents=True, exist_ok=True)
                    # Reads no more than the size that was counted, whatever the member holds.
                    with members.open(member) as source, open(file, "xb") as target:
                        shutil.copyfileobj(source, target)
                os.rename(root, folder)
    except InputError:
        raise
    except _FAILURES as error:
        raise InputError(
            f"{archive} cannot be unpacked into {folder} ({error}); right is a whole zip of files"
        ) from error


def _wanted(members: zipfile.ZipFile, archive: Path, largest: float) -> dict[str, zipfile.ZipInfo]:
    """The files to unpack, by their paths in the folder.

    Raises:
      InputError: as `unpack` does for what the zip says of its members.
    """
    wanted, size = {}, 0
    for member in members.infolist():
        name = member.filename.replace("\\", "/")  # some Windows programs write it so
        parts = name.split("/")
        where = f"{member.filename!r} of {archive}"
        if name.startswith("/") or ".." in parts or re.match("[A-Za-z]:", name):
            raise InputError(f"{where} leads out of the folder; right is a path in the zip")
        if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise InputError(f"{where} is a link or the like; right is files and folders")
        if name.endswith("/") or "__MACOSX" in parts or any(p.startswith(".") for p in parts):
            continue
        if member.flag_bits & 1:
            raise InputError(f"{where} has a password; right is a zip without")
        size += max(member.file_size, _BLOCK)
        if size > largest:
            raise InputError(
                f"{archive} takes more than {largest / 1e9:g} GB unpacked; right is a smaller zip, "
                "or a larger limit"
            )
        wanted[name] = member
    return wanted
