"""Files and classes may have any name; here names are made safe to display and to parse."""

import os
import re
import unicodedata
from collections.abc import Iterable

# They change the order of the characters around them: "cat<RLO>gnp.exe" reads "catexe.png".
_DIRECTIONS = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

# Control characters, halves of characters (from file names that are not UTF-8), line separators.
_NO_TEXT = {"Cc", "Cs", "Zl", "Zp"}

# What a spreadsheet would take for a formula, and what was escaped so that it does not. A negative
# number is not a formula, and may be the name of a class.
_START = r"(?:[=+@]|-(?!\d+(?:\.\d+)?$))"
_FORMULA = re.compile(f"'*{_START}")
_KEPT = re.compile(f"'+{_START}")

# Characters of each of two values that are shown to differ.
_APART = 40


def shown(text: str) -> str:
    """A text as one line that UTF-8 can encode: characters that would control the terminal or end
    the line, and invalid ones, become escapes, \\r or \\x1b or \\u202e; everything else stays."""
    return "".join(_escape(c) if _is_hidden(c) else c for c in text)


def one_line(error: object, most: int = 200) -> str:
    """An error's message, as one line of up to `most` characters."""
    return " ".join(str(error).split())[:most]


def cut(text: object, most: int = 100) -> str:
    """A text, or a path, for a message: as `shown` makes it, and if it is longer than `most`
    characters only the beginning and the end, "/data/set...7.png"."""
    text = str(text)
    is_long = len(text) > most
    # Of a text of megabytes, only the part that may be shown is processed.
    found = shown(text[:most] + text[-most:] if is_long else text)
    if not is_long and len(found) <= most:
        return found
    end = (most - 3) // 2
    return f"{found[: most - 3 - end]}...{found[-end:]}"


def fitted(line: str) -> str:
    """A line of a message. If it is longer than three times a terminal's width, paths and other
    words of more than 120 characters are cut."""
    if len(line) <= 240:
        return line
    return " ".join(cut(word, 120) if len(word) > 120 else word for word in line.split(" "))


def brief(value: object) -> str:
    """A value of any kind for a message: a text or a number as Python writes it, cut; for anything
    else its type and size, as its content may fill screens."""
    if isinstance(value, str):
        return f"{cut(value, 60)!r}" if value.isprintable() else f"'{cut(value, 60)}'"
    if value is None or isinstance(value, bool | float | complex):
        return repr(value)
    if isinstance(value, int) and value.bit_length() <= 200:
        return repr(value)
    name = cut(type(value).__name__, 40)
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        return f"{name} {cut(shape, 40)}"
    if isinstance(value, list | tuple | dict | set | bytes):
        return f"{name} of {len(value):,}"
    return name


def listed(names: Iterable[object], most: int = 5) -> str:
    """The first names of many for a message: "a, b, c and 97 more"."""
    names = list(names)
    first = ", ".join(cut(name, 30) for name in names[:most])
    return f"{first} and {len(names) - most:,} more" if len(names) > most else first


def apart(one: object, other: object) -> tuple[str, str]:
    """Two different values for a message, as Python writes them, each cut so that the difference
    is visible: "...-A.csv'" and "...-B.csv'"."""
    texts = repr(one), repr(other)
    if max(map(len, texts)) <= _APART:
        return shown(texts[0]), shown(texts[1])
    start = len(os.path.commonprefix(texts))
    start = start - 10 if start > _APART - 20 else 0  # with a little of what they have in common
    first, second = (
        ("..." if start else "")
        + shown(text[start : start + _APART])
        + ("..." if len(text) > start + _APART else "")
        for text in texts
    )
    return first, second


def cell(text: str) -> str:
    """A text for a CSV, as `shown` makes it: one that a spreadsheet would compute, because it
    begins with = + - or @ and is not a number, gets a ' in front."""
    text = shown(text)
    return f"'{text}" if _FORMULA.match(text) else text


def of_cell(text: str) -> str:
    """The text that `cell` wrote, as `shown` made it."""
    return text[1:] if _KEPT.match(text) else text


def _is_hidden(character: str) -> bool:
    return character in _DIRECTIONS or unicodedata.category(character) in _NO_TEXT


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # how Python represents a byte that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
