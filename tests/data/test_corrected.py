"""Corrections applied: what a row means, where it goes, and every row that fits nothing."""

import csv
import dataclasses

import numpy as np
import pytest

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import cell, shown
from rmdnet_jax.data import corrected, corrections, labels
from rmdnet_jax.data.dataset import Dataset

CLASSES = ("cat", "dog", "=emu")
GIVEN = np.array([0, 1, 2, 0, 1, 2], np.int32)
TRUE = np.array([0, 1, 2, 1, 1, 2], np.int32)
IMAGES = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8)
PATHS = tuple(f"train/{i}.png" for i in range(6))
DATA = Dataset(
    "pets", IMAGES, GIVEN, IMAGES[:3], GIVEN[:3], {"second": TRUE}, CLASSES, true_labels=TRUE,
    train_files=PATHS, test_files=("test/0.png", "test/1.png", "test/2.png"),
)  # fmt: skip
LABELS = labels.give(DATA, "none", 0.0, seed=0)
WITHOUT_PATHS = dataclasses.replace(DATA, train_files=None, test_files=None)
HEADER = ("index", "path", "given_class", "verdict", "class")


def written(folder, *rows, header=HEADER):
    path = folder / "corrections.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def applied(folder, *rows, header=HEADER, data=DATA, given=LABELS):
    return corrected.applied(data, given, corrections.read(written(folder, *rows, header=header)))


def test_every_verdict(tmp_path):
    after = applied(
        tmp_path,
        (0, PATHS[0], "cat", "keep", "cat"),
        (1, PATHS[1], "dog", "suggestion", "cat"),
        (3, PATHS[3], "cat", "class", "dog"),
        (4, PATHS[4], "dog", "remove", ""),
        (5, PATHS[5], cell("=emu"), "unsure", ""),
    )
    np.testing.assert_array_equal(after.labels.given, [0, 0, 2, 1, 2])
    np.testing.assert_array_equal(after.labels.true, [0, 1, 2, 1, 2])
    np.testing.assert_array_equal(after.labels.review.train, [1, 1, 0, 1, 0])
    np.testing.assert_array_equal(after.data.train_index, [0, 1, 2, 3, 5])
    np.testing.assert_array_equal(after.train_rows, [0, 1, 2, 3, 5])
    np.testing.assert_array_equal(after.data.train_images[:, 0, 0, 0], [0, 1, 2, 3, 5])
    np.testing.assert_array_equal(after.data.label_sets["second"], TRUE[[0, 1, 2, 3, 5]])
    assert after.data.train_files == tuple(PATHS[i] for i in (0, 1, 2, 3, 5))
    assert (after.labels.review.corrected, after.labels.review.removed) == (2, 1)
    # One of five is wrong now (the second), where one of six was (the fourth).
    assert after.labels.rate_realised == 1 / 5
    assert after.verdicts == dict.fromkeys(corrections.VERDICTS, 1)
    assert after.pairs == {("dog", "cat"): 1, ("cat", "dog"): 1}


def test_nothing_that_was_given_is_changed(tmp_path):
    before = GIVEN.copy(), DATA.test_labels.copy(), LABELS.given.copy()
    applied(tmp_path, (0, PATHS[0], "", "class", "dog"), ("", "test/0.png", "", "class", "dog"))
    for now, then in zip((GIVEN, DATA.test_labels, LABELS.given), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_path_goes_before_an_index_and_both_columns_are_optional(tmp_path):
    by_path = applied(tmp_path, (5, PATHS[1], "dog", "class", "cat"))
    np.testing.assert_array_equal(by_path.labels.given, [0, 0, 2, 0, 1, 2])
    alone = applied(tmp_path, (PATHS[1], "class", "cat"), header=("path", "verdict", "class"))
    np.testing.assert_array_equal(alone.labels.given, by_path.labels.given)
    for data in (DATA, WITHOUT_PATHS):
        header = ("verdict", "note", "index", "class")
        by_index = applied(tmp_path, ("class", "mine", 1, "cat"), header=header, data=data)
        np.testing.assert_array_equal(by_index.labels.given, by_path.labels.given)


def test_test_pictures_are_corrected_and_removed_by_their_paths(tmp_path):
    after = applied(
        tmp_path, (0, "test/0.png", "cat", "class", "dog"), (1, "test/1.png", "dog", "remove", "")
    )
    np.testing.assert_array_equal(after.data.test_labels, [1, 2])
    np.testing.assert_array_equal(after.data.test_index, [0, 2])
    np.testing.assert_array_equal(after.labels.review.test, [True, False])
    assert after.data.test_files == ("test/0.png", "test/2.png")
    np.testing.assert_array_equal(after.labels.given, GIVEN)
    assert after.data.train_index is None


def test_an_index_is_that_of_what_the_user_gave(tmp_path):
    data = dataclasses.replace(WITHOUT_PATHS, train_index=np.arange(6) * 10)
    after = applied(tmp_path, (30, "", "cat", "remove", ""), data=data)
    np.testing.assert_array_equal(after.data.train_index, [0, 10, 20, 40, 50])
    with pytest.raises(InputError, match=r"no training image of pets has the index 3; .* 0 to 50"):
        applied(tmp_path, (3, "", "", "remove", ""), data=data)


def test_files_are_applied_in_turn(tmp_path):
    first = written(tmp_path, (1, "", "dog", "class", "cat"), (0, "", "", "remove", ""))
    first = first.rename(tmp_path / "first.csv")
    second = written(tmp_path, (1, "", "cat", "class", "=emu"), (3, "", "", "keep", ""))
    after = corrected.all_applied(DATA, LABELS, f"{first},{second}")
    np.testing.assert_array_equal(after.labels.given, [2, 2, 0, 1, 2])
    np.testing.assert_array_equal(after.train_rows, [1, 2, 3, 4, 5])
    np.testing.assert_array_equal(after.labels.review.train, [1, 0, 1, 0, 0])
    assert (after.labels.review.corrected, after.labels.review.removed) == (2, 1)
    assert after.verdicts == {"class": 2, "remove": 1, "keep": 1}
    # Once more finds other labels than it was written of.
    with pytest.raises(InputError, match=r"first.csv, line 2: the given_class is 'dog'"):
        corrected.all_applied(DATA, LABELS, f"{first},{first}")
    nothing = corrected.all_applied(DATA, LABELS, "")
    assert nothing.data is DATA
    assert nothing.labels is LABELS


def test_rows_of_one_image_may_agree(tmp_path):
    after = applied(
        tmp_path, (0, "", "cat", "keep", "cat"), ("", PATHS[0], "", "class", "cat"),
        (1, "", "", "remove", ""), (1, "", "", "remove", ""),
    )  # fmt: skip
    np.testing.assert_array_equal(after.labels.given, [0, 2, 0, 1, 2])
    assert after.labels.review.removed == 1
    assert after.verdicts == {"keep": 1, "remove": 1}


def test_hostile_names_come_back_as_they_were_written(tmp_path):
    names = ("=SUM(A1)", "'=x", "-1", 'a "b", c', "new\nline", "\u202ecat", "caf\u00e9")
    classes = tuple(map(shown, names))
    paths = tuple(shown(f"{name}/1.png") for name in names)
    images = np.zeros((7, 8, 8, 3), np.uint8)
    own = np.arange(7, dtype=np.int32)
    data = Dataset("h", images, own, images, own, {}, classes, train_files=paths)
    given = dataclasses.replace(labels.give(data, "none", 0.0, seed=0), given=own)
    rows = [(i, cell(paths[i]), cell(classes[i]), "class", cell(classes[i - 1])) for i in range(7)]
    after = applied(tmp_path, *rows, data=data, given=given)
    np.testing.assert_array_equal(after.labels.given, np.roll(own, 1))


def test_a_mark_of_utf_8_other_letters_and_empty_lines_do_no_harm(tmp_path):
    data = dataclasses.replace(DATA, class_names=("caf\u00e9", "dog", "emu"))
    path = tmp_path / "c.csv"
    path.write_bytes("\ufeffindex , verdict,class\r\n\r\n1,class,cafe\u0301\r\n".encode())
    after = corrected.applied(data, LABELS, corrections.read(path))
    np.testing.assert_array_equal(after.labels.given, [0, 0, 2, 0, 1, 2])


def test_without_true_labels_there_is_no_rate(tmp_path):
    data = dataclasses.replace(DATA, true_labels=None)
    given = labels.give(data, "none", 0.0, seed=0)
    after = applied(tmp_path, (0, "", "", "class", "dog"), data=data, given=given)
    assert after.labels.true is None
    assert after.labels.rate_realised is None


def test_originals_follow_the_images(tmp_path):
    data = dataclasses.replace(DATA, originals=lambda side: (IMAGES + side, IMAGES[:3]))
    after = applied(
        tmp_path, (1, "", "", "remove", ""), ("", "test/2.png", "", "remove", ""), data=data
    )
    train, test = after.data.squares(7)
    np.testing.assert_array_equal(train[:, 0, 0, 0], [7, 9, 10, 11, 12])
    np.testing.assert_array_equal(test[:, 0, 0, 0], [0, 1])


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ((0, "", "cat", "delete", ""), "the verdict is 'delete'; expected one of keep, suggestion"),
        ((0, "", "cat", "", "dog"), "the verdict is ''"),
        (("", "", "cat", "keep", "cat"), "neither a path nor an index"),
        (("one", "", "cat", "keep", "cat"), "the index is 'one'; expected a whole number from 0"),
        ((-1, "", "cat", "keep", "cat"), "the index is '-1'"),
        (("9" * 30, "", "cat", "keep", "cat"), "the index is '9999"),
        ((0, "", "cat", "remove", "dog"), "remove with the class 'dog'"),
        ((0, "", "cat", "unsure", "dog"), "unsure with the class 'dog'"),
        ((0, "", "cat", "class", ""), "class without a class"),
        ((0, "", "cat", "suggestion", ""), "suggestion without a class"),
        ((0, "", "cat", "keep", "dog"), "keep with the class 'dog', but the given_class is 'cat'"),
        ((0, "", "", "keep", "dog"), "keep with the class 'dog', but the label is 'cat'"),
        ((0, "", "dog", "class", "cat"), "the given_class is 'dog', but the label is 'cat'"),
        ((0, "", "cow", "keep", ""), "pets has no class 'cow'; expected one of cat, dog, =emu"),
        ((0, "", "cat", "class", "cow"), "pets has no class 'cow'"),
        ((6, "", "", "keep", ""), "no training image of pets has the index 6"),
        ((0, "other.png", "", "keep", ""), "no picture is called other.png; expected a path as"),
    ],
)
def test_a_row_that_fits_nothing_is_named(tmp_path, row, says):
    with pytest.raises(InputError) as error:
        applied(tmp_path, (1, "", "dog", "keep", "dog"), row)
    assert "corrections.csv, line 3: " + says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("class", "dog"), ("class", "=emu")),
        (("class", "dog"), ("remove", "")),
        (("keep", "cat"), ("unsure", "")),
        (("unsure", ""), ("remove", "")),
    ],
)
def test_rows_of_one_image_that_disagree_are_named(tmp_path, first, second):
    says = f"line 3: {' '.join(second)}".rstrip() + ".* disagrees with .*line 2"
    with pytest.raises(InputError, match=says):
        applied(tmp_path, (0, "", "", *first), ("", PATHS[0], "", *second))


def test_paths_without_paths_and_paths_that_look_the_same(tmp_path):
    with pytest.raises(InputError, match=r"2: the path is a\.png, but images of pets have none"):
        applied(tmp_path, (0, "a.png", "", "keep", ""), data=WITHOUT_PATHS)
    alike = dataclasses.replace(DATA, train_files=("a.png", "a.png", *PATHS[2:]))
    with pytest.raises(InputError, match=r"line 2: 2 pictures of pets are called a\.png"):
        applied(tmp_path, ("", "a.png", "", "remove", ""), data=alike)
    after = applied(tmp_path, (1, "a.png", "", "remove", ""), data=alike)
    np.testing.assert_array_equal(after.train_rows, [0, 2, 3, 4, 5])


def test_what_cannot_be_left_out(tmp_path):
    with pytest.raises(InputError, match=r"class 0 \(cat\) is empty in the corrected labels of pe"):
        applied(tmp_path, (0, "", "", "remove", ""), (3, "", "", "class", "dog"))
    tests = [("", name, "", "remove", "") for name in DATA.test_files]
    with pytest.raises(InputError, match="all test images of pets are removed"):
        applied(tmp_path, *tests)


def test_a_part_of_the_labels_keeps_its_review(tmp_path):
    after = applied(tmp_path, (1, "", "", "keep", "")).labels.take(np.array([1, 2]))
    np.testing.assert_array_equal(after.review.train, [True, False])
