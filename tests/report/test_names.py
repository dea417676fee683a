"""Whatever a class or a file is called can be shown, in one line, in the order it is written."""

import pytest

from rmdnet_jax.report import names


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("piñata 猫 العربية 👩‍🔬", "piñata 猫 العربية 👩‍🔬"),
        ("tab\tline\n\x00\x1b[31m\x85", "tab�line���[31m�"),
        ("photo\u202egnp.exe\u2066\u200f", "photo�gnp.exe��"),
        (b"caf\xe9".decode("utf-8", "surrogateescape"), "caf�"),
        ("one\u2028two\u2029", "one�two�"),
    ],
)
def test_what_would_steer_the_screen_is_seen_as_such(name, seen):
    assert names.shown(name) == seen
    names.shown(name).encode()  # can be written


@pytest.mark.parametrize("length", [2, 7, 8])
def test_a_long_name_keeps_both_ends(length):
    short = names.short("abcdefghijkl", length)
    assert len(short) == length
    assert "…" in short
    assert short[-1] == "l"
    assert names.short("a" * length, length) == "a" * length


def test_a_name_without_glyphs_is_drawn_as_its_number():
    assert names.drawable(("cat", "猫", " ", "$\\frac{1}$")) == [
        "cat",
        "class 1",
        "class 2",
        "$\\frac{1}$",
    ]
