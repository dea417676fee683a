"""What a run says while it trains: metrics.jsonl, TensorBoard, and the progress on the terminal.

metrics.jsonl is the record: one line per stage and epoch, in order, also after a resume.
"""

import json
import time
from pathlib import Path

from rmdnet_jax.atomic import open_atomic
from rmdnet_jax.training.progress import Progress


class RunLog:
    """The log of one workdir.

    Args:
      workdir: the folder; must exist.
      tensorboard: also write TensorBoard files, where TensorFlow (clu's writers need it) is there.
    """

    def __init__(self, workdir: Path, tensorboard: bool = True):
        self.path = Path(workdir) / "metrics.jsonl"
        self._writers = _TensorBoard(Path(workdir) / "tensorboard") if tensorboard else None

    def stage(self, name: str) -> "StageLog":
        """The log of one stage of this run."""
        return StageLog(name, self.path, self._writers)

    def history(self, stage: str) -> list[dict]:
        """The epochs of a stage so far, in order."""
        return [line for line in _read(self.path) if line["stage"] == stage]

    def close(self) -> None:
        """Flushes TensorBoard's files."""
        if self._writers:
            self._writers.close()


class StageLog:
    """The log of one stage; training/fit.py calls it. Made by RunLog.stage."""

    def __init__(self, name: str, path: Path, tensorboard: "_TensorBoard | None"):
        self._name = name
        self._path = path
        self._tensorboard = tensorboard
        self._progress: Progress  # made by start

    def start(self, done: int, epochs: int, steps: int) -> None:
        """Training goes on after `done` of `epochs` epochs of `steps` steps each.

        Lines of later epochs, written before a kill but after the checkpoint, are dropped: those
        epochs are about to be run again.
        """
        lines = _read(self._path)
        kept = [x for x in lines if x["stage"] != self._name or x["epoch"] <= done]
        if self._path.exists():
            with open_atomic(self._path) as file:
                file.writelines(json.dumps(line) + "\n" for line in kept)
        if done < epochs:
            self._progress = Progress(self._name, done, epochs, steps)

    def step(self, step: int, loss: float) -> None:
        """`step` steps of this epoch are done, with this mean loss."""
        self._progress.step(step, loss)

    def epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        """Epoch number `epoch` (from 1) is done."""
        line = {"stage": self._name, "epoch": epoch, **metrics, "time": time.time()}
        with open(self._path, "a") as file:
            file.write(json.dumps(line) + "\n")
        if self._tensorboard:
            self._tensorboard.write(self._name, epoch, metrics)
        self._progress.epoch(epoch, metrics)


def _read(path: Path) -> list[dict]:
    """The lines of a metrics.jsonl; a last line cut off by a kill is left out."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


class _TensorBoard:
    """clu's TensorBoard writers, one a stage; silent where TensorFlow is missing."""

    def __init__(self, directory: Path):
        self._directory = directory
        self._writers: dict = {}

    def write(self, stage: str, epoch: int, metrics: dict[str, float]) -> None:
        if stage not in self._writers:
            self._writers[stage] = self._open(stage)
        if writer := self._writers[stage]:
            writer.write_scalars(epoch, metrics)
            writer.flush()

    def close(self) -> None:
        for writer in self._writers.values():
            if writer:
                writer.close()

    def _open(self, stage: str):
        # Imported here and nowhere else: clu's writers bring TensorFlow, seconds of start-up.
        try:
            from clu import metric_writers
        except ImportError:
            return None
        return metric_writers.SummaryWriter(str(self._directory / stage))
