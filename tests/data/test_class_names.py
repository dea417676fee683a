"""One class has one name, however it is typed; classes that look like one are told."""

import unicodedata

import pytest

from rmdnet_jax.data import class_names


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
@pytest.mark.parametrize("around", ["{}", " {}", "{}\n", "\u00a0{}\t"])
def test_blanks_around_a_name_and_its_unicode_form_do_not_count(form, around):
    assert class_names.normal(around.format(unicodedata.normalize(form, "café au lait"))) == (
        "caf\u00e9 au lait"
    )


def test_what_looks_different_stays_different():
    """NFC, not NFKC: the latter would join these."""
    assert class_names.normal("m²") != class_names.normal("m2")
    assert class_names.normal("Cat") != class_names.normal("cat")


def test_names_that_differ_only_in_case_are_told_with_their_counts():
    assert class_names.warning({"cat": 1234, "dog": 7, "CAT": 5}) == (
        "the classes 'CAT' (labels: 5) and 'cat' (1,234) differ only in case and stay separate; "
        "if they are one class, give it one name"
    )
    more = class_names.warning({"cat": 3, "CAT": 5, "Cat": 1, "STRASSE": 2, "straße": 2})
    assert more.startswith(
        "the classes 'CAT' (labels: 5) and 'Cat' (1) differ only in case (and so"
    )
    assert "(and so do 2 more)" in more  # Cat and cat, STRASSE and straße


def test_other_names_are_not_told():
    assert class_names.warning({"cat": 1, "cats": 1, "1": 1, "I": 1}) == ""
    assert class_names.warning({}) == ""


def test_a_warning_is_a_short_line():
    long = "x" * 900 + "\n"
    told = class_names.warning({long: 10**9, long.upper(): 10**9})
    assert len(told) < 300
    assert "\n" not in told
