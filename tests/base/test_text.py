"""Whatever a class or a file is called can be shown in one line and stand in a CSV."""

import csv
import io

import numpy as np
import pytest

from rmdnet_jax.base import text as names
from rmdnet_jax.base.errors import InputError

NAMES = [
    ("piñata 猫 العربية 👩‍🔬", "piñata 猫 العربية 👩‍🔬"),
    ("a, \"b\" 'c' \\ d", "a, \"b\" 'c' \\ d"),
    ("tab\tline\r\n\x00\x1b[31m\x85", r"tab\tline\r\n\x00\x1b[31m\x85"),
    ("photo\u202egnp.exe\u2066\u200f", r"photo\u202egnp.exe\u2066\u200f"),
    (b"caf\xe9".decode("utf-8", "surrogateescape"), r"caf\xe9"),
    ("half\ud83d", r"half\ud83d"),
    ("one\u2028two\u2029", r"one\u2028two\u2029"),
]


@pytest.mark.parametrize(("name", "seen"), NAMES)
def test_what_would_steer_the_screen_or_is_no_text_is_seen_as_such(name, seen):
    assert names.shown(name) == seen
    assert names.shown(seen) == seen
    names.shown(name).encode()  # can be written


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+a", "'+a"),
        ("-a/b.png", "'-a/b.png"),
        ("@a", "'@a"),
        ("-5", "-5"),
        ("'-5", "'-5"),
        ("-5.25", "-5.25"),
        ("-5+A1", "'-5+A1"),
        ("\t=1", r"\t=1"),
        ("'=1", "''=1"),
        ("'90s/x=1.png", "'90s/x=1.png"),
        ("a=1", "a=1"),
    ],
)
def test_what_a_spreadsheet_would_compute_begins_with_an_apostrophe(text, cell):
    assert names.cell(text) == cell
    assert names.of_cell(cell) == names.shown(text)


@pytest.mark.parametrize(("name", "seen"), NAMES)
def test_a_cell_comes_back_from_a_csv(name, seen):
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator="\n").writerow([names.cell(name), 1])
    ((found, one),) = csv.reader(io.StringIO(file.getvalue(), newline=""))
    assert (names.of_cell(found), one) == (seen, "1")


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("short", "short"),
        ("a" * 100, "a" * 100),
        ("a" * 500 + "b" * 500, "a" * 49 + "..." + "b" * 48),
        ("\x1b" * 30, "\\x1b" * 12 + "\\..." + "\\x1b" * 12),
        (7, "7"),
    ],
)
def test_a_long_text_is_cut_in_the_middle(text, cut):
    assert names.cut(text) == cut
    assert len(names.cut("x" * 10**7, 30)) == 30


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        ("cat", "'cat'"),
        ("a\nb", r"'a\nb'"),
        (None, "None"),
        (True, "True"),
        (0.25, "0.25"),
        (-3, "-3"),
        (10**100, "int"),
        ([1, 2, 3], "list of 3"),
        (b"abc", "bytes of 3"),
        (np.zeros((3, 8, 8)), "ndarray (3, 8, 8)"),
        (type("X" * 300, (), {})(), "X" * 19 + "..." + "X" * 18),
    ],
)
def test_what_is_in_a_large_value_is_not_shown(value, seen):
    assert names.brief(value) == seen


def test_of_many_names_the_first_are_told():
    assert names.listed(["a", "b"]) == "a, b"
    assert names.listed([]) == ""
    assert names.listed(range(100)) == "0, 1, 2, 3, 4 and 95 more"
    assert len(names.listed(["x" * 900] * 900)) < 200


@pytest.mark.parametrize(
    ("one", "other", "seen"),
    [
        (0.1, 0.5, ("0.1", "0.5")),
        ("a", "b", ("'a'", "'b'")),
        ("p" * 90 + "a.csv", "p" * 90 + "b.csv", ("...ppppppppppa.csv'", "...ppppppppppb.csv'")),
        ([1] * 90, [2] * 90, ("[" + "1, " * 13 + "...", "[" + "2, " * 13 + "...")),
        ("a" * 60, "a" * 60 + "b", ("...aaaaaaaaaa'", "...aaaaaaaaaab'")),
    ],
)
def test_of_two_values_what_differs_is_seen(one, other, seen):
    assert names.apart(one, other) == seen


def test_of_a_line_that_is_too_long_the_longest_words_are_cut():
    deep = "/data/" + "x" * 3000 + "/7.png"
    line = names.fitted(f"{deep}  cannot be read; expected a picture")
    assert line.startswith("/data/xxx")
    assert line.endswith("/7.png  cannot be read; expected a picture")
    assert len(line) <= 240
    short = f"{'/data/' + 'y' * 130} cannot be read"
    assert names.fitted(short) == short


def test_no_error_shows_all_of_a_path_that_fills_screens():
    with pytest.raises(InputError) as caught:
        raise InputError(
            f"no manifest {'/'.join(['folder'] * 500)}/m.csv; expected one of pictures"
        )
    assert len(str(caught.value)) <= 240
    assert "/m.csv; expected" in str(caught.value)
