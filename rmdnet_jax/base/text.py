"""Files and classes may have any name; here names are made fit for people and programs to read."""

import re
import unicodedata

# They turn the order of the characters around them: "cat<RLO>gnp.exe" reads "catexe.png".
_DIRECTIONS = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

# Control characters, halves of characters (from file names that are no UTF-8), line separators.
_NO_TEXT = {"Cc", "Cs", "Zl", "Zp"}

# What a spreadsheet would take for a formula, and what was kept from being one. A negative number
# is none, and a class may be called so.
_START = r"(?:[=+@]|-(?!\d+(?:\.\d+)?$))"
_FORMULA = re.compile(f"'*{_START}")
_KEPT = re.compile(f"'+{_START}")


def shown(text: str) -> str:
    """A text as one line that UTF-8 can write: what would steer the reader's screen, end the line,
    or is no character at all becomes an escape, \\r or \\x1b or \\u202e; everything else stays."""
    return "".join(_escape(c) if _is_hidden(c) else c for c in text)


def one_line(error: object, most: int = 200) -> str:
    """What an error says, in one line of up to `most` characters."""
    return " ".join(str(error).split())[:most]


def cell(text: str) -> str:
    """A shown text for a CSV: one that a spreadsheet would compute, as it begins with = + - or @
    and is no number, begins with ' instead."""
    text = shown(text)
    return f"'{text}" if _FORMULA.match(text) else text


def of_cell(text: str) -> str:
    """The shown text that `cell` wrote."""
    return text[1:] if _KEPT.match(text) else text


def _is_hidden(character: str) -> bool:
    return character in _DIRECTIONS or unicodedata.category(character) in _NO_TEXT


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # how Python holds a byte that is no UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
