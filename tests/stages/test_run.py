"""Which checkpoints belong to a run: those of its images, its labels, and what it is tested on."""

import dataclasses
import sys

import numpy as np
import pytest

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.config import default
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.runs.preparation import prepare
from rmdnet_jax.stages import run as stage_run

IMAGES = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 3), np.uint8)
LABELS = np.arange(32, dtype=np.int32) % 2
FILES = tuple(f"train/{i}.png" for i in range(32))
DATA = Dataset(
    "pets", IMAGES, LABELS, IMAGES[:8], LABELS[:8], {}, ("cat", "dog"), train_files=FILES,
    test_files=tuple(f"test/{i}.png" for i in range(8)),
)  # fmt: skip


def of(workdir, *rows, data=DATA, loss="ce"):
    """A run in a workdir, with the corrections that are in its file now; without rows none."""
    config = default()
    config.noise.kind = config.teacher.kind = "none"
    config.model.width, config.model.blocks = 2, (1,)
    config.train.batch_size = 8
    config.loss.name = loss
    config.report.tsne_classes = (0, 1)
    if rows:
        file = workdir.parent / "corrections.csv"
        file.write_text("\n".join(["path,verdict,class", *rows, ""]))
        config.dataset.corrections = str(file)
    return prepare(config, workdir, data)


def saved_by(this):
    with stage_run.checkpoints(this, "student") as saved:
        saved.save(1, {"step": np.zeros(1, np.float32)}, {})
    with stage_run.checkpoints(this, "student") as saved:
        saved.check()
        return saved.meta()


def check(this):
    with stage_run.checkpoints(this, "student") as saved:
        saved.check()


@pytest.mark.parametrize(
    "row",
    ["test/1.png,class,cat", "test/1.png,remove,", "test/2.png,class,dog", "train/0.png,keep,"],
)
def test_a_run_that_was_tested_on_corrected_pictures_is_tested_on_these_alone(tmp_path, row):
    workdir = tmp_path / "w"
    saved_by(of(workdir, "test/0.png,class,dog"))
    check(of(workdir, "test/0.png,suggestion,dog", "train/3.png,unsure,"))  # comes to the same
    with pytest.raises(InputError, match=r"made with different test labels .*; use another"):
        check(of(workdir, row))


def test_a_removed_test_picture_is_told_from_another_with_its_label(tmp_path):
    workdir = tmp_path / "w"
    saved_by(of(workdir, "test/0.png,remove,"))
    with pytest.raises(InputError, match="made with different test labels"):
        check(of(workdir, "test/2.png,remove,"))


def test_a_loss_of_ones_own_that_was_changed_needs_another_folder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    code = "def loss(logits, labels): return -logits[labels * 0, labels] + {}"
    (tmp_path / "my_code.py").write_text(code.format(0))
    workdir = tmp_path / "w"
    assert "code of my_code" in saved_by(of(workdir, loss="my_code:loss"))
    check(of(workdir, loss="my_code:loss"))
    (tmp_path / "my_code.py").write_text(code.format(1))
    check(of(workdir, loss="my_code:loss"))  # what runs here is what was imported
    monkeypatch.delitem(sys.modules, "my_code")
    with pytest.raises(InputError, match=r"made with different code of my_code \(.*; use another"):
        check(of(workdir, loss="my_code:loss"))
    assert not any("code" in name for name in saved_by(of(tmp_path / "ours")))


def test_without_corrections_nothing_is_asked_that_older_checkpoints_do_not_say(tmp_path):
    assert saved_by(of(tmp_path / "w")).keys() == {"images", "labels", "format"}
    check(of(tmp_path / "w"))
    other = dataclasses.replace(DATA, train_labels=1 - LABELS)
    with pytest.raises(InputError, match="made with different labels"):
        check(of(tmp_path / "w", data=other))
