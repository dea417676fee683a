"""Writes the manifest of a data set that comes as lists of its pictures, once, for dataset.path.

    python docs/make_manifest.py clothing1m FOLDER
    python docs/make_manifest.py webvision FOLDER --classes 50

FOLDER is where the data set was unpacked; FOLDER/clothing1m.csv or FOLDER/webvision.csv is written.
Pictures are not looked at: a run names those that are not there. Nothing but Python is needed.
docs/web_data.md has the layouts.
"""

import argparse
import csv
import os
import sys
from pathlib import Path

COLUMNS = ("path", "label", "split", "true_label")


def clothing1m(folder):
    """The rows of Clothing1M: noisy labels to train on, clean ones to test by."""
    names = class_names(folder / "category_names_eng.txt")
    for split, labels, keys in (
        ("train", "noisy_label_kv.txt", "noisy_train_key_list.txt"),
        ("test", "clean_label_kv.txt", "clean_test_key_list.txt"),
    ):
        known = {path: label for path, label, _ in labelled(folder / labels)}
        for path, where in lines(folder / keys):
            if path not in known:
                right = f"expected one in {folder / labels}"
                raise ValueError(f"{where}: {path} has no label; {right}")
            yield row(path, known[path], split, names, folder / labels)


def webvision(folder, classes):
    """The rows of the first classes of WebVision 1.0: what Google found to train on, and the
    validation set to test by."""
    names = class_names(folder / "info" / "synsets.txt")
    for split, file, below in (
        ("train", "train_filelist_google.txt", ""),
        ("test", "val_filelist.txt", "val_images_256/"),
    ):
        for path, label, where in labelled(folder / "info" / file):
            if label < classes:
                yield row(below + path, label, split, names, where)


def row(path, label, split, names, where):
    """A row of the manifest. A test label is a true one."""
    if names and label >= len(names):
        raise ValueError(f"{where}: {path} has the label {label}; expected less than {len(names)}")
    name = names[label] if names else str(label)
    return path, name, split, name if split == "test" else ""


def class_names(file):
    """A name a line, of what comes before a comma; without such a file there are none."""
    return [line.partition(",")[0].strip() for line, _ in lines(file)] if file.exists() else []


def labelled(file):
    """Path, label and place of every line "path label"."""
    for line, where in lines(file):
        path, *label = line.rsplit(maxsplit=1)
        if not label or not label[0].isdecimal():
            raise ValueError(f"{where}: {line[:100]!r}; expected a path and the number of a class")
        yield path, int(label[0]), where


def lines(file):
    """Every line of a list that is not empty, and where it stands."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        right = "expected the data set's own list (docs/web_data.md)"
        raise ValueError(f"{file} cannot be read ({error.strerror}); {right}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 ({error.reason}); expected text") from error
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield line.strip(), f"{file}, line {number}"


def write(file, rows):
    """Writes a CSV file, whole or not at all."""
    beside = file.with_name(f".{file.name}.tmp")
    try:
        with open(beside, "w", encoding="utf-8", newline="") as out:
            csv.writer(out, lineterminator="\n").writerows([COLUMNS, *rows])
        os.replace(beside, file)
    except OSError as error:
        raise ValueError(f"{file} cannot be written ({error.strerror})") from error


def main():
    """Reads the command line, and writes the file; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = parser.add_subparsers(dest="kind", required=True)
    clothes = kinds.add_parser("clothing1m", help="all of it")
    web = kinds.add_parser("webvision", help="its first classes")
    for one in (clothes, web):
        one.add_argument("folder", type=Path, help="where it was unpacked")
    web.add_argument(
        "--classes", type=int, choices=range(2, 1001), metavar="N", default=50,
        help="the first so many; 50 are mini-WebVision",
    )  # fmt: skip
    given = parser.parse_args()
    folder = given.folder
    file = folder / f"{given.kind}.csv"  # a run calls the data set by its name
    found = clothing1m(folder) if given.kind == "clothing1m" else webvision(folder, given.classes)
    try:
        rows = list(found)
        write(file, rows)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    train = sum(split == "train" for _, _, split, _ in rows)
    print(
        f"{file}: {train:,} pictures to train on, {len(rows) - train:,} to test "
        f"on, {len({label for _, label, _, _ in rows})} classes"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
