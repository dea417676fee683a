"""Rows of users' tables: those of a CSV file by column, and values of other tables as the text that
CSV would have."""

import csv
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import brief

# What separates the fields of tables that are called CSV, other than commas.
_SEPARATORS = {";": "';'", "\t": "a tab"}


def of_csv(
    place: Path, check: Callable[[list[str]], None] = lambda columns: None
) -> Iterator[tuple[str, dict[str, str]]]:
    """What to call each row of a CSV file in an error, and its fields by column. The file has a
    header, and is UTF-8 with or without a byte-order mark; empty lines are skipped.

    Args:
      place: the file.
      check: raises InputError for wrong columns; it gets the names with duplicates.

    Raises:
      InputError: it is not such a file, or a row has another number of fields than the header.
    """
    try:
        with open(place, encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            _check_separator(header, place)
            reader = csv.reader(itertools.chain([header] if header else [], file), strict=True)
            columns = [name.strip() for name in next(reader, [])]
            check(columns)
            for fields in reader:
                where = f"{place}, line {reader.line_num}"
                if not fields:  # an empty line
                    continue
                if len(fields) != len(columns):
                    raise InputError(
                        f"{where} has {len(fields)} fields; expected {len(columns)}, as in the "
                        'header (a field with a comma needs "quotes" around it)'
                    )
                yield where, dict(zip(columns, fields, strict=True))
    except UnicodeDecodeError as error:
        raise InputError(
            f"{place} is not UTF-8 ({error.reason}); expected a CSV file saved as UTF-8"
        ) from error
    except (csv.Error, OSError) as error:
        raise InputError(f"{place} cannot be read as CSV ({error})") from error


def _check_separator(header: str, place: Path) -> None:
    """Raises InputError for a first line without a comma and with another separator."""
    found = next((name for sign, name in _SEPARATORS.items() if sign in header.strip()), None)
    if found and "," not in header:
        raise InputError(
            f"{place} has the header {brief(header.strip())}, separated by {found}; expected commas"
        )


def text(value: Any, column: str, where: str) -> str:
    """A value as CSV would have it; "" for a missing one.

    Args:
      value: text or a whole number.
      column: what to call it in an error.
      where: what to call the row in an error.

    Raises:
      InputError: it is neither.
    """
    if value is None or value != value:  # some writers store a missing value as NaN
        return ""
    if isinstance(value, float) and value.is_integer():  # integers in a column with NaN
        value = int(value)
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise InputError(
            f"{where}: the {column} is {type(value).__name__}; expected text or a whole number"
        )
    return str(value)
