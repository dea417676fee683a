"""A table of the paper, ours beside the paper's: Markdown, HTML, and results.jsonl."""

import dataclasses
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from rmdnet_jax.base.atomic import open_atomic
from rmdnet_jax.report import templates

LEGEND = (
    "Test accuracy of the last epoch in percent: ours · the paper's. Ours is the mean ± standard "
    "deviation over seeds [their number]; - has not been run. Noise and student vary with the "
    "seed, the teacher is one a data set. K = 0 is the loss alone."
)
_NAMES = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}


@dataclasses.dataclass(frozen=True)
class Score:
    """An entry of a table.

    Attributes:
      row: data set, method, K.
      column: kind and rate of the noise.
      ours: accuracies in percent, one a seed.
      diverged: number of seeds that diverged.
      paper: the paper's accuracy in percent.
    """

    row: tuple[str, str, float]
    column: tuple[str, float]
    ours: tuple[float, ...]
    diverged: int
    paper: float

    def __str__(self) -> str:
        return f"{self._ours()} · {self.paper:.2f}"

    def _ours(self) -> str:
        if not self.ours:
            return "diverged" if self.diverged else "-"
        spread = f" ± {statistics.stdev(self.ours):.2f}" if len(self.ours) > 1 else ""
        lost = f", {self.diverged} diverged" if self.diverged else ""
        return f"{statistics.mean(self.ours):.2f}{spread} [{len(self.ours)}{lost}]"


def write(
    folder: Path, name: str, heading: str, scores: Sequence[Score], lines: Sequence[dict]
) -> str:
    """Writes NAME.md, NAME.html and results.jsonl; returns the Markdown.

    Args:
      folder: where to.
      name: "table1", say.
      heading: what every heading says of the scale.
      scores: the table's entries in the paper's order.
      lines: of results.jsonl.
    """
    title = f"Table {name.removeprefix('table')} · {heading}"
    header, rows = layout(scores)
    markdown = "\n".join(
        "| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows)
    )
    markdown = f"# {title}\n\n{LEGEND}\n\n{markdown}\n"
    page = templates.render("table.html.j2", title=title, legend=LEGEND, header=header, rows=rows)
    jsonl = "".join(json.dumps(line) + "\n" for line in lines)
    for file, text in (("md", markdown), ("html", page)):
        with open_atomic(folder / f"{name}.{file}") as out:
            out.write(text)
    with open_atomic(folder / "results.jsonl") as out:
        out.write(jsonl)
    return markdown


def layout(scores: Sequence[Score]) -> tuple[list[str], list[list[str]]]:
    """The header and the rows as text, in the order in which the scores have them."""
    columns = list(dict.fromkeys(score.column for score in scores))
    by_place = {(score.row, score.column): str(score) for score in scores}
    header = ["data set", "method", "K", *(f"{kind} {rate:g}" for kind, rate in columns)]
    rows = []
    for row in dict.fromkeys(score.row for score in scores):
        dataset, method, k = row
        cells = [by_place.get((row, column), "") for column in columns]
        rows.append([_NAMES[dataset], method, f"{k:g}", *cells])
    return header, rows
