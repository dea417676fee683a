"""Images as users of Python have them: pixels or feature vectors in an array of any library, or the
paths of pictures. Unambiguous input is accepted; anything else is rejected."""

import os
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from rmdnet_jax.base import paths
from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import brief, cut, one_line

GivenImages: TypeAlias = npt.ArrayLike | Sequence[str | os.PathLike]

_RIGHT = "expected one array of all images, or a list of paths"

# What marks a pattern of file names.
_WILD = "*?["


def is_path(images: Any) -> bool:
    """Whether it is a single path, not a list of them."""
    if isinstance(images, np.ndarray) and images.ndim == 0:
        images = images.item()
    return isinstance(images, str | os.PathLike)


def read(images: Any) -> np.ndarray | list[str]:
    """The images that a user gives: as an array, or as paths.

    Args:
      images: an array [N, ...] of NumPy, JAX, PyTorch, pandas or anything that NumPy can read; a
        list of N arrays of one shape; N paths in a list, a NumPy array or a Series; or one path.

    Returns:
      An array of numbers [N, ...], without a copy if it is one already; or N paths, with "~"
      expanded.

    Raises:
      InputError: it is something else, or some of it is masked out.
    """
    if is_path(images):
        return [_one_path(str(images.item() if isinstance(images, np.ndarray) else images))]
    if has_array(images):
        array = as_array(images, "images")
        if array.ndim == 0:
            raise InputError(f"images is {type(images).__name__} without a length; {_RIGHT}")
        if array.dtype.kind not in "OUT":
            return array
        if array.ndim == 2 and array.shape[1] == 1:  # a table of one column
            array = array[:, 0]
        if array.ndim > 1:
            raise InputError(f"images is {brief(images)}, not of numbers; {_RIGHT}")
        return _of_list(list(array))
    if isinstance(images, bytes) or not isinstance(images, Sequence):
        raise InputError(f"images is {cut(type(images).__name__, 40)}; {_RIGHT}")
    return _of_list(list(images))


def has_array(value: Any) -> bool:
    """Whether it can be read as an array."""
    return hasattr(value, "__array__") or hasattr(value, "__array_interface__")


def as_array(value: Any, where: str) -> np.ndarray:
    """An array of any library as a NumPy array; copied if it is on a GPU.

    Raises:
      InputError: NumPy cannot read it, or some of it is masked out, which its numbers do not show.
    """
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        count = int(np.ma.getmaskarray(value).sum())
        raise InputError(f"{where}: {count:,} values are masked out; expected no missing values")
    mode = getattr(value, "mode", "RGB") if hasattr(value, "convert") else "RGB"
    if mode not in ("RGB", "L"):  # Pillow's: palette indices, for example
        raise InputError(
            f'{where}: an image of mode {brief(mode)}; expected RGB, as from .convert("RGB")'
        )
    try:
        if hasattr(value, "detach") and hasattr(value, "cpu"):  # PyTorch's, perhaps with gradients
            value = value.detach().cpu()
        return np.asarray(value)
    except Exception as error:  # whatever the library raises
        reason = f"{type(error).__name__}: {one_line(error, 80)}"
        raise InputError(
            f"{where}: {cut(type(value).__name__, 40)} cannot be read as an array ({reason}); "
            "expected a NumPy array"
        ) from error


def _of_list(images: list) -> np.ndarray | list[str]:
    """Paths as text, arrays stacked into one."""
    are_paths = [isinstance(image, str | os.PathLike) for image in images]
    if all(are_paths):
        return [_path(image, f"images[{place}]") for place, image in enumerate(images)]
    if any(are_paths):
        path, other = are_paths.index(True), are_paths.index(False)
        raise InputError(
            f"images[{path}] is a path and images[{other}] is {brief(images[other])}; {_RIGHT}"
        )
    arrays: list[np.ndarray] = []
    for place, image in enumerate(images):
        array = as_array(image, f"images[{place}]")
        if array.ndim == 0 or array.dtype.kind not in "biufcV":
            raise InputError(
                f"images[{place}] is {brief(image)}, neither a path nor an array; {_RIGHT}"
            )
        if arrays and array.shape != arrays[0].shape:
            raise InputError(
                f"images[0] has shape {arrays[0].shape} and images[{place}] {array.shape}; "
                "expected one shape for all, or paths of pictures"
            )
        arrays.append(array)
    if len({array.dtype for array in arrays}) > 1:
        other = next(i for i, array in enumerate(arrays) if array.dtype != arrays[0].dtype)
        raise InputError(
            f"images[0] is {arrays[0].dtype} and images[{other}] {arrays[other].dtype}; expected "
            "one dtype for all"
        )
    return np.stack(arrays)


def _path(path: str | os.PathLike, where: str) -> str:
    found = os.fspath(path)
    if isinstance(found, bytes):
        raise InputError("images has a path of type bytes; expected str or pathlib.Path")
    if meant := paths.without_blanks(found):
        raise InputError(
            f"{where} is {brief(found)}, which does not exist; did you mean {brief(meant)}? "
            "Expected a path without blanks around it"
        )
    return os.path.expanduser(found)


def _one_path(path: str) -> str:
    """A single path, after checking that it is not meant as a folder or a pattern of many."""
    path = _path(path, "images")
    if os.path.isdir(path):
        raise InputError(f"images is a folder, {cut(path)}; expected a list of its files")
    if any(sign in path for sign in _WILD) and not os.path.exists(path):
        raise InputError(
            f"images is a pattern, {cut(path)}, not a file; expected a list of files, as from "
            "sorted(glob.glob(PATTERN))"
        )
    return path
