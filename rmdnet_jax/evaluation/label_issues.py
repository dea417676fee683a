"""Which given labels look wrong: a suspicion score for every sample, and label_issues.csv."""

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rmdnet_jax.base.atomic import open_atomic
from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import cell, of_cell
from rmdnet_jax.data.label_kinds import CLEAN, CLOSED, KINDS, OPEN, Division

# Weight of the neighbours in the evidence; docs/label_issues.md says how it was chosen.
_NEIGHBOURS_WEIGHT = 0.3


@dataclasses.dataclass(frozen=True)
class LabelIssues:
    """How suspicious every given label is.

    Attributes:
      index: int [N], ascending, the position of each sample in what the user gave.
      given: int [N], the labels that were judged.
      suggested: int32 [N], the class with the strongest evidence; often the given one.
      score: float64 [N] in [0, 1]; higher is more suspicious.
      student_score, neighbour_score: float64 [N] in [0, 1], its two parts; the second is None
        without a teacher.
      is_issue: bool [N], the labels to change or review: as many of the most suspicious as are
        estimated to be wrong, if another class is suggested.
      kind: int8 [N], of data/label_kinds.py: CLEAN unless it is an issue, then CLOSED or OPEN.
    """

    index: np.ndarray
    given: np.ndarray
    suggested: np.ndarray
    score: np.ndarray
    student_score: np.ndarray
    neighbour_score: np.ndarray | None
    is_issue: np.ndarray
    kind: np.ndarray


def kinds(is_issue: np.ndarray, is_open: np.ndarray | None = None) -> np.ndarray:
    """int8 [N], indices into KINDS, of labels that are issues or not, bool [N]; issues whose image
    shows none of the classes, bool [N], are open."""
    kind = np.where(is_issue, CLOSED, CLEAN).astype(np.int8)
    if is_open is not None:
        kind[is_issue & is_open] = OPEN
    return kind


def evidence(student: np.ndarray, neighbours: np.ndarray | None) -> np.ndarray:
    """The evidence for each class of each sample: float32 [N, C], rows sum to 1.

    Args:
      student: float [N, C], the student's probabilities for its training images.
      neighbours: float [N, C], the mean of those of each image's nearest neighbours in the
        teacher's space (knn.neighbours_mean); None without a teacher.
    """
    student = np.asarray(student, np.float32)
    if neighbours is None:
        return student
    weight = np.float32(_NEIGHBOURS_WEIGHT)
    return (1 - weight) * student + weight * np.asarray(neighbours, np.float32)


def score(
    student: np.ndarray,
    neighbours: np.ndarray | None,
    given: np.ndarray,
    rate: float,
    index: np.ndarray | None = None,
) -> LabelIssues:
    """One minus the evidence for the given label.

    The two parts complement each other: a student may have memorised a wrong label, but the images
    closest to it in the space of a teacher that never saw labels are mostly labelled correctly.

    Args:
      student, neighbours: as in `evidence`, [N, C].
      given: int [N].
      rate: share of wrong labels, in [0, 1], from transition.estimate.
      index: int [N], ascending, the samples' positions in what the user gave; None is 0 to N - 1.
    """
    mean = evidence(student, neighbours)

    def against_given(probabilities: np.ndarray) -> np.ndarray:
        # Rounding can leave a probability slightly above 1.
        for_given = np.asarray(probabilities, np.float64)[np.arange(len(given)), given]
        return np.clip(1 - for_given, 0, 1)

    score = against_given(mean)
    suggested = mean.argmax(axis=1).astype(np.int32)
    is_issue = np.zeros(len(given), bool)
    is_issue[_order(score)[: round(rate * len(given))]] = True
    is_issue &= suggested != given
    return LabelIssues(
        np.arange(len(given)) if index is None else index,
        given,
        suggested,
        score,
        against_given(student),
        None if neighbours is None else against_given(neighbours),
        is_issue,
        kinds(is_issue),
    )


def divided(
    division: Division,
    belief: np.ndarray,
    neighbours: np.ndarray | None,
    given: np.ndarray,
    index: np.ndarray | None = None,
) -> LabelIssues:
    """The issues of labels that a method has divided itself: every label that it does not consider
    right; the score is one minus the probability that the label is right.

    Args:
      division: of N labels.
      belief, neighbours: for the two parts of the score, as in `evidence`.
      given, index: as in `score`.
    """
    parts = score(belief, neighbours, given, 0, index)
    is_issue = division.part != CLEAN
    return dataclasses.replace(
        parts,
        suggested=division.label,
        score=1 - division.clean.astype(np.float64),
        is_issue=is_issue,
        kind=division.part,
    )


def accepted(issues: LabelIssues, is_reviewed: np.ndarray) -> LabelIssues:
    """The issues after clearing the labels that have been reviewed, bool [N]: these are no issues,
    and their score of 0 places them at the end of the order."""
    is_issue = issues.is_issue & ~is_reviewed
    return dataclasses.replace(
        issues,
        score=np.where(is_reviewed, 0, issues.score),
        is_issue=is_issue,
        kind=np.where(is_reviewed, CLEAN, issues.kind).astype(np.int8),
    )


def joined(first: LabelIssues, second: LabelIssues) -> LabelIssues:
    """The issues of two parts of a data set, in order of the index; both with a neighbour score, or
    both without."""
    order = np.argsort(np.concatenate([first.index, second.index]))

    def both(name: str) -> np.ndarray | None:
        parts = getattr(first, name), getattr(second, name)
        return None if parts[0] is None else np.concatenate(parts)[order]

    fields = {field.name: both(field.name) for field in dataclasses.fields(LabelIssues)}
    return LabelIssues(**fields)  # type: ignore[arg-type]


def ranking(issues: LabelIssues) -> np.ndarray:
    """int [N]: the samples from the most to the least suspicious; scores that are equal to the six
    decimals in the file are in order of their index."""
    return _order(issues.score)


def _order(score: np.ndarray) -> np.ndarray:
    return np.argsort(-score.round(6), kind="stable")


def write_csv(
    path: Path,
    issues: LabelIssues,
    class_names: Sequence[str],
    files: Sequence[str] | None = None,
) -> None:
    """Writes one row per sample, most suspicious first.

    Columns: index, given_label, suggested_label (class numbers), score, student_score,
    neighbour_score (only with a teacher), is_issue (0 or 1), kind (of KINDS), given_class,
    suggested_class (names), path (only where images have one). Names and paths are escaped by
    text.cell.

    Args:
      path: the CSV.
      issues: of all scored samples.
      class_names: one per class.
      files: the path of each sample.
    """
    scores = {"score": issues.score, "student_score": issues.student_score}
    if issues.neighbour_score is not None:
        scores["neighbour_score"] = issues.neighbour_score
    names = [cell(name) for name in class_names]
    columns: dict[str, Any] = {
        "index": issues.index,
        "given_label": issues.given,
        "suggested_label": issues.suggested,
        **{name: [f"{score:.6f}" for score in values] for name, values in scores.items()},
        "is_issue": issues.is_issue.astype(int),
        "kind": [KINDS[kind] for kind in issues.kind],
        "given_class": [names[label] for label in issues.given],
        "suggested_class": [names[label] for label in issues.suggested],
    }
    if files is not None:
        columns["path"] = [cell(file) for file in files]
    with open_atomic(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([column[i] for column in columns.values()] for i in ranking(issues))


def read_csv(path: Path) -> tuple[LabelIssues, tuple[str, ...] | None]:
    """Reads a file of `write_csv`: the issues in order of the index, and the paths if it has them.

    Raises:
      InputError: it is not such a file.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = sorted(csv.DictReader(file), key=lambda row: int(row["index"]))

        def column(name: str, dtype: type) -> np.ndarray:
            return np.array([row[name] for row in rows]).astype(dtype)

        # Files of older versions lack this column.
        is_issue = (
            column("is_issue", np.int32).astype(bool)
            if "is_issue" in rows[0]
            else column("suggested_label", np.int32) != column("given_label", np.int32)
        )
        issues = LabelIssues(
            column("index", np.int64),
            column("given_label", np.int32),
            column("suggested_label", np.int32),
            column("score", np.float64),
            column("student_score", np.float64),
            column("neighbour_score", np.float64) if "neighbour_score" in rows[0] else None,
            is_issue,
            np.array([KINDS.index(row["kind"]) for row in rows], np.int8)
            if "kind" in rows[0]
            else kinds(is_issue),
        )
        files = [row["path"] for row in rows] if "path" in rows[0] else None
        if files and not all(isinstance(file, str) for file in files):
            raise ValueError("a row is incomplete")
    except (ValueError, LookupError, TypeError, OverflowError, OSError, csv.Error) as error:
        raise InputError(
            f"{path} cannot be read ({type(error).__name__}: {str(error)[:200]}); expected a "
            "label_issues.csv written by a run"
        ) from error
    return issues, tuple(map(of_cell, files)) if files else None


def quality(issues: LabelIssues, is_wrong: np.ndarray) -> dict[str, float] | None:
    """How well the issues separate wrong labels from right ones, all in [0, 1].

    Args:
      issues: of N samples.
      is_wrong: bool [N].

    Returns:
      auroc (the probability that a wrong label scores higher than a right one; 0.5 is chance),
      average_precision, precision (among the n most suspicious, if n labels are wrong), f1 (of
      `is_issue`). None if all labels are wrong, or none.
    """
    if is_wrong.all() or not is_wrong.any():
        return None
    # Imported here: scikit-learn takes a second to load, which would delay the start of a run.
    from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

    return {
        "auroc": float(roc_auc_score(is_wrong, issues.score)),
        "average_precision": float(average_precision_score(is_wrong, issues.score)),
        "precision": float(is_wrong[ranking(issues)[: is_wrong.sum()]].mean()),
        "f1": float(f1_score(is_wrong, issues.is_issue)),
    }
