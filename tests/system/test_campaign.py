"""Broken on purpose, at length: kills at random moments, and a run of thousands of epochs.

Minutes to an hour; docs/reliability.md has the figures of one campaign. How many kills, and the
seed of the moments, come from RMDNET_KILLS and RMDNET_SEED.
"""

import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from command import TINY, arguments, environment, launch, write_npz
from test_hosts import start as start_several

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*[Ss]harding")]

KILLS = int(os.environ.get("RMDNET_KILLS", "100"))
RANDOM = random.Random(int(os.environ.get("RMDNET_SEED", "0")))

# What is there while a run does what is hard to interrupt, and the share of the kills that wait
# for it; the others come at any time.
MOMENTS = {
    "in a checkpoint": ("*/*.orbax-checkpoint-tmp*", 0.3),
    "between the stages": ("teacher/12", 0.1),
    "in results and page": ("figures/*", 0.1),
}


def flags(data, workdir):
    return (*TINY, "--config.dataset.name=npz", f"--config.dataset.path={data}",
            "--config.rm.epochs=3", "--config.train.epochs=3", f"--workdir={workdir}")  # fmt: skip


def outcome(workdir):
    """All that must be the same: parameters, results but for what the clock says, and files."""
    parameters = {}
    for stage in ("teacher", "student"):
        numbers = [int(path.name) for path in (workdir / stage).iterdir() if path.name.isdigit()]
        folder = workdir / stage / str(max(numbers)) / "params"
        # As arrays of the host, whatever devices they were saved from.
        with ocp.PyTreeCheckpointer() as checkpointer:
            shapes = checkpointer.metadata(folder).item_metadata.tree
            as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), shapes)
            parameters[stage] = checkpointer.restore(folder, restore_args=as_numpy)
    clock = {"train_seconds", "stage_seconds", "images_per_second"}
    results = json.loads((workdir / "results.json").read_text())
    results = {name: value for name, value in results.items() if name not in clock}
    return parameters, results, (workdir / "label_issues.csv").read_text()


def assert_same(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours[0], theirs[0])
    assert ours[1:] == theirs[1:]


def moment(workdir, longest):
    """A name of a moment, and what returns when it has come."""
    chance = RANDOM.random()
    for name, (pattern, share) in MOMENTS.items():
        chance -= share
        if chance < 0:
            return name, lambda pattern=pattern: any(workdir.glob(pattern))
    end = time.monotonic() + RANDOM.uniform(0, longest)
    return "at any time", lambda: time.monotonic() > end


def kill_at_a_moment(processes, workdir, longest):
    """Kills one of the processes; the name of the moment, or None if they ended before it."""
    name, has_come = moment(workdir, longest)
    while not has_come():
        if processes[0].poll() is not None:
            return None
        time.sleep(0.001)
    victim = RANDOM.choice(processes)
    victim.send_signal(signal.SIGKILL)
    return name if victim.wait() == -signal.SIGKILL else None


def test_killed_at_random_moments(tmp_path):
    data = write_npz(tmp_path / "data.npz")
    began = time.monotonic()
    assert launch(*flags(data, tmp_path / "whole")).returncode == 0
    longest, whole = time.monotonic() - began, outcome(tmp_path / "whole")
    kills, runs = Counter(), 0
    while kills.total() < KILLS:
        workdir = tmp_path / f"run-{runs}"
        for _ in range(6):
            child = subprocess.Popen(
                arguments(*flags(data, workdir)), env=environment(),
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            kills.update(filter(None, [kill_at_a_moment([child], workdir, longest)]))
            child.wait()
        done = launch(*flags(data, workdir))
        assert done.returncode == 0, done.stderr
        assert_same(outcome(workdir), whole)
        runs += 1
    print(f"\n{kills.total()} kills in {runs} runs, all of which ended alike: {dict(kills)}")


def test_one_of_two_processes_killed_at_random_moments(tmp_path):
    data = write_npz(tmp_path / "data.npz")
    began = time.monotonic()

    def end(processes, *statuses):
        # One that was killed before they met is waited for, five minutes.
        said = [process.communicate(timeout=400)[1] for process in processes]
        assert {process.returncode for process in processes} <= set(statuses), said

    end(start_several(2, *flags(data, tmp_path / "whole")), 0)
    longest, whole = time.monotonic() - began, outcome(tmp_path / "whole")
    kills, runs = Counter(), 0
    while kills.total() < KILLS // 10:
        workdir = tmp_path / f"run-{runs}"
        for _ in range(3):
            processes = start_several(2, *flags(data, workdir))
            name = kill_at_a_moment(processes, workdir, longest)
            kills.update(filter(None, [name]))
            # JAX itself ends those that are left without the first process.
            end(processes, 0, 4, -signal.SIGKILL, -signal.SIGABRT)
        end(start_several(2, *flags(data, workdir)), 0)
        assert_same(outcome(workdir), whole)
        runs += 1
    print(f"\n{kills.total()} kills in {runs} runs, all of which ended alike: {dict(kills)}")


def held(process):
    """What a process holds: megabytes of memory, open files, threads."""
    folder = Path("/proc") / str(process.pid)
    status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    files = len(list((folder / "fd").iterdir()))
    return int(status["VmRSS"].split()[0]) / 1024, files, int(status["Threads"])


def test_a_week_in_an_hour(tmp_path):
    """Thousands of epochs: what is held stays what it was. A checkpoint only every 100, as each
    leaves 0.2 MB behind: TensorStore does not free the metrics that Orbax asks it for."""
    epochs, data, workdir = 2500, write_npz(tmp_path / "data.npz"), tmp_path / "run"
    run = subprocess.Popen(
        arguments(
            *flags(data, workdir), "--config.teacher.kind=none",
            f"--config.train.epochs={epochs}", "--config.checkpoint_every=100",
        ),
        env=environment(), stdout=subprocess.DEVNULL,
    )  # fmt: skip
    path, seen = workdir / "metrics.jsonl", {}
    while run.poll() is None:
        done = path.read_text().count("\n") if path.exists() else 0
        if done > max(seen, default=0) + 50:
            disk = sum(file.stat().st_size for file in (workdir / "student").rglob("[!.]*/*"))
            seen[done] = (*held(run), disk / 1e6)
        time.sleep(0.2)
    assert run.returncode == 0
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, epochs + 1))
    assert len([path for path in (workdir / "student").iterdir() if path.name.isdigit()]) == 2
    table = np.array([(epoch, *figures) for epoch, figures in sorted(seen.items())])
    early = table[(table[:, 0] > 300) & (table[:, 0] < 1000)]
    late = table[table[:, 0] > 2000]
    # Files and threads come and go with a checkpoint: their medians.
    growth = np.median(late, axis=0) - np.median(early, axis=0)
    print("\nepochs, MB, files, threads, MB on disk")
    for part in (early, late):
        print(*(f"{value:.1f}" for value in np.median(part, axis=0)))
    assert growth[1] < 30  # megabytes; allocators take and give
    assert growth[2] < 2
    assert growth[3] < 2
    assert growth[4] < 1
