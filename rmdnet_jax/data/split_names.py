"""What the splits of pictures in files are called by who made them, and which of them are used: on
train is trained, and on the first of the others that there is is tested."""

from collections.abc import Collection

from rmdnet_jax.base.text import shown
from rmdnet_jax.data.dataset import SkippedFile

TRAIN = "train"
TESTS = ("test", "validation", "val")
NAMES = (TRAIN, *TESTS)


def tested(found: Collection[str]) -> str | None:
    """The one of the splits that there are which is tested on, or None."""
    return next((name for name in TESTS if name in found), None)


def used(found: Collection[str]) -> tuple[str, ...]:
    """The splits that are used of those that there are, TRAIN first."""
    return tuple(name for name in (TRAIN, tested(found)) if name is not None and name in found)


def unused(what: str, used: Collection[str], pictures: int | None = None) -> SkippedFile:
    """A split, or a file of one, that is not used beside those that are; with the number of its
    pictures where that is known."""
    reason = "not used" if pictures is None else f"its {pictures:,} pictures are not used"
    return SkippedFile(shown(what), f"a split beside {' and '.join(used)}: {reason}", False)
