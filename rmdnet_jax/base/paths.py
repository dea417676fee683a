"""Paths that users mistype: what they may have meant."""

import os
from pathlib import Path

from rmdnet_jax.base.text import brief


def without_blanks(path: str, root: str | Path = "") -> str:
    """The path without the blanks around it, if it exists only without them; else "".

    Args:
      path: as the user gave it.
      root: the folder that it is relative to; empty is the current one.
    """
    bare = path.strip()
    if bare in ("", path):
        return ""
    given, meant = (os.path.join(root, os.path.expanduser(name)) for name in (path, bare))
    return bare if os.path.exists(meant) and not os.path.exists(given) else ""


def right(path: str, expected: str) -> str:
    """For an error about a path: `expected`, which begins with that word, after a guess at what was
    meant if there is one."""
    meant = without_blanks(path)
    return f"did you mean {brief(meant)}? E{expected[1:]}" if meant else expected
