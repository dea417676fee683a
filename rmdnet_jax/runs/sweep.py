"""Selects config values without true labels: trains every combination on a part of the images,
selects the one with the best agreement with held-out given labels, and trains it on all images.

docs/sweeps.md says why selection by given labels works, and where it does not.
"""

import ast
import dataclasses
import itertools
import math
import shlex
import urllib.parse
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from rmdnet_jax.base.errors import DivergedError, InputError
from rmdnet_jax.config import checking as configuration
from rmdnet_jax.machine import hosts
from rmdnet_jax.methods import registry as methods
from rmdnet_jax.report import console, sweep_table
from rmdnet_jax.runs import grid, preparation, workdirs
from rmdnet_jax.runs.grid import Cell

# The validation fraction of trials (per given class) if dataset.validation_fraction is 0.
_VALIDATION = 0.1

# --sweep=rgrl.k: the config's K times _WIDE, then the best of these times _FINE (section 4.6).
_WIDE = (0.01, 0.1, 1, 10, 100)
_FINE = (1 / 3, 3)

# Trials that differ in other fields are identical, or not comparable: other images or labels.
_GROUPS = (
    "model",
    "augment",
    "teacher",
    "rm",
    "train",
    "loss",
    "rgrl",
    "method",
    *methods.groups(),
)

# The values of the swept fields, by field.
Values = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Trial:
    """A combination of values, the cell that runs it, and the reasons for the values of fields that
    were chosen automatically."""

    values: Values
    cell: Cell
    reasons: Mapping[str, str]

    def agreement(self) -> tuple[float, float] | None:
        """Share of the held-out given labels that the student agrees with, in [0, 1], and its
        standard error; None without results."""
        results = self.cell.results()
        if results is None:
            return None
        share, size = results["validation_accuracy"], results["validation_size"]
        return share, math.sqrt(share * (1 - share) / size)


def run(
    config: ConfigDict,
    sweep: Sequence[str],
    workdir: Path,
    command: str,
    asked: Container[str] = (),
) -> None:
    """Runs every combination, then trains the chosen one on all images in workdir/chosen.

    Writes sweep.json and sweep.md. Finished trials are not repeated after a stop, nor by other
    processes in the same workdir.

    Args:
      config: the base of all trials.
      sweep: each "FIELD=VALUE,VALUE,..."; "rgrl.k" alone is a wide range and then a finer one
        around its best.
      workdir: the folder of the sweep.
      command: as the user typed it.
      asked: names of the fields that the user set beyond the config file.

    Raises:
      InputError: a field or a value cannot be swept; nothing was written.
      DivergedError: every trial diverged.
    """
    workdir = workdir.resolve()  # teachers are found from anywhere
    fill = preparation.filling(config)
    filled, reasons = fill(config)
    axes, is_fine = parse(filled, sweep)
    trials = _trials(config, fill, combinations(axes), workdir)
    for line in unread(trials, asked):
        hosts.warn(line)
    # A sweep of K alone is centred on the K of the config.
    around_k = {"rgrl.k": reasons["rgrl.k"]} if is_fine and "rgrl.k" in reasons else {}
    lines = console.choices(filled, around_k)
    for trial in trials:
        lines += console.choices(trial.cell.config, trial.reasons)
    for line in dict.fromkeys(lines):
        print(line, flush=True)
    grid.check([trial.cell for trial in trials])
    workdirs.share(workdir, filled.to_dict() | {"sweep": list(sweep)})
    _try(trials, workdir, command)
    if is_fine:
        finer = _trials(config, fill, around(choose(trials).values), workdir)
        trials = sorted([*trials, *finer], key=lambda trial: trial.values["rgrl.k"])
        _try(trials, workdir, command)
    best = choose(trials)
    chosen = _chosen(config, best.cell, workdir)
    again = command_of(command, config, chosen, axes)
    sweep_table.write(workdir, rows(trials, best), again)
    for _ in grid.run([*(trial.cell for trial in trials), chosen], again):
        pass
    print(sweep_table.closing(rows(trials, best), chosen.results(), workdir, again), flush=True)


def parse(config: ConfigDict, sweep: Sequence[str]) -> tuple[dict[str, list], bool]:
    """The values of each swept field, and whether a finer range of K follows.

    Raises:
      InputError: there is no such field, it cannot be swept, or it has no or invalid values.
    """
    axes: dict[str, list] = {}
    is_fine = False
    for text in sweep:
        field, separator, values = text.partition("=")
        field = field.removeprefix("config.")
        _check_field(config, field)
        if field in axes:
            raise InputError(f"--sweep names {field} twice; give all its values at once")
        if separator:
            is_text = isinstance(configuration.get(config, field), str)
            axes[field] = _values(values, is_text)
        elif field == "rgrl.k" and config.rgrl.k > 0:
            axes[field], is_fine = [_rounded(config.rgrl.k * factor) for factor in _WIDE], True
        else:
            raise InputError(
                f"--sweep={field} has no values; expected {field}=VALUE,VALUE (rgrl.k alone has a "
                "range around the config's, if that is not 0)"
            )
        if len(set(map(str, axes[field]))) < len(axes[field]):
            raise InputError(f"--sweep={text} names a value twice")
    return axes, is_fine


def combinations(axes: Mapping[str, Sequence]) -> list[Values]:
    """Every combination of the fields' values, the last field's changing fastest."""
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def around(best: Values) -> list[Values]:
    """The finer values of K around the best so far, with its other fields."""
    return [{**best, "rgrl.k": _rounded(best["rgrl.k"] * factor)} for factor in _FINE]


def unread(trials: Sequence[Trial], asked: Container[str]) -> list[str]:
    """A line on each value that the user set and that no trial reads.

    Raises:
      InputError: no trial reads a swept field.
    """
    first, *others = (configuration.unread_fields(trial.cell.config) for trial in trials)
    by_none = {field: why for field, why in first.items() if all(field in one for one in others)}
    config = trials[0].cell.config
    for field in trials[0].values:
        if why := by_none.get(field):
            raise InputError(
                f"--sweep={field}: nothing reads it with config.{why} = "
                f"{configuration.get(config, why)!r}, so its trials would be identical"
            )
    return configuration.unread([field for field in by_none if field in asked], config)


def choose(trials: Iterable[Trial]) -> Trial:
    """The trial that agrees best with the held-out given labels; the first if tied.

    Raises:
      DivergedError: no trial has results.
    """
    judged = [(agreement[0], trial) for trial in trials if (agreement := trial.agreement())]
    if not judged:
        raise DivergedError("every trial of the sweep diverged; try a smaller train.lr or K")
    return max(judged, key=lambda pair: pair[0])[1]


def rows(trials: Iterable[Trial], best: Trial | None) -> list[sweep_table.Row]:
    """The rows of the table; `best` is None until all trials are done."""
    found = []
    for trial in trials:
        share, error = trial.agreement() or (None, None)
        results = trial.cell.results() or {}
        found.append(
            sweep_table.Row(
                dict(trial.values), str(trial.cell.workdir), share, error,
                results.get("test_accuracy"), results.get("test_labels"), trial.cell.divergence(),
                trial is best,
            )
        )  # fmt: skip
    return found


def command_of(command: str, config: ConfigDict, cell: Cell, swept: Container[str] = ()) -> str:
    """The command that runs a cell by itself, if `command` started the sweep of the fields `swept`.
    Fields that were chosen automatically and that nothing reads are chosen again."""
    before, after = (configuration.flat(c.to_dict()) for c in (config, cell.config))
    rechosen = {
        field
        for field in configuration.unread_fields(cell.config)
        if before.get(field) is None and field not in swept
    }
    changed = {
        f"config.{field}": value
        for field, value in after.items()
        if value != before.get(field) and field not in rechosen
    }
    changed["workdir"] = str(cell.workdir)
    kept: list[str] = []
    words = iter(shlex.split(command))
    for word in words:
        name, separator, _ = word.lstrip("-").partition("=")
        if not word.startswith("-"):
            kept.append(word)
        elif name == "sweep" or name in changed:
            is_switch = isinstance(before.get(name.removeprefix("config.")), bool)
            if not separator and not is_switch:
                next(words, None)  # its value, after a space
        elif name.removeprefix("no") not in changed:  # --noconfig.FIELD is False
            kept.append(word)
    return shlex.join(kept + [f"--{name}={value}" for name, value in changed.items()])


def _try(trials: Sequence[Trial], workdir: Path, command: str) -> None:
    """Runs the remaining trials; the table is written after each."""
    for _ in grid.run([trial.cell for trial in trials], command):
        sweep_table.write(workdir, rows(trials, None), None)


def _trials(
    config: ConfigDict, fill: preparation.Fill, combined: Iterable[Values], workdir: Path
) -> list[Trial]:
    """Trials on a part of the images, without the parts that do not differ, such as a baseline.

    Unset fields of `config` are chosen for each trial: K depends on the loss.
    """
    combined = list(combined)
    cells, reasons = [], []
    for values in combined:
        cell_config, why = fill(configuration.with_values(config, values, "--sweep="))
        reasons.append(why)
        cell_config.dataset.validation_fraction = config.dataset.validation_fraction or _VALIDATION
        cell_config.method.baseline = ""
        cell_config.report.tsne_points = 0
        if not cell_config.train.epochs:
            raise InputError("config.train.epochs is 0: there is no student for a sweep to compare")
        name = ",".join(f"{field}={value}" for field, value in values.items())
        folder = urllib.parse.quote(name, safe="=,")  # a value may hold a slash
        cells.append(Cell(name, cell_config, workdir / "trials" / folder))
    cells = grid.with_teachers(cells, workdir / "teachers", config.seed)
    return [Trial(*of_one) for of_one in zip(combined, cells, reasons, strict=True)]


def _chosen(config: ConfigDict, best: Cell, workdir: Path) -> Cell:
    """The best trial on all training images, with everything that the config requests."""
    cell_config = best.config.copy_and_resolve_references()
    cell_config.dataset.validation_fraction = 0.0
    is_guided = cell_config.rgrl.k > 0 and cell_config.teacher.kind != "none"
    if not is_guided and config.method.baseline == cell_config.method.name:
        cell_config.method.baseline = ""
    else:
        cell_config.method.baseline = config.method.baseline
    cell_config.report.tsne_points = config.report.tsne_points
    return dataclasses.replace(best, name="chosen", config=cell_config, workdir=workdir / "chosen")


def _check_field(config: ConfigDict, field: str) -> None:
    configuration.check_field(config, field, "--sweep=")
    if field.partition(".")[0] not in _GROUPS or field == "method.baseline":
        raise InputError(
            f"--sweep={field}: trials must be compared on the same images and labels; expected a "
            f"field of {', '.join(_GROUPS)} other than method.baseline"
        )


def _values(text: str, is_text: bool) -> list:
    """The values of "0.1,1" or "ce,gce"; a tuple is in parentheses."""
    values: list = [value.strip() for value in text.split(",")]
    if not all(values):
        raise InputError(f"--sweep: an empty value in {text!r}; expected VALUE,VALUE")
    if is_text:
        return values
    whole = _literal(f"[{text}]")
    # Other values stay text: the check against the field reports what is wrong.
    return whole if isinstance(whole, list) else list(map(_literal, values))


def _literal(text: str) -> Any:
    """The Python value of a text, such as a number or a tuple; otherwise the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):  # the last two of ((((...
        return text


def _rounded(value: float) -> float:
    """To three digits, so that a third of 1 has a short name."""
    return float(f"{value:.3g}")
