"""A manifest of pictures as a source: a CSV or Parquet table with one row per picture.

Columns path and label, optionally split and true_label, and "label:NAME" for an annotator's labels;
others are ignored.
"""

import functools
import os
import posixpath
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from rmdnet_jax.base import paths
from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import brief, cut, one_line
from rmdnet_jax.data import annotators, class_names, picture_files, split_names, table_rows
from rmdnet_jax.data.class_order import in_order
from rmdnet_jax.data.dataset import NO_CLASS, SkippedFile
from rmdnet_jax.data.picture_files import PictureFiles, Split
from rmdnet_jax.machine import hosts

SUFFIXES = (".csv", ".parquet")

_NEEDED = ("path", "label")
_COLUMNS = (*_NEEDED, "split", "true_label")
_RIGHT = (
    "expected the columns path and label, and optionally split, true_label, and label:NAME for "
    "each annotator, whose majority can replace label"
)

_BATCH = 1000  # rows of a Parquet file at a time

# What to call a row in an error, and its fields by column.
Row = tuple[str, dict[str, str]]


def find(path: str, test_fraction: float = 0.2, root: str = "") -> PictureFiles:
    """The picture files of a manifest, none of which is opened.

    Paths are relative to the folder `root`, or absolute, and must stay in it. If a file does not
    exist, one is used whose name has other characters that look the same (Unicode's NFC), or
    slashes for backslashes. Labels are class names, sorted by class_order.py. split_names.py
    defines the splits and which of them are used; without that column each class gives
    `test_fraction` of its pictures to the test split. Images come in turns, as in folder_source.py,
    whatever the order of the rows.

    If there are true labels, those of the test split replace its labels; those of the training
    split are kept in addition to the labels. A training picture without one, where others have one,
    shows none of the classes; it is not held out to test on.

    Args:
      path: the manifest, .csv (UTF-8) or .parquet.
      test_fraction: share of each class in (0, 1).
      root: empty is the manifest's folder.

    Raises:
      InputError: there is no such file, or it is not such a table, or a row is wrong, whose line is
        named.
    """
    place = Path(os.path.expanduser(path))
    if not path or not os.path.isfile(place):
        right = "expected a .csv or .parquet file"
        if path and os.path.isdir(place):
            raise InputError(
                f"{path!r} is a folder, not a manifest (dataset.path); {right} (join a data set of "
                "several Parquet files first)"
            )
        raise InputError(f"no manifest {path!r} (dataset.path); {paths.right(path, right)}")
    folder = Path(os.path.expanduser(root)) if root else place.parent
    if not os.path.isdir(folder):
        right = paths.right(root, "expected the one that paths are in")
        raise InputError(f"no folder {root!r} (dataset.root); {right}")
    rows = _parquet(place) if place.suffix.lower() == ".parquet" else _csv(place)
    return of_rows(rows, place, folder, test_fraction)


def of_rows(given: Iterable[Row], place: Path, folder: Path, test_fraction: float) -> PictureFiles:
    """The picture files of the rows of any list of them, with the rules of `find`. Class names
    that differ only in case get a warning.

    Args:
      given: what to call each row in an error, and its columns: path, label, and optionally split
        and true_label.
      place: the list as the user gave it.
      folder: what paths are relative to, and must stay in.
      test_fraction: share of each class in (0, 1).

    Raises:
      InputError: there is no row, or one is wrong.
    """
    rows: dict[str, dict[str, str]] = {}
    named: dict[str, str] = {}  # what to call a file's row
    alike = functools.cache(_names_alike)
    for where, fields in given:
        row = _row(fields)
        file = _file(row["path"], folder, where, alike)
        if file in rows:
            raise InputError(
                f"{where}: {cut(file)} is also in {named[file]}; expected one row per file"
            )
        if not row.get("label") and not _votes(row):
            raise InputError(f"{where}: the label is empty; expected the name of a class")
        if _split_of(row) not in split_names.NAMES:
            raise InputError(
                f"{where}: the split is {brief(row['split'])}; expected one of "
                f"{', '.join(split_names.NAMES)}"
            )
        rows[file], named[file] = row, where
    if not rows:
        raise InputError(f"{place} has no rows; expected one row per picture")
    rows, skipped = _used(rows)
    names = Counter(
        name
        for row in rows.values()
        for name in (row.get("label"), row.get("true_label"), *_votes(row).values())
        if name
    )
    classes = in_order(names)
    if warning := class_names.warning(names):
        hosts.warn(warning)
    _fill_labels(rows.values(), classes)
    train, test = _splits(rows, classes, test_fraction)
    number = {name: i for i, name in enumerate(classes)}
    tested_by = [_best_label(rows[file]) for file in test]
    is_known = all(rows[file].get("true_label") for file in test)
    return PictureFiles(
        place.stem,
        folder,
        place,
        tuple(classes),
        _split(
            train,
            [rows[file]["label"] for file in train],
            number,
            _training_truth(train, rows),
            _label_sets([rows[file] for file in train], number),
        ),
        _split(
            test,
            tested_by,
            number,
            tested_by if is_known else None,
        ),
        skipped,
    )


def _split_of(row: Mapping[str, str]) -> str:
    return row.get("split", split_names.TRAIN)


def _used(
    rows: Mapping[str, dict[str, str]],
) -> tuple[dict[str, dict[str, str]], tuple[SkippedFile, ...]]:
    """The rows of the splits that are used, by file, and the other splits."""
    counts = Counter(map(_split_of, rows.values()))
    used = split_names.used(counts)
    others = [name for name in split_names.NAMES if name in counts and name not in used]
    return (
        {file: row for file, row in rows.items() if _split_of(row) in used},
        tuple(split_names.unused(name, used, counts[name]) for name in others),
    )


def _file(
    path: str, root: Path, where: str, alike: Callable[[str], Mapping[str, str | None]]
) -> str:
    """The file in `root` that a path of the manifest refers to; if there is none, the path that it
    would have. `alike` is _names_alike.

    Raises:
      InputError: it is not a path, or not in `root`, or exists only without the blanks around it.
    """
    file = _inside(path, root, where)
    if os.path.lexists(root / file):
        return file
    slashed = _inside(path.replace("\\", "/"), root, where)
    if os.path.lexists(root / slashed):
        return slashed
    found = _alike(file, root, alike) or _alike(slashed, root, alike)
    if not found and (meant := paths.without_blanks(path, root)):
        raise InputError(
            f"{where}: there is no file {brief(path)}; did you mean {brief(meant)}? Expected a "
            "path without blanks around it"
        )
    return _inside(found, root, where) if found else file


def _inside(path: str, root: Path, where: str) -> str:
    """A path relative to `root`; InputError for one that is not in it."""
    file = posixpath.normpath(path)
    if file == "." or "\0" in file:
        raise InputError(
            f"{where}: {brief(path)} is not a path; expected that of a file, relative to {root}"
        )
    inside = os.path.realpath(root)
    if file.startswith(("/", "../")):
        folder, name = os.path.split(os.path.join(inside, file))
        file = os.path.relpath(os.path.join(os.path.realpath(folder), name), inside)
    there = Path(os.path.realpath(os.path.join(inside, file)))
    if file.startswith("../") or not there.is_relative_to(inside):
        raise InputError(
            f"{where}: {cut(path)} leads out of {root}; expected the path of a file in the "
            "manifest's folder, preferably relative to it, or set dataset.root"
        )
    return file


def _alike(file: str, root: Path, alike: Callable[[str], Mapping[str, str | None]]) -> str | None:
    """The only file whose path has the same characters after Unicode normalisation, or None."""
    found = ""
    for part in file.split("/"):
        name = alike(os.path.join(root, found)).get(unicodedata.normalize("NFC", part))
        if name is None:
            return None
        found = posixpath.join(found, name)
    return found


def _names_alike(folder: str) -> dict[str, str | None]:
    """The entries of a folder, by normalised name; None where two have the same."""
    try:
        names = os.listdir(folder)
    except OSError:  # missing, or not readable: its files are reported as missing
        return {}
    found: dict[str, str | None] = {}
    for name in names:
        normal = unicodedata.normalize("NFC", name)
        found[normal] = None if normal in found else name
    return found


def _splits(
    rows: Mapping[str, Mapping[str, str]], classes: list[str], test_fraction: float
) -> tuple[list[str], list[str]]:
    """The files of both splits, in turns."""
    train: dict[str, list[str]] = {name: [] for name in classes}
    test: dict[str, list[str]] = {name: [] for name in classes}
    for file in sorted(rows):
        is_test = _split_of(rows[file]) != split_names.TRAIN
        (test if is_test else train)[rows[file]["label"]].append(file)
    if not any("split" in row for row in rows.values()):
        is_known = any(map(_truth, rows.values()))
        for name in classes:
            shows_class = [file for file in train[name] if not is_known or _truth(rows[file])]
            held = picture_files.held_out(shows_class, test_fraction)
            test[name] = sorted(held)
            train[name] = [file for file in train[name] if file not in held]
    first, second = ([file for _, file in picture_files.in_turns(part)] for part in (train, test))
    return first, second


def _split(
    files: list[str],
    labels: list[str],
    number: Mapping[str, int],
    true_labels: list[str] | None = None,
    label_sets: Mapping[str, np.ndarray] | None = None,
) -> Split:
    def numbers(names: list[str]) -> np.ndarray:
        return np.array([number[name] if name else NO_CLASS for name in names], np.int32)

    true = None if true_labels is None else numbers(true_labels)
    return Split(files, numbers(labels), true, label_sets=label_sets or {})


def _votes(row: Mapping[str, str]) -> dict[str, str]:
    """The annotators' labels by column, without gaps."""
    return {name: said for name, said in row.items() if _is_vote(name) and said}


def _is_vote(column: str) -> bool:
    return column.startswith(annotators.PREFIX) and len(column) > len(annotators.PREFIX)


def _label_sets(
    rows: Sequence[Mapping[str, str]], number: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """The labels of each annotator, int32 [N] with gaps."""
    number = {**number, "": annotators.GAP}
    return {
        column: np.array([number[row.get(column, "")] for row in rows], np.int32)
        for column in dict.fromkeys(name for row in rows for name in row if _is_vote(name))
    }


def _fill_labels(rows: Iterable[dict[str, str]], classes: list[str]) -> None:
    """Gives rows without a label that of most annotators."""
    unlabelled = [row for row in rows if not row.get("label")]
    if unlabelled:
        number = {name: i for i, name in enumerate(classes)}
        sets = _label_sets(unlabelled, number)
        most, _ = annotators.majority(np.stack(list(sets.values()), axis=1), len(classes))
        for row, label in zip(unlabelled, most, strict=True):
            row["label"] = classes[label]


def _truth(row: Mapping[str, str]) -> str:
    return row.get("true_label", "")


def _best_label(row: Mapping[str, str]) -> str:
    return _truth(row) or row["label"]


def _training_truth(files: list[str], rows: Mapping[str, Mapping[str, str]]) -> list[str] | None:
    """The true labels of the training pictures, "" for one that shows none of the classes; None if
    there are none."""
    truth = [_truth(rows[file]) for file in files]
    return truth if any(truth) else None


def _csv(place: Path) -> Iterator[Row]:
    return table_rows.of_csv(place, functools.partial(_check_columns, place))


def _parquet(place: Path) -> Iterator[Row]:
    """The rows of a Parquet file, counted from 1, a batch of them in memory at a time."""
    # Imported here: it takes half a second that other data sources need not pay.
    import pyarrow.parquet

    count = 0
    try:
        with pyarrow.parquet.ParquetFile(place) as file:
            columns = file.schema_arrow.names
            _check_columns(place, columns)
            read = [name for name in columns if name in _COLUMNS or _is_vote(name)]
            for batch in file.iter_batches(_BATCH, columns=read):
                for fields in batch.to_pylist():
                    count += 1
                    where = f"{place}, row {count}"
                    yield where, {name: table_rows.text(fields[name], name, where) for name in read}
    except InputError:
        raise
    except Exception as error:  # whatever an arbitrary file makes the readers raise
        raise InputError(f"{place} cannot be read as Parquet ({one_line(error)})") from error


def _row(fields: Mapping[str, str]) -> dict[str, str]:
    """The columns that are used, with class names as class_names.normal makes them."""
    return {
        name: value if name == "path" else class_names.normal(value)
        for name, value in fields.items()
        if name in _COLUMNS or _is_vote(name)
    }


def _check_columns(place: Path, columns: list[str]) -> None:
    missing = [name for name in _NEEDED if name not in columns]
    if any(map(_is_vote, columns)):
        missing = [name for name in missing if name != "label"]
    if missing:
        found = ", ".join(map(brief, columns[:10])) or "none"
        raise InputError(
            f"{place} has no column {', '.join(missing)} (its columns: {found}); {_RIGHT}"
        )
    read = [name for name in columns if name in _COLUMNS or _is_vote(name)]
    twice = [name for name in read if read.count(name) > 1]
    if twice:
        raise InputError(f"{place} has the column {twice[0]} twice; {_RIGHT}")
