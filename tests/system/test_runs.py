"""Whole runs through the command line: what they write, and what a second start does."""

import csv
import json

import numpy as np
import pytest
from command import ROOT, TINY, launch, results, run_here, write_npz
from PIL import Image

from rmdnet_jax.model import Model
from rmdnet_jax.teachers.random import RandomSource
from rmdnet_jax.teachers.simsiam import SimSiamSource

CONFIGS = list((ROOT / "configs").glob("[a-z]*.py"))

EVERYTHING = {
    ".lock",
    "config.json",
    "metrics.jsonl",
    "results.json",
    "label_issues.csv",
    "report.html",
    "figures",
    "teacher",
    "student",
    "model",
    "model_card.md",
    "pred_probs.npz",
    "data_issues.csv",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_npz(tmp_path_factory.mktemp("data") / "colours.npz")


def flags(data, workdir, *more):
    return (*TINY, "--config.dataset.name=npz", f"--config.dataset.path={data}",
            f"--workdir={workdir}", *more)  # fmt: skip


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run") / "workdir"
    done = run_here(*flags(data, workdir, "--config.method.baseline=robust"))
    assert done.returncode == 0, done.stderr
    return workdir, done


def test_a_run_writes_the_whole_workdir(finished):
    workdir, _ = finished
    assert {path.name for path in workdir.iterdir()} == EVERYTHING | {"baseline"}
    assert {path.suffix for path in (workdir / "figures").iterdir()} == {".png"}


def test_results_hold_the_promised_numbers(finished):
    found = results(finished[0])
    for name in ("test_accuracy", "best_test_accuracy", "teacher_knn_accuracy",
                 "baseline_test_accuracy", "noise_rate_realised", "label_issue_auroc"):  # fmt: skip
        assert 0 <= found[name] <= 1
    assert found["best_test_accuracy"] >= found["test_accuracy"]
    assert found["noise_rate_nominal"] == 0.4
    assert found["train_seconds"] > 0
    assert found["images_per_second"] > 0
    assert "jax" in found["versions"]
    assert (found["title"], found["baseline_title"]) == ("CE + RMDNet", "CE alone")
    assert "<title>CE + RMDNet on colours</title>" in (finished[0] / "report.html").read_text()


def test_metrics_hold_one_line_a_stage_and_epoch(finished):
    lines = [json.loads(x) for x in (finished[0] / "metrics.jsonl").read_text().splitlines()]
    stages = [(line["stage"], line["epoch"]) for line in lines]
    assert stages == [(s, e) for s in ("teacher", "baseline", "student") for e in (1, 2)]
    assert {"node_loss", "edge_loss"} <= lines[-1].keys()


def test_label_issues_list_all_training_samples_most_suspicious_first(finished):
    with open(finished[0] / "label_issues.csv") as file:
        rows = list(csv.DictReader(file))
    assert sorted(int(row["index"]) for row in rows) == list(range(64))
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)


def test_the_terminal_says_what_was_run_and_how_it_ended(finished):
    told = finished[1].stdout
    for text in ("64 training", "symmetric, 40.0% nominal", "kNN  ", "test accuracy",
                 "report.html"):  # fmt: skip
        assert text in told


def test_its_classifier_serves_from_the_shell_and_from_python(finished, data, tmp_path):
    workdir, _ = finished
    with np.load(data) as arrays:
        for i, pixels in enumerate(arrays["x_test"][:3]):
            Image.fromarray(pixels).save(tmp_path / f"{i}.png")
        images = arrays["x_test"][:3]
    done = launch(f"--predict={tmp_path}", f"--workdir={workdir}", config=None)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"3 pictures: {workdir / 'predictions.csv'}\n"
    with open(workdir / "predictions.csv") as file:
        rows = list(csv.DictReader(file))
    model = Model.load(workdir)
    assert [row["predicted_class"] for row in rows] == model.predict(images).tolist()
    with open(workdir / "label_issues.csv") as file:
        first = next(csv.DictReader(file))
    assert model.label_issues()[0].index == int(first["index"])


def embeds_nothing(monkeypatch, kind):
    def predictions(self, state, data):
        raise AssertionError("embeddings were computed")

    monkeypatch.setattr(kind, "predictions", predictions)


def test_a_second_start_trains_and_embeds_nothing_and_changes_no_number(
    finished, data, monkeypatch
):
    workdir, _ = finished
    before = results(workdir)
    lines = (workdir / "metrics.jsonl").read_text()
    embeds_nothing(monkeypatch, SimSiamSource)
    done = run_here(*flags(data, workdir, "--config.method.baseline=robust"))
    assert done.returncode == 0, done.stderr
    assert results(workdir) == before
    assert (workdir / "metrics.jsonl").read_text() == lines


def test_another_experiment_may_not_have_the_workdir(finished, data):
    workdir, _ = finished
    before = results(workdir)
    more = ["--config.method.baseline=robust", "--config.rgrl.k=2"]
    refused = run_here(*flags(data, workdir, *more))
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "rgrl.k" in refused.stderr
    assert results(workdir) == before


def test_a_teacher_serves_another_run_by_path_which_embeds_nothing(
    finished, data, tmp_path, monkeypatch
):
    workdir, _ = finished
    embeds_nothing(monkeypatch, SimSiamSource)
    done = run_here(*flags(data, tmp_path / "gce", f"--config.teacher.path={workdir}",
                           "--config.loss.name=gce"))  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "gce/teacher").exists()
    found = results(tmp_path / "gce")
    assert found["teacher_knn_accuracy"] == results(workdir)["teacher_knn_accuracy"]


@pytest.mark.parametrize("change", ["width", "images"])
def test_a_teacher_of_another_kind_is_refused(finished, data, tmp_path, change):
    other = data
    more = ["--config.model.width=3"] if change == "width" else []
    if change == "images":
        other = write_npz(tmp_path / "other.npz", size=80)
    path = f"--config.teacher.path={finished[0]}"
    refused = run_here(*flags(other, tmp_path / "w", path, *more))
    assert refused.returncode == 2
    assert f"different {change}" in refused.stderr
    assert not (tmp_path / "w").exists()


def test_a_teacher_alone_says_how_good_it_is(finished, data, tmp_path):
    done = run_here(*flags(data, tmp_path / "w", "--config.train.epochs=0",
                           f"--config.teacher.path={finished[0]}"))  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = results(tmp_path / "w")
    assert found["test_accuracy"] is None
    assert found["teacher_knn_accuracy"] == results(finished[0])["teacher_knn_accuracy"]
    assert "<title>Teacher on colours</title>" in (tmp_path / "w/report.html").read_text()


def test_a_random_teacher_is_kept_for_a_second_start(data, tmp_path, monkeypatch):
    more = "--config.teacher.kind=random", "--config.train.epochs=0"
    given = flags(data, tmp_path / "w", *more)
    done = run_here(*given)
    assert done.returncode == 0, done.stderr
    kept = {path.name.partition("-")[0] for path in (tmp_path / "w/teacher").iterdir()}
    assert kept == {"embeddings", "verdict"}  # and no checkpoints: nothing was trained
    found = results(tmp_path / "w")
    assert found["teacher_knn_accuracy"] == found["random_encoder_knn_accuracy"]
    embeds_nothing(monkeypatch, RandomSource)
    assert run_here(*given).returncode == 0
    assert results(tmp_path / "w") == found


OWN = """
import optax
from rmdnet_jax.methods.robust import Robust

def loss(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)

class Method(Robust):
    title = "Mine"
"""


def test_human_labels_and_a_loss_and_a_method_of_ones_own_without_a_teacher(tmp_path):
    (tmp_path / "own_of_runs.py").write_text(OWN)
    human = np.arange(64) % 4
    human[:8] = (human[:8] + 1) % 4
    data = write_npz(tmp_path / "human.npz", human=human)
    done = run_here(
        *flags(data, tmp_path / "w", "--config.noise.kind=human", "--config.noise.field=human",
               "--config.loss.name=own_of_runs:loss", "--config.method.name=own_of_runs:Method",
               "--config.teacher.kind=none"), cwd=tmp_path
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = results(tmp_path / "w")
    assert (found["noise_rate_realised"], found["title"]) == (0.125, "Mine")
    assert found["teacher_knn_accuracy"] is None
    assert not (tmp_path / "w/teacher").exists()


def test_a_table_of_embeddings_guides_a_student(data, tmp_path):
    rng, labels = np.random.default_rng(0), np.arange(64) % 4
    table = {
        split: np.eye(4, dtype=np.float32)[of] + rng.normal(0, 0.1, (len(of), 4))
        for split, of in (("train", labels), ("test", labels[:32]))
    }
    np.savez(tmp_path / "table.npz", **table)
    done = run_here(*flags(data, tmp_path / "w", "--config.teacher.kind=encoder",
                           f"--config.encoder.path={tmp_path / 'table.npz'}",
                           "--config.method.name=elr"))  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = results(tmp_path / "w")
    assert found["teacher_knn_accuracy"] > 0.9
    assert found["random_encoder_knn_accuracy"] is None
    assert found["title"] == "ELR + RMDNet"
    last = json.loads((tmp_path / "w/metrics.jsonl").read_text().splitlines()[-1])
    assert {"node_loss", "edge_loss", "early_learning"} <= last.keys()


def test_a_loss_that_is_not_finite_ends_with_status_3(data, tmp_path):
    done = run_here(*flags(data, tmp_path / "w", "--config.train.lr=1e30",
                           "--config.teacher.kind=none"))  # fmt: skip
    assert done.returncode == 3
    assert "the loss is not finite in stage student, epoch 1, step" in done.stderr.splitlines()[-1]


def test_training_neither_imports_tensorflow_nor_needs_it(data, tmp_path):
    (tmp_path / "tensorflow.py").write_text(
        f"import os, sys\nby = open({str(tmp_path / 'by')!r}, 'a')\n"
        "print(sys.orig_argv, 'sees GPU', os.environ.get('CUDA_VISIBLE_DEVICES'), file=by)\n"
        "raise ImportError('broken')\n"
    )
    done = launch(*flags(data, tmp_path / "w", "--config.teacher.kind=none",
                         "--config.train.epochs=1", "--config.report.gallery=0",
                         "--config.tensorboard=True"), PYTHONPATH=str(tmp_path))  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "w/tensorboard").exists()
    imported_by = (tmp_path / "by").read_text().splitlines()
    assert imported_by
    assert all("rmdnet_jax.training.tensorboard" in line for line in imported_by)
    assert all(line.endswith("sees GPU -1") for line in imported_by)


# By other tests of this folder. That every config can be started, and its methods take a step,
# tests/config/test_configs.py sees to at every run of the tests.
STARTED_ELSEWHERE = (
    "own_data", "paper_tables", "clothing1m", "webvision", "modul_digits", "modul_cifar10",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(p.name for p in CONFIGS if p.stem not in STARTED_ELSEWHERE))
def test_every_config_runs_at_a_tiny_size(name, tmp_path):
    human = np.arange(200) % 100
    # As many classes as the data set that the config names: its noise is made for those.
    classes = 100 if "100" in name else 10
    fields = {"worse_label": human % classes} if name == "cifar10n.py" else {}
    data = write_npz(tmp_path / "data.npz", size=200, classes=classes, **fields)
    more = [f"--config.dataset.path={data}"]
    if name in ("demo.py", "digits.py"):
        more = ["--config.dataset.train_size=300", "--config.dataset.test_size=64"]
    if name == "cifar10_small.py":
        more += ["--config.dataset.train_size=0", "--config.dataset.test_size=0"]
    steps = ["--config.rm.epochs=1"]
    if not name.startswith("simsiam"):
        # Stage RM is shown by simsiam_*; here its compilation would double the time.
        steps += ["--config.train.epochs=1", "--config.teacher.kind=random"]
    tiny = [flag for flag in TINY if "epochs" not in flag]
    done = run_here(*tiny, *more, *steps, f"--workdir={tmp_path / 'w'}", config=f"configs/{name}")
    assert done.returncode == 0, done.stderr


def test_pictures_that_do_not_fit_train_from_disk_as_from_memory(tmp_path):
    with np.load(write_npz(tmp_path / "small.npz")) as arrays:
        for split in ("train", "test"):
            pictures = zip(arrays[f"x_{split}"], arrays[f"y_{split}"], strict=True)
            for i, (pixels, label) in enumerate(pictures):
                folder = tmp_path / "pictures" / split / f"class{label}"
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(folder / f"{i:03}.png")
    common = [
        *TINY,
        "--config.dataset.name=folder",
        f"--config.dataset.path={tmp_path / 'pictures'}",
        "--config.checkpoint_every=0.5",
        "--config.method.name=elr",
        "--config.method.baseline=",  # test_hosts.py has two networks and a teacher
        "--config.teacher.kind=none",
    ]
    memory = run_here(*common, f"--workdir={tmp_path}/memory")
    assert memory.returncode == 0, memory.stderr
    assert "in memory" in memory.stdout
    disk = run_here(
        *common, "--config.dataset.memory_budget=0.00001", "--config.dataset.workers=1",
        f"--workdir={tmp_path}/disk",
    )  # fmt: skip
    assert disk.returncode == 0, disk.stderr
    assert "streamed from disk" in disk.stdout
    for name in ("memory", "disk"):
        with open(tmp_path / name / "label_issues.csv") as file:
            assert len(file.readlines()) == 65
    ours, theirs = (
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("memory", "disk")
    )
    assert [line["loss"] for line in ours] == [line["loss"] for line in theirs]
