"""The figures of a run and their captions: an outcome -> the sections of its page."""

from pathlib import Path

import numpy as np

from rmdnet_jax.evaluation import classification
from rmdnet_jax.evaluation.suspicion import Suspicion
from rmdnet_jax.losses.simsiam import COLLAPSED
from rmdnet_jax.report import figures, names, terms
from rmdnet_jax.report.outcome import Outcome
from rmdnet_jax.report.page import Figure, Section

# With fewer points no t-SNE is drawn.
_FEWEST_POINTS = 10

# Threshold of the collapse monitor for its wording, besides losses.simsiam.COLLAPSED.
_HEALTHY = 0.5
_SPREADS = {1.0: "1: spread evenly", 0.0: "0: collapsed"}

# Number of confusions that are listed.
_NAMED = 3

_TEACHER_CURVES = {
    "loss": "SimSiam loss (negative cosine)",
    "spread": "collapse monitor: spread",
    "knn_accuracy": "teacher's {knn}",
}
_STUDENT_CURVES = {
    "test_accuracy": "{test}",
    "validation_accuracy": "agreement with held-out labels",
    "train_accuracy": "agreement with the training labels",
    "loss": "total loss",
    "robust_loss": "robust loss",
    "node_loss": "node loss",
    "edge_loss": "edge loss",
}
# Fields of metrics.jsonl without a curve.
_NOT_DRAWN = {"stage", "epoch", "time", "seconds", "images_per_second"}


def draw(folder: Path, outcome: Outcome, results: dict, config: dict) -> list[Section]:
    """Draws all figures of the outcome as PNG files.

    Args:
      folder: for the files; created if missing.
      outcome: the results of the run.
      results: the content of results.json.
      config: the resolved config, JSON-able.
    """
    folder.mkdir(exist_ok=True)
    sections = (
        _comparison(folder, outcome, results),
        _teacher_training(folder, outcome, results, config),
        _student_training(folder, outcome, results),
        _predictions(folder, outcome, results),
        _noise(folder, outcome, results),
        _embeddings(folder, outcome, config),
    )
    return [section for section in sections if section]


def _comparison(folder: Path, outcome: Outcome, results: dict) -> Section | None:
    students, called = outcome.students, terms.of(results)
    if "baseline" not in students:
        return None
    stages = _titles(outcome)
    rate = outcome.labels.rate_realised
    noise = "labels as given"
    if rate is not None:
        noise = f"{outcome.labels.kind} noise, {rate:.0%} wrong labels"
    path = folder / "comparison.png"
    figures.comparison(
        students["baseline"].history, students["student"].history,
        (stages["baseline"], stages["student"]), called.test, noise, path,
    )  # fmt: skip
    caption = f"{_sentence(called.test)} of {' and of '.join(stages.values())}, by epoch."
    heading = "Comparison with the baseline"
    text = "Both use the same seed and the same training budget."
    if outcome.teacher and outcome.teacher.train_logits is None:  # both may learn from a classifier
        text += f" {stages['student']} is guided by the teacher, {stages['baseline']} is not."
    return Section("comparison", heading, text, (Figure(caption, path),))


def _teacher_training(
    folder: Path, outcome: Outcome, results: dict, config: dict
) -> Section | None:
    if not outcome.teacher:
        return None
    history = outcome.teacher_history
    source = outcome.teacher.source
    text = source.story
    if history and "spread" in history[-1]:
        text += f" {_collapse(history)}"
    elif source.trains and not history:
        path = config["teacher"]["path"]
        text += f" It was trained by an earlier run, {path}: see the page of that run."
    if warning := outcome.teacher.warning():
        text += f" Warning: {warning}."
    drawn = _curves(folder, history, _TEACHER_CURVES, {"teacher": "teacher"}, results)
    return Section("teacher", "Stage 1: the teacher", text, drawn)


def _student_training(folder: Path, outcome: Outcome, results: dict) -> Section | None:
    students = outcome.students
    if not students:
        return None
    history = [line for student in students.values() for line in student.history]
    text = (
        "A student learns from the given labels. If some of them are wrong, and its agreement with "
        "them rises towards 100 %, it is memorising the wrong ones."
    )
    # Other quantities that a method logs are drawn under their own names.
    own = dict.fromkeys(name for line in history for name in line if name not in _NOT_DRAWN)
    quantities = _STUDENT_CURVES | {
        name: name.replace("_", " ") for name in own if name not in _STUDENT_CURVES
    }
    if "baseline" in students:
        del quantities["test_accuracy"]  # drawn in the comparison
    drawn = _curves(folder, history, quantities, _titles(outcome), results)
    return Section("student", "Stage 2: the student", text, drawn)


def _curves(
    folder: Path,
    history: list[dict],
    quantities: dict[str, str],
    stages: dict[str, str],
    results: dict,
) -> tuple[Figure, ...]:
    """One figure per quantity in the history, with one line per stage."""
    called, drawn = terms.of(results), []
    for quantity, what in quantities.items():
        if not any(quantity in line for line in history):
            continue
        title = what.format(test=called.test, knn=called.knn)
        path = folder / f"{[*stages][-1]}_{quantity}.png"
        is_share = quantity.endswith("accuracy")
        levels = _SPREADS if quantity == "spread" else {}
        figures.curve(history, quantity, stages, title, path, is_share=is_share, levels=levels)
        last = {line["stage"]: line[quantity] for line in history if quantity in line}
        form = "{} {:.1%}" if is_share else "{} {:.3g}"
        ends = ", ".join(form.format(stages[stage], value) for stage, value in last.items())
        drawn.append(Figure(f"{_sentence(title)}, by epoch; at the end: {ends}.", path))
    return tuple(drawn)


def _collapse(history: list[dict]) -> str:
    """The result of the collapse monitor, for readers who do not know it."""
    spreads = [line["spread"] for line in history]
    if spreads[-1] >= _HEALTHY:
        verdict = "It has not collapsed"
    elif spreads[-1] >= COLLAPSED:
        verdict = "It has partly collapsed: its relations are less informative than they could be"
    else:
        verdict = "It has collapsed: its relations carry no information and should not be used"
    return (
        f"{verdict}. The spread of its embeddings ended at {spreads[-1]:.2f} (1: evenly spread in "
        f"all directions, 0: the same embedding for every image; minimum {min(spreads):.2f}, in "
        f"epoch {history[int(np.argmin(spreads))]['epoch']})."
    )


def _predictions(folder: Path, outcome: Outcome, results: dict) -> Section | None:
    if "student" not in outcome.students:
        return None
    class_names = outcome.data.class_names
    logits, labels = outcome.students["student"].test.logits, outcome.data.test_labels
    counts = classification.confusion_matrix(logits, labels)
    sizes = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(sizes, 1)
    path = folder / "confusion.png"
    label = terms.of(results).label
    figures.heat_map(shares, names.drawable(class_names), label, "prediction", path)
    apart = shares - np.diag(shares.diagonal())
    worst = [divmod(int(cell), len(apart)) for cell in apart.argsort(axis=None)[::-1][:_NAMED]]
    said = [
        f"{names.short(class_names[i], 40)} as {names.short(class_names[j], 40)} "
        f"({apart[i, j]:.0%} of {sizes[i, 0]:,})"
        for i, j in worst
        if apart[i, j]
    ]
    text = "Most frequent confusions: " + ", ".join(said) + "." if said else ""
    caption = (
        f"Confusion matrix of the {labels.size:,} test images: each row (a {label}) sums to 1."
    )
    heading = "Test predictions"
    return Section("predictions", heading, text, (Figure(caption, path),))


def _estimate(suspicion: Suspicion) -> str:
    if suspicion.rate is None:
        return (
            "The share of wrong labels cannot be estimated: mistakes of the predictions cannot be "
            "distinguished from wrong labels. No label is flagged; the ranking is still valid."
        )
    lowest, highest = suspicion.range
    return (
        f"Estimated without true labels: {suspicion.rate:.1%}, between {lowest:.1%} and "
        f"{highest:.1%}."
    )


def _noise(folder: Path, outcome: Outcome, results: dict) -> Section | None:
    labels, suspicion = outcome.labels, outcome.suspicion
    estimated = suspicion.transition if suspicion else None
    matrices = {
        "transition": (labels.transition, "Actual: given labels by true class."),
        "transition_estimated": (
            estimated,
            "Estimated without true labels: given labels by true class.",
        ),
    }
    drawn = []
    for name, (matrix, caption) in matrices.items():
        if matrix is not None:
            path = folder / f"{name}.png"
            class_names = names.drawable(outcome.data.class_names)
            figures.heat_map(np.asarray(matrix), class_names, "true class", "given label", path)
            drawn.append(Figure(caption, path))
    text = []
    if labels.rate_realised is not None:
        text.append(f"{labels.rate_realised:.1%} of the training labels are wrong.")
    if labels.rate_open:
        text.append(
            f"{labels.rate_open:.1%} of the training images show none of the classes; the actual "
            "matrix is of the others."
        )
    if suspicion:
        text.append(_estimate(suspicion))
    if "noise_transition_error" in results:
        gap = results["noise_transition_error"]
        text.append(f"The rows of the two differ by {gap:.3f} on average (total variation).")
    if "label_kinds" in results:
        text.append(_kinds(results["label_kinds"]))
    return Section("noise", "Label noise", " ".join(text), tuple(drawn)) if drawn else None


def _kinds(quality: dict) -> str:
    """How well the three kinds of labels are distinguished."""
    words = {"clean": "right labels", "closed": "labels of another class",
             "open": "labels of images of none"}  # fmt: skip
    found = [
        f"{share:.1%} of the {words[kind]}"
        for kind, share in quality["recall"].items()
        if share is not None
    ]
    return f"Kind identified correctly: {', '.join(found)}."


def _embeddings(folder: Path, outcome: Outcome, config: dict) -> Section | None:
    """t-SNE of the first images with either of two given labels, in every available embedding."""
    data, given, true = outcome.data, outcome.labels.given, outcome.labels.true
    points = config["report"]["tsne_points"]
    if true is None or not points:
        return None
    pair = [range(data.num_classes)[c] for c in config["report"]["tsne_classes"]]
    chosen = np.concatenate([np.flatnonzero(given == c)[:points] for c in pair])
    if len(chosen) < _FEWEST_POINTS:
        return None
    embeddings = {}
    if outcome.teacher and outcome.teacher.train_embedding is not None:
        embeddings["teacher"] = outcome.teacher.source.title, outcome.teacher.train_embedding
    titles = _titles(outcome)
    model = config["model"]
    is_linear = model["kind"] == "mlp" and not model["hidden"]  # same embedding as the teacher
    students = {} if is_linear and embeddings else outcome.students
    for stage, student in students.items():
        embeddings[stage] = titles[stage], student.train.embedding
    wrong = (given != true)[chosen]
    label = (given[chosen] == pair[1]).astype(np.int32)
    drawable = names.drawable(data.class_names)
    drawn = []
    for name, (title, embedding) in embeddings.items():
        path = folder / f"embedding_{name}.png"
        figures.embedding(
            figures.tsne(embedding[chosen], config["seed"]), label, wrong,
            (drawable[pair[0]], drawable[pair[1]]), title, path,
        )  # fmt: skip
        drawn.append(Figure(f"t-SNE of the embeddings: {title}.", path))
    first, second = (names.short(data.class_names[c], 40) for c in pair)
    text = (
        f"Training images labelled {first} or {second}, as in Figures 5 to 7 of the paper. Where a "
        "wrong label is separated from the right ones, it has not misled the embedding."
    )
    return Section("embeddings", "Embeddings", text, tuple(drawn))


def _titles(outcome: Outcome) -> dict[str, str]:
    """The display name of each student."""
    return {stage: names.short(one.title, 40) for stage, one in outcome.students.items()}


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
