"""How well three kinds of labels are distinguished: right, of another class (closed), and of images
that show none of the classes (open)."""

import numpy as np

from rmdnet_jax.data.dataset import NO_CLASS
from rmdnet_jax.data.label_kinds import CLEAN, CLOSED, KINDS, OPEN
from rmdnet_jax.evaluation.label_issues import LabelIssues


def true(given: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The true kinds of labels, int8 [N], of data/label_kinds.py.

    Args:
      given: int [N].
      truth: int [N], the true labels; data.dataset.NO_CLASS for an image of none of the classes.
    """
    kind = np.where(given != truth, CLOSED, CLEAN).astype(np.int8)
    kind[truth == NO_CLASS] = OPEN
    return kind


def quality(issues: LabelIssues, truth: np.ndarray) -> dict:
    """How well the kinds of N labels were predicted; None stands for a share of an empty set.

    Args:
      issues: of these labels.
      truth: as in `true`.

    Returns:
      confusion, 3 x 3 counts, true kind by predicted kind, in the order of KINDS; accuracy, the
      share of correctly predicted kinds; precision and recall per kind; and refined, the share of
      the closed labels for which the true class is suggested.
    """
    kind = true(issues.given, truth)
    confusion = np.zeros((len(KINDS), len(KINDS)), np.int64)
    np.add.at(confusion, (kind, issues.kind), 1)
    right = np.diagonal(confusion)
    is_closed = kind == CLOSED
    refined = int((issues.suggested == truth)[is_closed].sum())
    return {
        "confusion": confusion.tolist(),
        "accuracy": _share(int(right.sum()), len(kind)),
        "precision": _by_kind(right, confusion.sum(axis=0)),
        "recall": _by_kind(right, confusion.sum(axis=1)),
        "refined": _share(refined, int(is_closed.sum())),
    }


def _by_kind(found: np.ndarray, of: np.ndarray) -> dict[str, float | None]:
    return {name: _share(int(a), int(b)) for name, a, b in zip(KINDS, found, of, strict=True)}


def _share(found: int, of: int) -> float | None:
    return found / of if of else None
