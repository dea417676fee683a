"""Whatever a class or a file is called has its place on a page or in a picture."""

import pytest

from rmdnet_jax.report import names


@pytest.mark.parametrize("length", [2, 7, 8])
def test_a_long_name_keeps_both_ends(length):
    short = names.short("abcdefghijkl", length)
    assert len(short) == length
    assert "…" in short
    assert short[-1] == "l"
    assert names.short("a" * length, length) == "a" * length
    assert "\n" not in names.short("abc\ndefghijkl", length)


def test_a_name_without_glyphs_is_drawn_as_its_number():
    assert names.drawable(("cat", "猫", " ", "$\\frac{1}$")) == [
        "cat",
        "class 1",
        "class 2",
        "$\\frac{1}$",
    ]
