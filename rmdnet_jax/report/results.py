"""What a run leaves behind: results.json, label_issues.csv, figures, report.html."""

import dataclasses
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from rmdnet_jax import teachers
from rmdnet_jax.atomic import open_atomic
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.data.labels import Labels
from rmdnet_jax.evaluation import classification, knn, label_issues
from rmdnet_jax.methods.interface import Prediction
from rmdnet_jax.report import figures, page

# Libraries whose versions can change a number.
_LIBRARIES = ("rmdnet_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")

# Neighbours whose given labels vote on a label, in the teacher's space.
_NEIGHBOURS = 50

# Of fewer t-SNE draws nothing.
_FEWEST_POINTS = 10


@dataclasses.dataclass(frozen=True)
class Student:
    """A trained student's predictions, without augmentation, and its training's record.

    Attributes:
      train, test: of the training images [N] and the test images [M].
      history: the lines of metrics.jsonl, one an epoch.
    """

    train: Prediction
    test: Prediction
    history: list[dict]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """All that a run found out.

    Attributes:
      data, labels: what the students learned from.
      teacher: None without one.
      teacher_history: lines of metrics.jsonl; empty where the teacher was not trained here.
      students: "student" and perhaps "baseline"; none if only stage RM was asked for.
      index: int [N], the places of data's training images among those of the whole data set, of
        which some may be held out.
      validation_size: number of those.
    """

    data: Dataset
    labels: Labels
    teacher: teachers.Judged | None
    teacher_history: list[dict]
    students: Mapping[str, Student]
    index: np.ndarray
    validation_size: int = 0


def write(workdir: Path, outcome: Outcome, config: dict, command: str) -> dict:
    """Writes everything into `workdir`; returns results.json's content.

    Args:
      workdir: this run's folder.
      outcome: what to write.
      config: the resolved config, JSON-able.
      command: what the user typed.
    """
    issues = _label_issues(outcome) if "student" in outcome.students else None
    results = summarise(outcome, issues)
    # The numbers first: nothing that goes wrong in drawing can lose them.
    with open_atomic(workdir / "results.json") as file:
        json.dump(results, file, indent=2)
    if issues:
        data = outcome.data
        label_issues.write_csv(
            workdir / "label_issues.csv",
            issues,
            outcome.index,
            data.class_names,
            data.train_files,
        )
    drawn = _draw(workdir / "figures", outcome, config)
    page.write(workdir / "report.html", results, config, drawn, command, _rows(issues, outcome))
    return results


def summarise(outcome: Outcome, issues: label_issues.LabelIssues | None) -> dict:
    """What results.json holds; accuracies in [0, 1], times in seconds."""
    data, labels, teacher = outcome.data, outcome.labels, outcome.teacher
    results: dict = {"dataset": data.name, "noise_kind": labels.kind}
    results |= {
        "noise_rate_asked": labels.rate_asked,
        "noise_rate_realised": labels.rate_realised,
        "noise_transition_realised": _nested_list(labels.transition),
    }
    results["teacher_kind"] = teacher.kind if teacher else "none"
    for encoder in ("knn_accuracy", "random_encoder_knn_accuracy", "pixel_knn_accuracy"):
        name = "teacher_knn_accuracy" if encoder == "knn_accuracy" else encoder
        results[name] = getattr(teacher, encoder, None)
    results["knn_labels"] = "given" if labels.true is None else "true"
    results |= {"test_accuracy": None, "best_test_accuracy": None, "label_issue_auroc": None}
    for stage, student in outcome.students.items():
        prefix = "" if stage == "student" else f"{stage}_"
        summary = classification.summarise(student.test.logits, data.test_labels)
        best = max(line["test_accuracy"] for line in student.history)
        results |= {f"{prefix}test_accuracy": summary.pop("accuracy")}
        results |= {f"{prefix}best_test_accuracy": best}
        results |= {prefix + name: value for name, value in summary.items()}
        if outcome.validation_size:
            validation = student.history[-1]["validation_accuracy"]
            results |= {f"{prefix}validation_accuracy": validation}
            results["validation_size"] = outcome.validation_size
    if issues and labels.true is not None:
        wrong = labels.given != labels.true
        results["label_issue_auroc"] = label_issues.auroc(issues.score, wrong)
    histories = [student.history for student in outcome.students.values()]
    trained = [history for history in (outcome.teacher_history, *histories) if history]
    if trained:
        results["train_seconds"] = sum(history[-1]["seconds"] for history in trained)
        speeds = [line["images_per_second"] for line in trained[-1]]
        results["images_per_second"] = float(np.median(speeds))
    results["versions"] = {"python": platform.python_version()} | {
        name: version for name in _LIBRARIES if (version := _version(name))
    }
    return results


def _label_issues(outcome: Outcome) -> label_issues.LabelIssues:
    """Suspicion of every given label, from the student and the teacher's neighbourhoods."""
    labels, num_classes = outcome.labels.given, outcome.data.num_classes
    probabilities = classification.softmax(outcome.students["student"].train.logits)
    votes = None
    if outcome.teacher:
        embedding = outcome.teacher.train_embedding
        votes = knn.votes(
            embedding, labels, embedding, num_classes, k=_NEIGHBOURS, leave_one_out=True
        )
    return label_issues.score(probabilities, votes, labels)


def _draw(folder: Path, outcome: Outcome, config: dict) -> list[tuple[str, Path]]:
    """Draws what there is to draw; returns (caption, path) of each figure."""
    folder.mkdir(exist_ok=True)
    drawn = []

    def add(name: str, caption: str, draw, *args) -> None:
        path = folder / f"{name}.png"
        draw(*args, path)
        drawn.append((caption, path))

    students, data, labels = outcome.students, outcome.data, outcome.labels
    if "baseline" in students:
        loss = config["rgrl"]["loss"]["name"].upper()
        guided = f"{loss} + {_regulariser(outcome)}"
        add(
            "comparison",
            f"Test accuracy of {loss} alone and of {guided}, same seed and budget.",
            lambda path: figures.comparison(
                students["baseline"].history, students["student"].history,
                (loss, guided), _noise(outcome), path,
            ),
        )  # fmt: skip
    history = outcome.teacher_history + [
        line for student in students.values() for line in student.history
    ]
    if history:
        add("curves", "Training, stage by stage.", figures.curves, history)
    if labels.transition is not None:
        add("transition", "Given labels by true class: the noise as it was drawn.",
            figures.transition, labels.transition, data.class_names)  # fmt: skip
    if points := config["report"]["tsne_points"]:
        pair = [range(data.num_classes)[c] for c in config["report"]["tsne_classes"]]
        if panels := _tsne_panels(outcome, pair, points, config["seed"]):
            names = tuple(data.class_names[c] for c in pair)
            add(
                "embeddings",
                f"t-SNE of training images labelled {names[0]} and {names[1]}: which of these "
                "labels are wrong (Figures 5 to 7 of the paper).",
                figures.embeddings, panels, names,
            )  # fmt: skip
    return drawn


def _tsne_panels(outcome: Outcome, pair: list[int], points: int, seed: int) -> list[tuple]:
    """Panels of figures.embeddings: the first images given either label, in every embedding."""
    given, true = outcome.labels.given, outcome.labels.true
    if true is None:
        return []
    chosen = np.concatenate([np.flatnonzero(given == c)[:points] for c in pair])
    if len(chosen) < _FEWEST_POINTS:
        return []
    embeddings = {}
    if outcome.teacher:
        embeddings["teacher"] = outcome.teacher.train_embedding
    for stage, student in outcome.students.items():
        embeddings[stage] = student.train.embedding
    titles = {"baseline": "loss alone", "student": "loss alone"}
    if outcome.teacher:
        is_random = outcome.teacher.kind == "random"
        titles["teacher"] = "random encoder" if is_random else "SimSiam teacher"
        titles["student"] = f"loss + {_regulariser(outcome)}"
    wrong = (given != true)[chosen]
    label = (given[chosen] == pair[1]).astype(np.int32)
    return [
        (titles[name], figures.tsne(embedding[chosen], seed), label, wrong)
        for name, embedding in embeddings.items()
    ]


def _rows(issues: label_issues.LabelIssues | None, outcome: Outcome) -> list[dict]:
    """The most suspicious labels, for the report."""
    if issues is None:
        return []
    names = outcome.data.class_names
    order = label_issues.ranking(issues)[:50]
    return [
        {
            "index": int(outcome.index[i]),
            "given_label": names[issues.given[i]],
            "suggested_label": names[issues.suggested[i]],
            "score": float(issues.score[i]),
        }
        for i in order
    ]


def _regulariser(outcome: Outcome) -> str:
    """RMDNet is stage RGRL under a trained teacher; Table 2 calls it RGRL without one."""
    assert outcome.teacher
    return "RMDNet" if outcome.teacher.kind == "simsiam" else "RGRL, random teacher"


def _noise(outcome: Outcome) -> str:
    rate = outcome.labels.rate_realised
    return outcome.labels.kind + ("" if rate is None else f" noise, {rate:.0%} wrong labels")


def _nested_list(matrix: np.ndarray | None) -> list | None:
    return None if matrix is None else np.round(matrix, 6).tolist()


def _version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:  # run from a checkout
        return None
