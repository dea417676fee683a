"""A rule is stated where a parameter is declared; check, error and type follow from it."""

import dataclasses
import math
from typing import Annotated

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmdnet_jax.base import ranges
from rmdnet_jax.base.ranges import Field, Rule, number, one_of, whole


@pytest.mark.parametrize(
    ("rule", "right", "inside", "outside"),
    [
        (number(0, 1), "a number in [0, 1]", [0, 0.5, 1], [-1e-9, 1.1]),
        (number(0, 1, open_high=True), "a number in [0, 1)", [0, 0.99], [1, -1]),
        (number(0, 1, open_low=True), "a number in (0, 1]", [1e-9, 1], [0, 2]),
        (number(0, open_low=True), "a number > 0, up to 1e+30", [1e-9, 1e30], [0, 1e31]),
        (number(0), "a number from 0 to 1e+30", [0, 1e30], [-1, 1e31]),
        (number(), "a number from -1e+30 to 1e+30", [-1e30, 0], [math.inf, -math.inf]),
        (whole(1, 10**6), "a whole number from 1 to 1,000,000", [1, 10**6], [0, 10**6 + 1]),
        (one_of("a", "b"), "one of a, b", ["a", "b"], ["c", ""]),
        (ranges.anything("a tuple"), "a tuple", [(), (1,)], []),
        (ranges.OF_TYPE[str], "text", ["", "é"], ["a\0b"]),
    ],
)
def test_a_rule_fits_what_it_says(rule, right, inside, outside):
    assert str(rule) == rule.right == right
    assert all(rule.fits(value) for value in inside)
    assert not any(rule.fits(value) for value in outside)


@pytest.mark.parametrize("rule", [number(), number(0, 1), number(0, open_low=True)])
def test_nan_lies_in_no_range(rule):
    assert not rule.fits(math.nan)


@given(st.floats(allow_nan=False), st.booleans(), st.booleans())
def test_an_open_end_is_not_in_the_range_and_a_closed_one_is(value, open_low, open_high):
    rule = number(-1, 2, open_low=open_low, open_high=open_high)
    inside = -1 < value < 2 or (value == -1 and not open_low) or (value == 2 and not open_high)
    assert rule.fits(value) == inside


@pytest.mark.parametrize(
    ("value", "kinds"),
    [
        (True, {bool}),
        (1, {int, float}),
        (1.0, {float}),
        ("a", {str}),
        ((1, 2), {tuple}),
        (None, set()),
        ([1], set()),
    ],
)
def test_a_whole_number_is_a_float_and_true_is_no_number(value, kinds):
    assert {kind for kind in (bool, int, float, str, tuple) if ranges.is_of(value, kind)} == kinds


def test_a_field_has_its_defaults_type_and_that_types_rule_unless_it_is_told():
    plain = ranges.field(0.5, "what for")
    assert (plain.default, plain.kind, plain.does) == (0.5, float, "what for")
    assert plain.rule is ranges.OF_TYPE[float]
    assert ranges.field(None, "", kind=int).rule is ranges.OF_TYPE[int]
    rule = one_of("a")
    assert ranges.field("a", "", rule).rule is rule


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (1, None),
        (0.25, None),
        (2, "x.y is 2; expected a number in [0, 1]"),
        ("1", "x.y is '1'; expected a number in [0, 1]"),
        (True, "x.y is True; expected a number in [0, 1]"),
        (None, "x.y is None; expected a number in [0, 1]"),
        (math.nan, "x.y is nan; expected a number in [0, 1]"),
    ],
)
def test_what_is_wrong_is_told_with_what_is_right(value, told):
    assert Field(0.5, float, number(0, 1)).wrong("x.y", value) == told


@pytest.mark.parametrize(
    "value", ["a" * 1000, 10**5000, list(range(1000))], ids=["text", "number", "list"]
)
def test_a_value_of_any_length_makes_a_short_error(value):
    told = Field(1, int, whole(0, 9)).wrong("x", value)
    assert len(told) < 200
    assert told.endswith("; expected a whole number from 0 to 9")


SHARE = number(0, 1)


@dataclasses.dataclass(frozen=True)
class Owner:
    learner: object
    share: Annotated[float, SHARE, "of something"] = 0.5
    count: Annotated[int | None, whole(1, 5)] = None
    plain: float = 1.0


def of_function(logits, *, q: Annotated[float, SHARE] = 0.7):
    return logits


def of_nothing(plain=1.0):
    return plain


@pytest.mark.parametrize("owner", [Owner, of_function, of_nothing])
def test_those_that_state_what_they_may_be_are_a_users(owner):
    expected = {
        Owner: {
            "share": Field(0.5, float, SHARE, "of something"),
            "count": Field(None, int, ranges.declared(Owner)["count"].rule, ""),
        },
        of_function: {"q": Field(0.7, float, SHARE, "")},
        of_nothing: {},
    }
    assert ranges.declared(owner) == expected[owner]


def test_checked_values_are_pythons_own_of_the_fields_types():
    values = {"share": np.float32(0.25), "count": np.int64(3)}
    checked = ranges.checked("owner", ranges.declared(Owner), values)
    assert checked == {"share": 0.25, "count": 3}
    assert [type(value) for value in checked.values()] == [float, int]
    whole_share = ranges.checked("owner", ranges.declared(Owner), {"share": 1})
    assert type(whole_share["share"]) is float


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"q": 1}, "owner has no parameter 'q'; it takes share, count"),
        ({"plain": 1.0}, "owner has no parameter 'plain'; it takes share, count"),
        ({"share": 2.0}, r"owner has share = 2.0; expected a number in \[0, 1\]"),
        ({"share": " is "}, r"owner has share = ' is '; expected a number in \[0, 1\]"),
        ({"count": 2.5}, "owner has count = 2.5; expected a whole number from 1 to 5"),
        ({"count": None}, "owner has count = None; expected"),
        ({"count": True}, "owner has count = True; expected"),
    ],
)
def test_the_first_that_cannot_be_right_is_told_in_a_line(values, says):
    with pytest.raises(ValueError, match=says):
        ranges.checked("owner", ranges.declared(Owner), values)


def test_an_owner_without_parameters_says_so():
    with pytest.raises(ValueError, match="'x'; it takes none"):
        ranges.checked("owner", {}, {"x": 1})


def test_rules_are_values():
    assert Rule("right", len) == Rule("right", len)
