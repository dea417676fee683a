"""The trials of a sweep as sweep.json, sweep.md and terminal output."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rmdnet_jax.base.atomic import open_atomic
from rmdnet_jax.base.text import shown
from rmdnet_jax.report import terms

CRITERION = "agreement with held-out given labels"


@dataclasses.dataclass(frozen=True)
class Row:
    """The record of a trial; shares in [0, 1], None until they are known.

    Attributes:
      values: of the swept fields.
      workdir: the trial's.
      agreement: share of the held-out given labels that the student agrees with.
      standard_error: of the agreement.
      test_accuracy: reported only; never used for selection.
      test_labels: results.json's, "true" or "given".
      diverged: the reason why it has no results, if it diverged.
      is_chosen: whether it is the chosen trial.
    """

    values: dict[str, Any]
    workdir: str
    agreement: float | None
    standard_error: float | None
    test_accuracy: float | None
    test_labels: str | None
    diverged: str | None
    is_chosen: bool


def write(workdir: Path, rows: Sequence[Row], command: str | None) -> None:
    """Writes sweep.json and sweep.md; `command` runs the chosen trial, once there is one."""
    record = {
        "criterion": CRITERION,
        "trials": [dataclasses.asdict(row) for row in rows],
        "chosen": next((row.values for row in rows if row.is_chosen), None),
        "command": command,
    }
    with open_atomic(workdir / "sweep.json") as file:
        json.dump(record, file, indent=2)
    parts = ["# Sweep", table(rows), _legend(rows)]
    if command:
        parts.append(f"The chosen trial, on all training images:\n\n```bash\n{shown(command)}\n```")
    with open_atomic(workdir / "sweep.md") as file:
        file.write("\n\n".join(parts) + "\n")


def closing(rows: Sequence[Row], results: dict | None, workdir: Path, command: str) -> str:
    """The terminal output at the end; `results` are those of the chosen trial on all images."""
    (chosen,) = (row.values for row in rows if row.is_chosen)
    said = ", ".join(f"{field} = {value}" for field, value in chosen.items())
    ended = ", which diverged"
    if results:
        ended = f": {terms.of(results).test} {results['test_accuracy']:.1%}"
    return (
        f"\n{table(rows)}\n\n{_legend(rows)}\n\n"
        f"chosen   {shown(said)}\n"
        f"trained  on all training images in {shown(str(workdir / 'chosen'))}{ended}\n"
        f"table    {shown(str(workdir / 'sweep.md'))}, sweep.json\nagain    {shown(command)}"
    )


def table(rows: Sequence[Row]) -> str:
    """The trials as a Markdown table."""
    fields = list(rows[0].values)
    header = [*fields, CRITERION, _test(rows), ""]
    lines = [header, ["---"] * len(header)]
    for row in rows:
        share = "-"
        if row.agreement is not None:
            share = f"{row.agreement:.1%} ± {row.standard_error:.1%}"
        test = "-" if row.test_accuracy is None else f"{row.test_accuracy:.1%}"
        values = (shown(str(value)) for value in row.values.values())
        lines.append([*values, share, test, _remark(row, rows)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _test(rows: Sequence[Row]) -> str:
    """The term for the share of test images predicted as labelled, the same for all trials."""
    known = (terms.of({"test_labels": row.test_labels}).test for row in rows if row.test_labels)
    return next(known, "test")


def _legend(rows: Sequence[Row]) -> str:
    return (
        f"Chosen by {CRITERION} after the last epoch (± its standard error), never by "
        f"{_test(rows)}. Trials were trained without the held-out images."
    )


def _remark(row: Row, rows: Sequence[Row]) -> str:
    """Whether a trial was chosen, is not clearly worse than the chosen one, or diverged."""
    if row.is_chosen or row.diverged:
        return "**chosen**" if row.is_chosen else "diverged"
    for best in (other for other in rows if other.is_chosen):
        assert best.agreement is not None
        assert best.standard_error is not None
        if row.agreement is not None and row.agreement > best.agreement - best.standard_error:
            return "within one standard error"
    return ""
