"""A run that was killed or stopped and goes on ends as one that was left alone: bit for bit."""

import json
import signal
import subprocess
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from command import TINY, arguments, environment, run_here, write_npz

# A teacher, two networks whose rate is estimated between two epochs, and a memory of every sample
# with the relation term: every kind of state there is.
METHODS = (
    "--config.method.name=elr",
    "--config.method.baseline=coteaching",
    "--config.coteaching.ramp=2",
)
STAGES = ("teacher", "baseline", "student")


def flags(data, workdir):
    return (*TINY, *METHODS, "--config.dataset.name=npz", f"--config.dataset.path={data}",
            "--config.rm.epochs=2", "--config.train.epochs=4", "--config.report.audit=False",
            "--config.report.gallery=0", f"--workdir={workdir}")  # fmt: skip


def states(workdir):
    """The last checkpoint of every stage, all of it, read as plain arrays."""
    found = {}
    for stage in STAGES:
        numbers = [path for path in (workdir / stage).iterdir() if path.name.isdigit()]
        last = max(numbers, key=lambda path: int(path.name))
        items = [path.name for path in last.iterdir() if path.is_dir() and path.name != "meta"]
        found[stage] = {
            item: ocp.StandardCheckpointer().restore(last / item) for item in sorted(items)
        }
    return found


def lines(workdir):
    path = workdir / "metrics.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def stop_when(workdir, data, stage, epoch, number):
    """Starts a run, sends it a signal as soon as it has told of this epoch, and returns its exit
    status and what it said on stderr."""
    child = subprocess.Popen(
        arguments(*flags(data, workdir)),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wanted = f'"stage": "{stage}", "epoch": {epoch}'
    while child.poll() is None and not any(wanted in line for line in lines(workdir)):
        time.sleep(0.005)
    child.send_signal(number)
    _, said = child.communicate()
    return child.returncode, said


@pytest.mark.filterwarnings("ignore:.*[Ss]harding")
def test_killed_and_stopped_it_ends_as_if_nothing_had_happened(tmp_path):
    data = write_npz(tmp_path / "data.npz")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert run_here(*flags(data, whole)).returncode == 0
    # Every kind of stage is ended, and in every way; test_campaign.py does it at random, often.
    ends = (
        ("teacher", 1, signal.SIGINT), ("baseline", 3, signal.SIGTERM),
        ("student", 2, signal.SIGKILL),
    )  # fmt: skip
    for stage, epoch, number in ends:
        status, said = stop_when(broken, data, stage, epoch, number)
        assert "Traceback" not in said
        if number == signal.SIGKILL:
            assert status == -number, said
        else:
            assert status == 128 + number, said
            assert f"error: stopped by {number.name} in stage {stage}" in said
    done = run_here(*flags(data, broken))
    assert done.returncode == 0, done.stderr
    ended = states(whole)
    assert {"selection", "memory"} <= ended["baseline"].keys()
    assert ended["baseline"]["selection"]["rate"] > 0  # it was estimated
    assert {"target", "memory"} <= ended["student"].keys()
    jax.tree.map(np.testing.assert_array_equal, ended, states(broken))
    volatile = {"seconds", "images_per_second", "time"}
    told = [
        [{k: v for k, v in json.loads(line).items() if k not in volatile} for line in lines(run)]
        for run in (whole, broken)
    ]
    assert told[0] == told[1]
    assert (whole / "label_issues.csv").read_text() == (broken / "label_issues.csv").read_text()
