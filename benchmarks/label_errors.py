"""Finding wrong labels: ours compared with cleanlab, on finished runs with known true labels.

python benchmarks/label_errors.py WORKDIR ... [--folds=5]        (needs cleanlab)

cleanlab gets the probabilities of the same trained student and, with --folds, out-of-sample ones:
the run's training images are split into so many parts, each predicted by a student that was trained
on the others, with the run's own recipe and teacher. These are stored in WORKDIR/folds and reused.
cleanlab's three scores rank the labels; its find_label_issues, with defaults, filters them.
"""

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np
import ours
import stopwatch
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from ml_collections import ConfigDict
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from rmdnet_jax.config import default
from rmdnet_jax.data import lazy_images
from rmdnet_jax.data.validation import Split
from rmdnet_jax.evaluation import label_issues
from rmdnet_jax.model import Model
from rmdnet_jax.runs import preparation
from rmdnet_jax.runs.preparation import Run
from rmdnet_jax.stages import learning, teaching
from rmdnet_jax.training.logging import RunLog

_SCORES = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")


def opened(workdir: Path) -> Run:
    """The finished run in `workdir`, prepared again as it was."""
    config = default()
    with config.unlocked():
        config.update(ConfigDict(json.loads((workdir / "config.json").read_text())))
    return preparation.prepare(config, workdir)


def out_of_sample(run: Run, folds: int) -> np.ndarray:
    """Probabilities float64 [N, C] of the training images, each from a student that was not trained
    on it."""
    run = run.complete() if run.complete else run  # an encoder's embeddings were zeros so far
    size = len(run.labels.given)
    order = np.random.default_rng(run.config.seed).permutation(size)
    probabilities = np.empty((size, run.data.num_classes))
    teacher = teaching.teaching(run)
    for fold in range(folds):
        held_out, kept = (
            np.sort(order[fold::folds]),
            np.sort(np.delete(order, slice(fold, None, folds))),
        )
        workdir = run.workdir / "folds" / f"{fold} of {folds}"
        workdir.mkdir(parents=True, exist_ok=True)
        split = Split(
            run.seen.take(kept), run.labels.take(kept), kept,
            lazy_images.subset(run.seen.train_images, held_out), run.labels.given[held_out],
        )  # fmt: skip
        part = dataclasses.replace(run, split=split, workdir=workdir, log=RunLog(workdir, False))
        student = learning.learning(part, "student", teacher).model
        probabilities[held_out] = student.predict_proba(split.held_out_images)
    return probabilities


def quality(score: np.ndarray, is_issue: np.ndarray, wrong: np.ndarray) -> list[float]:
    """AUROC, average precision, precision at the number of wrong labels, and F1 of a filter."""
    most = np.argsort(-score, kind="stable")[: wrong.sum()]
    return [
        roc_auc_score(wrong, score), average_precision_score(wrong, score), wrong[most].mean(),
        f1_score(wrong, is_issue),
    ]  # fmt: skip


def cleanlabs(given: np.ndarray, probabilities: np.ndarray, wrong: np.ndarray) -> dict[str, list]:
    """Quality of each of cleanlab's rankings."""
    is_issue = find_label_issues(
        given, probabilities, n_jobs=1
    )  # JAX's threads and forks do not mix
    return {
        name: quality(-get_label_quality_scores(given, probabilities, method=name), is_issue, wrong)
        for name in _SCORES
    }


def compare(workdir: Path, folds: int) -> dict[str, list[float]]:
    """Quality of each contestant on one run."""
    run = opened(workdir)
    given, wrong = run.labels.given, run.labels.given != run.labels.true
    issues, _ = label_issues.read_csv(workdir / "label_issues.csv")
    rows = {"ours": quality(issues.score, issues.is_issue, wrong)}
    trained = Model.load(workdir).predict_proba(run.data.train_images)
    found = cleanlabs(given, trained, wrong)
    rows |= {f"cleanlab, the same student, {name}": row for name, row in found.items()}
    if folds:
        found = cleanlabs(given, out_of_sample(run, folds), wrong)
        rows |= {f"cleanlab, {folds} folds, {name}": row for name, row in found.items()}
    return rows


def main() -> None:
    """Prints a table: mean and standard deviation over the runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workdirs", type=Path, nargs="+")
    parser.add_argument("--folds", type=int, default=0)
    options = parser.parse_args()
    print(stopwatch.heading("jax", "cleanlab"))
    runs = [compare(workdir, options.folds) for workdir in options.workdirs]
    rows = []
    for name in runs[0]:
        values = np.array([run[name] for run in runs])
        spread = values.std(axis=0, ddof=1) if len(runs) > 1 else np.zeros(values.shape[1])
        rows.append(
            [name, *(f"{m:.3f} ± {s:.3f}" for m, s in zip(values.mean(0), spread, strict=True))]
        )
    header = ["", "AUROC", "average precision", "precision at the number of wrong labels", "F1"]
    print(stopwatch.table(header, rows))


if __name__ == "__main__":
    ours.set_up()
    ours.run(main)
