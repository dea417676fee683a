"""One line an epoch, in order, in a file or, for a run without a workdir, in memory."""

import json

import numpy as np
import pytest

from rmdnet_jax.training.logging import RunLog


def told(log, stage):
    return [(line["epoch"], line["loss"]) for line in log.history(stage)]


def train(log, stage, done, epochs):
    with log.stage(stage) as stage_log:
        stage_log.start(done, epochs, steps=2, batch_size=4)
        for epoch in range(done + 1, epochs + 1):
            stage_log.step(1, loss=2.0)
            stage_log.epoch(epoch, {"loss": 1 / epoch})


@pytest.mark.parametrize("in_memory", [False, True])
def test_the_epochs_of_each_stage_in_order_with_those_to_be_run_again_dropped(tmp_path, in_memory):
    log = RunLog(None if in_memory else tmp_path, tensorboard=False)
    train(log, "teacher", 0, 2)
    train(log, "student", 0, 3)
    train(log, "student", 1, 2)  # resumed: epochs 2 and 3 are none any more
    assert told(log, "teacher") == [(1, 1.0), (2, 0.5)]
    assert told(log, "student") == [(1, 1.0), (2, 0.5)]
    assert log.history("nothing") == []
    assert [path.name for path in tmp_path.iterdir()] == ([] if in_memory else ["metrics.jsonl"])


def test_a_run_without_a_workdir_starts_no_tensorboard():
    with RunLog(None, tensorboard=True) as log:
        train(log, "student", 0, 1)
        assert log._writers is None
    assert told(log, "student") == [(1, 1.0)]


def test_tensorboard_files_are_written_where_it_is_there(tmp_path):
    with RunLog(tmp_path, tensorboard=True) as log:
        train(log, "student", 0, 1)
    assert list((tmp_path / "tensorboard/student").glob("events*"))


def test_a_metric_that_is_no_number_is_null_in_the_file_and_nan_again(tmp_path):
    log = RunLog(tmp_path, tensorboard=False)
    with log.stage("student") as stage:
        stage.start(0, 1, 1, 1)
        stage.epoch(1, {"loss": 1.0, "own": float("nan"), "most": float("inf")})
    (text,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    line = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert (line["loss"], line["own"], line["most"]) == (1.0, None, None)
    (read,) = log.history("student")
    assert np.isnan(read["own"])


def test_history_is_not_the_logs_own(tmp_path):
    log = RunLog(None)
    train(log, "student", 0, 1)
    log.history("student").clear()
    assert told(log, "student") == [(1, 1.0)]


def test_a_process_that_does_not_write_says_nothing(tmp_path, capsys):
    log = RunLog(tmp_path, writes=False)
    train(log, "student", 0, 2)
    assert log.stage("student").name == "student"
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out == ""


def test_a_line_is_what_the_epoch_measured_and_when(tmp_path):
    train(RunLog(tmp_path, tensorboard=False), "student", 0, 1)
    (line,) = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert set(line) == {"stage", "epoch", "loss", "time"}
    assert (line["stage"], line["epoch"], line["loss"]) == ("student", 1, 1.0)
