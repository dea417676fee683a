"""The papers' tables as grids of experiments: their cells, the experiment of each, and the results.

A figure that compares trained networks is a table that is also drawn. report/tables.py lays them
out; configs/paper_tables.py holds the recipes.
"""

import dataclasses
import json
from collections.abc import Callable, Container, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.config import checking as configuration
from rmdnet_jax.config import set_loss, set_method
from rmdnet_jax.data import noise as label_noise
from rmdnet_jax.methods import registry as methods
from rmdnet_jax.report import tables
from rmdnet_jax.runs import grid, workdirs
from rmdnet_jax.runs.grid import Cell

# The data sets, with their numbers of classes.
DATASETS = {"cifar10": 10, "cifar100": 100}
_FILTERS = ("dataset", "method", "loss", "noise", "rate", "k")
_PAPER = Path(__file__).parent / "paper_tables.json"

# The scale of RMDNet's paper, as `_size` states it. GSS's started from weights that we do not have.
_PAPER_SIZE = "all images, width 64, 240 epochs, teacher of 1,000 epochs"


@dataclasses.dataclass(frozen=True)
class Setting:
    """The experiment of a table's entry, without the seed; several entries may share one setting.

    Attributes:
      dataset, loss, noise, rate: as in the config.
      method: one of the config's recipes; "robust" is the loss, alone or guided by a teacher.
      teacher: teacher.kind.
      k: 0 is no relation term, for which the teacher is "none".
      changes: fields of the method whose values differ from its recipe.
      rho2: of the noise universal, whose rate is rho1.
    """

    dataset: str
    loss: str
    noise: str
    rate: float
    method: str = "robust"
    teacher: str = "none"
    k: float = 0.0
    changes: tuple[tuple[str, float], ...] = ()
    rho2: float = 0.0

    @property
    def name(self) -> str:
        """The name of its cells, without the seed."""
        if self.method == "robust":
            guide = f"{self.teacher}-k{self.k:g}" if self.k else "alone"
            what = f"{self.loss}-{guide}"
        else:
            what = ",".join([self.method, *(f"{field}={v:g}" for field, v in self.changes)])
        rates = f"{self.rate:g}" + (f"-{self.rho2:g}" if self.noise == "universal" else "")
        return f"{self.dataset}-{what}-{self.noise}-{rates}"

    @property
    def column(self) -> str:
        """The heading of its column."""
        if self.noise == "universal":
            return f"rho1 {self.rate:g}, rho2 {self.rho2:g}"
        return f"{self.noise} {self.rate:g}"


def run(config: ConfigDict, workdir: Path, command: str, asked: Container[str] = ()) -> None:
    """Runs the selected cells, and writes all results of the table in the folder.

    Writes TABLE.md, TABLE.html, TABLE.png for a figure, and results.jsonl. Finished cells are not
    repeated after a stop, nor by other processes in the same workdir; all tables of a paper may
    share it.

    Args:
      config: from configs/paper_tables.py.
      workdir: the folder of the tables.
      command: as the user typed it.
      asked: names of the fields that the user set beyond the config file.

    Raises:
      InputError: a field is invalid, or no cell is selected; nothing was written.
    """
    _check(config, asked)
    workdir = workdir.resolve()  # teachers are found from any folder
    entries = paper()
    selected = cells(config, entries, workdir)
    grid.check(selected)
    workdirs.share(workdir, _identity(config))
    write(config, entries, workdir)
    for _ in grid.run(selected, command):
        write(config, entries, workdir)
    print(write(config, entries, workdir))


def paper() -> list[dict]:
    """The entries of all tables: table or figure, dataset, method, noise, rate, and the printed
    accuracy and spread in percent; k and teacher, or parameters of the method, if the table states
    them; for a figure the position of the point, panel and x. `paper` is the paper, RMDNet's if
    missing.
    """
    return json.loads(_PAPER.read_text())


def table_name(entry: dict) -> str:
    """The name of an entry's table in config.table: "table1", "gss_figure3"."""
    (kind,) = entry.keys() & {"table", "figure"}
    return "_".join([*filter(None, [entry.get("paper")]), f"{kind}{entry[kind]}"])


def setting(config: ConfigDict, entry: dict) -> Setting:
    """The setting of an entry, with the recipe's values where the table states none."""
    dataset, title, column = entry["dataset"], entry["method"], (entry["noise"], entry["rate"])
    method = title.lower().replace("-", "_").replace(" ", "_").replace("+", "_plus")
    if method in config.methods[dataset]:
        recipe = _recipe(config, dataset, method, *column)
        given = entry.get("parameters", {})
        changes = tuple((field, v) for field, v in given.items() if v != recipe.get(field))
        learns_from = methods.get(recipe["name"]).needs_classifier
        teacher = "supervised" if learns_from else "none"
        rho2 = entry.get("rho2", 0.0)
        return Setting(dataset, "ce", *column, method, teacher, changes=changes, rho2=rho2)
    loss = title.partition("+")[0].lower()
    is_guided = "+" in title and entry.get("k") != 0
    if not is_guided:
        return Setting(dataset, loss, *column)
    k = float(entry.get("k", config.losses[dataset][loss]["k"]))
    return Setting(dataset, loss, *column, teacher=entry.get("teacher", "simsiam"), k=k)


def cells(config: ConfigDict, entries: Sequence[dict], workdir: Path) -> list[Cell]:
    """The cells that pass the filters, by data set, then seed by seed, each with its teacher.

    Raises:
      InputError: the seeds or a filter's values are invalid, or no cell passes.
    """
    pairs = [(entry, setting(config, entry)) for entry in entries if _is_in(config, entry)]
    kept = dict.fromkeys(one for _, one in _filtered(config, pairs))
    if not kept:
        raise InputError(f"no cell of {config.table} matches config.only; give fewer filters")
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
    fields = _recipe(config, one.dataset, one.method, one.noise, one.rate) | dict(one.changes)
    set_method(cell, one.method, {one.method: fields})
    cell.rgrl.k, cell.teacher.kind = one.k, one.teacher
    if one.teacher not in ("simsiam", "supervised"):
        cell.teacher.path = ""
    cell.noise.kind, cell.noise.rate, cell.noise.rho2 = one.noise, one.rate, one.rho2
    cell.seed = cell.noise.seed = seed
    cell.report.tsne_points = 0
    return cell


def write(config: ConfigDict, entries: Sequence[dict], workdir: Path) -> str:
    """Writes the table and results.jsonl from all finished cells in the folder, whatever filters,
    seeds or tables of the paper they were run for; returns the table in Markdown."""
    lines, ours = [], []
    for entry in entries:
        if entry.get("paper", "") != config.table.rpartition("_")[0]:
            continue
        one = setting(config, entry)
        finished, diverged = [], 0
        for folder in sorted((workdir / "cells").glob(f"{one.name}-seed[0-9]*")):
            seed = folder.name.removeprefix(f"{one.name}-seed")
            if not seed.isdecimal():  # a folder that is not a cell
                continue
            cell = Cell(folder.name, config, folder)
            if results := cell.results():
                finished.append(results)
                lines.append(_line(entry, one, int(seed), results, config.scale))
            elif cell.divergence():
                diverged += 1
        if _is_in(config, entry):
            ours.append((entry, one, finished, diverged))
    has_k = any(one.k for _, one, *_ in ours)
    heading = _heading(config)
    scores = [_score(*parts, has_k) for parts in ours]
    return tables.write(workdir, config.table, heading, config.remark, scores, lines)


def _score(
    entry: dict, one: Setting, finished: Sequence[dict], diverged: int, has_k: bool
) -> tables.Score:
    """An entry with the results of its cells; `has_k`: whether K distinguishes rows."""
    row = {"data set": one.dataset, "method": entry["method"]}
    row |= {"K": f"{one.k:g}"} if has_k else {}
    row |= {field: f"{value:g}" for field, value in entry.get("parameters", {}).items()}
    last, best = (
        tuple(100 * results[name] for results in finished)
        for name in ("test_accuracy", "best_test_accuracy")
    )
    return tables.Score(
        tuple(row.items()), one.column, last, best, diverged,
        entry.get("accuracy"), entry.get("spread"), entry.get("panel"), entry.get("x"),
    )  # fmt: skip


def _line(entry: dict, one: Setting, seed: int, results: dict, scale: str) -> dict:
    """A line of results.jsonl; accuracies in [0, 1]."""
    line = {name: value for name, value in entry.items() if name not in ("accuracy", "spread")}
    return line | {
        "k": one.k,
        "teacher": one.teacher,
        "seed": seed,
        "accuracy": results["test_accuracy"],
        "best": results["best_test_accuracy"],
        "seconds": results["train_seconds"],
        "scale": scale,
    }


def _recipe(config: ConfigDict, dataset: str, method: str, noise: str, rate: float) -> dict:
    """The method's name and fields: the general ones, then those for this noise, rate and scale. A
    method with the field `rate` is given the share of wrong labels."""
    given = config.methods[dataset].to_dict().get(method, {"name": method})
    fields = {field: value for field, value in given.items() if not isinstance(value, dict)}
    for case in (noise, f"{noise}_{round(100 * rate)}", config.scale):
        fields |= given.get(case, {})
    if "rate" in methods.groups().get(fields["name"], {}):
        matrix = label_noise.transition_matrix(noise, rate, DATASETS[dataset], dataset)
        fields["rate"] = round(1 - float(matrix.diagonal().mean()), 6)
    return fields


def _scaled(config: ConfigDict, dataset: str) -> ConfigDict:
    """The base experiment of the cells on a data set."""
    cell = config[dataset].copy_and_resolve_references()
    cell.update(config.scales[config.scale])
    return cell


def _heading(config: ConfigDict) -> str:
    """The scale of the experiments, for all headings."""
    sizes = {dataset: _size(_scaled(config, dataset)) for dataset in DATASETS}
    said = "; ".join(f"{size} ({dataset})" for dataset, size in sizes.items())
    if len(set(sizes.values())) == 1:
        said = sizes["cifar10"]
    as_in_paper = set(sizes.values()) == {_PAPER_SIZE}
    warning = "" if as_in_paper else ": not comparable to the paper's numbers"
    return f"{config.scale.upper()} SCALE: {said}{warning}"


def _size(cell: ConfigDict) -> str:
    images = f"{cell.dataset.train_size:,}" if cell.dataset.train_size else "all"
    images += f" after the first {cell.dataset.skip:,}" if cell.dataset.skip else ""
    size = f"{images} images, width {cell.model.width}, {cell.train.epochs} epochs"
    if cell.teacher.kind == "none":
        return size
    return f"{size}, teacher of {cell.teacher.path or f'{cell.rm.epochs:,} epochs'}"


def _identity(config: ConfigDict) -> dict:
    """What identifies a folder of tables: everything except which cells are run."""
    parts = {name: config[name].to_dict() for name in ("losses", "methods", "scales")}
    parts |= {name: workdirs.identity(config[name].to_dict()) for name in DATASETS}
    return parts | {"scale": config.scale}


def _check(config: ConfigDict, asked: Container[str]) -> None:
    """Raises InputError for an unknown table or scale, or a value that the scale overrides."""
    names = dict.fromkeys(map(table_name, paper()))
    for field, known in (("table", names), ("scale", config.scales)):
        if config[field] not in known:
            raise InputError(
                f"config.{field} is {config[field]!r}; expected one of {', '.join(known)}"
            )
    for dataset in DATASETS:
        for field, value in configuration.flat(config.scales[config.scale].to_dict()).items():
            is_asked = f"{dataset}.{field}" in asked
            if is_asked and (given := configuration.get(config[dataset], field)) != value:
                setting = f"config.scales.{config.scale}.{field}"
                raise InputError(
                    f"config.{dataset}.{field} is {given!r}, but {setting} overrides it with "
                    f"{value!r}; expected --{setting}={given}"
                )


def _is_in(config: ConfigDict, entry: dict) -> bool:
    return config.table == table_name(entry)


def _filtered(
    config: ConfigDict, pairs: Sequence[tuple[dict, Setting]]
) -> list[tuple[dict, Setting]]:
    """The entries that pass the filters; raises InputError for a value that no entry has."""

    def printed(field: str, entry: dict, one: Setting) -> str | float:
        return entry["method"] if field == "method" else getattr(one, field)

    kept = list(pairs)
    for field in _FILTERS:
        parse: Callable = float if field in ("rate", "k") else str
        allowed = _list(f"only.{field}", config.only[field], parse)
        known = dict.fromkeys(printed(field, *pair) for pair in pairs)
        if not known.keys() >= set(allowed):
            raise InputError(
                f"config.only.{field} is {config.only[field]!r}; {config.table} has "
                + ", ".join(f"{v:g}" if parse is float else str(v) for v in known)
            )
        kept = [pair for pair in kept if not allowed or printed(field, *pair) in allowed]
    return kept


def _seeds(config: ConfigDict) -> list[int]:
    seeds = _list("seeds", config.seeds, int)
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise InputError(f"config.seeds is {config.seeds!r}; expected distinct seeds such as 0,1,2")
    return seeds


def _list(field: str, text: str, parse: Callable) -> list:
    try:
        return [parse(part) for part in text.split(",")] if text else []
    except ValueError as error:
        raise InputError(f"config.{field} is {text!r}; expected numbers and commas") from error
