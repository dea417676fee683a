"""How data sets of the Hugging Face hub name and encode their labels."""

from collections.abc import Iterable, Sequence
from typing import Any

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import brief, cut
from rmdnet_jax.data import table_rows

# If there are several, the first of these is read.
LABELS = ("label", "labels", "fine_label", "class")


def label_column(columns: Iterable[str]) -> str | None:
    """The column that is read as the label, or None."""
    found = set(columns)
    return next((name for name in LABELS if name in found), None)


def label_text(value: Any, names: Sequence[str] | None, where: str) -> str:
    """The name of the class that a value stands for; "" for a missing one.

    Args:
      value: text, or a whole number, which is an index into `names` if there are any.
      names: of the classes, as in a ClassLabel.
      where: what to call the row in an error.

    Raises:
      InputError: it is neither, or not an index into `names`.
    """
    label = table_rows.text(value, "label", where)
    if names is None or isinstance(value, str) or not label:
        return label
    number = int(value)
    if not 0 <= number < len(names):
        hint = " (-1 is stored for splits without labels)" if number == -1 else ""
        raise InputError(
            f"{where}: the label is {brief(number)}{hint}; expected 0 to {len(names) - 1}, "
            f"{cut(names[0], 30)} to {cut(names[-1], 30)}"
        )
    return names[number]
