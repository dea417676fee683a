"""Labels as users of Python have them, in any container. They are checked before they are
converted: otherwise a missing one would become a class, and "0" and 0 the same."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import brief, cut
from rmdnet_jax.data import class_names
from rmdnet_jax.data.class_order import in_order
from rmdnet_jax.data.given_images import as_array, has_array

_RIGHT = "expected N class names (str) or N integers"

# The types of missing values in pandas, named without importing it.
_MISSING_TYPES = ("NAType", "NaTType")

# How NumPy and pandas write a missing value as text; hardly the name of a class.
_MISSING_TEXTS = ("nan", "NaN", "NaT", "<NA>")

_LONGEST = 1000  # characters of a class name: every label of an array takes as much as the longest

_INTEGERS = np.iinfo(np.int64)

_HINTS = {
    "bytes": "expected text, LABEL.decode()",
    "bool": "expected class names or integers, as from int(LABEL)",
    "float": "expected integers, as from int(LABEL) for whole numbers, or class names",
}


def read(labels: Any) -> np.ndarray:
    """The labels that a user gives: str [N] or int64 [N], none missing; texts as class_names.normal
    makes them.

    Args:
      labels: N texts or N integers, not both, in a list, a tuple, or an array of any library
        (NumPy, masked or not, pandas, PyArrow, JAX, PyTorch); or such a column, [N, 1].

    Raises:
      InputError: it is something else; labels are missing (None, NaN, NA, NaT, masked or empty),
        where it says how many and which is the first; or one is not of the others' type, or is a
        float, a bool, or an integer beyond 64 bits.
    """
    if isinstance(labels, np.ma.MaskedArray):
        mask = np.ma.getmaskarray(labels).ravel()
        _check_none_missing(np.flatnonzero(mask), mask.size)
        labels = labels.data
    if has_array(labels):
        array = as_array(labels, "labels")
    elif isinstance(labels, Sequence) and not isinstance(labels, str | bytes):
        array = np.fromiter(labels, object, len(labels))
    else:
        raise InputError(f"labels is {cut(type(labels).__name__, 40)}; {_RIGHT}")
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise InputError(
            f"labels have shape {array.shape}; {_RIGHT} (for rows of scores, rows.argmax(axis=1))"
        )
    if array.dtype.kind in "OT":
        return _of_objects(array.tolist())
    if array.dtype.kind in "fcmM":
        _check_none_missing(np.flatnonzero(array != array), len(array))  # NaN and NaT differ
    if array.dtype.kind == "U":
        return _texts(array.tolist())
    if array.dtype.kind not in "iu":
        hint = _HINTS.get({"f": "float", "b": "bool", "S": "bytes"}.get(array.dtype.kind, ""))
        raise InputError(f"labels are {cut(array.dtype, 40)}; {hint or _RIGHT}")
    _check_range(array)
    return array.astype(np.int64)


def numbered(labels: np.ndarray) -> tuple[tuple[str, ...] | tuple[int, ...], np.ndarray]:
    """The classes in labels, in order, and the number of each label's class.

    Args:
      labels: str [N] or int64 [N].

    Returns:
      The classes, integers by value, names as `in_order` sorts them; and int32 [N].
    """
    found, numbers = np.unique(labels, return_inverse=True)
    if found.dtype.kind == "i":
        return tuple(found.tolist()), numbers.astype(np.int32)
    names = in_order(found.tolist())
    place = {name: number for number, name in enumerate(names)}
    order = np.array([place[name] for name in found.tolist()], np.int32)
    return tuple(names), order[numbers]


def warnings(labels: np.ndarray) -> list[str]:
    """A line each on labels that look like missing values that were converted to text earlier, and
    on class names that differ only in case.

    Args:
      labels: str [N] or int64 [N].
    """
    if labels.dtype.kind != "U":
        return []
    found = _missing_texts(labels), class_names.warning(Counter(labels.tolist()))
    return [line for line in found if line]


def _missing_texts(labels: np.ndarray) -> str:
    places = np.flatnonzero(np.isin(labels, _MISSING_TEXTS))
    if not len(places):
        return ""
    first = int(places[0])
    return (
        f"{_count(len(places), len(labels))} the text {str(labels[first])!r} or similar, first "
        f"labels[{first}], which becomes a class; if it is a missing value, leave the image out"
    )


def _of_objects(values: list) -> np.ndarray:
    """Labels from a list, each of them checked."""
    types = set(map(type, values))
    if types == {str}:
        return _texts(values)
    if types != {int}:
        values = [_plain(value) for value in values]
        missing = [place for place, value in enumerate(values) if _is_missing(value)]
        _check_none_missing(missing, len(values))
        _check_types(values)
        if values and isinstance(values[0], str):
            return _texts(values)
    if not all(_INTEGERS.min <= value <= _INTEGERS.max for value in values):
        _check_range(np.array(values, object))
    return np.array(values, np.int64)


def _plain(value: Any) -> Any:
    """A label as Python's own str or int, or unchanged; None if it is masked."""
    if isinstance(value, list | tuple) or getattr(value, "ndim", 0) == 1:
        if len(value) != 1:
            raise InputError(f"labels are lists in a list; {_RIGHT}, one per image")
        value = value[0]
    if value is np.ma.masked:  # whose value is 0.0
        return None
    if isinstance(value, np.datetime64 | np.timedelta64):  # whose values are integers
        return None if np.isnat(value) else value
    if hasattr(value, "as_py"):  # PyArrow's
        value = value.as_py()
    elif getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, str):
        return str.__str__(value)
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _is_missing(value: Any) -> bool:
    if isinstance(value, str):
        return not value.strip()
    is_nan = isinstance(value, float) and value != value
    return value is None or is_nan or type(value).__name__ in _MISSING_TYPES


def _check_none_missing(places: Sequence[int] | np.ndarray, total: int) -> None:
    if len(places):
        raise InputError(
            f"{_count(len(places), total)} missing (None, NaN, masked or empty), first "
            f"labels[{int(places[0])}]; expected one per image: add it, or leave the image out"
        )


def _count(some: int, total: int) -> str:
    return f"{some:,} of {total:,} labels {'is' if some == 1 else 'are'}"


def _check_types(values: list) -> None:
    """Raises InputError unless all labels are text, or all are integers."""
    for place, value in enumerate(values):
        if type(value) not in (str, int):
            hint = _HINTS.get(type(value).__name__, _RIGHT)
            raise InputError(f"labels[{place}] is {brief(value)}; {hint}")
        if type(value) is not type(values[0]):
            raise InputError(
                f"labels[0] is {brief(values[0])} and labels[{place}] is {brief(value)}; expected "
                "all text or all integers"
            )


def _texts(values: list[str]) -> np.ndarray:
    """Class names as str [N]."""
    normal = {value: class_names.normal(value) for value in set(values)}
    values = [normal[value] for value in values]
    missing = [place for place, value in enumerate(values) if not value]
    _check_none_missing(missing, len(values))
    for place, value in enumerate(values):
        if len(value) > _LONGEST or value.endswith("\0"):  # NumPy would cut off the NUL
            raise InputError(
                f"labels[{place}] is {brief(value)} with {len(value):,} characters; expected a "
                f"class name of up to {_LONGEST:,}, without a NUL at its end"
            )
    return np.array(values, str)


def _check_range(values: np.ndarray) -> None:
    """Raises InputError for an integer that does not fit into int64, such as some hashes."""
    is_beyond = (values > _INTEGERS.max) | (values < _INTEGERS.min)
    if is_beyond.any():
        place = int(np.argmax(is_beyond))
        raise InputError(
            f"labels[{place}] is an integer beyond int64; expected up to 2**63 - 1, or text: "
            "str(LABEL)"
        )
