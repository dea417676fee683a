"""A corrected data set in a new folder (--apply); the originals are not changed."""

import csv
import json
import os
import shutil
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from rmdnet_jax.base.atomic import folder_atomic
from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import brief, cut, shown
from rmdnet_jax.config import automatic
from rmdnet_jax.config import checking as configuration
from rmdnet_jax.data import annotators, corrected, corrections, lazy_images, pictures
from rmdnet_jax.data.corrected import Applied
from rmdnet_jax.data.picture_files import PictureFiles
from rmdnet_jax.data.picture_reader import progress
from rmdnet_jax.runs import corrected_report, preparation
from rmdnet_jax.runs.corrected_report import REPORT

# The data set in the written folder, beside the report.
MANIFEST, ARRAYS = "manifest.csv", "data.npz"

# A row of a manifest: the file in the data set's folder, its class, split and true class.
_Row = tuple[str, str, str, str]


def write(config: ConfigDict, files: str, out: str, how: str = "") -> str:
    """Writes the data of a config after corrections; returns a summary in lines.

    For pictures in files: manifest.csv, with paths relative to the folder of the pictures
    (dataset.root); with `how` also the pictures, as train/CLASS/FILE and test/CLASS/FILE, and the
    manifest lists these. For other data: data.npz, for dataset.name=npz. applied.json counts the
    changes.

    Args:
      config: that of the run whose labels were reviewed. Its labels are those that the run used,
        corrected by dataset.corrections, if any.
      files: the corrections, as in `corrections.files`.
      out: a new or empty folder. It is written completely or not at all.
      how: "copy", "link" (hard links, or copies where links are not possible) or "".

    Raises:
      InputError: the config, the data or a correction is invalid; or `out` exists, cannot be
        written, or cannot hold a name.
    """
    if not isinstance(config, ConfigDict) or "table" in config:
        raise InputError("--apply with a table of the paper; expected the config of one run")
    configuration.check(config, automatic.FIELDS)
    place = Path(os.path.realpath(os.path.expanduser(out)))
    _check_new(place, out)
    given_files = corrections.files(files)
    if not given_files:
        raise InputError("--apply names no file; expected --apply=corrections.csv")
    read = [corrections.read(file) for file in given_files]
    found = preparation.find(config)
    if isinstance(found, PictureFiles):
        _check_place(place, found, out, how, config.dataset.cache)
    elif how:
        raise InputError(
            f"--{how} with {found.name}, which has no picture files; expected --apply without it"
        )
    if isinstance(found, PictureFiles) and config.noise.open_path:
        raise InputError(
            f"--apply with config.noise.open_path = {cut(config.noise.open_path)}, whose pictures "
            "are not part of the data set; expected the config without it"
        )
    config, _, data = preparation.load(config, found)
    data, labels = preparation.labelled(config, data)
    after = corrected.all_applied(data, labels, config.dataset.corrections)
    for rows in read:
        after = after.then(rows)
    before = (len(data.train_labels), len(data.test_labels)), labels.rate_realised
    try:
        with folder_atomic(place) as folder:
            if isinstance(found, PictureFiles):
                written = _write_pictures(folder, found, after, how)
            else:
                _write_arrays(folder / ARRAYS, after)
                written = Counter[str]()
            report = corrected_report.report(after, *before) | {"files": dict(written)}
            (folder / REPORT).write_text(json.dumps(report, indent=2), encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"cannot write {cut(out)} ({error.filename or ''}: {error.strerror or error}); "
            "expected another --out"
        ) from error
    fields = {"path": os.path.join(out, ARRAYS)}
    if isinstance(found, PictureFiles):
        is_listed = (place / MANIFEST).exists() and (not how or _is_more_than_a_folder(after))
        fields = {
            "name": "own",
            "path": os.path.join(out, MANIFEST) if is_listed else out,
            **({} if how else {"root": str(found.root)}),
        }
    elif config.dataset.image_size:  # the arrays already have that size
        fields["image_size"] = "0"
    flags = corrected_report.going_on(config, fields)
    return "\n".join([*corrected_report.told(report, out), flags])


def _check_new(place: Path, out: str) -> None:
    if os.path.lexists(place) and not (os.path.isdir(place) and not os.listdir(place)):
        raise InputError(f"{cut(out)!r} (--out) already exists; expected a new or empty folder")


def _check_place(place: Path, found: PictureFiles, out: str, how: str, cache: str) -> None:
    """Raises InputError for a place in a folder of classes, where it would count as a class, and
    for pictures that exist only in the cache, where they may be deleted."""
    kept = os.path.realpath(os.path.expanduser(cache)) if cache else None
    root = Path(os.path.realpath(found.root))
    if kept and not how and root.is_relative_to(kept):
        raise InputError(
            f"the pictures of {found.name} were extracted from their file into the cache; expected "
            "--copy or --link, which make them files of the corrected data set"
        )
    if found.place == found.root and place.is_relative_to(os.path.realpath(found.root)):
        raise InputError(
            f"{cut(out)!r} (--out) is in the data set's own folder, {cut(found.root)}; expected "
            "one beside it"
        )


def _write_pictures(folder: Path, found: PictureFiles, after: Applied, how: str) -> Counter[str]:
    """Writes the manifest, and with `how` the pictures; returns how many files were put how."""
    rows = _rows(found, after)
    written: Counter[str] = Counter()
    if how:
        moved = _placed(rows)
        for (file, *_), target in progress(zip(rows, moved, strict=True), "writing", len(rows)):
            written[_put(found.root / file, folder / target, how)] += 1
        rows = [(target, *row[1:]) for target, row in zip(moved, rows, strict=True)]
    if wrong := next(filter(None, map(_unlisted, rows)), None):
        if not how:
            raise InputError(f"{wrong}, in a manifest; expected --copy or --link")
        written["no manifest: a name cannot be in one"] += 1
        return written
    is_known = any(row[3] for row in rows)
    votes = _votes(after, found)
    with open(folder / MANIFEST, "w", encoding="utf-8", newline="") as manifest:
        # With "\r\n" a name that contains either character is quoted.
        writer = csv.writer(manifest, lineterminator="\r\n")
        columns = ("path", "label", "split", "true_label")[: 4 if is_known else 3]
        writer.writerow([*columns, *votes])
        for number, row in enumerate(rows):  # training first: only their votes are kept
            said = (column[number] if number < len(column) else "" for column in votes.values())
            writer.writerow([*row[: len(columns)], *said])
    return written


def _is_more_than_a_folder(after: Applied) -> bool:
    """Whether the manifest has more than a folder of classes can have: true labels, or annotators'
    labels."""
    knows = after.labels.true is not None or after.data.tests_truth
    return bool(knows or annotators.of(after.data.label_sets))


def _rows(found: PictureFiles, after: Applied) -> list[_Row]:
    """One row per remaining picture, training first."""
    data, labels = after.data, after.labels
    raw = {shown(name): name for name in found.class_names}
    names = [raw[name] for name in data.class_names]
    listed: dict[str, list[str]] = {}
    for file in (*found.train.files, *found.test.files):
        listed.setdefault(shown(file), []).append(file)
    truth = labels.true
    of_test = data.test_labels if data.knows_tests(truth) else None
    rows: list[_Row] = []
    for split, files, given, true in (
        ("train", data.train_files, labels.given, truth),
        ("test", data.test_files, data.test_labels, of_test),
    ):
        # For images of none of the classes, a manifest has no true label.
        known = ["" for _ in given] if true is None else [names[n] if n >= 0 else "" for n in true]
        for path, label, right in zip(files or (), given, known, strict=True):
            if len(listed.get(path, ())) != 1:
                raise InputError(
                    f"{len(listed.get(path, ()))} files of {found.name} are named {cut(path)}; "
                    "expected one: rename the others, and add no pictures by the noise"
                )
            rows.append((listed[path][0], names[label], split, right))
    return rows


def _votes(after: Applied, found: PictureFiles) -> dict[str, list[str]]:
    """The annotators' labels of the training pictures, by column of a manifest."""
    raw = {shown(name): name for name in found.class_names}
    names = [raw[name] for name in after.data.class_names]
    return {
        column: [names[label] if label >= 0 else "" for label in labels]
        for column, labels in after.data.label_sets.items()
        if column.startswith(annotators.PREFIX)
    }


def _unlisted(row: _Row) -> str:
    """Why a row cannot be in a manifest; "" if it can."""
    path, label, *_ = row
    try:
        "".join(row).encode()
    except UnicodeEncodeError:
        return f"{cut(path)}, or its class, has a name that is not UTF-8"
    is_other = label != unicodedata.normalize("NFC", label.strip())
    return f"the class {brief(label)} would lose characters" if is_other else ""


def _placed(rows: Sequence[_Row]) -> list[str]:
    """The path of each picture in a folder of classes: its file's name, with a number if another
    of the class has that name.

    Raises:
      InputError: a class or a file has a name that is not possible in such a folder.
    """
    taken: set[str] = set()
    tried: Counter[str] = Counter()  # numbers, by name: thousands of files may have one name
    places = []
    for file, label, split, _ in rows:
        if "/" in label or label.startswith(".") or len(os.fsencode(label)) > 255:
            raise InputError(
                f"the class {brief(label)} cannot be a folder's name; expected only the manifest, "
                "without --copy and --link"
            )
        name = os.path.basename(file)
        if not pictures.is_picture(name) or name.startswith("."):
            raise InputError(
                f"{cut(file)} is not named as a picture, and would be skipped in a folder; "
                "expected only the manifest, without --copy and --link"
            )
        stem, suffix = os.path.splitext(name)
        first = _alike(split, label, name)
        while (key := _alike(split, label, name)) in taken:
            tried[first] += 1
            name = f"{stem}-{tried[first] + 1}{suffix}"
        taken.add(key)
        places.append(f"{split}/{label}/{name}")
    return places


def _alike(split: str, label: str, name: str) -> str:
    """The same for names that differ only in case, which are the same on some systems."""
    return f"{split}/{label}/{unicodedata.normalize('NFC', name).casefold()}"


def _put(source: Path, target: Path, how: str) -> str:
    """Links or copies a picture to another place; returns which: "linked" or "copied"."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if how == "link":
        try:
            os.link(os.path.realpath(source), target)
            return "linked"
        except OSError:  # another disk, or one without links: copy instead
            pass
    shutil.copy2(source, target)
    return "copied"


def _write_arrays(file: Path, after: Applied) -> None:
    """Writes a .npz for npz_source.load; the labels are those used for training."""
    data, labels = after.data, after.labels
    arrays: dict[str, np.ndarray] = {
        **data.label_sets,
        "x_train": lazy_images.decoded(data.train_images),
        "y_train": labels.given,
        "x_test": lazy_images.decoded(data.test_images),
        "y_test": data.test_labels,
        "class_names": np.array(data.class_names, str),
    }
    if labels.true is not None:
        arrays["y_train_true"] = labels.true
    # Not numpy.savez, where a label set cannot be named "file".
    with zipfile.ZipFile(file, "w", allowZip64=True) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
