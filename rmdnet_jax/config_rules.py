"""What each field of a config may be: its type, which is its default's, and its range."""

import itertools
from collections.abc import Callable
from typing import Any

# A rule: what is right, in words, and whether a value of the field's type is.
Rule = tuple[str, Callable[[Any], bool]]

# Far beyond what means anything, and yet a number in float32, whose largest is 3e38.
_MOST = 1e30

_SHOWN = 100  # characters of a wrong value


def wrong(field: str, value: Any, kind: type) -> str | None:
    """Why a value cannot be right, in one line; None if it can.

    Args:
      field: by its whole name, "rgrl.k".
      value: anything.
      kind: of the field: bool, int, float, str or tuple. A float may be a whole number; True is no
        number.
    """
    right, fits = RULES.get(field, _ANY.get(kind, ("", _always)))
    if is_of(value, kind) and fits(value):
        return None
    return f"config.{field} is {told(value)}; right is {right}"


def told(value: Any) -> str:
    """A value in an error, however long it is."""
    try:
        text = repr(value)
    except ValueError:  # Python's own limit on the digits of a number
        text = f"of type {type(value).__name__} and too long to be shown"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def is_of(value: Any, kind: type) -> bool:
    """Whether a value is one for fields of this type, as `wrong` has it."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _always(value: Any) -> bool:
    return True


def _number(low: float, high: float = _MOST, open_low: bool = False) -> Callable[[Any], bool]:
    # NaN fails every comparison.
    return lambda value: low <= value <= high and not (open_low and value == low)


def _whole(low: int, high: int) -> Rule:
    return f"a whole number from {low:,} to {high:,}", _number(low, high)


def _one_of(*values: str) -> Rule:
    return "one of " + ", ".join(values), values.__contains__


def _is_increasing(drops: tuple) -> bool:
    """Whether these are increasing shares in (0, 1)."""
    are_numbers = all(is_of(drop, float) for drop in drops)
    return are_numbers and all(a < b for a, b in itertools.pairwise((0, *drops, 1)))


_AT_LEAST_0 = (f"a number from 0 to {_MOST:g}", _number(0))
_POSITIVE = (f"a number > 0, up to {_MOST:g}", _number(0, open_low=True))
_BELOW_1 = ("a number in [0, 1)", lambda x: 0 <= x < 1)
_COUNT = _whole(0, 10**9)
_EPOCHS = _whole(0, 10**6)
_BATCH = (
    "a whole number of 2 or more, up to 1,000,000 (batch statistics and relations need pairs)",
    _number(2, 10**6),
)

# For fields without a rule of their own.
_ANY: dict[type, Rule] = {
    bool: ("True or False", _always),
    int: _whole(-(10**6), 10**6),
    float: (f"a number up to {_MOST:g}", _number(-_MOST)),
    # No file has NUL in its name, and no reader of text expects it.
    str: ("text", lambda text: "\0" not in text),
}

RULES: dict[str, Rule] = {
    "seed": _whole(0, 2**32 - 1),
    "checkpoint_every": _POSITIVE,
    "dataset.train_size": _COUNT,
    "dataset.test_size": _COUNT,
    "dataset.image_size": (
        "0, or a whole number from 8 to 4,096",
        lambda side: side == 0 or 8 <= side <= 4096,
    ),
    "dataset.max_broken": _BELOW_1,
    "dataset.held_out": ("a number in (0, 1)", lambda share: 0 < share < 1),
    "dataset.validation": _BELOW_1,
    "dataset.memory_budget": _AT_LEAST_0,
    "dataset.workers": _whole(-1, 1024),
    "noise.rate": ("a number in [0, 1]", _number(0, 1)),
    "noise.seed": _whole(0, 2**63 - 1),
    # 1,024 channels are 3,000 million parameters.
    "model.width": _whole(1, 1024),
    "model.stem": _one_of("cifar", "imagenet"),
    "model.precision": _one_of("auto", "float32", "bfloat16"),
    "augment.pad": _whole(0, 4096),
    "teacher.kind": _one_of("simsiam", "random", "none"),
    "teacher.width": _whole(0, 1024),
    "rm.epochs": _whole(1, 10**6),
    "rm.batch_size": _BATCH,
    "rm.lr": _POSITIVE,
    "rm.momentum": _BELOW_1,
    "rm.weight_decay": _AT_LEAST_0,
    "rm.min_area": ("a number in (0, 1]", _number(0, 1, open_low=True)),
    "rm.knn_every": _EPOCHS,
    "rm.knn_k": _whole(1, 10**6),
    "rm.on_collapse": _one_of("warn", "stop"),
    "rgrl.loss.name": ("the name of a loss", lambda name: name.strip() and "\0" not in name),
    "rgrl.epochs": _EPOCHS,
    "rgrl.batch_size": _BATCH,
    "rgrl.lr": _POSITIVE,
    "rgrl.lr_drops": ("increasing shares of training in (0, 1)", _is_increasing),
    "rgrl.momentum": _BELOW_1,
    "rgrl.weight_decay": _AT_LEAST_0,
    "rgrl.grad_clip": _AT_LEAST_0,
    "rgrl.k": _AT_LEAST_0,
    "rgrl.alpha": _AT_LEAST_0,
    "rgrl.beta": _AT_LEAST_0,
    "rgrl.relation_norm": _one_of("frobenius", "frobenius_per_sample"),
    "rgrl.teacher_embedding": _one_of("backbone", "projector"),
    "rgrl.teacher_view": _one_of("same", "own"),
    "report.tsne_points": _whole(0, 10_000),
    "report.gallery": _whole(0, 10_000),
    "report.tsne_classes": (
        "two class numbers",
        lambda pair: len(pair) == 2 and all(is_of(number, int) for number in pair),
    ),
}
