"""The order of classes, which gives them their numbers: the same for every source of names."""

import re
from collections.abc import Iterable

# Python would not convert the longest, and they are not classes.
_WHOLE_NUMBER = re.compile(r"-?\d{1,18}")


def in_order(names: Iterable[str]) -> list[str]:
    """The names sorted: by value if all are whole numbers (of up to 18 digits; "01" before "1"),
    else alphabetically, by code point."""
    names = list(names)
    if all(map(_WHOLE_NUMBER.fullmatch, names)):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)
