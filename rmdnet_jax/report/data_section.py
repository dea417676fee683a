"""The page's section on the images themselves: the number of issues, and examples of each."""

import textwrap
from pathlib import Path

import numpy as np
from matplotlib import figure as matplotlib_figure

from rmdnet_jax.base.atomic import open_atomic
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.evaluation.audit import Audit, Finding
from rmdnet_jax.report.page import Figure, Section

_SHOWN = 6  # images per issue

# The words after the number of images.
_SAID = {
    "exact_duplicate": "exact duplicates",
    "near_duplicate": "near duplicates",
    "leak": "test images that look like training images",
    "label_conflict": "in groups of duplicates with different labels",
    "outlier": "unlike all others",
    "blank": "blank",
    "dark": "too dark",
    "bright": "too bright",
    "blurry": "blurry",
    "tiny": "much smaller than the others",
    "oblong": "oblong",
}
_SAID_OF_ONE = _SAID | {"leak": "test image that looks like a training image"}


def section(folder: Path, audit: Audit, data: Dataset) -> Section:
    """The findings of the audit as text and, for pictures, as a PNG in `folder`."""
    counts = {issue: count for issue, count in audit.counts().items() if count}
    said = ", ".join(
        f"{count:,} {(_SAID_OF_ONE if count == 1 else _SAID)[issue]}"
        for issue, count in counts.items()
    )
    checked = f"{audit.looked_at:,} images were checked"
    if audit.looked_at < audit.images:
        checked += f" (of {audit.images:,}; evenly spaced)"
    text = f"{checked}: {said}. They are listed in data_issues.csv." if said else f"{checked}: none"
    if not said:
        text += " is a duplicate, unlike all others, blank, dark, bright, blurry, tiny or oblong."
    if audit.passed_over:
        text += (
            f" {audit.passed_over:,} pairs of similar images were not compared in detail: there"
            " were too many, so only the most similar were. Near duplicates may be missing."
        )
    drawn = []
    if counts and data.are_pictures:
        path = folder / "data_issues.png"
        _draw(path, {issue: examples(audit, issue) for issue in counts}, data)
        named = ", ".join(issue.replace("_", " ") for issue in counts)
        drawn.append(Figure(f"Examples, one row per issue: {named}.", path))
    return Section("data", "Image issues", text, tuple(drawn))


def examples(audit: Audit, issue: str) -> list[Finding]:
    """The findings of an issue to show: the first two of each group, or the worst if ungrouped."""
    found = [finding for finding in audit.findings if finding.issue == issue]
    if found[0].group is None or issue == "leak":
        return found[:_SHOWN]
    by_group: dict[int | None, list[Finding]] = {}
    for finding in found:
        by_group.setdefault(finding.group, []).append(finding)
    return [finding for group in by_group.values() for finding in group[:2]][:_SHOWN]


def _draw(path: Path, rows: dict[str, list[Finding]], data: Dataset) -> None:
    """Draws a row of images per issue."""
    figure = matplotlib_figure.Figure(figsize=(7.2, 1.45 * len(rows)))
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.08)
    axes = figure.subplots(len(rows), _SHOWN, squeeze=False)
    for row, (issue, findings) in zip(axes, rows.items(), strict=True):
        row[0].set_ylabel(textwrap.fill(issue.replace("_", " "), 10), fontsize=9)
        for ax in row:
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
        for ax, one in zip(row, findings, strict=False):
            images = data.train_images if one.split == "train" else data.test_images
            ax.imshow(np.asarray(images[one.row]))
            ax.set_title(f"{one.split} {one.index}", fontsize=8)
    with open_atomic(path, "wb") as file:
        figure.savefig(file, format="png", dpi=150)
