"""The folder for what can be made again: compiled programs, decoded pictures."""

import os


def cache_folder(*below: str) -> str:
    """The user's cache folder of this program, or one `below` it; "" where the user has no home."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    # The ~ stays where there is no home, in some containers.
    return "" if home.startswith("~") else os.path.join(home, "rmdnet_jax", *below)
