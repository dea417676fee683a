"""Whatever is wrong is said in one line, with exit status 2, and nothing is written."""

import numpy as np
import pytest
from command import TINY, launch, write_npz

LABELS = np.arange(64) % 4
IMAGES = np.zeros((64, 8, 8, 3), np.uint8)

# What is wrong -> (arrays of the data changed, flags added, what the line must say).
CASES = {
    "unknown loss": ({}, ["--config.rgrl.loss.name=gec"], "did you mean 'gce'"),
    "parameter of another loss": ({}, ["--config.rgrl.loss.q=0.5"], "'ce' has no parameter 'q'"),
    "unknown noise": ({}, ["--config.noise.kind=symetric"], "symmetric"),
    "rate above 1": ({}, ["--config.noise.rate=1.5"], "noise.rate is 1.5"),
    "rate below 0": ({}, ["--config.noise.rate=-0.1"], "noise.rate is -0.1"),
    "rate is NaN": ({}, ["--config.noise.rate=nan"], "noise.rate is nan"),
    "rate is no number": ({}, ["--config.noise.rate=much"], "noise.rate"),
    "mistyped field": ({}, ["--config.rgrl.epoch=3"], "epochs"),
    "stray argument": ({}, ["rgrl.k=3"], "unexpected argument"),
    "unknown flag": ({}, ["--wrkdir=x"], "wrkdir"),
    "float labels": ({"y_train": LABELS / 3}, [], "y_train"),
    "NaN labels": ({"y_train": np.full(64, np.nan)}, [], "y_train"),
    "negative labels": ({"y_train": LABELS - 1}, [], "y_train"),
    "an empty class": ({"y_train": np.where(LABELS == 2, 1, LABELS)}, [], "class 2 (2) is empty"),
    "images of rank 2": ({"x_train": IMAGES.reshape(64, -1)}, [], "x_train"),
    "float images": ({"x_train": IMAGES.astype(np.float32)}, [], "float32"),
    "NaN images": ({"x_train": np.full((64, 8, 8, 3), np.nan)}, [], "float64"),
    "images without labels": ({"y_train": LABELS[:60]}, [], "y_train"),
    "no test images": ({"x_test": None}, [], "x_test"),
    "fewer images than a batch": ({}, ["--config.rgrl.batch_size=65"], "only 64 training images"),
    "human labels that are not there": (
        {},
        ["--config.noise.kind=human", "--config.noise.field=mturk"],
        "mturk",
    ),
    "asymmetric noise without pairs": ({}, ["--config.noise.kind=asymmetric"], "asymmetric"),
    "a matrix that is not there": (
        {},
        ["--config.noise.kind=matrix", "--config.noise.matrix=nowhere.npy"],
        "nowhere.npy",
    ),
    "a teacher that is not there": ({}, ["--config.teacher.path=nowhere"], "no teacher in nowhere"),
    "unknown teacher": ({}, ["--config.teacher.kind=moco"], "teacher.kind is 'moco'"),
}


@pytest.mark.parametrize("case", CASES)
def test_one_line_and_nothing_written(case, tmp_path):
    changes, flags, says = CASES[case]
    data = write_npz(tmp_path / "data.npz", **changes)
    refused = launch(*TINY, "--config.dataset.name=npz", f"--config.dataset.path={data}",
                     f"--workdir={tmp_path / 'w'}", *flags)  # fmt: skip
    assert refused.returncode == 2, refused.stderr
    assert refused.stderr.startswith("error: ")
    assert refused.stderr.count("\n") == 1, refused.stderr
    assert says in refused.stderr
    assert not (tmp_path / "w").exists()


def refusal(*flags, **options):
    refused = launch(*TINY, *flags, **options)
    assert refused.returncode == 2, refused.stderr
    assert refused.stderr.count("\n") == 1, refused.stderr
    return refused.stderr


def test_unknown_data_set_names_its_neighbour(tmp_path):
    said = refusal("--config.dataset.name=cifar11", f"--workdir={tmp_path / 'w'}")
    assert "cifar10" in said


def test_unwritable_workdir(tmp_path):
    (tmp_path / "file").write_text("")
    said = refusal("--config.dataset.name=digits", f"--workdir={tmp_path / 'file' / 'w'}")
    assert "cannot write the workdir" in said


def test_a_folder_of_somebody_elses_is_not_touched(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    said = refusal("--config.dataset.name=digits", f"--workdir={tmp_path}")
    assert "holds files but no config.json" in said
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("config", ["configs/rgrl_cifar01.py", "configs/rgrl_cifar10.py:gec"])
def test_config_that_is_not_there(config):
    assert "rgrl_cifar10" in refusal(config=config) or "gce" in refusal(config=config)


def test_help_lists_configs_and_fields():
    told = launch("--help")
    assert told.returncode == 0
    for text in ("configs/demo.py", "rgrl:", "Exit status"):
        assert text in told.stdout
