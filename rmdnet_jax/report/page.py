"""report.html: a self-contained page about a run, which can be opened offline and shared."""

import base64
import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from rmdnet_jax.base.atomic import open_atomic
from rmdnet_jax.data import label_kinds
from rmdnet_jax.data.dataset import NO_CLASS, Dataset
from rmdnet_jax.report import templates, terms
from rmdnet_jax.report.gallery import Suspect

# Cards per page; without JavaScript only the first page is shown.
_CARDS = 50

# Pixels of a figure's file per pixel on the page: sharp on high-resolution screens.
_DENSITY = 1.5


@dataclasses.dataclass(frozen=True)
class Figure:
    """A PNG file and a caption that also serves as its text alternative."""

    caption: str
    path: Path

    def inline(self) -> dict:
        """The attributes of its <img>."""
        with Image.open(self.path) as image:
            width, height = (round(side / _DENSITY) for side in image.size)
        png = base64.b64encode(self.path.read_bytes()).decode()
        return {"src": f"data:image/png;base64,{png}", "width": width, "height": height}


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the page: its id, a heading, a paragraph and figures, side by side if they fit."""

    id: str
    heading: str
    text: str
    figures: tuple[Figure, ...]


def write(
    path: Path,
    results: dict,
    config: dict,
    sections: list[Section],
    suspects: list[Suspect],
    class_names: Sequence[str],
    command: str,
    kept_under: str,
) -> None:
    """Writes the page.

    Args:
      path: the HTML file.
      results: the content of results.json.
      config: the resolved config, JSON-able.
      sections: in display order.
      suspects: the gallery, most suspicious first; if empty there is no gallery.
      class_names: one per class.
      command: the command that started the run.
      kept_under: the `key` of the run's data.
    """
    present = {
        field: sorted({getattr(suspect, field) for suspect in suspects})
        for field in ("given", "suggested")
    }
    kinds = {suspect.kind for suspect in suspects}
    page = templates.render(
        "page.html.j2",
        dataset=results["dataset"],
        title=results.get("title") or "Teacher",
        headline=headline(results),
        remarks=[text for text in (terms.of(results).caution, config["report"]["remark"]) if text],
        sections=sections,
        suspects=suspects,
        is_all=len(suspects) == results["train_images"],
        cards=_CARDS,
        key=kept_under,
        present=present,
        kinds=[kind for kind in label_kinds.KINDS if kind in kinds],
        open=NO_CLASS,
        really_wrong=sum(suspect.true != suspect.given for suspect in suspects),
        class_names=class_names,
        facts=facts(results, config),
        command=command,
        config=json.dumps(config, indent=2),
    )
    with open_atomic(path) as file:
        file.write(page)


def key(data: Dataset, given: np.ndarray) -> str:
    """The key under which a browser stores the verdicts on a run's labels. It depends on the
    training images, classes and given labels, but not on their scores or how many are shown, so
    that a page that is written again finds its verdicts.

    Args:
      data: the run's.
      given: int [N], the labels that were trained on.
    """
    digest = hashlib.sha256(repr((data.name, data.class_names, data.train_files)).encode())
    if data.train_files is None:
        digest.update(data.images_fingerprint().encode())
    for numbers in (data.train_places, given):
        digest.update(numbers.astype(np.int64).tobytes())
    return digest.hexdigest()[:32]


def headline(results: dict) -> list[tuple[str, str, str]]:
    """(what, number, remark) of the most important results."""
    called = terms.of(results)
    is_measured = results.get("pixel_knn_accuracy") is not None
    pixels = "{pixel_knn_accuracy:.1%}" if is_measured else "not measured (too large)"
    pixels = f"raw pixels {pixels}; " if len(results["image_shape"]) == 3 else ""
    # A teacher whose network is not built here has no untrained form.
    has_random = results.get("random_encoder_knn_accuracy") is not None
    random = "random encoder {random_encoder_knn_accuracy:.1%}, " if has_random else ""
    lowest, highest = results.get("noise_rate_range", (0, 1))
    between = f"between {lowest:.1%} and {highest:.1%}, "
    forms = [
        (called.test, "test_accuracy", "last epoch; best {best_test_accuracy:.1%}"),
        (
            "test accuracy on reviewed labels",
            "test_accuracy_reviewed",
            "{test_images_reviewed:,} test images whose label has been reviewed",
        ),
        (results.get("baseline_title", ""), "baseline_test_accuracy", "same seed, same budget"),
        (
            f"{called.knn} of the {results['teacher_title']}",
            "teacher_knn_accuracy",
            f"{random}{pixels}neighbours vote with {{knn_labels}} labels",
        ),
        (
            f"{called.test} of the teacher",
            "teacher_test_accuracy",
            "a classifier from an earlier run",
        ),
        ("wrong labels", "noise_rate_realised", "noise: {noise_kind}"),
        (
            "wrong labels, estimated",
            "noise_rate_estimated",
            f"{between}without true labels of training images",
        ),
        (
            "calibration error",
            "expected_calibration_error",
            f"confidence vs {called.test}",
        ),
    ]
    rows = [
        (what, f"{results[name]:.1%}", remark.format(**results))
        for what, name, remark in forms
        if results.get(name) is not None
    ]
    if results.get("label_issue_auroc") is not None:
        auroc = f"{results['label_issue_auroc']:.3f}"
        rows.append(("AUROC of the wrong labels", auroc, "0.5 is chance; see label_issues.csv"))
    if results.get("train_seconds") is not None:
        speed = f"{results['images_per_second']:,.0f} images per second in the last stage"
        rows.append(("training time", f"{results['train_seconds']:,.0f} s", speed))
    return rows


def facts(results: dict, config: dict) -> list[tuple[str, str]]:
    """(what, text) about the setup of the run, to assess or repeat it."""
    rows = [
        (
            "data",
            f"{results['dataset']}: {results['train_images']:,} training and "
            f"{results['test_images']:,} test images, {terms.shape(results['image_shape'])}, "
            f"{results['classes']} classes",
        )
    ]
    if results.get("skipped_files"):
        rows.append(("skipped", f"{results['skipped_files']:,} files (skipped_files.csv)"))
    nominal = results.get("noise_rate_nominal")
    noise = results["noise_kind"] + ("" if nominal is None else f", {nominal:.1%} nominal")
    if results["noise_kind"] == "none":
        noise = "none added: the labels as given"
    rows.append(("noise", noise))
    if results.get("test_accuracy") is not None:
        teacher = results["teacher_kind"]
        weight = "" if teacher == "none" else f" with K = {config['rgrl']['k']:g}"
        method = f"{results['title']}, teacher {teacher}{weight}, seed {config['seed']}"
        rows.append(("method", method))
    times = [f"{stage} {time:,.0f} s" for stage, time in results.get("stage_seconds", {}).items()]
    if times:
        rows.append(("training time", ", ".join(times)))
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    return [*rows, ("devices", results["devices"]), ("versions", versions)]
