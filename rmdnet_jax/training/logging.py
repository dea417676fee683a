"""A run's output while it trains: metrics.jsonl, TensorBoard, and the progress on the terminal.

metrics.jsonl is the record: one line per stage and epoch, in order, even after a resume.
"""

import contextlib
import importlib.util
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import rmdnet_jax
from rmdnet_jax.base.atomic import open_atomic
from rmdnet_jax.machine import devices
from rmdnet_jax.training.progress import Progress


class RunLog:
    """The log of one run.

    Args:
      workdir: the folder for metrics.jsonl, which must exist when the first stage starts; None
        keeps the lines in memory only.
      tensorboard: also write TensorBoard files, if TensorFlow (needed by clu's writers) is
        installed.
      writes: False in all processes of a run except one: nothing is written or printed there.
    """

    def __init__(self, workdir: Path | None, tensorboard: bool = True, writes: bool = True):
        self._lines = _Lines(workdir and Path(workdir) / "metrics.jsonl")
        self._writes = writes
        self._writers: _TensorBoard | None = None
        if workdir and tensorboard and writes:
            self._writers = _TensorBoard(Path(workdir) / "tensorboard")

    def stage(self, name: str) -> "StageLog":
        """The log of one stage of this run."""
        return StageLog(name, self._lines, self._writers) if self._writes else _Silent(name)

    def history(self, stage: str) -> list[dict]:
        """The epochs of a stage so far, in order."""
        return [line for line in self._lines.read() if line["stage"] == stage]

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *error) -> None:
        """Returns when TensorBoard's files are on disk."""
        if self._writers:
            self._writers.close()


class StageLog:
    """The log of one stage; training/fit.py calls it. Made by RunLog.stage.

    Leaving its `with` block removes the progress from the terminal, whatever happened.
    """

    def __init__(self, name: str, lines: "_Lines", tensorboard: "_TensorBoard | None"):
        self.name = name
        self._lines = lines
        self._tensorboard = tensorboard
        self._progress: Progress | None = None  # made by `start`, if there is anything to do

    def start(self, done: int, epochs: int, steps: int, batch_size: int, step: int = 0) -> None:
        """Training continues after `done` of `epochs` epochs of `steps` steps each, and `step`
        steps of the next.

        Lines of later epochs, written after the checkpoint but before a kill, are dropped: those
        epochs will run again.
        """
        lines = self._lines.read()
        self._lines.write([x for x in lines if x["stage"] != self.name or x["epoch"] <= done])
        if done < epochs:
            self._progress = Progress(self.name, done, epochs, steps, batch_size, step)

    def __enter__(self) -> "StageLog":
        return self

    def __exit__(self, *error) -> None:
        if self._progress:
            self._progress.close()

    def step(self, step: int, loss: float) -> None:
        """`step` steps of this epoch are done, with this mean loss."""
        assert self._progress
        self._progress.step(step, loss)

    def epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        """Epoch number `epoch` (from 1) is done."""
        line = {"stage": self.name, "epoch": epoch, **metrics, "time": time.time()}
        self._lines.append(line)
        if self._tensorboard:
            self._tensorboard.write(line)
        assert self._progress
        self._progress.epoch(epoch, metrics)


class _Silent(StageLog):
    """The log of a stage in a process that does not write."""

    def __init__(self, name: str):
        self.name = name
        self._progress = None

    def start(self, done: int, epochs: int, steps: int, batch_size: int, step: int = 0) -> None:
        """Nothing."""

    def step(self, step: int, loss: float) -> None:
        """Nothing."""

    def epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        """Nothing."""


def _json(line: dict) -> str:
    """A line as JSON; a number that is not finite, which JSON does not have, is null."""

    def known(value: Any) -> Any:
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps({name: known(value) for name, value in line.items()})


def _numbers(line: dict) -> dict:
    return {name: math.nan if value is None else value for name, value in line.items()}


class _Lines:
    """The lines of a metrics.jsonl, or of a run that has none."""

    def __init__(self, path: Path | None):
        self._path = path
        self._kept: list[dict] = []  # without a file

    def read(self) -> list[dict]:
        """All lines; a last line truncated by a kill is left out."""
        if not self._path:
            return list(self._kept)
        if not self._path.exists():
            return []
        lines = self._path.read_text().splitlines(keepends=True)
        return [_numbers(json.loads(line)) for line in lines if line.endswith("\n")]

    def write(self, lines: list[dict]) -> None:
        """Replaces the existing lines."""
        self._kept = list(lines)
        if self._path and self._path.exists():
            with open_atomic(self._path) as file:
                file.writelines(_json(line) + "\n" for line in lines)

    def append(self, line: dict) -> None:
        """Adds a line."""
        if self._path:
            with open(self._path, "a") as file:
                file.write(_json(line) + "\n")
        else:
            self._kept.append(line)


class _TensorBoard:
    """training/tensorboard.py in a separate process: clu's writers import TensorFlow, which must
    not be in the process that trains. Does nothing without TensorFlow."""

    def __init__(self, directory: Path):
        self._directory = directory
        self._process: subprocess.Popen | None = None

    def write(self, line: dict) -> None:
        if self._process is None:
            self._process = self._start()
        if self._process:
            with contextlib.suppress(BrokenPipeError):  # TensorFlow is installed, but does not work
                print(json.dumps(line), file=self._process.stdin, flush=True)

    def close(self) -> None:
        if self._process:
            self._process.communicate()  # end of input: it exits when all is written
            self._process = None

    def _start(self) -> subprocess.Popen | None:
        if not all(map(importlib.util.find_spec, ("clu", "tensorflow", "tensorboard"))):
            return None
        root, path = str(Path(rmdnet_jax.__file__).parents[1]), os.environ.get("PYTHONPATH")
        found = {"PYTHONPATH": os.pathsep.join(filter(None, [root, path]))}
        return subprocess.Popen(
            [sys.executable, "-m", "rmdnet_jax.training.tensorboard", str(self._directory)],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | devices.HIDDEN | found,
        )
