"""Many experiments in one folder, one after the other: the cells of a grid.

A cell is an experiment with its own workdir. It is finished when its report.html exists, the last
file that a run writes, and has diverged when diverged.json exists. Either way it is not started
again, so a grid can be stopped and restarted, and several processes can work on one folder, each on
the cells that no other holds.
sweep.py and paper_tables.py define the cells.
"""

import dataclasses
import hashlib
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from rmdnet_jax.base.atomic import open_atomic
from rmdnet_jax.base.errors import CollapsedError, DivergedError, InputError, WorkdirInUseError
from rmdnet_jax.base.text import shown
from rmdnet_jax.config import checking as configuration
from rmdnet_jax.config import default
from rmdnet_jax.data import open_set
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.runs import preparation, single, workdirs
from rmdnet_jax.teachers import registry
from rmdnet_jax.training.progress import clock

# Seconds between checks of what other processes hold.
_POLL = 5.0


@dataclasses.dataclass(frozen=True)
class Cell:
    """An experiment of a grid.

    Attributes:
      name: its name on the terminal.
      config: of the experiment.
      workdir: its folder.
      teacher: the cell that trains the teacher that it uses; None if it needs none, or was given an
        existing one.
    """

    name: str
    config: ConfigDict
    workdir: Path
    teacher: "Cell | None" = None

    def results(self) -> dict | None:
        """The content of its results.json; None until it is finished."""
        is_finished = (self.workdir / "report.html").exists()
        return _read(self.workdir / "results.json") if is_finished else None

    def divergence(self) -> str | None:
        """Why it will never have results, if it or its teacher diverged; else None."""
        if record := _read(self.workdir / "diverged.json"):
            return record["reason"]
        reason = self.teacher.divergence() if self.teacher else None
        return f"its teacher: {reason}" if reason else None

    def is_done(self) -> bool:
        """Whether it is finished or has diverged."""
        return self.results() is not None or self.divergence() is not None


def with_teachers(cells: Iterable[Cell], folder: Path, seed: int) -> list[Cell]:
    """The cells, each with the teacher that it needs; cells share a teacher if they can.

    Args:
      cells: without teachers.
      folder: for the teachers' workdirs.
      seed: of the teachers, whatever the cells' own seeds.
    """
    teachers: dict[Path, Cell] = {}
    complete = []
    for cell in cells:
        kind, path = cell.config.teacher.kind, cell.config.teacher.path
        wanted = configuration.wants_teacher(cell.config) and registry.get(kind).trains
        if wanted and not path:
            teacher = _teacher(cell.config, folder, seed)
            teacher = teachers.setdefault(teacher.workdir, teacher)
            config = cell.config.copy_and_resolve_references()
            config.teacher.path = str(teacher.workdir)
            cell = dataclasses.replace(cell, config=config, teacher=teacher)
        complete.append(cell)
    return complete


def check(cells: Sequence[Cell]) -> None:
    """Raises InputError for the first cell that cannot be run, or was done with another config;
    compiles and writes nothing."""
    loaded: dict[str, Dataset] = {}  # one at a time
    for cell in _with_their_teachers(cells):
        workdirs.check_same(cell.workdir, cell.config.to_dict())
        if cell.is_done():
            continue
        configuration.check(cell.config)
        key = json.dumps(cell.config.dataset.to_dict())
        if key not in loaded:
            loaded = {key: preparation.load(cell.config)[2]}
        config = cell.config
        if cell.teacher and not cell.teacher.results():
            config = config.copy_and_resolve_references()
            config.teacher.path = ""  # it does not exist yet
        preparation.prepare(config, cell.workdir, loaded[key])


def run(cells: Sequence[Cell], command: str) -> Iterator[Cell]:
    """Runs the remaining cells and teachers until all are done, by this or other processes; yields
    each cell that was done here.

    Args:
      cells: already checked.
      command: as the user typed it, for the cells' reports.

    Raises:
      InputError: as single.run; finished cells stay.
    """
    everything = _with_their_teachers(cells)
    open_cells, started, done_here = everything, time.monotonic(), 0
    while open_cells := [cell for cell in open_cells if not cell.is_done()]:
        before = done_here
        for cell in open_cells:
            waits = cell.teacher is not None and not cell.teacher.is_done()
            # Another process may hold it, or have done it since; this order leaves no gap.
            if waits or workdirs.is_held(cell.workdir) or cell.is_done():
                continue
            left = sum(not other.is_done() for other in open_cells)
            each = (time.monotonic() - started) / done_here if done_here else None
            print(_announcement(cell, everything, left, each), flush=True)
            try:
                single.run(cell.config, cell.workdir, command)
            except WorkdirInUseError:
                continue
            except CollapsedError:  # rm.on_collapse=stop: all students of this teacher would suffer
                raise
            except DivergedError as error:
                with open_atomic(cell.workdir / "diverged.json") as file:
                    json.dump({"reason": str(error)}, file, indent=2)
                print(f"cell {cell.name}: {error}; others continue", file=sys.stderr, flush=True)
            done_here += 1
            yield cell
        if done_here == before and any(not cell.is_done() for cell in open_cells):
            time.sleep(_POLL)


def _announcement(cell: Cell, cells: Sequence[Cell], left: int, each: float | None) -> str:
    """ "cell 3 of 45: NAME, about 1:02:03 left", if each cell has taken `each` seconds so far."""
    number = len(cells) - left + 1
    about = "" if each is None else f", about {clock(left * each)} left"
    return f"\ncell {number} of {len(cells)}: {shown(cell.name)}{about}"


def _with_their_teachers(cells: Iterable[Cell]) -> list[Cell]:
    """Every cell after its teacher, none twice."""
    ordered: dict[Path, Cell] = {}
    for cell in cells:
        for one in filter(None, (cell.teacher, cell)):
            ordered.setdefault(one.workdir, one)
    return list(ordered.values())


def _teacher(config: ConfigDict, folder: Path, seed: int) -> Cell:
    """The cell that trains the teacher of `config`. Its config has only what a teacher depends on,
    so that it is the same for all cells that can share it."""
    alone = default()
    alone.seed = seed
    alone.checkpoint_every, alone.tensorboard = config.checkpoint_every, config.tensorboard
    for group in ("dataset", "model", "rm"):
        alone[group].update(config[group])
    alone.teacher.kind = config.teacher.kind
    alone.dataset.validation_fraction = 0.0
    alone.noise.kind = "none"
    noise = config.noise
    if config.dataset.corrections:  # they were written for these labels; it reads none of them
        alone.noise.update(noise)
    elif share := open_set.share(noise.kind, noise.rate, noise.rho2, noise.open_share):
        # It learns from the pictures that its students see, including open ones.
        alone.noise.open_share, alone.noise.open_path = share, noise.open_path
        alone.noise.seed = noise.seed
    alone.model.width = config.teacher.width or config.model.width
    alone.augment.flip = config.augment.flip
    alone.train.epochs = 0
    identity = json.dumps(workdirs.identity(alone.to_dict()), sort_keys=True)
    name = f"{config.dataset.name}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"
    return Cell(f"teacher {name}", alone, folder / name)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise InputError(
            f"{path} is not JSON ({error}); remove it to run its experiment again"
        ) from error
