"""A folder of pictures with a metadata.csv or metadata.jsonl that has their labels, as Hugging
Face's `imagefolder` reads it: one in the folder, or one in each of its folders train and test."""

import csv
import dataclasses
import json
import os
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import shown
from rmdnet_jax.data import hub_layout, manifest_source
from rmdnet_jax.data.dataset import SkippedFile
from rmdnet_jax.data.manifest_source import Row
from rmdnet_jax.data.picture_files import PictureFiles

NAMES = ("metadata.csv", "metadata.jsonl")

_FILE = "file_name"
_RIGHT = f"right are {_FILE} and one of {', '.join(hub_layout.LABELS)}"


def is_one(path: str) -> bool:
    """Whether a folder has such a list; one without file names and labels is another's.

    Raises:
      InputError: a list cannot be read.
    """
    return bool(_lists(Path(os.path.expanduser(path))))


def find(path: str, held_out: float = 0.2) -> PictureFiles:
    """The picture files of a folder that `is_one`, none of which is opened.

    The column file_name is relative to the list's folder; the label is the first of label, labels,
    fine_label and class that there is, text or a whole number. With lists in train and in test (or
    validation, or val) these are the splits. Of one list in the folder itself they are told by a
    column split, or by where the files lie, if in both of such folders; else each class gives
    `held_out` of its pictures.

    Args:
      path: the folder.
      held_out: share of each class in (0, 1).

    Raises:
      InputError: a row is wrong; its line is named.
    """
    root = Path(os.path.expanduser(path))
    lists = _lists(root)
    skipped: tuple[SkippedFile, ...] = ()
    if "" in lists:
        rows = _told_by_folder(list(_rows(root, "", lists[""])))
        place = lists[""]
    else:
        test = hub_layout.test_split(lists)
        used = [split for split in ("train", test) if split in lists]
        rows = [row for split in used for row in _rows(root, split, lists[split])]
        if len(used) == 1:
            rows = [(where, _without_split(row)) for where, row in rows]
        skipped = tuple(
            SkippedFile(shown(split), f"a split beside {' and '.join(used)}: not used", False)
            for split in lists
            if split not in used
        )
        place = root
    found = manifest_source.of_rows(rows, place, root, held_out)
    return dataclasses.replace(found, name=root.resolve().name, skipped=skipped)


def _lists(root: Path) -> dict[str, Path]:
    """The list of the folder, or of each split, "" and "train" say."""
    for splits in ([""], hub_layout.SPLITS):
        found = {
            split: root / split / name
            for split in splits
            for name in reversed(NAMES)
            if os.path.isfile(root / split / name)
        }
        found = {split: place for split, place in found.items() if _is_list(place)}
        if found:
            return found
    return {}


def _is_list(place: Path) -> bool:
    try:
        _, first = next(_records(place), ("", {}))
    except InputError:
        if any(os.path.isdir(place.parent / name) for name in os.listdir(place.parent)):
            return False  # something else, beside the folders of classes
        raise
    return _FILE in first and hub_layout.label_column(first) is not None


def _rows(root: Path, split: str, place: Path) -> Iterator[Row]:
    """Paths in `root`; with a split if it is known."""
    for where, record in _records(place):
        label = hub_layout.label_column(record)
        file = record.get(_FILE)
        if not isinstance(file, str) or not file or label is None:
            raise InputError(f"{where}: no {_FILE} or no label; {_RIGHT}")
        row = {
            "path": posixpath.join(split, file),
            "label": hub_layout.label_text(record[label], None, where).strip(),
        }
        if said := split or record.get("split"):
            row["split"] = str(said).strip()
        yield where, row


def _told_by_folder(rows: list[Row]) -> list[Row]:
    """Rows without a split get that of the folder they lie in, if some lie in train and others in
    one to test on."""
    if any("split" in row for _, row in rows):
        return rows
    splits = [posixpath.normpath(row["path"]).partition("/")[0] for _, row in rows]
    if set(splits) - set(hub_layout.SPLITS) or "train" not in splits or len(set(splits)) < 2:
        return rows
    return [
        (where, row | {"split": split}) for (where, row), split in zip(rows, splits, strict=True)
    ]


def _without_split(row: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in row.items() if name != "split"}


def _records(place: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a list by column, and what each is called in an error."""
    try:
        with open(place, encoding="utf-8-sig", newline="") as file:
            if place.suffix == ".csv":
                reader = csv.DictReader(file, strict=True)
                for record in reader:
                    where = f"{place}, line {reader.line_num}"
                    if None in record or None in record.values():
                        raise InputError(
                            f"{where}: not as many fields as the header has; right is a field a "
                            'column (a comma in a field needs "quotes" around it)'
                        )
                    yield where, {name.strip(): value for name, value in record.items()}
            else:
                for number, line in enumerate(file, 1):
                    if line.strip():
                        record = json.loads(line)
                        where = f"{place}, line {number}"
                        if not isinstance(record, dict):
                            raise InputError(f"{where} is no JSON object; {_RIGHT}")
                        yield where, record
    except (ValueError, RecursionError, csv.Error, OSError) as error:
        if isinstance(error, InputError):
            raise
        reason = getattr(error, "strerror", None) or str(error).split("\n")[0][:100]
        raise InputError(
            f"{place} cannot be read ({reason}); right is UTF-8, a header and a row a picture in a "
            ".csv, a JSON object a line in a .jsonl"
        ) from error
