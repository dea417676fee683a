"""Whatever a class or a file is called can be shown in one line and stand in a CSV."""

import csv
import io

import pytest

from rmdnet_jax.base import text as names

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
