"""A CSV or Parquet table of pictures is a data set; a row that is wrong is named by its line."""

import csv
import datetime
import random
import unicodedata

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import annotators, manifest_source, sources
from rmdnet_jax.data.dataset import NO_CLASS

HEADER = ["path", "label", "split", "true_label"]


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)


@pytest.fixture
def beasts(tmp_path):
    """12 pictures in a folder, ants and bees in turns, the last four to test on."""
    rows = []
    for i in range(12):
        Image.fromarray(picture(i)).save(tmp_path / f"{i:02}.png")
        rows.append([f"{i:02}.png", ("ant", "bee")[i % 2], "train" if i < 8 else "test", ""])
    return tmp_path, rows


def write_csv(folder, rows, header=HEADER, name="beasts.csv", encoding="utf-8"):
    with open(folder / name, "w", encoding=encoding, newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return folder / name


def write_parquet(folder, rows, header=HEADER, name="beasts.parquet"):
    columns = [list(column) for column in zip(*rows, strict=True)]
    pyarrow.parquet.write_table(pyarrow.table(columns, names=header), folder / name)
    return folder / name


def columns(rows, *names):
    return [[row[HEADER.index(name)] for name in names] for row in rows]


@pytest.mark.parametrize("write", [write_csv, write_parquet])
def test_rows_become_a_data_set(beasts, write):
    folder, rows = beasts
    data = sources.load("manifest", str(write(folder, rows)))
    assert (data.name, data.class_names) == ("beasts", ("ant", "bee"))
    assert data.train_files == tuple(f"{i:02}.png" for i in range(8))
    np.testing.assert_array_equal(data.train_labels, np.arange(8) % 2)
    np.testing.assert_array_equal(data.test_labels, np.arange(4) % 2)
    np.testing.assert_array_equal(data.train_images[3], picture(3))
    np.testing.assert_array_equal(data.test_images[3], picture(11))
    assert data.true_labels is None


def test_without_splits_a_share_of_each_class_is_held_out_whatever_the_rows_order(beasts):
    folder, rows = beasts
    found = []
    for seed in range(2):
        random.Random(seed).shuffle(rows)
        manifest = write_csv(folder, columns(rows, "path", "label"), ["path", "label"])
        found.append(manifest_source.find(str(manifest), test_fraction=0.35))
    np.testing.assert_array_equal(np.bincount(found[0].test.labels), [2, 2])
    assert found[0].test.files == found[1].test.files
    assert found[0].train.files == found[1].train.files


@pytest.mark.parametrize("word", ["test", "val", "validation"])
def test_the_test_split_may_be_called_otherwise(beasts, word):
    folder, rows = beasts
    rows = [[*row[:2], row[2].replace("test", word), ""] for row in rows]
    assert len(manifest_source.find(str(write_csv(folder, rows))).test) == 4


@pytest.mark.parametrize("write", [write_csv, write_parquet])
def test_validation_beside_test_is_told_and_not_used(beasts, write):
    folder, rows = beasts
    for row in rows[10:]:
        row[1:3] = ["only in validation", "validation"]
    found = manifest_source.find(str(write(folder, rows)))
    assert sorted(found.test.files) == [row[0] for row in rows[8:10]]
    assert found.class_names == ("ant", "bee")
    (skipped,) = found.skipped
    assert (skipped.path, skipped.is_picture) == ("validation", False)
    assert skipped.reason == "a split next to train and test: its 2 pictures are not used"


def test_true_labels_stand_beside_those_of_training_and_count_in_the_test(beasts):
    folder, rows = beasts
    for row in rows:
        row[3] = row[1]
    rows[0][1] = "bee"
    rows[8][1] = "bee"
    data = sources.load("manifest", str(write_csv(folder, rows)))
    at = data.train_files.index("00.png")
    assert (data.train_labels[at], data.true_labels[at]) == (1, 0)
    assert (data.train_labels != data.true_labels).sum() == 1
    assert data.tests_truth
    rows[8][3] = ""
    assert sources.load("manifest", str(write_csv(folder, rows))).tests_truth is False
    np.testing.assert_array_equal(np.bincount(data.test_labels), [2, 2])


@pytest.mark.parametrize("write", [write_csv, write_parquet])
def test_a_training_picture_without_a_true_label_shows_none_of_the_classes(beasts, write):
    folder, rows = beasts
    for row in rows:
        row[3] = row[1]
    rows[2][3] = rows[5][3] = ""
    data = sources.load("manifest", str(write(folder, rows)))
    is_open = np.isin(data.train_files, [rows[2][0], rows[5][0]])
    assert is_open.sum() == 2
    np.testing.assert_array_equal(data.true_labels == NO_CLASS, is_open)
    np.testing.assert_array_equal(data.true_labels[~is_open], data.train_labels[~is_open])
    assert data.train_labels.min() == 0


def test_such_a_picture_is_not_held_out_to_test_on(beasts):
    folder, rows = beasts
    known = {row[0] for row in rows[1::3]}
    rows = [[row[0], row[1], row[1] if row[0] in known else ""] for row in rows]
    manifest = write_csv(folder, rows, ["path", "label", "true_label"])
    found = manifest_source.find(str(manifest), test_fraction=0.5)
    assert set(found.test.files) <= known
    assert len(found.test.files) > 0
    assert found.tests_truth
    assert (found.train.true_labels == NO_CLASS).sum() == 8


def test_true_labels_may_be_known_of_the_test_split_alone(beasts):
    folder, rows = beasts
    for row in rows[8:]:
        row[3] = "ant"
    found = manifest_source.find(str(write_csv(folder, rows)))
    assert found.train.true_labels is None
    assert not found.test.labels.any()
    assert found.tests_truth


def test_classes_that_are_numbers_are_sorted_as_numbers(beasts):
    folder, rows = beasts
    for row, label in zip(rows, [10, 9, 2] * 4, strict=True):
        row[1] = label
    rows = columns(rows, "path", "label", "split")
    for write in (write_csv, write_parquet):
        found = manifest_source.find(str(write(folder, rows, HEADER[:3])))
        assert found.class_names == ("2", "9", "10")


def test_parquets_numbers_may_be_floats_and_missing(beasts):
    folder, rows = beasts
    rows = [[row[0], i % 2, 1.0 if i < 8 else None] for i, row in enumerate(rows)]
    rows = [[path, label, "train" if true else "val", true] for path, label, true in rows]
    found = manifest_source.find(str(write_parquet(folder, rows)))
    assert found.class_names == ("0", "1")
    assert found.train.true_labels.all()


def test_a_mark_of_utf_8_other_columns_empty_lines_and_spaces_do_no_harm(beasts):
    folder, rows = beasts
    rows = [[7, f" {row[1]}", row[0]] for row in rows]
    manifest = write_csv(folder, rows, ["width", "label ", "path"], encoding="utf-8-sig")
    manifest.write_bytes(manifest.read_bytes() + b"\r\n\r\n")
    assert manifest_source.find(str(manifest)).class_names == ("ant", "bee")


def test_files_in_folders_with_names_of_all_kinds(beasts):
    folder, rows = beasts
    (folder / "größe, 1").mkdir()
    (folder / "00.png").rename(folder / "größe, 1" / "a b.png")
    rows[0][0] = "./größe, 1/a b.png"
    data = sources.load("manifest", str(write_csv(folder, rows)))
    assert "größe, 1/a b.png" in data.train_files


FORMS = {"NFC": "NFD", "NFD": "NFC"}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("write", [write_csv, write_parquet])
def test_a_name_may_be_spelled_otherwise_than_on_disk(beasts, write, form):
    """As a Mac writes it (NFD) and a PC's table has it (NFC)."""
    folder, rows = beasts
    name = unicodedata.normalize(form, "größe/é.png")
    (folder / name).parent.mkdir()
    (folder / "00.png").rename(folder / name)
    rows[0][0] = unicodedata.normalize(FORMS[form], name)
    data = sources.load("manifest", str(write(folder, rows)))
    assert name in data.train_files
    assert not data.skipped_files


def test_a_name_that_is_on_disk_as_it_stands_is_taken(beasts):
    folder, rows = beasts
    for number, form in enumerate(FORMS):
        name = unicodedata.normalize(form, "é.png")
        (folder / f"{number:02}.png").rename(folder / name)
        rows[number][0] = name
    data = sources.load("manifest", str(write_csv(folder, rows)))
    for number, form in enumerate(FORMS):
        at = data.train_files.index(unicodedata.normalize(form, "é.png"))
        np.testing.assert_array_equal(data.train_images[at], picture(number))


def test_two_spellings_of_one_file_are_two_rows_of_it(beasts):
    folder, rows = beasts
    (folder / "00.png").rename(folder / "é.png")
    for row, form in zip(rows, FORMS, strict=False):
        row[0] = unicodedata.normalize(form, "é.png")
    with pytest.raises(InputError, match=r"line 3: .* is also in .*line 2; expected one row per"):
        manifest_source.find(str(write_csv(folder, rows)))


def test_two_spellings_of_one_label_are_one_class(beasts):
    folder, rows = beasts
    for i, row in enumerate(rows):
        row[1] = unicodedata.normalize(("NFC", "NFD")[i % 3 > 0], row[1].replace("bee", "é"))
    assert manifest_source.find(str(write_csv(folder, rows))).class_names == ("ant", "é")


@pytest.mark.parametrize("write", [write_csv, write_parquet])
def test_classes_that_differ_only_in_case_are_told_and_stay_separate(beasts, write, capsys):
    folder, rows = beasts
    rows[0][1] = rows[8][1] = " ANT "
    assert manifest_source.find(str(write(folder, rows))).class_names == ("ANT", "ant", "bee")
    assert capsys.readouterr().err == (
        "warning: the classes 'ANT' (labels: 2) and 'ant' (4) differ only in case and stay "
        "separate; if they are one class, give it one name\n"
    )


def test_rows_of_any_list_have_normal_names(beasts):
    folder, _ = beasts
    forms = " caf\u00e9", "cafe\u0301"
    rows = [(f"row {i}", {"path": f"{i:02}.png", "label": forms[i % 2]}) for i in range(12)]
    found = manifest_source.of_rows(rows, folder / "x", folder, 0.2)
    assert found.class_names == ("caf\u00e9",)


def test_blanks_around_a_path_that_exists_without_them_are_told(beasts):
    folder, rows = beasts
    rows[2][0] = " 02.png"
    manifest = write_csv(folder, rows)
    with pytest.raises(InputError) as caught:
        manifest_source.find(str(manifest))
    assert str(caught.value) == (
        f"{manifest}, line 4: there is no file ' 02.png'; did you mean '02.png'? Expected a path "
        "without blanks around it"
    )
    (folder / "02.png").rename(folder / " 02.png")  # blanks may be part of a name
    assert manifest_source.find(str(manifest))
    with pytest.raises(InputError, match=r"beasts\.csv'\? Expected a \.csv or"):
        manifest_source.find(f"{manifest} ")
    with pytest.raises(InputError, match=r"dataset\.root\); did you mean '.*'\? Expected the one"):
        manifest_source.find(str(manifest), root=f"{folder} ")


def test_an_absolute_path_within_the_folder_is_as_good(beasts):
    folder, rows = beasts
    (folder / "in").mkdir()
    (folder / "00.png").rename(folder / "in" / "00.png")
    (folder.parent / f"link to {folder.name}").symlink_to(folder)
    rows[0][0] = str(folder / "in" / "00.png")
    rows[1][0] = str(folder.parent / f"link to {folder.name}" / "01.png")
    rows[2][0] = f"../{folder.name}/02.png"
    relative = [["in/00.png", *rows[0][1:]], *([f"{i:02}.png", *row[1:]] for i, row in
                                                enumerate(rows) if i)]  # fmt: skip
    found, plain = (
        manifest_source.find(str(write_csv(folder, which))) for which in (rows, relative)
    )
    assert found.train.files == plain.train.files
    assert found.test.files == plain.test.files


def test_backslashes_are_slashes_where_there_is_no_such_file(beasts):
    folder, rows = beasts
    (folder / "in").mkdir()
    (folder / "00.png").rename(folder / "in" / "00.png")
    (folder / "01.png").rename(folder / "in\\01.png")
    rows[0][0], rows[1][0] = ".\\in\\00.png", "in\\01.png"
    data = sources.load("manifest", str(write_csv(folder, rows)))
    assert {"in/00.png", "in\\01.png"} <= set(data.train_files)
    rows[0][0] = "..\\..\\00.png"
    with pytest.raises(InputError, match=r"line 2: .* leads out of"):
        manifest_source.find(str(write_csv(folder, rows)))


def test_a_link_with_another_spelling_leads_out_too(beasts, tmp_path_factory):
    folder, rows = beasts
    outside = tmp_path_factory.mktemp("outside")
    (folder / "00.png").rename(outside / "00.png")
    (folder / unicodedata.normalize("NFD", "é")).symlink_to(outside)
    rows[0][0] = "é/00.png"
    with pytest.raises(InputError, match="leads out of"):
        manifest_source.find(str(write_csv(folder, rows)))


MISSING = {
    "None of text": pyarrow.array([None] + ["ant", "bee"] * 5 + ["ant"]),
    "None of integers": pyarrow.array([None] + [0, 1] * 5 + [0]),
    "NaN": pyarrow.array([float("nan")] + [0.0, 1.0] * 5 + [0.0]),
    "NaT": pyarrow.array([None] + [datetime.datetime(2020, 1, 1)] * 11),
    "NaT in ns": pyarrow.array([None] + [0] * 11, pyarrow.timestamp("ns")),
    "no type": pyarrow.nulls(12),
    "None of categories": pyarrow.array([None] + ["ant", "bee"] * 5 + ["ant"]).dictionary_encode(),
    "None of switches": pyarrow.array([None] + [True] * 11),
    "a space": pyarrow.array([" "] + ["ant"] * 11),
}


@pytest.mark.parametrize("case", MISSING)
def test_a_label_that_is_missing_is_refused_whatever_stands_for_it(beasts, case):
    folder, rows = beasts
    table = pyarrow.table({"path": [row[0] for row in rows], "label": MISSING[case]})
    pyarrow.parquet.write_table(table, folder / "beasts.parquet")
    with pytest.raises(InputError, match="row 1: the label is empty; expected the name of a class"):
        manifest_source.find(str(folder / "beasts.parquet"))


UNLIKE = {
    "bool": [True, False] * 6,
    "datetime": [datetime.datetime(2020, 1, 1)] * 12,
    "float": [0.5] * 12,
    "list": [["ant"]] * 12,
    "bytes": [b"ant"] * 12,
}


@pytest.mark.parametrize("kind", UNLIKE)
def test_a_label_that_is_no_text_and_no_whole_number_is_refused(beasts, kind):
    folder, rows = beasts
    rows = [[row[0], label] for row, label in zip(rows, UNLIKE[kind], strict=True)]
    says = f"row 1: the label is {kind}; expected text or a whole number"
    with pytest.raises(InputError, match=says):
        manifest_source.find(str(write_parquet(folder, rows, HEADER[:2])))


def test_a_folder_of_parquet_parts_is_no_manifest(beasts):
    folder, rows = beasts
    (folder / "beasts").mkdir()
    write_parquet(folder / "beasts", rows, name="part-0.parquet")
    says = "beasts' is a folder, not a manifest .*; expected a .csv or .parquet file .join "
    with pytest.raises(InputError, match=says):
        manifest_source.find(str(folder / "beasts"))
    says = "no class folders in .*dataset.path=.*part-0.parquet .one file: join the Parquet files"
    with pytest.raises(InputError, match=says):
        sources.find("own", str(folder / "beasts"))


def test_a_file_that_is_not_there_is_skipped_up_to_the_share(beasts):
    folder, rows = beasts
    (folder / "03.png").unlink()
    manifest = str(write_csv(folder, rows))
    data = sources.load("manifest", manifest, max_broken=0.1)
    assert [(file.path, file.reason) for file in data.skipped_files] == [
        ("03.png", "there is no such file")
    ]
    with pytest.raises(InputError, match=r"1 of 12 files of .*03.png: there is no such file"):
        sources.load("manifest", manifest)


# What is wrong -> (row changed, its column, the value, what is said of it).
BAD_ROWS = {
    "path twice": (
        5,
        "path",
        "./04.png",
        r"line 7: 04.png is also in .*beasts.csv, line 6; expected",
    ),
    "unknown split": (5, "split", "trian", "line 7: the split is 'trian'; expected one of train"),
    "empty split": (5, "split", "", "line 7: the split is ''"),
    "empty label": (5, "label", "", "line 7: the label is empty"),
    "label of spaces": (5, "label", " \u00a0\t", "line 7: the label is empty"),
    "empty path": (5, "path", "", "line 7: '' is not a path"),
    "climbing path": (5, "path", "a/../../05.png", "line 7: .* leads out of"),
    "absolute path": (5, "path", "/etc/passwd", "line 7: /etc/passwd leads out of"),
    "linked path": (5, "path", "out/05.png", "line 7: out/05.png leads out of"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_row_is_named_by_its_line(beasts, case):
    folder, rows = beasts
    (folder / "out").symlink_to(folder.parent)
    row, column, value, says = BAD_ROWS[case]
    rows[row][HEADER.index(column)] = value
    with pytest.raises(InputError, match=says) as caught:
        manifest_source.find(str(write_csv(folder, rows)))
    assert "\n" not in str(caught.value)


def test_a_bad_parquet_row_is_named_too(beasts):
    folder, rows = beasts
    rows = [[row[0], i / 2, row[2], ""] for i, row in enumerate(rows)]
    with pytest.raises(InputError, match="row 2: the label is float; expected text or a whole"):
        manifest_source.find(str(write_parquet(folder, rows)))


BAD_FILES = {
    "nothing": (b"", "has no column path, label"),
    "no header": (b"00.png,ant\n", "has no column path, label .its columns: '00.png', 'ant'"),
    "no label": (b"path,class\n00.png,ant\n", "has no column label"),
    "no rows": (b"path,label\n", "has no rows"),
    "column twice": (b"path,label,label\n", "has the column label twice"),
    "semicolons": (b"path;label\n00.png;ant\n", "'path;label', separated by ';'; expected commas"),
    "tabs": (b"path\tlabel\n00.png\tant\n", "separated by a tab; expected commas"),
    "missing field": (b"path,label\n00.png\n", "line 2 has 1 fields; expected 2"),
    "unquoted comma": (b"path,label\n0,0.png,ant\n", "line 2 has 3 fields"),
    "not UTF-8": (b"path,label\ngr\xf6\xdfe.png,ant\n", "is not UTF-8"),
    "UTF-16": ("path,label\n".encode("utf-16"), "is not UTF-8"),
    "open quote": (b'path,label\n"00.png,ant\n', "cannot be read as CSV"),
    "NUL": (b"path,label\n0\0.png,ant\n", r"line 2: '0\\x00.png' is not a path|NUL"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_file_that_is_no_manifest(tmp_path, case):
    content, says = BAD_FILES[case]
    (tmp_path / "beasts.csv").write_bytes(content)
    with pytest.raises(InputError, match=says) as caught:
        manifest_source.find(str(tmp_path / "beasts.csv"))
    assert "\n" not in str(caught.value)
    assert "beasts.csv" in str(caught.value)


def test_a_file_that_is_no_parquet(tmp_path):
    (tmp_path / "beasts.parquet").write_bytes(b"path,label\n")
    with pytest.raises(InputError, match="cannot be read as Parquet") as caught:
        manifest_source.find(str(tmp_path / "beasts.parquet"))
    assert "\n" not in str(caught.value)


def test_one_class_alone(beasts):
    folder, rows = beasts
    rows = [[row[0], "ant"] for row in rows]
    with pytest.raises(InputError, match="has only 1 class, 'ant'; expected two or more"):
        sources.load("manifest", str(write_csv(folder, rows, HEADER[:2])))


def test_a_class_without_training_pictures(beasts):
    folder, rows = beasts
    rows[9][1] = "cow"
    with pytest.raises(InputError, match=r"class 'cow' of .* has no training pictures"):
        sources.load("manifest", str(write_csv(folder, rows)))


def test_no_pictures_to_test_on(beasts):
    folder, rows = beasts
    with pytest.raises(InputError, match="has no pictures to test on; expected a test split"):
        sources.load("manifest", str(write_csv(folder, rows[:8])))


def test_paths_in_another_folder_that_is_named(beasts, tmp_path_factory):
    folder, rows = beasts
    there = write_csv(folder, rows)
    moved = there.rename(tmp_path_factory.mktemp("elsewhere") / there.name)
    data = sources.load("manifest", str(moved), root=str(folder))
    assert data.train_files == sources.load("manifest", str(write_csv(folder, rows))).train_files
    with pytest.raises(InputError, match=r"no folder 'nowhere' \(dataset.root\)"):
        manifest_source.find(str(moved), root="nowhere")
    write_csv(moved.parent, [["../beasts.csv", *rows[0][1:]]])
    with pytest.raises(InputError, match="leads out of"):
        manifest_source.find(str(moved), root=str(folder))


def test_what_annotators_say_stands_beside_the_labels(beasts):
    folder, rows = beasts
    votes = [("ant", "", "bee"), ("bee", "bee", ""), ("", "", "ant"), ("bee", "ant", "ant")]
    header = ["path", "split", "label:ann", "label:bob", "label:=cy", "label:"]
    given = [[row[0], row[2], *votes[i % 4], "unread"] for i, row in enumerate(rows)]
    for write in (write_csv, write_parquet):
        data = sources.load("manifest", str(write(folder, given, header)))
        people = annotators.of(data.label_sets)
        assert people.names == ("ann", "bob", "=cy")
        number = {"ant": 0, "bee": 1, "": annotators.GAP}
        for file, said in zip(data.train_files, people.labels, strict=True):
            assert list(said) == [number[vote] for vote in votes[int(file[:2]) % 4]]
        most = annotators.majority(people.labels, 2)[0]
        np.testing.assert_array_equal(data.train_labels, most)
        assert most[data.train_files.index("01.png")] == 1
        assert most[data.train_files.index("03.png")] == 0
        assert len(data.test_labels) == 4
    labelled = [[*row[:2], "ant", *row[2:]] for row in given]
    labelled[1][2] = "bee"
    with_label = ["path", "split", "label", *header[2:]]
    data = sources.load("manifest", str(write_csv(folder, labelled, with_label)))
    bees = [file for file, label in zip(data.train_files, data.train_labels, strict=True) if label]
    assert bees == ["01.png"]


def test_a_row_that_nobody_has_labelled_and_a_column_twice(beasts):
    folder, rows = beasts
    given = [[row[0], "", row[1]] for row in rows]
    given[2][2] = ""
    header = ["path", "label:ann", "label:bob"]
    with pytest.raises(InputError, match="line 4: the label is empty"):
        manifest_source.find(str(write_csv(folder, given, header)))
    with pytest.raises(InputError, match="has the column label:ann twice"):
        manifest_source.find(str(write_csv(folder, given, ["path", "label:ann", "label:ann"])))
