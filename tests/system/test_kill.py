"""A run that was killed or stopped and goes on ends as one that was left alone: bit for bit."""

import json
import signal
import subprocess
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from command import TINY, arguments, environment, launch, write_npz


def flags(data, workdir):
    return (*TINY, "--config.dataset.name=npz", f"--config.dataset.path={data}",
            "--config.rm.epochs=6", "--config.rgrl.epochs=6", f"--workdir={workdir}")  # fmt: skip


def parameters(workdir):
    """The last checkpoint's parameters of both stages, read as plain arrays."""
    return {
        stage: ocp.StandardCheckpointer().restore(
            max((workdir / stage).iterdir(), key=lambda path: int(path.name)) / "params"
        )
        for stage in ("teacher", "student")
    }


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
    assert launch(*flags(data, whole)).returncode == 0
    assert stop_when(broken, data, "teacher", 2, signal.SIGKILL)[0] == -signal.SIGKILL
    for stage, epoch, number in (("teacher", 4, signal.SIGINT), ("student", 3, signal.SIGTERM)):
        status, said = stop_when(broken, data, stage, epoch, number)
        assert status == 128 + number, said
        assert f"error: stopped by {number.name} in stage {stage}" in said
        assert "Traceback" not in said
    done = launch(*flags(data, broken))
    assert done.returncode == 0, done.stderr
    jax.tree.map(np.testing.assert_array_equal, parameters(whole), parameters(broken))
    volatile = {"seconds", "images_per_second", "time"}
    told = [
        [{k: v for k, v in json.loads(line).items() if k not in volatile} for line in lines(run)]
        for run in (whole, broken)
    ]
    assert told[0] == told[1]
    assert (whole / "label_issues.csv").read_text() == (broken / "label_issues.csv").read_text()
