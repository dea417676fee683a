"""What data sets of the Hugging Face hub call their labels and splits."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import brief, cut

# Of several the first is read.
LABELS = ("label", "labels", "fine_label", "class")

TESTS = ("test", "validation", "val")
SPLITS = ("train", *TESTS)


def label_column(columns: Iterable[str]) -> str | None:
    """The column that is read as the label, or None."""
    found = set(columns)
    return next((name for name in LABELS if name in found), None)


def label_text(value: Any, names: Sequence[str] | None, where: str) -> str:
    """The name of the class that a value means; "" for a missing one.

    Args:
      value: text, or a whole number, which is a place in `names` if there are any.
      names: of the classes, as a ClassLabel has them.
      where: what to call the row in an error.

    Raises:
      InputError: it is neither, or no place in `names`.
    """
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise InputError(
            f"{where}: the label is {type(value).__name__}; right is text or a whole number"
        )
    if names is None or isinstance(value, str):
        return str(value)
    if not 0 <= value < len(names):
        hint = " (-1 is how a split without labels is kept)" if value == -1 else ""
        raise InputError(
            f"{where}: the label is {brief(value)}{hint}; right is 0 to {len(names) - 1}, "
            f"{cut(names[0], 30)} to {cut(names[-1], 30)}"
        )
    return names[value]


def test_split(found: Collection[str]) -> str | None:
    """The one of the splits that there are which is tested on, or None."""
    return next((name for name in TESTS if name in found), None)
