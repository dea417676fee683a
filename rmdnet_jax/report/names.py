"""Class names and paths may be anything a file can be called; here they are made fit to show.

For pages and pictures only: files that programs read keep every name as it is.
"""

import functools
import unicodedata

from matplotlib.font_manager import FontProperties, findfont, get_font

# They turn the order of the characters around them: "cat<RLO>gnp.exe" reads "catexe.png".
_DIRECTIONS = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

# Control characters, halves of characters (from file names that are no UTF-8), line separators.
_NO_TEXT = {"Cc", "Cs", "Zl", "Zp"}


def shown(name: str) -> str:
    """A name as one line of visible text: what would steer the reader's screen becomes �."""
    return "".join(
        "\ufffd" if c in _DIRECTIONS or unicodedata.category(c) in _NO_TEXT else c for c in name
    )


def short(name: str, length: int) -> str:
    """A shown name of at most `length` characters; of a longer one both ends are kept."""
    name = shown(name)
    if len(name) <= length:
        return name
    head = (length - 1) // 2
    return f"{name[:head]}…{name[len(name) - (length - 1 - head) :]}"


def drawable(class_names: tuple[str, ...], length: int = 14) -> list[str]:
    """Short class names for a figure; "class 3" where Matplotlib's font lacks a character."""
    font = get_font(_font_file())
    names = [short(name, length) for name in class_names]
    return [
        name if all(font.get_char_index(ord(c)) for c in name) and name.strip() else f"class {i}"
        for i, name in enumerate(names)
    ]


@functools.cache
def _font_file() -> str:
    return findfont(FontProperties())
