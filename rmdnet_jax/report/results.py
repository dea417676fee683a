"""The files that a run writes: results.json, label_issues.csv, figures, report.html."""

import importlib.metadata
import json
import platform
from pathlib import Path

import jax
import numpy as np

from rmdnet_jax.base.atomic import open_atomic
from rmdnet_jax.base.text import one_line
from rmdnet_jax.data import label_kinds, transition
from rmdnet_jax.evaluation import audit, classification, consensus, kinds, label_issues
from rmdnet_jax.evaluation.audit import Audit
from rmdnet_jax.export import pred_probs
from rmdnet_jax.machine import hosts
from rmdnet_jax.report import data_section, drawing, gallery, model_card, page
from rmdnet_jax.report.outcome import Outcome

# Maximum number of classes for which transition matrices are in results.json, where each number
# takes a line. Larger ones are in a separate file, arrays "realised" and "estimated".
_IN_JSON = 100
TRANSITIONS = "transitions.npz"

DATA_ISSUES = "data_issues.csv"

# Libraries whose versions can change a number.
_LIBRARIES = ("rmdnet_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def write(workdir: Path, outcome: Outcome, config: dict, command: str) -> dict:
    """Writes everything into `workdir`; returns results.json's content.

    Args:
      workdir: this run's folder.
      outcome: the results to write.
      config: the resolved config, JSON-able.
      command: as the user typed it.
    """
    data, suspicion = outcome.data, outcome.suspicion
    results = summarise(outcome)
    # The numbers first: an error in drawing cannot lose them.
    _write_json(workdir, results)
    if suspicion and data.num_classes > _IN_JSON:
        with open_atomic(workdir / TRANSITIONS, "wb") as file:
            np.savez_compressed(file, **_transitions(outcome))  # type: ignore[arg-type]
    count = config["report"]["gallery"]
    if suspicion:
        label_issues.write_csv(
            workdir / "label_issues.csv", suspicion.train, data.class_names, data.train_files
        )
        if results["test_labels"] == "given":
            label_issues.write_csv(
                workdir / "test_label_issues.csv", suspicion.test, data.class_names, data.test_files
            )
    if suspicion and (agreed := outcome.consensus):
        consensus.write(workdir, agreed, data, outcome.labels)
    if suspicion and outcome.belief is not None:
        pred_probs.write(
            workdir / pred_probs.NAME, outcome.belief, suspicion.train.given,
            suspicion.train.index, data.class_names, config["train"]["folds"] > 1,
        )  # fmt: skip
    if suspicion:
        model_card.write(
            workdir / model_card.NAME, results, config, suspicion.train, data.class_names, command
        )
    sections = drawing.draw(workdir / "figures", outcome, results, config)
    if config["report"]["audit"] and (audited := _audit(workdir, outcome)):
        results["data_issues"], section = audited
        _write_json(workdir, results)
        sections.append(section)
    suspects = gallery.suspects(suspicion.train, data, outcome.labels, count) if suspicion else []
    page.write(
        workdir / "report.html", results, config, sections, suspects, data.class_names, command,
        page.key(data, outcome.labels.given),
    )  # fmt: skip
    return results


def _write_json(workdir: Path, results: dict) -> None:
    with open_atomic(workdir / "results.json") as file:
        json.dump(results, file, indent=2)


def _audit(workdir: Path, outcome: Outcome) -> tuple[dict[str, int], page.Section] | None:
    """Writes the issues of the images themselves; returns their counts and the page's section. None
    if there are no embeddings, or if it fails: it comes last and needs much memory, and a failure
    must not lose hours of training."""
    try:
        if (found := _audited(outcome)) is None:
            return None
        section = data_section.section(workdir / "figures", found, outcome.data)
        audit.write_csv(workdir / DATA_ISSUES, found, outcome.data)
        return found.counts(), section
    except Exception as error:
        reason = one_line(f"{type(error).__name__}: {error}")
        hosts.warn(
            f"the images were not checked for issues, so {DATA_ISSUES} is missing ({reason})"
        )
        return None


def _audited(outcome: Outcome) -> Audit | None:
    """The issues of the images themselves, by the available embeddings; None if there are none."""
    data, teacher, student = outcome.data, outcome.teacher, outcome.students.get("student")
    if not data.are_pictures:
        embeddings = np.asarray(data.train_images), np.asarray(data.test_images)
    elif teacher and teacher.embeddings:
        embeddings = teacher.embeddings
    elif student:
        embeddings = student.train.embedding, student.test.embedding
    else:
        return None
    return audit.audit(data, outcome.labels.given, embeddings)


def summarise(outcome: Outcome) -> dict:
    """The content of results.json; accuracies in [0, 1], times in seconds."""
    data, labels, teacher = outcome.data, outcome.labels, outcome.teacher
    suspicion = outcome.suspicion
    results: dict = {"dataset": data.name, "skipped_files": len(data.skipped_files)}
    results |= {"noise_kind": labels.kind}
    results |= {
        "train_images": len(data.train_images),
        "test_images": len(data.test_images),
        "image_shape": list(data.image_shape),
        "classes": data.num_classes,
        "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
    }
    results |= {
        "noise_rate_nominal": labels.rate_asked,
        "noise_rate_realised": labels.rate_realised,
        "noise_rate_open": labels.rate_open,
        "noise_transition_realised": _in_json(labels.transition),
    }
    if review := labels.review:
        results |= {
            "labels_reviewed": int(review.train.sum() + review.test.sum()),
            "labels_corrected": review.corrected,
            "images_removed": review.removed,
        }
    if agreed := outcome.consensus:
        results |= consensus.summarise(agreed, labels)
    results["teacher_kind"] = teacher.kind if teacher else "none"
    results["teacher_title"] = teacher.source.title if teacher else None
    for encoder in ("knn_accuracy", "random_encoder_knn_accuracy", "pixel_knn_accuracy"):
        name = "teacher_knn_accuracy" if encoder == "knn_accuracy" else encoder
        results[name] = getattr(teacher.verdict, encoder) if teacher else None
    if teacher and teacher.train_logits is not None:
        known = teacher.source.known
        results["teacher_test_accuracy"] = teacher.verdict.test_accuracy
        results["teacher_parameters"] = known.parameters if known else None
    results["knn_labels"] = "given" if labels.true is None else "true"
    results["test_labels"] = "true" if data.knows_tests(labels.true) else "given"
    results |= {"test_accuracy": None, "best_test_accuracy": None, "label_issue_auroc": None}
    for stage, student in outcome.students.items():
        prefix = "" if stage == "student" else f"{stage}_"
        summary = classification.summarise(student.test.logits, data.test_labels)
        best = max(line["test_accuracy"] for line in student.history)
        results |= {f"{prefix}title": student.title}
        if "teacher_parameters" in results:
            results[f"{stage}_parameters"] = student.parameters
        results |= {f"{prefix}test_accuracy": summary.pop("accuracy")}
        results |= {f"{prefix}best_test_accuracy": best}
        results |= {prefix + name: value for name, value in summary.items()}
        if labels.review and (looked := labels.review.test).any():
            right = classification.accuracy(student.test.logits[looked], data.test_labels[looked])
            results[f"{prefix}test_accuracy_reviewed"] = right
            results["test_images_reviewed"] = int(looked.sum())
        if outcome.validation_size:
            validation = student.history[-1]["validation_accuracy"]
            results |= {f"{prefix}validation_accuracy": validation}
            results["validation_size"] = outcome.validation_size
    if suspicion:
        results["noise_rate_estimated"] = suspicion.rate
        results["noise_rate_range"] = list(suspicion.range)
        results["noise_transition_estimated"] = _in_json(suspicion.transition)
        if labels.transition is not None:
            error = transition.error(suspicion.transition, labels.transition)
            results["noise_transition_error"] = error
    if suspicion and labels.true is not None:
        quality = label_issues.quality(suspicion.train, labels.given != labels.true)
        results |= {f"label_issue_{name}": value for name, value in (quality or {}).items()}
        if labels.rate_open or (suspicion.train.kind == label_kinds.OPEN).any():
            results["label_kinds"] = kinds.quality(suspicion.train, labels.true)
    histories = [student.history for student in outcome.students.values()]
    trained = [history for history in (outcome.teacher_history, *histories) if history]
    if trained:
        seconds = {history[-1]["stage"]: history[-1]["seconds"] for history in trained}
        results |= {"train_seconds": sum(seconds.values()), "stage_seconds": seconds}
        speeds = [line["images_per_second"] for line in trained[-1]]
        results["images_per_second"] = float(np.median(speeds))
    results["versions"] = {"python": platform.python_version()} | {
        name: version for name in _LIBRARIES if (version := _version(name))
    }
    return results


def _in_json(matrix: np.ndarray | None) -> list | None:
    is_large = matrix is not None and len(matrix) > _IN_JSON
    return None if matrix is None or is_large else np.round(matrix, 6).tolist()


def _transitions(outcome: Outcome) -> dict[str, np.ndarray]:
    """The available transition matrices, float [C, C]."""
    suspicion = outcome.suspicion
    found = {
        "realised": outcome.labels.transition,
        "estimated": suspicion.transition if suspicion else None,
    }
    return {name: matrix for name, matrix in found.items() if matrix is not None}


def _version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:  # run from a checkout
        return None
