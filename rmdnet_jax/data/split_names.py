"""The usual names of splits of picture files, and which of them are used: train to train on, and
the first available of the others to test on."""

from collections.abc import Collection

from rmdnet_jax.base.text import shown
from rmdnet_jax.data.dataset import SkippedFile

TRAIN = "train"
TESTS = ("test", "validation", "val")
NAMES = (TRAIN, *TESTS)


def tested(found: Collection[str]) -> str | None:
    """The split to test on among those that were found, or None."""
    return next((name for name in TESTS if name in found), None)


def used(found: Collection[str]) -> tuple[str, ...]:
    """The splits that are used among those that were found, TRAIN first."""
    return tuple(name for name in (TRAIN, tested(found)) if name is not None and name in found)


def unused(what: str, used: Collection[str], pictures: int | None = None) -> SkippedFile:
    """A split, or a file of one, that is not used in addition to the `used` ones; with the number
    of its pictures if that is known."""
    reason = "not used" if pictures is None else f"its {pictures:,} pictures are not used"
    return SkippedFile(shown(what), f"a split next to {' and '.join(used)}: {reason}", False)
