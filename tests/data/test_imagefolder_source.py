"""A folder with metadata.csv or .jsonl is a data set, as Hugging Face's imagefolder has it."""

import csv
import json
import os

import numpy as np
import pytest
from PIL import Image

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import imagefolder_source, sources


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)


def save(folder, names, start=0):
    for seed, name in enumerate(names, start):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(seed)).save(folder / name)


def write(folder, rows, kind="csv"):
    """`rows` are dicts."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"metadata.{kind}", "w", encoding="utf-8", newline="") as file:
        if kind == "csv":
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        else:
            file.writelines(json.dumps(row) + "\n\n" for row in rows)


def rows_of(names, labels=("ant", "bée"), column="label"):
    return [
        {"file_name": name, "caption": "a, b", column: labels[i % 2]}
        for i, name in enumerate(names)
    ]


def in_splits(folder, splits, kind="csv", **options):
    for number, (split, count) in enumerate(splits.items()):
        names = [f"in/{i}.png" for i in range(count)]
        save(folder / split, names, 100 * number)
        write(folder / split, rows_of(names, **options), kind)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize("column", ["label", "fine_label"])
def test_a_list_in_each_split(tmp_path, kind, column):
    in_splits(tmp_path / "beasts", {"train": 8, "test": 4}, kind, column=column)
    data = sources.load("own", str(tmp_path / "beasts"))
    assert (data.name, data.class_names) == ("beasts", ("ant", "bée"))
    assert data.train_files == tuple(f"train/in/{i}.png" for i in range(8))
    np.testing.assert_array_equal(data.train_labels, np.arange(8) % 2)
    np.testing.assert_array_equal(data.test_labels, np.arange(4) % 2)
    np.testing.assert_array_equal(data.train_images[3], picture(3))
    np.testing.assert_array_equal(data.test_images[3], picture(103))


def test_numbers_are_classes_in_their_order(tmp_path):
    in_splits(tmp_path, {"train": 4, "validation": 2}, "jsonl", labels=(10, 9))
    data = sources.load("own", str(tmp_path))
    assert data.class_names == ("9", "10")
    assert data.test_files == ("validation/in/1.png", "validation/in/0.png")
    np.testing.assert_array_equal(data.test_labels, [0, 1])


def test_a_third_split_is_told_and_not_used(tmp_path):
    in_splits(tmp_path, {"train": 4, "test": 2, "validation": 2})
    data = sources.load("own", str(tmp_path))
    assert len(data.test_labels) == 2
    (skipped,) = data.skipped_files
    assert (skipped.path, skipped.is_picture) == ("validation", False)
    assert skipped.reason == "a split next to train and test: its 2 pictures are not used"


def test_one_list_in_the_folder_is_split_by_its_folders(tmp_path):
    names = [f"train/{i}.png" for i in range(4)] + ["test/8.png", "./test/9.png"]
    save(tmp_path, names)
    write(tmp_path, rows_of(names))
    data = sources.load("own", str(tmp_path))
    assert (len(data.train_labels), len(data.test_labels)) == (4, 2)


@pytest.mark.parametrize("by", ["folder", "column"])
def test_of_one_list_too_a_third_split_is_told_and_not_used(tmp_path, by):
    names = [f"{split}/{i}.png" for split in ("train", "test", "val") for i in range(4)]
    save(tmp_path, names)
    rows = rows_of(names)
    if by == "column":
        rows = [row | {"split": row["file_name"].split("/")[0]} for row in rows]
    write(tmp_path, rows)
    data = sources.load("own", str(tmp_path))
    assert {*data.train_files, *data.test_files} == set(names[:8])
    assert [(one.path, one.reason) for one in data.skipped_files] == [
        ("val", "a split next to train and test: its 4 pictures are not used")
    ]


def test_without_a_list_in_train_nothing_is_trained_on(tmp_path):
    in_splits(tmp_path, {"test": 6})
    save(tmp_path, [f"train/{name}/{i}.png" for name in ("ant", "bee") for i in range(4)])
    with pytest.raises(InputError, match=r"has test/metadata.csv but no such list in train to tr"):
        sources.load("own", str(tmp_path))
    in_splits(tmp_path, {"validation": 6}, "jsonl")
    with pytest.raises(InputError, match=r"has test/metadata.csv and validation/metadata.jsonl bu"):
        sources.load("own", str(tmp_path))


def test_one_list_with_nothing_in_train_is_refused(tmp_path):
    names = [f"{split}/{i}.png" for split in ("test", "validation") for i in range(6)]
    save(tmp_path, names)
    write(tmp_path, rows_of(names))
    with pytest.raises(InputError, match="are in test and validation, none in train to train on"):
        sources.load("own", str(tmp_path))


@pytest.mark.parametrize("where", ["", "train"])
def test_pictures_that_no_row_names_are_told(tmp_path, where):
    names = [f"{i}.png" for i in range(10)]
    others = ["in/other.png", ".hidden.png", ".thumbs/0.png", "notes.txt"]
    save(tmp_path / where, [*names, *others[:3]])
    (tmp_path / where / "notes.txt").touch()
    write(tmp_path / where, rows_of(["./0.png", *names[1:]]))
    (skipped,) = sources.load("own", str(tmp_path)).skipped_files
    assert skipped.path == os.path.join(where, "in/other.png")
    assert (skipped.reason, skipped.is_picture) == ("no row names it", False)


@pytest.mark.parametrize("second", ["metadata.jsonl", "train/metadata.csv"])
def test_a_second_list_is_told(tmp_path, second):
    names = [f"train/{i}.png" for i in range(10)]
    save(tmp_path, names)
    write(tmp_path, rows_of(names))
    write((tmp_path / second).parent, rows_of(["5.png"]), second.split(".")[1])
    (skipped,) = sources.load("own", str(tmp_path)).skipped_files
    assert (skipped.path, skipped.is_picture) == (second, False)
    assert skipped.reason == "a list next to metadata.csv: not read"


def test_a_csv_without_labels_gives_way_to_a_jsonl_that_has_them(tmp_path):
    names = [f"{i}.png" for i in range(10)]
    save(tmp_path, names)
    write(tmp_path, [{"file_name": name, "text": "a caption"} for name in names])
    write(tmp_path, rows_of(names), "jsonl")
    data = sources.load("own", str(tmp_path))
    assert data.class_names == ("ant", "bée")
    assert [one.path for one in data.skipped_files] == ["metadata.csv"]


def test_one_list_in_the_folder_is_split_by_its_column(tmp_path):
    names = [f"{i}.png" for i in range(6)]
    save(tmp_path, names)
    rows = rows_of(names)
    write(tmp_path, [row | {"split": "test" if i > 3 else "train"} for i, row in enumerate(rows)])
    assert len(sources.load("own", str(tmp_path)).test_labels) == 2


@pytest.mark.parametrize("where", ["", "train"])
def test_without_a_split_to_test_on_a_share_is_held_out(tmp_path, where):
    names = [f"{i}.png" for i in range(10)]
    save(tmp_path / where, names)
    write(tmp_path / where, rows_of(names))
    data = sources.load("own", str(tmp_path))
    assert (len(data.train_labels), len(data.test_labels)) == (8, 2)


def test_a_list_without_labels_leaves_the_folders_to_say_them(tmp_path):
    names = [f"{name}/{i}.png" for name in ("cat", "dog") for i in range(5)]
    save(tmp_path, names)
    write(tmp_path, [{"file_name": name, "text": "a caption"} for name in names])
    assert not imagefolder_source.is_one(str(tmp_path))
    assert sources.load("own", str(tmp_path)).class_names == ("cat", "dog")


def test_a_file_of_that_name_that_is_something_else_is_left_alone(tmp_path):
    save(tmp_path, [f"{name}/{i}.png" for name in ("cat", "dog") for i in range(5)])
    (tmp_path / "metadata.csv").write_bytes(b"\xff\xfe\0;")
    data = sources.load("own", str(tmp_path))
    assert data.class_names == ("cat", "dog")
    assert [one.path for one in data.skipped_files] == ["metadata.csv"]


BAD = {
    "out": (["../../b.png"], "csv", r"line 6: \.\./\.\./b.png leads out of"),
    "none": ([""], "csv", "line 6: file_name or label is missing; expected file_name and one of"),
    "twice": (["0.png"], "csv", r"line 6: 0.png is also in .*metadata.csv, line 2"),
}


@pytest.mark.parametrize(("names", "kind", "says"), BAD.values(), ids=BAD)
def test_a_wrong_row_is_named(tmp_path, names, kind, says):
    save(tmp_path, [f"{i}.png" for i in range(4)])
    write(tmp_path, rows_of([f"{i}.png" for i in range(4)] + names), kind)
    with pytest.raises(InputError, match=says):
        sources.load("own", str(tmp_path))


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("metadata.jsonl", '{"file_name": "0.png", "label": 1}\n{"file', "cannot be read"),
        ("metadata.jsonl", '{"file_name": "0.png", "label": 1}\n[3]\n', "line 2 is not a JSON obj"),
        ("metadata.jsonl", '{"file_name": "0.png", "label": [1]}\n', "the label is list"),
        ("metadata.jsonl", "[" * 200_000, "cannot be read"),
        ("metadata.csv", "file_name,label\n0.png,a,b\n", "line 2 has 3 fields; expected 2"),
        ("metadata.csv", "file_name,label\n0.png\n", "line 2 has 1 fields; expected 2"),
        ("metadata.csv", "file_name,label\n0.png,\n", "the label is empty"),
    ],
)
def test_a_broken_list_is_told_in_a_line(tmp_path, name, text, says):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=says) as told:
        sources.load("own", str(tmp_path))
    assert "\n" not in str(told.value)
