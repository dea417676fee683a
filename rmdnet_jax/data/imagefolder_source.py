"""A folder of pictures with a metadata.csv or metadata.jsonl that has their labels, as Hugging
Face's `imagefolder` reads it: one in the folder, or one in each of its folders train and test."""

import dataclasses
import json
import os
import posixpath
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import cut, one_line, shown
from rmdnet_jax.data import hub_layout, manifest_source, pictures, split_names, table_rows
from rmdnet_jax.data.dataset import SkippedFile
from rmdnet_jax.data.manifest_source import Row
from rmdnet_jax.data.picture_files import PictureFiles

NAMES = ("metadata.csv", "metadata.jsonl")

_FILE = "file_name"
_RIGHT = f"expected {_FILE} and one of {', '.join(hub_layout.LABELS)}"


def is_one(path: str) -> bool:
    """Whether a folder has such a list; one without file names and labels does not count.

    Raises:
      InputError: a list cannot be read.
    """
    return bool(_lists(Path(os.path.expanduser(path))))


def find(path: str, test_fraction: float = 0.2) -> PictureFiles:
    """The picture files of a folder that `is_one`, none of which is opened.

    The column file_name is relative to the list's folder; the label is the first available of
    label, labels, fine_label and class, text or a whole number. Lists in folders named after splits
    define the splits, as in split_names.py, and train has to be one of them. For one list in the
    folder itself, a column split defines them, or the files' folders, if all are in such folders.
    Without a split to test on, each class gives `test_fraction` of its pictures.

    Pictures that no row names are skipped, and so is a list next to those that are read.

    Args:
      path: the folder.
      test_fraction: the test fraction, in (0, 1).

    Raises:
      InputError: a row is wrong, whose line is named; or there is none to train on.
    """
    root = Path(os.path.expanduser(path))
    lists = _lists(root)
    used: tuple[str, ...] = ("",)
    if "" in lists:
        place = lists[""]
        rows = _told_by_folder(list(_rows("", place)), place)
    else:
        place = root
        _check_train(root, lists)
        used = split_names.used(lists)
        rows = [row for split in used for row in _rows(split, lists[split])]
        if len(used) == 1:
            rows = [(where, _without_split(row)) for where, row in rows]
    found = manifest_source.of_rows(rows, place, root, test_fraction)
    named = {posixpath.normpath(row["path"]) for _, row in rows}
    named.update(found.train.files, found.test.files)
    skipped = (*found.skipped, *_not_read(root, lists, used), *_not_named(root, lists, used, named))
    return dataclasses.replace(found, name=root.resolve().name, skipped=skipped)


def _lists(root: Path) -> dict[str, Path]:
    """The list of the folder, under "", or of each split, under "train" for example."""
    found: dict[str, Path] = {}
    for place in _places(root):
        split = "" if place.parent == root else place.parent.name
        if "" not in found and split not in found and _is_list(place):
            found[split] = place
    return found


def _places(root: Path) -> list[Path]:
    """Files that may be lists: those of the folder, then of each split."""
    places = (root / split / name for split in ("", *split_names.NAMES) for name in NAMES)
    return [place for place in places if os.path.isfile(place)]


def _not_read(root: Path, lists: dict[str, Path], used: Sequence[str]) -> list[SkippedFile]:
    """Lists next to those of the used splits; the list of an unused split is not among them."""
    read = " and ".join(_names(root, [lists[split] for split in used]))
    return [
        SkippedFile(shown(name), f"a list next to {read}: not read", False)
        for name in _names(root, _places(root))
        if name not in _names(root, lists.values())
    ]


def _not_named(
    root: Path, lists: dict[str, Path], used: Sequence[str], named: Collection[str]
) -> list[SkippedFile]:
    """Splits that are not used, with the number of their pictures, and each other picture that has
    no row."""
    there = pictures.below(root)
    below = {
        split: [file for file in there if file.startswith(f"{split}/")]
        for split in lists
        if split not in used
    }
    known = {*named, *(file for files in below.values() for file in files)}
    return [
        *(split_names.unused(split, used, len(files)) for split, files in below.items()),
        *(
            SkippedFile(shown(file), "no row names it", False)
            for file in there
            if file not in known
        ),
    ]


def _names(root: Path, places: Iterable[Path]) -> list[str]:
    return [os.path.relpath(place, root) for place in places]


def _check_train(root: Path, lists: dict[str, Path]) -> None:
    if split_names.TRAIN not in lists:
        raise InputError(
            f"{cut(root)} has {' and '.join(_names(root, lists.values()))} but no such list in "
            f"{split_names.TRAIN} to train on; expected {split_names.TRAIN}/{NAMES[0]} too, or one "
            "list in the folder itself, or no list if folders are the classes"
        )


def _is_list(place: Path) -> bool:
    try:
        _, first = next(_records(place), ("", {}))
    except InputError:
        if any(os.path.isdir(place.parent / name) for name in os.listdir(place.parent)):
            return False  # something else, next to the class folders
        raise
    return _FILE in first and hub_layout.label_column(first) is not None


def _rows(split: str, place: Path) -> Iterator[Row]:
    """Rows with paths in the list's root folder, and with the split if it is known."""
    for where, record in _records(place):
        label = hub_layout.label_column(record)
        file = record.get(_FILE)
        if not isinstance(file, str) or not file or label is None:
            raise InputError(f"{where}: {_FILE} or label is missing; {_RIGHT}")
        row = {
            "path": posixpath.join(split, file),
            "label": hub_layout.label_text(record[label], None, where).strip(),
        }
        if said := split or record.get("split"):
            row["split"] = str(said).strip()
        yield where, row


def _told_by_folder(rows: list[Row], place: Path) -> list[Row]:
    """Gives rows without a split that of the folder they are in, if all are in such folders, and
    not all in train.

    Raises:
      InputError: none of them is in train.
    """
    if any("split" in row for _, row in rows):
        return rows
    splits = [posixpath.normpath(row["path"]).partition("/")[0] for _, row in rows]
    if set(splits) - set(split_names.NAMES) or set(splits) == {split_names.TRAIN}:
        return rows
    if split_names.TRAIN not in splits:
        raise InputError(
            f"all pictures of {cut(place)} are in {' and '.join(sorted(set(splits)))}, none in "
            f"{split_names.TRAIN} to train on; expected some there, or a column split"
        )
    return [
        (where, row | {"split": split}) for (where, row), split in zip(rows, splits, strict=True)
    ]


def _without_split(row: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in row.items() if name != "split"}


def _records(place: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a list by column, and what to call each in an error."""
    if place.suffix == ".csv":
        yield from table_rows.of_csv(place)
        return
    try:
        with open(place, encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    record = json.loads(line)
                    where = f"{place}, line {number}"
                    if not isinstance(record, dict):
                        raise InputError(f"{where} is not a JSON object; {_RIGHT}")
                    yield where, record
    except (ValueError, RecursionError, OSError) as error:
        if isinstance(error, InputError):
            raise
        reason = getattr(error, "strerror", None) or one_line(error, 100)
        raise InputError(
            f"{place} cannot be read ({reason}); expected UTF-8 with one JSON object per line"
        ) from error
