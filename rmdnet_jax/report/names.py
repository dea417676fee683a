"""Class names and paths for pages and figures, where space and glyphs are limited."""

import functools

from matplotlib.font_manager import FontProperties, findfont, get_font

from rmdnet_jax.base.text import shown

# Characters of a class name in a figure.
_DRAWN = 14


def short(name: str, length: int) -> str:
    """A printable name of at most `length` characters; a longer one is cut in the middle."""
    name = shown(name)
    if len(name) <= length:
        return name
    head = (length - 1) // 2
    return f"{name[:head]}…{name[len(name) - (length - 1 - head) :]}"


def drawable(class_names: tuple[str, ...]) -> list[str]:
    """Short class names for a figure; "class 3" if Matplotlib's font lacks a character."""
    font = get_font(_font_file())
    names = [short(name, _DRAWN) for name in class_names]
    return [
        name if all(font.get_char_index(ord(c)) for c in name) and name.strip() else f"class {i}"
        for i, name in enumerate(names)
    ]


@functools.cache
def _font_file() -> str:
    return findfont(FontProperties())
