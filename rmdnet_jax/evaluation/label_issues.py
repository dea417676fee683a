"""Which given labels look wrong: a suspicion for every training sample, and the file of them."""

import dataclasses
from pathlib import Path

import numpy as np

from rmdnet_jax.atomic import open_atomic


@dataclasses.dataclass(frozen=True)
class LabelIssues:
    """Suspicion of every given label.

    Attributes:
      given: int [N], the labels that were judged.
      suggested: int32 [N], the class that the evidence favours; often the given one.
      score: float64 [N] in [0, 1]; higher is more suspicious.
    """

    given: np.ndarray
    suggested: np.ndarray
    score: np.ndarray


def score(
    student_probabilities: np.ndarray,
    neighbour_votes: np.ndarray | None,
    given_labels: np.ndarray,
) -> LabelIssues:
    """One minus the probability of the given label, averaged over the sources there are.

    The two complement each other: a student may have learned a wrong label by heart; the
    neighbours of a sample, in an embedding that never saw labels, know nothing of it.

    Args:
      student_probabilities: float [N, C] in [0, 1], of the student's own training images.
      neighbour_votes: float [N, C] in [0, 1], each sample's neighbours in the teacher's embedding
        without the sample itself (evaluation/knn.py); None without a teacher.
      given_labels: int [N].
    """
    evidence = np.asarray(student_probabilities, np.float64)
    if neighbour_votes is not None:
        evidence = (evidence + neighbour_votes) / 2
    for_given = evidence[np.arange(len(given_labels)), given_labels]
    # Rounding can leave a probability a hair above 1.
    suspicion = np.clip(1 - for_given, 0, 1)
    return LabelIssues(given_labels, evidence.argmax(axis=1).astype(np.int32), suspicion)


def ranking(issues: LabelIssues) -> np.ndarray:
    """int [N]: the samples from the most to the least suspicious; ties, to the six decimals that
    the file shows, in order of their index."""
    return np.argsort(-issues.score.round(6), kind="stable")


def write_csv(path: Path, issues: LabelIssues) -> None:
    """Writes index,given_label,suggested_label,score of all samples, most suspicious first."""
    with open_atomic(path) as file:
        file.write("index,given_label,suggested_label,score\n")
        for i in ranking(issues):
            row = f"{i},{issues.given[i]},{issues.suggested[i]},{issues.score[i].round(6):.6f}"
            file.write(f"{row}\n")


def auroc(score: np.ndarray, is_wrong: np.ndarray) -> float | None:
    """How well a score [N] tells wrong labels from right ones: the chance that a wrong one, bool
    [N], scores higher. In [0, 1], 0.5 is guessing; None if all or none of them are wrong."""
    if is_wrong.all() or not is_wrong.any():
        return None
    # Imported here: scikit-learn takes a second that the start of a run need not pay.
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(is_wrong, score))
