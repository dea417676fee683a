"""The time from the command to the first step: launch.py with an empty compilation cache and with a
full one, in turns, and how often a whole run compiles.

python benchmarks/startup.py           (needs requirements.txt, except TensorFlow)

The run is both stages on random images with one step per epoch, so that the first step immediately
follows reading, checks and compilation.
"""

import argparse
import collections
import json
import logging
import os
import runpy
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import ours
import stopwatch

ROOT = Path(__file__).resolve().parents[1]


def watched(report: Path, arguments: list[str]) -> None:
    """Runs launch.py in this process and writes a record: the time of its first step, and the
    programs that it compiled."""
    import jax

    from rmdnet_jax.training import fit as loop

    seen: dict = {"first_step": None, "programs": 0, "again": [], "seconds": 0.0}
    seen["imported"] = time.time()

    class Listener(logging.Handler):
        def emit(self, record):
            text = record.getMessage()
            seen["programs"] += text.startswith("Compiling ")
            if text.startswith("Persistent compilation cache hit"):
                seen["again"].append(text.split("'")[1])

    def add(event, seconds, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            seen["seconds"] += seconds

    jax.config.update("jax_log_compiles", True)
    jax.monitoring.register_event_duration_secs_listener(add)
    compiler = logging.getLogger("jax")
    compiler.addHandler(Listener())
    compiler.setLevel(logging.WARNING)  # launch.py silences loggers without a level
    compiler.propagate = False
    add_sums = loop._add

    def first_sums(*arguments):  # a chunk's metrics are read: its steps are done
        totals = add_sums(*arguments)
        seen["first_step"] = seen["first_step"] or time.time()
        return totals

    loop._add = first_sums
    sys.argv = [str(ROOT / "launch.py"), *arguments]
    sys.path.insert(0, str(ROOT))
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        report.write_text(json.dumps(seen))


def launch(folder: Path, name: str, cache: Path, arguments: list[str]) -> dict:
    """One run in a separate process; its record, with times in seconds after the command."""
    report = folder / f"{name}.json"
    command = [sys.executable, __file__, "--watch", str(report)]
    command += [*arguments, f"--workdir={folder / name}"]
    # As set by launch.py itself; here JAX is imported earlier.
    kept = {"JAX_COMPILATION_CACHE_DIR": str(cache)}
    kept |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    environment = os.environ | kept
    environment.pop("XLA_PYTHON_CLIENT_PREALLOCATE", None)
    environment.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")  # otherwise it starts twice
    started = time.time()
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"launch.py did not run here: {done.stderr.strip()[-1000:]}")
    seen = json.loads(report.read_text())
    times = {name: seen[name] - started for name in ("imported", "first_step")}
    return seen | times | {"whole": time.time() - started}


def compilations(run: dict) -> str:
    """The number of programs that a run with an empty cache requested, and those that it requested
    again, which it found in the cache."""
    line = f"{run['programs']} programs in a whole run, {len(run['again'])} of them requested again"
    counts = collections.Counter(run["again"])
    return line + "".join(f", {name} {count} times" for name, count in counts.items()) + "."


def main() -> None:
    """Prints a row with an empty cache and one with a full cache."""
    if "--watch" in sys.argv[1:2]:
        return watched(Path(sys.argv[2]), sys.argv[3:])
    # The measured processes need the GPU's memory.
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=stopwatch.on_backend(16, 64))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(stopwatch.heading("jax"))
    seen: dict[str, list[dict]] = {"empty": [], "full": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arrays = {}
        for split, seed in (("train", 0), ("test", 1)):
            images, labels = ours.made_data(options.batch, seed=seed)
            arrays |= {f"x_{split}": images, f"y_{split}": labels}
        np.savez(folder / "made.npz", **arrays)
        values = {
            "dataset.name": "npz",
            "dataset.path": folder / "made.npz",
            "model.width": options.width,
            "rm.epochs": 2,
            "train.epochs": 2,
            "rm.batch_size": options.batch,
            "train.batch_size": options.batch,
            "report.tsne_points": 0,
            "tensorboard": False,
        }
        arguments = ["--config=configs/rgrl_cifar10.py:ce"]
        arguments += [f"--config.{field}={value}" for field, value in values.items()]
        launch(folder, "before", folder / "cache", arguments)  # warms the file cache
        for turn in range(options.rounds):
            for state, cache in (("empty", f"cache{turn}"), ("full", "cache")):
                run = launch(folder, f"{state}{turn}", folder / cache, arguments)
                seen[state].append(run)
    rows = []
    for state, runs in seen.items():
        row = [state]
        for what in ("imported", "first_step", "seconds", "whole"):
            times = stopwatch.Times(tuple(run[what] for run in runs))
            row.append(f"{times.median:.1f} s ± {100 * times.spread:.0f} %")
        rows.append(row)
    first = {
        state: stopwatch.Times(tuple(run["first_step"] for run in runs)).median
        for state, runs in seen.items()
    }
    header = ["compilation cache", "imports", "first step", "compiling, whole run", "whole run"]
    print(stopwatch.table(header, rows))
    print(f"First step, empty / full: {first['empty'] / first['full']:.2f}.")
    print(compilations(seen["empty"][0]))
    print(f"With the full cache {len(seen['full'][0]['again'])} come from the cache.")


if __name__ == "__main__":
    main()
