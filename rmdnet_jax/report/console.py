"""What a run prints on the terminal at its start and at its end."""

import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
from ml_collections import ConfigDict

from rmdnet_jax.base.text import listed, shown
from rmdnet_jax.config import checking as configuration
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.data.labels import Labels
from rmdnet_jax.report import terms

# Skipped files that are named.
_NAMED = 3

# Classes that are named, in order.
_CLASSES = 12


def opening(
    data: Dataset, budget: int, labels: Labels, precision: str, workdir: Path | None
) -> str:
    """A summary of the run in a few lines; `budget` is the memory limit for images, in bytes."""
    place = f"images   {data.nbytes / 1e9:,.3g} GB decoded, "
    if data.is_on_disk:
        place += f"streamed from disk: more than dataset.memory_budget, {budget / 1e9:,.3g} GB"
    else:
        place += "in memory"
    if data.not_cached:
        place += f"\ncache    none: {data.not_cached}"
    if skipped := data.skipped_files:
        named = ", ".join(shown(file.path) for file in skipped[:_NAMED])
        named += ", ..." if len(skipped) > _NAMED else ""
        place += f"\nskipped  {_counted(len(skipped), 'file')} ({named}); see skipped_files.csv"
    place += "".join(f"\nchanged  {shown(line)}" for line in data.changes)
    noise = f"noise    {labels.kind}"
    if labels.rate_asked is not None:
        noise += f", {labels.rate_asked:.1%} nominal"
    if labels.rate_realised is not None:
        noise += f", {labels.rate_realised:.1%} of the labels are wrong"
    if labels.rate_open:
        noise += f", {labels.rate_open:.1%} of the images show none of the classes"
    if review := labels.review:
        seen = int(review.train.sum() + review.test.sum())
        noise += (
            f"\nreviewed {_counted(seen, 'label')}, {review.corrected:,} of them corrected; "
            f"{_counted(review.removed, 'image')} removed"
        )
    return (
        f"data     {data.name}: {len(data.train_images):,} training and "
        f"{len(data.test_images):,} test images, {terms.shape(data.image_shape)}, "
        f"{data.num_classes} classes\n"
        f"{place}\n"
        f"classes  {listed(data.class_names, _CLASSES)}\n"
        f"{noise}\n"
        f"device   {jax.device_count()} x {jax.devices()[0].device_kind}, {precision}\n"
        f"workdir  {shown(str(workdir)) if workdir else 'none: nothing is saved'}"
    )


def choices(config: ConfigDict, reasons: Mapping[str, str]) -> list[str]:
    """A line for every field that was chosen from the data, with its value and the reason."""
    return [
        f"chosen   {field} {'none' if value == '' else value}: {reason}"
        for field, reason in reasons.items()
        for value in [configuration.get(config, field)]
    ]


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _classifier(results: dict, percent: Callable[[str], str]) -> str:
    """Accuracy of the trained classifier that is the teacher, and its size and the student's."""
    sizes = {whose: results.get(f"{whose}_parameters") for whose in ("teacher", "student")}
    counts = ", ".join(f"{whose} {size:,}" for whose, size in sizes.items() if size)
    accuracy = percent("teacher_test_accuracy")
    return f"{accuracy}   (parameters: {counts})" if counts else accuracy


def closing(results: dict, workdir: Path | None, remark: str) -> str:
    """The table at the end of a run, and the config's remark on it."""

    def percent(name):
        return "-" if results.get(name) is None else f"{results[name]:.1%}"

    called = terms.of(results)
    words = {"nominal": "nominal", "realised": "actual", "open": "open", "estimated": "estimated"}
    rates = [
        f", {percent(f'noise_rate_{which}')} {word}"
        for which, word in words.items()
        if results.get(f"noise_rate_{which}") is not None
        and (which != "open" or results["noise_rate_open"])
    ]
    if results.get("noise_rate_estimated") is not None:
        rates.append(" (between {:.1%} and {:.1%})".format(*results["noise_rate_range"]))
    elif "noise_rate_range" in results:
        rates.append(", rate not estimated: the predictions do not determine it")
    rows = [("noise", results["noise_kind"] + "".join(rates))]
    if results["teacher_kind"] != "none":
        beside = {
            "random encoder": percent("random_encoder_knn_accuracy"),
            "pixels": percent("pixel_knn_accuracy"),
        }
        if results["pixel_knn_accuracy"] is None:
            beside["pixels"] = "not measured: too large"
        if results["random_encoder_knn_accuracy"] is None:  # its network is not built here
            del beside["random encoder"]
        if len(results["image_shape"]) == 1:
            del beside["pixels"]
        knn = f"{results['teacher_title']} {percent('teacher_knn_accuracy')}"
        others = ", ".join(f"{what} {share}" for what, share in beside.items())
        if "teacher_parameters" not in results or results["teacher_knn_accuracy"] is not None:
            rows.append(("kNN", f"{knn}   ({others})" if others else knn))
    if "teacher_parameters" in results:
        rows.append((f"{called.test}, teacher", _classifier(results, percent)))
    if "baseline_test_accuracy" in results:
        rows.append((f"test, {results['baseline_title']}", percent("baseline_test_accuracy")))
    if results["test_accuracy"] is not None:
        rows.append(
            (
                called.test,
                f"{percent('test_accuracy')}   (last epoch; best {percent('best_test_accuracy')})",
            )
        )
    if "validation_accuracy" in results:
        size = f"{results['validation_size']:,} given labels"
        rows.append(("held-out labels", f"{percent('validation_accuracy')} of {size}"))
    if results.get("label_issue_auroc") is not None:
        rows.append(("wrong labels found", f"AUROC {results['label_issue_auroc']:.3f}"))
    if "train_seconds" in results:
        rows.append(
            (
                "training",
                f"{results['train_seconds']:,.0f} s, last stage "
                f"{results['images_per_second']:,.0f} images/s",
            )
        )
    issues = ", label_issues.csv" if results["test_accuracy"] is not None else ""
    if workdir:
        files = f"{shown(str(workdir))}/report.html, results.json{issues}, figures/"
        rows.append(("results", files))
    width = max(len(name) for name, _ in rows)
    lines = ["", *(f"{name:<{width}}  {value}" for name, value in rows)]
    for text in filter(
        None, (called.caution if results["test_accuracy"] is not None else "", remark)
    ):
        lines += ["", *map(shown, textwrap.wrap(text, 88))]
    return "\n".join(lines)
