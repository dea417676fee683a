"""The paper's tables as grids of experiments: which cells they have, what each runs, what came out.

How they are laid out is report/tables.py's; configs/paper_tables.py holds the recipes.
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.config import set_loss
from rmdnet_jax.report import tables
from rmdnet_jax.runs import grid, workdirs
from rmdnet_jax.runs.grid import Cell

DATASETS = ("cifar10", "cifar100")
_FILTERS = ("dataset", "loss", "noise", "rate", "k")
_PAPER = Path(__file__).parent / "paper_tables.json"

# What the paper trained, in the words of `_size`.
_PAPER_SIZE = "all images, width 64, 240 epochs, teacher of 1,000 epochs"


@dataclasses.dataclass(frozen=True)
class Setting:
    """What an entry of a table is, seed aside; entries of several tables may be one setting.

    Attributes:
      dataset, loss, noise, rate: the config's words.
      teacher: teacher.kind.
      k: 0 is the loss alone, for which the teacher is "none".
    """

    dataset: str
    loss: str
    noise: str
    rate: float
    teacher: str
    k: float

    @property
    def name(self) -> str:
        """The name of its cells, without their seed."""
        guide = f"{self.teacher}-k{self.k:g}" if self.k else "alone"
        return f"{self.dataset}-{self.loss}-{guide}-{self.noise}-{self.rate:g}"


def run(config: ConfigDict, workdir: Path, command: str) -> None:
    """Runs the cells that the filters leave, and writes all that the folder has of the table.

    Writes TABLE.md, TABLE.html and results.jsonl. What is finished is not done again, also after a
    stop and by several processes in one workdir; several tables may share it.

    Args:
      config: what configs/paper_tables.py gives.
      workdir: a folder of its own.
      command: what the user typed.

    Raises:
      InputError: a field cannot be used, or no cell is left; nothing was written.
    """
    _check(config)
    workdir = workdir.resolve()  # teachers are found from anywhere
    entries = paper()
    selected = cells(config, entries, workdir)
    grid.check(selected)
    workdirs.share(workdir, _identity(config))
    write(config, entries, workdir)
    for _ in grid.run(selected, command):
        write(config, entries, workdir)
    print(write(config, entries, workdir))


def paper() -> list[dict]:
    """The paper's numbers: table, dataset, method, noise, rate, accuracy in percent, and k and
    teacher where the table says them."""
    return json.loads(_PAPER.read_text())


def setting(config: ConfigDict, entry: dict) -> Setting:
    """What an entry is run with: the recipe's K where the table has none."""
    dataset, method = entry["dataset"], entry["method"]
    loss = method.partition("+")[0].lower()
    is_guided = "+" in method and entry.get("k") != 0
    k = entry.get("k", config.losses[dataset][loss]["k"]) if is_guided else 0
    teacher = entry.get("teacher", "simsiam") if is_guided else "none"
    return Setting(dataset, loss, entry["noise"], entry["rate"], teacher, float(k))


def cells(config: ConfigDict, entries: Sequence[dict], workdir: Path) -> list[Cell]:
    """The cells that the filters leave, seed by seed, each with its teacher.

    Raises:
      InputError: the seeds or a filter's values are none, or nothing is left.
    """
    settings = dict.fromkeys(setting(config, entry) for entry in entries if _is_in(config, entry))
    kept = [one for one in settings if _is_wanted(config, one, list(settings))]
    if not kept:
        raise InputError(f"no cell of {config.table} is left by config.only; give less of it")
    found = []
    for seed in _seeds(config):
        for one in kept:
            name = f"{one.name}-seed{seed}"
            found.append(Cell(name, experiment(config, one, seed), workdir / "cells" / name))
    return [
        cell
        for dataset in DATASETS
        for cell in grid.with_teachers(
            (cell for cell in found if cell.name.startswith(f"{dataset}-")),
            workdir / "teachers",
            config[dataset].seed,
        )
    ]


def experiment(config: ConfigDict, one: Setting, seed: int) -> ConfigDict:
    """The config of a cell."""
    cell = _scaled(config, one.dataset)
    set_loss(cell, one.loss, config.losses[one.dataset].to_dict())
    cell.rgrl.k, cell.teacher.kind = one.k, one.teacher
    if one.teacher != "simsiam":
        cell.teacher.path = ""
    cell.noise.kind, cell.noise.rate = one.noise, one.rate
    cell.seed = cell.noise.seed = seed
    cell.report.tsne_points = 0
    return cell


def write(config: ConfigDict, entries: Sequence[dict], workdir: Path) -> str:
    """Writes the table and results.jsonl from all finished cells of the folder, of whichever
    filters, seeds and tables; returns the table in Markdown."""
    lines, scores = [], []
    for entry in entries:
        one = setting(config, entry)
        accuracies, diverged = [], 0
        for folder in sorted((workdir / "cells").glob(f"{one.name}-seed[0-9]*")):
            seed = folder.name.removeprefix(f"{one.name}-seed")
            if not seed.isdecimal():  # a folder that somebody put beside the cells
                continue
            cell = Cell(folder.name, config, folder)
            if results := cell.results():
                accuracies.append(100 * results["test_accuracy"])
                lines.append(_line(entry, one, int(seed), results, config.scale))
            elif cell.divergence():
                diverged += 1
        if _is_in(config, entry):
            row = (entry["dataset"], entry["method"], one.k)
            column = (entry["noise"], entry["rate"])
            scores.append(tables.Score(row, column, tuple(accuracies), diverged, entry["accuracy"]))
    return tables.write(workdir, config.table, _heading(config), scores, lines)


def _line(entry: dict, one: Setting, seed: int, results: dict, scale: str) -> dict:
    """A line of results.jsonl; accuracies in [0, 1]."""
    line = {name: entry[name] for name in ("table", "dataset", "method", "noise", "rate")}
    return line | {
        "k": one.k,
        "teacher": one.teacher,
        "seed": seed,
        "accuracy": results["test_accuracy"],
        "best": results["best_test_accuracy"],
        "seconds": results["train_seconds"],
        "scale": scale,
    }


def _scaled(config: ConfigDict, dataset: str) -> ConfigDict:
    """The experiment that cells on a data set start from."""
    cell = config[dataset].copy_and_resolve_references()
    cell.update(config.scales[config.scale])
    return cell


def _heading(config: ConfigDict) -> str:
    """What every heading says of the scale."""
    sizes = {dataset: _size(_scaled(config, dataset)) for dataset in DATASETS}
    said = "; ".join(f"{size} ({dataset})" for dataset, size in sizes.items())
    if len(set(sizes.values())) == 1:
        said = sizes["cifar10"]
    as_in_paper = set(sizes.values()) == {_PAPER_SIZE}
    warning = "" if as_in_paper else ": not comparable to the paper's numbers"
    return f"{config.scale.upper()} SCALE: {said}{warning}"


def _size(cell: ConfigDict) -> str:
    images = f"{cell.dataset.train_size:,}" if cell.dataset.train_size else "all"
    teacher = f"of {cell.rm.epochs:,} epochs"
    if cell.teacher.path:
        teacher = f"of {cell.teacher.path}"
    width, epochs = cell.model.width, cell.train.epochs
    return f"{images} images, width {width}, {epochs} epochs, teacher {teacher}"


def _identity(config: ConfigDict) -> dict:
    """What a folder of tables is bound to: everything but which cells are run."""
    parts = {name: config[name].to_dict() for name in ("losses", "scales")}
    parts |= {name: workdirs.identity(config[name].to_dict()) for name in DATASETS}
    return parts | {"scale": config.scale}


def _check(config: ConfigDict) -> None:
    """Raises InputError for a table or a scale that there is not."""
    names = [f"table{number}" for number in dict.fromkeys(entry["table"] for entry in paper())]
    for field, known in (("table", names), ("scale", list(config.scales))):
        if config[field] not in known:
            raise InputError(
                f"config.{field} is {config[field]!r}; right is one of {', '.join(known)}"
            )


def _is_in(config: ConfigDict, entry: dict) -> bool:
    return config.table == f"table{entry['table']}"


def _is_wanted(config: ConfigDict, one: Setting, settings: Sequence[Setting]) -> bool:
    """Whether the filters leave a setting; raises InputError for a value that none has."""
    wanted = True
    for field in _FILTERS:
        parse: Callable = float if field in ("rate", "k") else str
        allowed = _list(f"only.{field}", config.only[field], parse)
        known = dict.fromkeys(getattr(other, field) for other in settings)
        for value in allowed:
            if value not in known:
                raise InputError(
                    f"config.only.{field} is {config.only[field]!r}; {config.table} has "
                    + ", ".join(f"{v:g}" if parse is float else v for v in known)
                )
        wanted &= not allowed or getattr(one, field) in allowed
    return wanted


def _seeds(config: ConfigDict) -> list[int]:
    seeds = _list("seeds", config.seeds, int)
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise InputError(f"config.seeds is {config.seeds!r}; right is 0,1,2 say, each once")
    return seeds


def _list(field: str, text: str, parse: Callable) -> list:
    try:
        return [parse(part) for part in text.split(",")] if text else []
    except ValueError as error:
        raise InputError(f"config.{field} is {text!r}; right is numbers with commas") from error
