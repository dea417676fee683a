"""Whole runs with a trained classifier as the teacher: one run teaches the next."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest
from command import TINY, results, run_here

from rmdnet_jax.data import sources
from rmdnet_jax.model import Model

DIGITS = "configs/digits.py:robust"
FEW = (
    "--config.dataset.train_size=320", "--config.dataset.test_size=80",
    "--config.report.audit=False", "--config.report.gallery=0",
)  # fmt: skip


def run(workdir, *flags):
    return run_here(*TINY, *FEW, f"--workdir={workdir}", *flags, config=DIGITS)


def files(workdir):
    """Of a run, but what says when it was written."""
    return {
        path.relative_to(workdir): path.read_bytes()
        for path in sorted(workdir.rglob("*"))
        if path.is_file() and path.suffix in (".csv", ".jsonl")
    }


def supervised(path, *more):
    return ("--config.teacher.kind=supervised", f"--config.teacher.path={path}", *more)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """An ordinary run, as wide as two students, on labels as they are."""
    workdir = tmp_path_factory.mktemp("teacher") / "w"
    done = run(workdir, "--config.noise.kind=none", "--config.model.width=4",
               "--config.train.lr=0.1", "--config.train.epochs=1")  # fmt: skip
    assert done.returncode == 0, done.stderr
    return workdir


@pytest.fixture(scope="module")
def student(teacher, tmp_path_factory):
    """A student of the relation term beside a baseline that learns from the classifier."""
    workdir = tmp_path_factory.mktemp("student") / "w"
    more = "--config.rgrl.k=1", "--config.method.baseline=kd", "--config.train.epochs=1"
    flags = supervised(teacher, *more)
    done = run(workdir, *flags)
    assert done.returncode == 0, done.stderr
    return workdir, flags, done


def test_the_teacher_is_as_good_as_its_own_run_says(teacher, student):
    workdir, _, done = student
    found, own = results(workdir), results(teacher)
    assert found["teacher_kind"] == "supervised"
    assert found["teacher_test_accuracy"] == own["test_accuracy"]
    assert found["teacher_knn_accuracy"] > 0
    sizes = {
        name: sum(leaf.size for leaf in jax.tree.leaves(Model.load(folder).weights[0].params))
        for name, folder in (("teacher", teacher), ("student", workdir))
    }
    assert found["teacher_parameters"] == sizes["teacher"]
    assert found["student_parameters"] == found["baseline_parameters"] == sizes["student"]
    assert (found["baseline_title"], found["title"]) == ("KD", "CE + RGRL, supervised teacher")
    assert f"teacher  {teacher}: Model(ResNet of width 4, 16x16 pixels, 10 classes" in done.stdout
    assert f"parameters: teacher {sizes['teacher']:,}, student {sizes['student']:,}" in done.stdout
    assert "trained with labels" in (workdir / "report.html").read_text()
    metrics = (workdir / "metrics.jsonl").read_text()
    assert "distilled_loss" in metrics
    assert "edge_loss" in metrics
    with np.load(next((workdir / "teacher").glob("embeddings-*.npz"))) as kept:
        assert set(kept) == {"train", "test", "train_logits", "test_logits"}


def test_started_again_nothing_is_trained_and_nothing_changes(student):
    workdir, flags, _ = student
    before, found = files(workdir), results(workdir)
    again = run(workdir, *flags)
    assert again.returncode == 0, again.stderr
    assert "epoch 1/1" not in again.stdout
    assert files(workdir) == before
    assert results(workdir)["test_accuracy"] == found["test_accuracy"]


def test_another_teacher_is_refused_in_the_same_workdir(teacher, student, tmp_path):
    """Of the baseline, too, which has no relation term; the path is the same, the weights not."""
    workdir, flags, _ = student
    shutil.copytree(workdir, tmp_path / "w")
    model, aside = Model.load(teacher), tmp_path / "aside"
    (teacher / "model").rename(aside)
    weights = jax.tree.map(lambda leaf: leaf + np.float32(0.01), model.weights)
    try:
        dataclasses.replace(model, weights=weights, issues=None).save(teacher)
        refused = run(tmp_path / "w", *flags)
    finally:
        shutil.rmtree(teacher / "model")
        aside.rename(teacher / "model")
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].startswith("error: the checkpoints in")
    assert "baseline were made with different teacher" in refused.stderr


def test_logits_alone_teach_without_embeddings(teacher, tmp_path):
    """Nothing is said of neighbours then."""
    data = sources.load("digits", "", 320, 80)
    model = Model.load(teacher)
    path = tmp_path / "t.npz"
    np.savez(path, train=model.predict_proba(data.train_images))
    done = run(tmp_path / "w", *supervised(path), "--config.method.name=kd", "--config.rgrl.k=0",
               "--config.method.baseline=", "--config.train.epochs=1")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "probabilities of 320 training and 0 test images" in done.stdout
    assert "kNN" not in done.stdout
    found = results(tmp_path / "w")
    assert found["teacher_test_accuracy"] is found["teacher_knn_accuracy"] is None
    header = (tmp_path / "w" / "label_issues.csv").read_text().splitlines()[0]
    assert "neighbour_score" not in header
