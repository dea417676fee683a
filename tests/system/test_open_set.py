"""Whole runs under open-set noise: what they tell, and what a second start does."""

import csv
import re

import numpy as np
import pytest
from command import TINY, results, run_here
from PIL import Image
from sklearn import manifold  # noqa: F401  its threads are there to be limited
from threadpoolctl import threadpool_limits

from rmdnet_jax.model import Model

FLAGS = (
    *TINY, "--config.dataset.name=digits", "--config.dataset.open_classes=(8,9)",
    "--config.dataset.train_size=96", "--config.dataset.test_size=32",
    "--config.report.tsne_classes=(0,1)", "--config.train.epochs=1", "--config.method.baseline=",
)  # fmt: skip
# Figures that say nothing of open pictures.
PLAIN = "--config.report.gallery=0", "--config.report.tsne_points=0"


@pytest.fixture(autouse=True)
def one_thread():
    """t-SNE of few points spends its time on waiting for its threads."""
    with threadpool_limits(1, "openmp"):
        yield


def test_a_run_under_universal_noise_and_its_second_start(tmp_path):
    flags = (
        *FLAGS, "--config.teacher.kind=none", "--config.noise.kind=universal",
        "--config.noise.rate=0.5", "--config.noise.rho2=0.5", "--config.noise.exact=True",
        "--config.report.tsne_points=20", f"--workdir={tmp_path / 'w'}",
    )  # fmt: skip
    done = run_here(*flags)
    assert done.returncode == 0, done.stderr
    found = results(tmp_path / "w")
    assert (found["train_images"], found["classes"]) == (128, 8)
    assert found["noise_rate_open"] == 0.25
    assert abs(found["noise_rate_realised"] - 0.5) < 0.03
    assert found["noise_rate_nominal"] == 0.5
    assert np.array(found["noise_transition_realised"]).shape == (8, 8)
    for text in ("changed  without the classes 8, 9", "changed  32 open images",
                 "25.0% of the images show none of the classes"):  # fmt: skip
        assert text in done.stdout
    assert "25.0% open" in done.stdout
    with open(tmp_path / "w/label_issues.csv") as file:
        rows = list(csv.DictReader(file))
    first = int(re.search(r"with indices from (\d+)", done.stdout)[1])
    index = sorted(int(row["index"]) for row in rows)
    assert len(set(index)) == 128
    assert index[-32:] == list(range(first, first + 32))
    assert Model.load(tmp_path / "w").classes == tuple("01234567")
    lines = (tmp_path / "w/metrics.jsonl").read_text()
    again = run_here(*flags, *PLAIN)
    assert again.returncode == 0, again.stderr
    assert results(tmp_path / "w") == found
    assert (tmp_path / "w/metrics.jsonl").read_text() == lines


def test_a_teacher_is_judged_without_the_open_pictures_and_shared_by_a_sweep(tmp_path):
    web = tmp_path / "web"
    web.mkdir()
    for i, image in enumerate(np.random.default_rng(0).integers(0, 256, (33, 9, 9, 3), "uint8")):
        Image.fromarray(image).save(web / f"{i:02}.png")
    (web / "07.png").write_bytes((web / "07.png").read_bytes()[:90])  # 32 of 33 are whole
    flags = [flag for flag in FLAGS if "open_classes" not in flag]
    done = run_here(
        *flags, *PLAIN, "--config.report.audit=False", "--config.rm.epochs=1",
        f"--config.noise.open_path={web}", "--config.noise.open_share=0.25",
        "--config.dataset.max_broken=0.05", "--sweep=rgrl.k=1",
        f"--workdir={tmp_path / 's'}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = results(tmp_path / "s/chosen")
    assert (found["train_images"], found["noise_rate_open"]) == (128, 0.25)
    assert 0 <= found["teacher_knn_accuracy"] <= 1
    assert len(list((tmp_path / "s/teachers").iterdir())) == 1
    told = (tmp_path / "s/chosen/skipped_files.csv").read_text().splitlines()
    assert found["skipped_files"] == len(told) - 1 == 1
    assert told[1].startswith(str(web / "07.png"))
