"""The order of classes, which numbers them: one for every source of names."""

import re
from collections.abc import Iterable

# Longer ones Python would not even convert, and they are nobody's classes.
_WHOLE_NUMBER = re.compile(r"-?\d{1,18}")


def in_order(names: Iterable[str]) -> list[str]:
    """The names sorted: by value if all are whole numbers (of up to 18 digits; "01" before "1"),
    else alphabetically, by the characters' numbers."""
    names = list(names)
    if all(map(_WHOLE_NUMBER.fullmatch, names)):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)
