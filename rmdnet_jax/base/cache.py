"""The folder for what can be recreated: compiled programs, decoded pictures."""

import os


def cache_folder(*below: str) -> str:
    """This program's cache folder of the user, or one `below` it; "" if the user has no home."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    # Without a home, as in some containers, the ~ is not expanded.
    return "" if home.startswith("~") else os.path.join(home, "rmdnet_jax", *below)
