"""Arrays from untrusted files, a .npy or the members of a .npz: pickles are not loaded, and no more
memory is allocated than the file has data for."""

import math
import os
import sys
import warnings
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import one_line

_RIGHT = "expected a complete file of numbers and strings, not of Python objects"

# What numpy.savez and numpy.savez_compressed use. Others can take far more memory to unpack.
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

# Arrays written by Python 2 are read like others.
warnings.filterwarnings("ignore", "Reading `.npy` or `.npz` file required additional header")

_BLOCK = 1 << 24  # bytes unpacked at a time


def load(file: Path) -> np.ndarray:
    """The array of a .npy file.

    Raises:
      InputError: there is no such file, or it is not a complete .npy of numbers or strings.
    """
    if not os.path.isfile(file):
        raise InputError(f"{file} cannot be read (no such file); {_RIGHT}")
    try:
        with open(file, "rb") as source:
            return _array(source, os.path.getsize(file))
    except Exception as error:  # whatever an arbitrary file makes the readers raise
        raise InputError(f"{file} cannot be read ({_reason(error)}); {_RIGHT}") from error


def load_all(file: Path, largest: float) -> dict[str, np.ndarray]:
    """The arrays of a .npz file by name.

    Args:
      file: the .npz.
      largest: bytes that all of them may take together.

    Raises:
      InputError: there is no such file, it is not a .npz, a member is not a complete array of
        numbers or strings, or they take more.
    """
    if not os.path.isfile(file):
        raise InputError(f"no file {file}; expected a .npz file with x_train, y_train etc.")
    arrays: dict[str, np.ndarray] = {}
    name = "the list of arrays"
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            size = sum(member.file_size for member in members)
            if size > largest:
                raise InputError(
                    f"{file} takes {size / 1e9:,.3g} GB unpacked, but only {largest / 1e9:,.3g} GB "
                    "of memory are available; expected a smaller file, or a folder of pictures"
                )
            for member in members:
                name = member.filename.removesuffix(".npy")
                if name == member.filename:
                    raise InputError(f"{file} contains {name}, which is not an array; {_RIGHT}")
                if name in arrays:
                    raise InputError(f"{file} contains {name} twice; expected it once")
                if member.compress_type not in _COMPRESSIONS:
                    raise ValueError("it is not compressed as by numpy.savez_compressed")
                with archive.open(member) as source:
                    arrays[name] = _array(source, member.file_size)
                    source.read(1)  # the checksum is compared at the end
    except InputError:
        raise
    except zipfile.BadZipFile as error:
        if not zipfile.is_zipfile(file):
            raise InputError(
                f"{file} is not a .npz file; expected a file written by numpy.savez"
            ) from error
        raise InputError(f"{name} of {file} cannot be read ({error}); {_RIGHT}") from error
    except Exception as error:  # whatever an arbitrary file makes the readers raise
        raise InputError(f"{name} of {file} cannot be read ({_reason(error)}); {_RIGHT}") from error
    return arrays


def _array(source: IO[bytes], size: int) -> np.ndarray:
    """The array of a .npy of `size` bytes; ValueError, or NumPy's error, for any other file."""
    version = np.lib.format.read_magic(source)
    if version == (1, 0):
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(source)
    elif version == (2, 0):
        shape, is_fortran, dtype = np.lib.format.read_array_header_2_0(source)
    else:
        raise ValueError(f"it has version {version[0]}.{version[1]} of the format")
    if dtype.hasobject:
        raise ValueError("it contains Python objects, which may run code when they are read")
    held, stated = size - source.tell(), math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or stated != held:
        raise ValueError(f"its header states {dtype} {shape}, but it has {held:,} bytes")
    data = np.empty(held, np.uint8)
    for start in range(0, held, _BLOCK):
        part = data[start : start + _BLOCK]
        if source.readinto(part.data) != len(part):  # type: ignore[attr-defined]
            raise ValueError("it is truncated")
    if dtype.kind == "U" and held and data.view(dtype.byteorder + "u4").max() > sys.maxunicode:
        raise ValueError("it contains text with invalid characters")
    return data.view(dtype).reshape(shape, order="F" if is_fortran else "C")


def _reason(error: Exception) -> str:
    """An error's message, cut; many of NumPy's end in advice to trust the file."""
    return one_line(getattr(error, "strerror", None) or str(error) or type(error).__name__)
