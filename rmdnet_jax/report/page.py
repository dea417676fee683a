"""report.html: one self-contained page about a run, to be opened anywhere and sent to anybody."""

import base64
import json
from pathlib import Path

import jinja2

from rmdnet_jax.atomic import open_atomic


def write(
    path: Path,
    results: dict,
    config: dict,
    figures: list[tuple[str, Path]],
    command: str,
    issues: list[dict],
) -> None:
    """Writes the page.

    Args:
      path: the HTML file.
      results: what results.json holds.
      config: the resolved config, JSON-able.
      figures: (caption, PNG file) in the order to show.
      command: what started the run.
      issues: the most suspicious labels: index, given_label, suggested_label, score.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("rmdnet_jax.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html.j2").render(
        headline=headline(results, config),
        remark=config["report"]["remark"],
        figures=[
            (caption, base64.b64encode(file.read_bytes()).decode()) for caption, file in figures
        ],
        issues=issues,
        command=command,
        config=json.dumps(config, indent=2),
        versions=results.get("versions", {}),
        dataset=results["dataset"],
    )
    with open_atomic(path) as file:
        file.write(page)


def headline(results: dict, config: dict) -> list[tuple[str, str, str]]:
    """(what, figure, remark) of the numbers that a reader looks for first."""
    loss = config["rgrl"]["loss"]["name"].upper()
    is_measured = results.get("pixel_knn_accuracy") is not None
    pixels = "{pixel_knn_accuracy:.1%}" if is_measured else "not measured (images on disk)"
    forms = [
        ("test accuracy", "test_accuracy", "last epoch; best {best_test_accuracy:.1%}"),
        (f"{loss} alone", "baseline_test_accuracy", "same seed, same budget"),
        (
            f"kNN accuracy of the {results['teacher_kind']} teacher",
            "teacher_knn_accuracy",
            f"random encoder {{random_encoder_knn_accuracy:.1%}}, raw pixels {pixels}; "
            "neighbours vote with {knn_labels} labels",
        ),
        ("wrong labels", "noise_rate_realised", "noise: {noise_kind}"),
        ("calibration error", "expected_calibration_error", "of the test predictions"),
    ]
    rows = [
        (what, f"{results[name]:.1%}", remark.format(**results))
        for what, name, remark in forms
        if results.get(name) is not None
    ]
    if results.get("label_issue_auroc") is not None:
        auroc = f"{results['label_issue_auroc']:.3f}"
        rows.append(("AUROC of the wrong labels", auroc, "0.5 is guessing; label_issues.csv"))
    if results.get("train_seconds") is not None:
        speed = f"{results['images_per_second']:,.0f} images a second in the last stage"
        rows.append(("training time", f"{results['train_seconds']:,.0f} s", speed))
    return rows
