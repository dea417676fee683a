"""Reads a corrections.csv, a person's verdicts on labels. They are applied in corrected.py.

report/corrections.js reads the same files in the browser.
"""

import dataclasses
import os
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import brief, cut, of_cell
from rmdnet_jax.data import table_rows

# keep, suggestion and class state the right class, remove that none is right, unsure nothing.
VERDICTS = KEEP, SUGGESTION, CLASS, REMOVE, UNSURE = (
    "keep", "suggestion", "class", "remove", "unsure",
)  # fmt: skip

_COLUMNS = ("index", "path", "given_class", "verdict", "class")
_RIGHT = "expected the columns verdict, class, path or index, and optionally given_class"


@dataclasses.dataclass(frozen=True)
class Correction:
    """A row of a corrections.csv.

    Attributes:
      where: what to call it, "corrections.csv, line 3".
      path: of the image, as `text.shown` makes it; "" if it goes by its index.
      index: position in what the user gave (Dataset.train_index; also test_index where both splits
        are one list), or None.
      given_class: the class of its label when the row was written; "" if not stated.
      verdict: of VERDICTS.
      class_name: the right class; "" with remove and unsure.
    """

    where: str
    path: str
    index: int | None
    given_class: str
    verdict: str
    class_name: str


def files(names: str) -> list[Path]:
    """The files that a flag or field names: one, or several separated by commas, in the given
    order."""
    whole = Path(os.path.expanduser(names))
    if not names or os.path.exists(whole):
        return [whole] if names else []
    return [Path(os.path.expanduser(name.strip())) for name in names.split(",")]


def read(path: str | Path) -> tuple[Correction, ...]:
    """The rows of a corrections.csv (UTF-8, commas, a header), as the page of a run saves it.

    Columns: verdict; class, a name; path or index or both; optionally given_class. Others are
    ignored. Names and paths are as text.cell makes them.

    Raises:
      InputError: there is no such file, it is not such a table, or a row makes no sense, whose line
        is named.
    """
    path = Path(path)
    if not os.path.isfile(path):
        raise InputError(f"no file {cut(path)!r} with corrections; expected a corrections.csv")
    return tuple(_correction(where, row) for where, row in _rows(path))


def _rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """What to call each row, and its cells by column."""

    def check(columns: list[str]) -> None:
        twice = [name for name in _COLUMNS if columns.count(name) > 1]
        if "verdict" not in columns or not {"path", "index"} & set(columns) or twice:
            found = ", ".join(map(brief, columns[:10])) or "none"
            raise InputError(f"{path} has the columns {found}; {_RIGHT}, each once")

    for where, row in table_rows.of_csv(path, check):
        yield where, dict.fromkeys(_COLUMNS, "") | row


def _correction(where: str, row: Mapping[str, str]) -> Correction:
    """A row, checked as far as that does not depend on the data."""
    index, verdict = row["index"].strip(), row["verdict"].strip()
    given_class, class_name = (
        unicodedata.normalize("NFC", of_cell(row[name])) for name in ("given_class", "class")
    )
    path = of_cell(row["path"])
    if verdict not in VERDICTS:
        raise InputError(
            f"{where}: the verdict is {brief(verdict)}; expected one of {', '.join(VERDICTS)}"
        )
    if not path and not index:
        raise InputError(f"{where}: neither a path nor an index; expected one of them")
    # Eighteen digits: what int64 holds.
    if index and not (index.isascii() and index.isdecimal() and len(index) <= 18):
        raise InputError(f"{where}: the index is {brief(index)}; expected a whole number from 0")
    if verdict in (REMOVE, UNSURE) and class_name:
        raise InputError(
            f"{where}: {verdict} with the class {brief(class_name)}; expected no class, or the "
            "verdict class"
        )
    if verdict in (SUGGESTION, CLASS) and not class_name:
        raise InputError(f"{where}: {verdict} without a class; expected the name of one")
    if verdict == KEEP and class_name and given_class and class_name != given_class:
        raise InputError(
            f"{where}: keep with the class {brief(class_name)}, but the given_class is "
            f"{brief(given_class)}; expected the same, or another verdict"
        )
    return Correction(where, path, int(index) if index else None, given_class, verdict, class_name)
