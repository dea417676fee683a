"""Which column is the label, and what its values mean."""

import math

import pytest

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import hub_layout


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        (["image", "label"], "label"),
        (["coarse_label", "fine_label", "img"], "fine_label"),
        (["labels", "label"], "label"),
        (["class", "x"], "class"),
        (["coarse_label", "Label"], None),
    ],
)
def test_the_first_known_column_is_the_label(columns, found):
    assert hub_layout.label_column(columns) == found


@pytest.mark.parametrize(
    ("value", "names", "text"),
    [
        (1, ["ant", "bee"], "bee"),
        (1.0, ["ant", "bee"], "bee"),
        ("ant", ["bee"], "ant"),
        (7, None, "7"),
        (-1, None, "-1"),
        (None, ["ant"], ""),
        (math.nan, None, ""),
    ],
)
def test_a_value_means_a_class(value, names, text):
    assert hub_layout.label_text(value, names, "row 1") == text


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (2, "row 7: the label is 2; expected 0 to 1, ant to bee"),
        (-1, r"the label is -1 \(-1 is stored for splits without labels\)"),
        (True, "the label is bool; expected text or a whole number"),
        ([1], "the label is list"),
        (0.5, "the label is float"),
    ],
)
def test_what_means_none_is_refused(value, says):
    with pytest.raises(InputError, match=says):
        hub_layout.label_text(value, ["ant", "bee"], "row 7")
