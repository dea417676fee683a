"""Several processes are one program: the same numbers, one writer, and no waiting for the dead."""

import csv
import json
import signal
import socket
import subprocess
import time

import numpy as np
import pytest
from command import ROOT, TINY, arguments, environment, launch, write_npz
from PIL import Image


@pytest.fixture(scope="module")
def npz(tmp_path_factory):
    return write_npz(tmp_path_factory.mktemp("data") / "small.npz")


def flags(npz, *more):
    return [*TINY, "--config.dataset.name=npz", f"--config.dataset.path={npz}", *more]


# launch.py, which takes a silent process for dead after 10 seconds instead of 30.
IMPATIENT = """
import runpy, sys
from rmdnet_jax.machine import hosts
assert hosts._HEARTBEAT_SECONDS > 10
hosts._HEARTBEAT_SECONDS = 10
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def start(count, *flags, each=lambda process: (), program=None):
    """The processes of a run, as a user starts one on each host, with the flags of `each` too; and
    with this program around launch.py."""
    python, *command = arguments(*flags)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    where = {"JAX_COORDINATOR_ADDRESS": f"localhost:{port}", "JAX_NUM_PROCESSES": str(count)}
    return [
        subprocess.Popen(
            [python, *(["-c", program] if program else []), *command, *each(i)],
            cwd=ROOT, env=environment(**where, JAX_PROCESS_ID=str(i)),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for i in range(count)
    ]  # fmt: skip


def finish(processes, timeout=300):
    said = [process.communicate(timeout=timeout) for process in processes]
    return [process.returncode for process in processes], said


def metrics(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    clock = {"time", "seconds", "images_per_second"}
    return [{name: x for name, x in line.items() if name not in clock} for line in lines]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """48 pictures of two classes, streamed from disk: the flags."""
    folder = tmp_path_factory.mktemp("pictures")
    pixels = np.random.default_rng(0).integers(0, 256, (48, 16, 16, 3), np.uint8)
    for row, image in enumerate(pixels):
        path = folder / f"photos/class {row % 2}/{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return [
        *TINY, "--config.dataset.name=own", f"--config.dataset.path={folder}/photos",
        f"--config.dataset.cache={folder}/cache", "--config.dataset.memory_budget=1e-6",
        "--config.dataset.workers=0",
    ]  # fmt: skip


# Two networks, that remember what they say and decide by it between epochs; with what
# tests/machine/test_sharding.py sees on eight devices of one process, a teacher and its relation
# term, it is slow. From memory a step is the same program: test_when_one_dies... trains so.
ALONE = ("--config.teacher.kind=none", "--config.method.name=coteaching",
         "--config.method.baseline=")  # fmt: skip
TAUGHT = ("--config.teacher.kind=random", "--config.method.name=elr",
          "--config.method.baseline=coteaching")  # fmt: skip


@pytest.mark.parametrize(
    ("count", "streams", "learners"),
    [
        (2, True, ALONE),
        *(
            pytest.param(count, streams, TAUGHT, marks=pytest.mark.slow)
            for count, streams in ((2, True), (2, False), (4, False))
        ),
    ],
)
def test_they_end_as_one_process_with_as_many_devices(
    npz, photos, tmp_path, count, streams, learners
):
    # Not SimSiam's stage: at this size its steps blow rounding up, a thousandfold in one step.
    kind = [
        *learners,
        "--config.coteaching.ramp=1",
        "--config.train.epochs=3",  # the last without the images of large loss
        *("--config.report.audit=False", "--config.report.gallery=0"),
    ]
    chosen = [*(photos if streams else flags(npz)), *kind]
    one = launch(*chosen, f"--workdir={tmp_path}/one", JAX_NUM_CPU_DEVICES=str(count))
    assert one.returncode == 0, one.stderr
    assert ("streamed from disk" in one.stdout) == streams
    statuses, said = finish(start(count, *chosen, f"--workdir={tmp_path}/many"))
    assert statuses == [0] * count, said
    for (out, _), expected in zip(said, [True] + [False] * count, strict=False):
        assert ("test accuracy" in out) == expected  # one speaks
    for ours, theirs in zip(metrics(tmp_path / "one"), metrics(tmp_path / "many"), strict=True):
        assert ours.pop("stage") == theirs.pop("stage")
        assert ours == pytest.approx(theirs, rel=1e-3)  # sums come in another order

    def suspicion(name):
        with open(tmp_path / name / "label_issues.csv") as file:
            return {row["index"]: float(row["score"]) for row in csv.DictReader(file)}

    assert suspicion("one") == pytest.approx(suspicion("many"), abs=1e-3)


def test_a_workdir_that_one_cannot_have_stops_all(npz, tmp_path):
    (tmp_path / "file").write_text("")
    statuses, said = finish(start(2, *flags(npz), f"--workdir={tmp_path}"))
    assert statuses == [2, 2], said
    assert "holds files but no config.json" in said[0][1]
    assert "process 0 has stopped" in said[1][1]


# What every process compares, and what it says of a difference, tests/machine/test_hosts.py knows.
@pytest.mark.slow
def test_what_is_not_one_run_stops_before_anything_is_written(npz, tmp_path):
    seeds = {"each": lambda process: [f"--config.seed={process}"]}
    statuses, said = finish(start(2, *flags(npz), f"--workdir={tmp_path}/w", **seeds))
    assert statuses == [2, 2], said
    assert all("differ in config.seed" in error.splitlines()[-1] for _, error in said)
    assert not (tmp_path / "w").exists()


def wait_for(processes, happened):
    for _ in range(1200):
        if happened():
            return
        assert processes[0].poll() is None, processes[0].communicate()
        time.sleep(0.1)
    raise AssertionError("nothing happened in two minutes")


def test_when_one_dies_the_others_stop_and_the_run_can_go_on(npz, tmp_path):
    workdir = tmp_path / "run"
    alone = ["--config.teacher.kind=none", "--config.train.epochs=30000"]
    endless = [*flags(npz, *alone), f"--workdir={workdir}"]
    processes = start(2, *endless, program=IMPATIENT)
    try:
        wait_for(processes, lambda: (workdir / "student" / "8").is_dir())  # epoch 2 is saved
        processes[1].send_signal(signal.SIGKILL)
        _, error = processes[0].communicate(timeout=60)
        assert processes[0].returncode == 4, error
        assert "error: another process of this run has stopped" in error
        assert "Traceback" not in error
        before = len(metrics(workdir))
        processes[1].communicate()
        processes = start(2, *endless)
        wait_for(processes, lambda: len(metrics(workdir)) > before)
        processes[1].send_signal(signal.SIGTERM)  # both are told, and save the same step
        statuses, said = finish(processes, timeout=60)
        assert statuses == [143, 143]
        assert "student: resumed after epoch" in said[0][0]
        # Whoever ends first leaves the other's gRPC a word to say about it.
        errors = [[line for line in err.splitlines() if "error: " in line] for _, err in said]
        assert errors[0] == errors[1]
        assert len(errors[0]) == 1
    finally:
        for process in processes:
            process.kill()
            process.communicate()
