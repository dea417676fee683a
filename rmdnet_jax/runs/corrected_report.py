"""The report on a corrected data set: applied.json, terminal output, and the flags to continue with
it."""

import shlex

from ml_collections import ConfigDict

from rmdnet_jax.base.text import shown
from rmdnet_jax.config import default
from rmdnet_jax.data import corrections
from rmdnet_jax.data.corrected import Applied

# In the folder: the report.
REPORT = "applied.json"

# Pairs of classes that are printed; the report has all.
_TOLD = 5

# Fields that no longer apply: the written data already has their images and labels.
_DONE = {
    "dataset": ("corrections", "skip", "train_size", "test_size", "open_classes", "root"),
    "noise": ("kind", "field", "map", "matrix", "rho2", "open_path", "open_share"),
}


def report(after: Applied, sizes: tuple[int, int], rate: float | None) -> dict:
    """The content of applied.json: counts of images, shares in [0, 1]."""
    return {
        "verdicts": {name: after.verdicts.get(name, 0) for name in corrections.VERDICTS},
        "changed": [
            {"from": before, "to": now, "labels": count}
            for (before, now), count in sorted(after.pairs.items(), key=lambda pair: -pair[1])
        ],
        "train_images_before": sizes[0],
        "train_images": len(after.data.train_labels),
        "test_images_before": sizes[1],
        "test_images": len(after.data.test_labels),
        "wrong_labels_before": rate,
        "wrong_labels": after.labels.rate_realised,
    }


def told(report: dict, out: str) -> list[str]:
    """The same as lines for the terminal, including the counts of written files, if any."""
    changed = report["changed"]
    count = sum(pair["labels"] for pair in changed)
    most = ", ".join(f"{p['from']} -> {p['to']} {p['labels']:,}" for p in changed[:_TOLD])
    most += ", ..." if len(changed) > _TOLD else ""
    verdicts = ", ".join(f"{name} {number:,}" for name, number in report["verdicts"].items())
    lines = [
        f"verdicts   {verdicts}",
        f"corrected  {count:,} labels" + (f" ({most})" if most else ""),
        "images     {:,} of {:,} training images kept, {:,} of {:,} test images".format(
            *(report[name] for name in (
                "train_images", "train_images_before", "test_images", "test_images_before"
            ))
        ),
    ]  # fmt: skip
    if report["wrong_labels"] is not None:
        shares = "{wrong_labels_before:.2%} before, {wrong_labels:.2%} now".format(**report)
        lines.append(f"wrong      {shares} (share of the training labels)")
    files = "".join(f", {number:,} {what}" for what, number in report["files"].items())
    return [*map(shown, lines), f"written    {shown(out)}, with {REPORT}{files}"]


def going_on(config: ConfigDict, fields: dict[str, str]) -> str:
    """The flags for a run on the written data.

    Args:
      config: that of the run whose labels were corrected, with all its values.
      fields: those of `dataset` that describe what was written and where.
    """
    fields = {f"dataset.{name}": value for name, value in fields.items()}
    usual = default()
    usual.noise.kind = "none"
    for group, names in _DONE.items():
        for name in names:
            if config[group][name] != usual[group][name]:
                fields.setdefault(f"{group}.{name}", str(usual[group][name]))
    return "continue   " + " ".join(
        shlex.quote(f"--config.{name}={shown(value)}") for name, value in fields.items()
    )
