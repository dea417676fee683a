"""Fair timing for this folder: contestants take turns within one run, and every table states the
median, the spread, and its command, machine and date."""

import datetime
import importlib.metadata
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax

# As ours.py does, for scripts without it: rmdnet_jax is found, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rmdnet_jax.machine.cpu import cores

# Seconds of rest between two turns, in which thread pools of the last contestant go to sleep.
_REST = 0.05


@dataclass(frozen=True)
class Times:
    """The times of one contestant, in seconds by turn."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median time in seconds."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Half the distance from the fastest to the slowest, as a share of the median."""
        return (max(self.seconds) - min(self.seconds)) / 2 / self.median


def alternate(contestants: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Times]:
    """Times of the contestants, in turns: A B A B ..., so that a disturbance affects all.

    Args:
      contestants: by name; each does its work and returns when it is done, including the device.
        One first turn of each is not measured: it compiles and starts workers.
      rounds: measured turns of each.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, work in contestants.items():
            time.sleep(_REST)
            started = time.perf_counter()
            work()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return {name: Times(tuple(taken)) for name, taken in seconds.items()}


def on_backend(cpu, accelerator):
    """The first value on a CPU, the second on a GPU or TPU: for the defaults of options."""
    return cpu if jax.default_backend() == "cpu" else accelerator


def heading(*packages: str) -> str:
    """The line above a table: command, machine, versions, date."""
    command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    processor = f"{cores()} CPU cores ({_processor()})"
    device = on_backend(processor, f"{jax.devices()[0].device_kind}, {processor}")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    python = platform.python_version()
    return f"`{command}`, {device}, Python {python}, {versions}, {datetime.date.today()}:\n"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
