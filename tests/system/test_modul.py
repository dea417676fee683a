"""MODUL from the command line: a classifier of eight digits teaches another, on digits of which
some show none of the eight."""

import csv
import json

import numpy as np
import pytest
from command import results, run_here

from rmdnet_jax.data.label_kinds import KINDS
from rmdnet_jax.model import Model

CONFIG = "configs/modul_digits.py"
SMALL = (
    "--config.report.tsne_points=0", "--config.tensorboard=False", "--config.model.width=2",
    "--config.model.blocks=(1,)", "--config.report.audit=False",
)  # fmt: skip


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("teacher") / "w"
    done = run_here(*SMALL, "--config.train.epochs=4", "--config.dataset.train_size=600",
                    f"--workdir={workdir}", config=f"{CONFIG}:teacher")  # fmt: skip
    assert done.returncode == 0, done.stderr
    return workdir


@pytest.fixture(scope="module")
def student(teacher, tmp_path_factory):
    """Two epochs, beside distillation alone."""
    workdir = tmp_path_factory.mktemp("student") / "w"
    flags = (
        *SMALL, "--config.train.epochs=2", "--config.dataset.skip=600", "--config.noise.rate=0.4",
        "--config.method.baseline=kd", f"--config.teacher.path={teacher}", f"--workdir={workdir}",
    )  # fmt: skip
    done = run_here(*flags, config=CONFIG)
    assert done.returncode == 0, done.stderr
    return workdir, flags


def test_the_run_tells_of_three_kinds_of_labels(student):
    workdir, _ = student
    found = results(workdir)
    assert (found["title"], found["baseline_title"]) == ("MODUL", "KD")
    # 0.4 of the labels are wrong, half of these for want of a class.
    size = found["train_images"]
    confusion = np.array(found["label_kinds"]["confusion"])
    np.testing.assert_allclose(confusion.sum(axis=1) / size, [0.6, 0.2, 0.2], atol=0.03)
    assert found["noise_rate_open"] == confusion[2].sum() / size
    assert found["noise_rate_estimated"] == pytest.approx(confusion[:, 1:].sum() / size)
    with open(workdir / "label_issues.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    counts = [sum(row["kind"] == kind for row in rows) for kind in KINDS]
    assert counts == confusion.sum(axis=0).tolist()
    for row in rows:
        assert (row["kind"] == "clean") == (row["is_issue"] == "0")
        assert row["kind"] != "closed" or row["suggested_label"] != row["given_label"]


def test_its_page_and_its_log_speak_of_it(student):
    workdir, _ = student
    page = (workdir / "report.html").read_text()
    assert "<title>MODUL on digits</title>" in page
    assert "shows none of the classes" in page
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    (first, _) = [line for line in lines if line["stage"] == "student"]
    assert {"label_loss", "distilled_loss", "category_loss", "instance_loss"} <= first.keys()


def test_the_model_is_the_smaller_network_alone(student):
    model = Model.load(student[0])
    assert set(model.weights[0].params) == {"backbone", "classifier"}
    assert model.label_issues().kind.tolist().count("open") > 0


def test_started_again_nothing_is_learned_again(student):
    workdir, flags = student
    before = (workdir / "results.json").read_bytes()
    done = run_here(*flags, config=CONFIG)
    assert done.returncode == 0, done.stderr
    assert "student: epoch" not in done.stdout
    assert (workdir / "results.json").read_bytes() == before


def test_without_its_teacher_it_does_not_start(tmp_path):
    done = run_here(*SMALL, f"--config.teacher.path={tmp_path}/none", f"--workdir={tmp_path}/w",
                    config=CONFIG)  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "w").exists()
