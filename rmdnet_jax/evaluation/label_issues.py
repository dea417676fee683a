"""Which given labels look wrong: a suspicion for every training sample, and the file of them."""

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rmdnet_jax.atomic import open_atomic
from rmdnet_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class LabelIssues:
    """Suspicion of every given label.

    Attributes:
      index: int [N], ascending, the place of each sample in the data set.
      given: int [N], the labels that were judged.
      suggested: int32 [N], the class that the evidence favours; often the given one.
      score: float64 [N] in [0, 1]; higher is more suspicious.
      student_score, neighbour_score: float64 [N] in [0, 1], its two parts; without a teacher there
        is no second.
    """

    index: np.ndarray
    given: np.ndarray
    suggested: np.ndarray
    score: np.ndarray
    student_score: np.ndarray
    neighbour_score: np.ndarray | None


def score(
    student_probabilities: np.ndarray,
    neighbour_votes: np.ndarray | None,
    given_labels: np.ndarray,
    index: np.ndarray | None = None,
) -> LabelIssues:
    """One minus the probability of the given label, averaged over the sources there are.

    The two complement each other: a student may have learned a wrong label by heart; the
    neighbours of a sample, in an embedding that never saw labels, know nothing of it.

    Args:
      student_probabilities: float [N, C] in [0, 1], of the student's own training images.
      neighbour_votes: float [N, C] in [0, 1], each sample's neighbours in the teacher's embedding
        without the sample itself (evaluation/knn.py); None without a teacher.
      given_labels: int [N].
      index: int [N], ascending, the samples' places in the data set; None is 0 to N - 1.
    """
    evidence = np.asarray(student_probabilities, np.float64)
    parts = [evidence]
    if neighbour_votes is not None:
        parts.append(np.asarray(neighbour_votes, np.float64))
        evidence = (parts[0] + parts[1]) / 2

    def against_given(probabilities: np.ndarray) -> np.ndarray:
        # Rounding can leave a probability a hair above 1.
        return np.clip(1 - probabilities[np.arange(len(given_labels)), given_labels], 0, 1)

    scores = [against_given(part) for part in parts]
    return LabelIssues(
        np.arange(len(given_labels)) if index is None else index,
        given_labels,
        evidence.argmax(axis=1).astype(np.int32),
        against_given(evidence),
        scores[0],
        scores[1] if neighbour_votes is not None else None,
    )


def ranking(issues: LabelIssues) -> np.ndarray:
    """int [N]: the samples from the most to the least suspicious; ties, to the six decimals that
    the file shows, in order of their index."""
    return np.argsort(-issues.score.round(6), kind="stable")


def write_csv(
    path: Path,
    issues: LabelIssues,
    class_names: Sequence[str],
    files: Sequence[str] | None = None,
) -> None:
    """Writes a row a sample, most suspicious first.

    Columns: index, given_label, suggested_label (class numbers), score, student_score,
    neighbour_score (only with a teacher), given_class, suggested_class (names), path (only where
    images have one).

    Args:
      path: the CSV.
      issues: of all samples that were judged.
      class_names: one a class.
      files: the path of each sample.
    """
    scores = {"score": issues.score, "student_score": issues.student_score}
    if issues.neighbour_score is not None:
        scores["neighbour_score"] = issues.neighbour_score
    columns: dict[str, Any] = {
        "index": issues.index,
        "given_label": issues.given,
        "suggested_label": issues.suggested,
        **{name: [f"{score:.6f}" for score in values] for name, values in scores.items()},
        "given_class": [class_names[label] for label in issues.given],
        "suggested_class": [class_names[label] for label in issues.suggested],
    }
    if files is not None:
        columns["path"] = files
    with open_atomic(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([column[i] for column in columns.values()] for i in ranking(issues))


def read_csv(path: Path) -> tuple[LabelIssues, tuple[str, ...] | None]:
    """What `write_csv` wrote, in order of the index, and the files if it has them.

    Raises:
      InputError: it is no such file.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = sorted(csv.DictReader(file), key=lambda row: int(row["index"]))

        def column(name: str, dtype: type) -> np.ndarray:
            return np.array([row[name] for row in rows]).astype(dtype)

        issues = LabelIssues(
            column("index", np.int64),
            column("given_label", np.int32),
            column("suggested_label", np.int32),
            column("score", np.float64),
            column("student_score", np.float64),
            column("neighbour_score", np.float64) if "neighbour_score" in rows[0] else None,
        )
    except (ValueError, KeyError, IndexError, csv.Error) as error:
        raise InputError(
            f"{path} cannot be read ({type(error).__name__}: {error}); right is a label_issues.csv "
            "as a run writes it"
        ) from error
    return issues, tuple(row["path"] for row in rows) if "path" in rows[0] else None


def auroc(score: np.ndarray, is_wrong: np.ndarray) -> float | None:
    """How well a score [N] tells wrong labels from right ones: the chance that a wrong one, bool
    [N], scores higher. In [0, 1], 0.5 is guessing; None if all or none of them are wrong."""
    if is_wrong.all() or not is_wrong.any():
        return None
    # Imported here: scikit-learn takes a second that the start of a run need not pay.
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(is_wrong, score))
