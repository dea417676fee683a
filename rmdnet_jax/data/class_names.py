"""The names of classes as users write them: which are one class, and which only look like one."""

import unicodedata
from collections import defaultdict
from collections.abc import Mapping

from rmdnet_jax.base.text import brief


def normal(name: str) -> str:
    """The name without spaces around it, and with one form of characters that look the same
    (Unicode's NFC), as these would make separate classes."""
    return unicodedata.normalize("NFC", name.strip())


def warning(counts: Mapping[str, int]) -> str:
    """A line on classes whose names differ only in case, which stay separate; "" if there are none.

    Args:
      counts: labels by class name.
    """
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for name in sorted(counts):
        alike[name.casefold()].append(name)
    groups = [names for names in alike.values() if len(names) > 1]
    if not groups:
        return ""
    one, other = groups[0][:2]
    more = sum(map(len, groups)) - len(groups) - 1
    others = f" (and so do {more:,} more)" if more else ""
    told = f"{brief(one)} (labels: {counts[one]:,}) and {brief(other)} ({counts[other]:,})"
    return (
        f"the classes {told} differ only in case{others} and stay separate; if they are one class, "
        "give it one name"
    )
