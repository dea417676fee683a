"""What a value may be: the one system of rules for config fields, losses and methods.

A parameter states its rule, and what it is for, where it is declared,
`q: Annotated[float, number(0, 1)] = 0.7`; the check, the error and --help follow from that.
"""

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

# Far beyond any meaningful value, and still finite in float32, whose largest number is 3e38.
MOST = 1e30

_SHOWN = 100  # characters of a wrong value


@dataclasses.dataclass(frozen=True)
class Rule:
    """What is allowed, in words, and whether a value of the right type is."""

    right: str
    fits: Callable[[Any], bool]

    def __str__(self) -> str:
        return self.right


def number(
    low: float = -MOST, high: float = MOST, *, open_low: bool = False, open_high: bool = False
) -> Rule:
    """A number from `low` to `high`; an open end is excluded. NaN is in no range.

    Examples:
      >>> from rmdnet_jax.base.ranges import number
      >>> share = number(0, 1, open_high=True)
      >>> print(share)
      a number in [0, 1)
      >>> share.fits(0.5), share.fits(1.0)
      (True, False)
    """
    if high < MOST:
        ends = "(" if open_low else "[", ")" if open_high else "]"
        right = f"a number in {ends[0]}{low:g}, {high:g}{ends[1]}"
    elif open_low:
        right = f"a number > {low:g}, up to {high:g}"
    else:
        right = f"a number from {low:g} to {high:g}"

    def fits(value: float) -> bool:
        above = value > low if open_low else value >= low
        return above and (value < high if open_high else value <= high)

    return Rule(right, fits)


def whole(low: int, high: int) -> Rule:
    """A whole number from `low` to `high`.

    Examples:
      >>> from rmdnet_jax.base.ranges import whole
      >>> print(whole(1, 1000))
      a whole number from 1 to 1,000
    """
    return Rule(f"a whole number from {low:,} to {high:,}", lambda value: low <= value <= high)


def one_of(*values: str) -> Rule:
    """One of these texts.

    Examples:
      >>> from rmdnet_jax.base.ranges import one_of
      >>> print(one_of("sgd", "adam"))
      one of sgd, adam
    """
    return Rule("one of " + ", ".join(values), values.__contains__)


def anything(right: str) -> Rule:
    """Any value of the type."""
    return Rule(right, lambda value: True)


# By type, for values without a rule of their own.
OF_TYPE: dict[type, Rule] = {
    bool: anything("True or False"),
    int: whole(-(10**6), 10**6),
    float: Rule(f"a number up to {MOST:g}", number().fits),
    # No file has NUL in its name, and no reader of text expects it.
    str: Rule("text", lambda text: "\0" not in text),
    tuple: anything("a tuple"),
}

IS_POSITIVE = number(0, open_low=True)
AT_LEAST_0 = number(0)
BELOW_1 = number(0, 1, open_high=True)
SHARE = number(0, 1)


@dataclasses.dataclass(frozen=True)
class Field:
    """A value that a user may set.

    Attributes:
      default: None for one that stays unset unless the user sets it.
      kind: its type: bool, int, float, str or tuple. A float may be a whole number; True is not a
        number.
      rule: what it may be.
      does: what it is for, in a line.
    """

    default: Any
    kind: type
    rule: Rule
    does: str = ""

    def wrong(self, name: str, value: Any) -> str | None:
        """Why a value is not allowed, in one line that begins with `name`; None if it is."""
        if is_of(value, self.kind) and self.rule.fits(value):
            return None
        return f"{name} is {told(value)}; expected {self.rule}"


def field(default: Any, does: str, rule: Rule | None = None, kind: type | None = None) -> Field:
    """A field of its default's type and of that type's rule, unless `kind` or `rule` is given."""
    kind = kind or type(default)
    return Field(default, kind, rule or OF_TYPE[kind], does)


@functools.cache
def declared(owner: Callable) -> Mapping[str, Field]:
    """The parameters of a function or a dataclass that state what they may be, by name.

    `x: Annotated[float, Rule, "what it is for"] = 1.0` does; others are not for the user to set.
    A parameter of type `float | None` with the default None is optional.
    """
    found = {}
    for name, parameter in inspect.signature(owner).parameters.items():
        if typing.get_origin(parameter.annotation) is not typing.Annotated:
            continue
        kind, rule, *does = typing.get_args(parameter.annotation)
        kinds = [one for one in typing.get_args(kind) if one is not type(None)]
        kind = kinds[0] if kinds else kind
        found[name] = Field(parameter.default, kind, rule, *does)
    return types.MappingProxyType(found)


def checked(owner: str, fields: Mapping[str, Field], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, as Python's own types; errors begin with `owner`.

    Raises:
      ValueError: for the first value that belongs to no field or is not allowed, in one line.
    """
    for name, value in values.items():
        if name not in fields:
            takes = ", ".join(fields) or "none"
            raise ValueError(f"{owner} has no parameter {name!r}; it takes {takes}")
        value = value.item() if isinstance(value, np.generic) else value
        if wrong := fields[name].wrong(name, value):
            raise ValueError(f"{owner} has {wrong.replace(' is ', ' = ', 1)}")
    return {name: fields[name].kind(value) for name, value in values.items()}


def told(value: Any) -> str:
    """A value as text for an error, cut if it is long."""
    try:
        text = repr(value)
    except ValueError:  # Python's own limit on the digits of a number
        text = f"of type {type(value).__name__} and too long to show"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def is_of(value: Any, kind: type) -> bool:
    """Whether a value suits fields of this type."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)
