"""The progress of a stage for the user: a live line on a terminal, plain lines elsewhere."""

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

# What an epoch's line shows, in this order, if the epoch has it.
_SHOWN = {
    "loss": "loss {:.4f}",
    "spread": "spread {:.2f}",
    "knn_accuracy": "kNN {:.1%}",
    "train_accuracy": "fits given labels {:.1%}",
    "validation_accuracy": "agrees with held-out labels {:.1%}",
    "test_accuracy": "agrees with test labels {:.1%}",  # they may be wrong, too
    "images_per_second": "{:,.0f} img/s",
}

# Seconds between two plain lines, so that a log of 1,000 short epochs stays readable.
_PLAIN_EVERY = 10.0


class Progress:
    """The progress of one stage.

    Args:
      stage: its name.
      done: epochs done earlier.
      epochs: epochs in all.
      steps: steps per epoch.
      batch_size: images per step.
      step: steps of the current epoch done earlier.
    """

    def __init__(
        self, stage: str, done: int, epochs: int, steps: int, batch_size: int, step: int = 0
    ):
        self._stage, self._epochs, self._steps = stage, epochs, steps
        self._batch_size = batch_size
        self._first, self._epoch, self._step = done + step / steps, done, step
        self._started = self._epoch_started = time.monotonic()
        self._last_line = 0.0
        self._last: dict[str, float] = {}  # the last epoch's metrics
        self._bar = None
        if sys.stdout.isatty():
            self._bar = Bar(
                TextColumn("{task.fields[stage]:>8}"),
                BarColumn(bar_width=24),
                TextColumn("{task.description}"),
                console=Console(),
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._task = self._bar.add_task("", total=epochs * steps, stage=stage)
            self._bar.start()
        if done:
            print(f"{stage}: resumed after epoch {done} of {epochs}", flush=True)

    def step(self, step: int, loss: float) -> None:
        """`step` steps of the current epoch are done, with this mean loss."""
        seconds = max(time.monotonic() - self._epoch_started, 1e-9)
        speed = (step - self._step) * self._batch_size / seconds
        self._show(step, self._last | {"loss": loss, "images_per_second": speed})

    def epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        """Epoch number `epoch` (from 1) is done."""
        # A probe that does not run every epoch is shown until the next one.
        self._epoch, self._step, self._last = epoch, 0, self._last | metrics
        self._epoch_started = time.monotonic()
        self._show(0, metrics, always=epoch == self._epochs)

    def close(self) -> None:
        """Restores the terminal."""
        if self._bar:
            self._bar.stop()

    def _show(self, step: int, metrics: dict[str, float], always: bool = False) -> None:
        done = self._epoch + step / self._steps
        elapsed = time.monotonic() - self._started
        left = (self._epochs - done) * elapsed / max(done - self._first, 1e-9)
        shown = [form.format(metrics[name]) for name, form in _SHOWN.items() if name in metrics]
        running = self._epoch + (step > 0)  # its number, from 1
        text = "  ".join([f"epoch {running}/{self._epochs}", *shown, f"{clock(left)} left"])
        if self._bar:
            self._bar.update(self._task, completed=done * self._steps, description=text)
        elif always or time.monotonic() - self._last_line > _PLAIN_EVERY:
            self._last_line = time.monotonic()
            print(f"{self._stage}: {text}", flush=True)


def clock(seconds: float) -> str:
    """A duration as 1:02:03 or 2:03."""
    minutes, second = divmod(round(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}" if hour else f"{minute}:{second:02}"
