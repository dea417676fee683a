"""A paper's table with our results beside the paper's: Markdown, HTML, results.jsonl, and a plot if
it is a figure."""

import dataclasses
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from rmdnet_jax.base.atomic import open_atomic
from rmdnet_jax.report import figures, templates
from rmdnet_jax.report.page import Figure

LEGEND = (
    "Test accuracy in percent: ours · the paper's, if stated. Ours is that of the last epoch, and "
    "in brackets that of the best epoch, selected on the test images: mean ± standard deviation "
    "over seeds [their number]; - means not run. Noise and student vary with the seed."
)
_NAMES = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}


@dataclasses.dataclass(frozen=True)
class Score:
    """An entry of a table.

    Attributes:
      row: the headings and cells that identify its row: (("data set", "cifar10"), ...).
      column: the heading of its column.
      last, best: accuracies in percent of the last and the best epoch, one per seed.
      diverged: number of seeds that diverged.
      paper, spread: the paper's accuracy in percent and its deviation; None if not stated.
      panel, x: for a figure, the panel and the position of the entry's point.
    """

    row: tuple[tuple[str, str], ...]
    column: str
    last: tuple[float, ...]
    best: tuple[float, ...]
    diverged: int
    paper: float | None = None
    spread: float | None = None
    panel: str | None = None
    x: float | str | None = None

    def __str__(self) -> str:
        if self.paper is None:
            return self._ours()
        spread = "" if self.spread is None else f" ± {self.spread:.2f}"
        return f"{self._ours()} · {self.paper:.2f}{spread}"

    def _ours(self) -> str:
        if not self.last:
            return "diverged" if self.diverged else "-"
        lost = f", {self.diverged} diverged" if self.diverged else ""
        return f"{_mean(self.last)} ({_mean(self.best)}) [{len(self.last)}{lost}]"


def write(
    folder: Path,
    name: str,
    heading: str,
    remark: str,
    scores: Sequence[Score],
    lines: Sequence[dict],
) -> str:
    """Writes NAME.md, NAME.html, results.jsonl and, for a figure with results, NAME.png.

    Returns the Markdown.

    Args:
      folder: the output folder.
      name: such as "table1" or "gss_figure3".
      heading: the scale of the experiments, for all headings.
      remark: further remarks on this table.
      scores: the table's entries in the paper's order.
      lines: those of results.jsonl.
    """
    scaled = f"{called(name)} · {heading}"
    title = f"{scaled} · last epoch (best epoch)"
    legend = f"{LEGEND} {remark}".strip()
    drawn = _draw(folder / f"{name}.png", scaled, scores)
    header, rows = layout(scores)
    markdown = "\n".join(
        "| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows)
    )
    picture = f"![{drawn.caption}]({drawn.path.name})\n\n" if drawn else ""
    markdown = f"# {title}\n\n{legend}\n\n{picture}{markdown}\n"
    page = templates.render(
        "table.html.j2", title=title, legend=legend, figure=drawn, header=header, rows=rows
    )
    jsonl = "".join(json.dumps(line) + "\n" for line in lines)
    for file, text in (("md", markdown), ("html", page)):
        with open_atomic(folder / f"{name}.{file}") as out:
            out.write(text)
    with open_atomic(folder / "results.jsonl") as out:
        out.write(jsonl)
    return markdown


def called(name: str) -> str:
    """ "Table 1" for table1, "GSS Figure 3" for gss_figure3."""
    *paper, part = name.split("_")
    kind = part.rstrip("0123456789")
    return " ".join([*map(str.upper, paper), kind.capitalize(), part.removeprefix(kind)])


def layout(scores: Sequence[Score]) -> tuple[list[str], list[list[str]]]:
    """The header and the rows as text, in the order of the scores."""
    columns = list(dict.fromkeys(score.column for score in scores))
    by_place = {(score.row, score.column): str(score) for score in scores}
    header = [*(heading for heading, _ in scores[0].row), *columns]
    rows = []
    for row in dict.fromkeys(score.row for score in scores):
        cells = [by_place.get((row, column), "") for column in columns]
        rows.append([*(_NAMES.get(text, text) for _, text in row), *cells])
    return header, rows


def _draw(path: Path, title: str, scores: Sequence[Score]) -> Figure | None:
    """The plot of a figure's panels; None for a table, or if nothing was run."""
    panels: dict[str, list[figures.Point]] = {}
    for score in scores:
        if score.panel is not None and score.x is not None:
            point = figures.Point(score.x, score.last, score.best)
            panels.setdefault(score.panel, []).append(point)
    if not any(point.last for points in panels.values() for point in points):
        return None
    figures.points(panels, title, "test accuracy", path)
    return Figure("Test accuracy of the last and the best epoch.", path)


def _mean(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{spread}"
