"""Whatever is wrong is said in one line, with exit status 2, and nothing is written."""

import sys

import numpy as np
import pytest
from command import TINY, launch, write_npz

from rmdnet_jax import config as configuration
from rmdnet_jax import experiment
from rmdnet_jax.errors import InputError

LABELS = np.arange(64) % 4
IMAGES = np.zeros((64, 8, 8, 3), np.uint8)

# What is wrong with the data -> (arrays changed, what the line must say).
DATA = {
    "float labels": ({"y_train": LABELS / 3}, "y_train"),
    "NaN labels": ({"y_train": np.full(64, np.nan)}, "y_train"),
    "negative labels": ({"y_train": LABELS - 1}, "y_train"),
    "an empty class": ({"y_train": np.where(LABELS == 2, 1, LABELS)}, "class 2 (2) is empty"),
    "images of rank 2": ({"x_train": IMAGES.reshape(64, -1)}, "x_train"),
    "float images": ({"x_train": IMAGES.astype(np.float32)}, "float32"),
    "NaN images": ({"x_train": np.full((64, 8, 8, 3), np.nan)}, "float64"),
    "images without labels": ({"y_train": LABELS[:60]}, "y_train"),
    "no test images": ({"x_test": None}, "x_test"),
}

OWN_LOSSES = """
def fails(logits, labels):
    return labels.shape[7]

def mean(logits, labels):
    return logits.mean()
"""

# What is wrong with the config -> (fields changed, what the line must say).
CONFIG = {
    "unknown loss": ({"rgrl.loss.name": "gec"}, "did you mean 'gce'"),
    "parameter of another loss": ({"rgrl.loss.q": 0.5}, "'ce' has no parameter 'q'"),
    "own loss that is not there": ({"rgrl.loss.name": "nowhere:loss"}, "nowhere"),
    "unknown noise": ({"noise.kind": "symetric"}, "symmetric"),
    "rate above 1": ({"noise.rate": 1.5}, "noise.rate is 1.5"),
    "rate below 0": ({"noise.rate": -0.1}, "noise.rate is -0.1"),
    "rate is NaN": ({"noise.rate": float("nan")}, "noise.rate is nan"),
    "fewer images than a batch": ({"rgrl.batch_size": 65}, "only 64 training images"),
    "human labels that are not there": (
        {"noise.kind": "human", "noise.field": "mturk"},
        "mturk",
    ),
    "asymmetric noise without pairs": ({"noise.kind": "asymmetric"}, "asymmetric"),
    "a matrix that is not there": (
        {"noise.kind": "matrix", "noise.matrix": "nowhere.npy"},
        "nowhere.npy",
    ),
    "a teacher that is not there": ({"teacher.path": "nowhere"}, "no teacher in nowhere"),
    "unknown teacher": ({"teacher.kind": "moco"}, "teacher.kind is 'moco'"),
    "a path to a teacher that is random": (
        {"teacher.kind": "random", "teacher.path": "somewhere"},
        "teacher.path with config.teacher.kind = 'random'",
    ),
    "nothing to run": ({"teacher.kind": "none", "rgrl.epochs": 0}, "runs nothing"),
    "a baseline to itself": ({"teacher.kind": "none", "rgrl.baseline": True}, "needs a teacher"),
    "a baseline to K = 0": ({"rgrl.k": 0.0, "rgrl.baseline": True}, "needs a teacher"),
    "a start from a wider teacher": (
        {"rgrl.init_from_teacher": True, "teacher.width": 8, "model.width": 4},
        "teacher of width 8",
    ),
    "own loss that cannot be imported": (
        {"rgrl.loss.name": "broken_losses:loss"},
        "invalid syntax",
    ),
    "own loss that fails": ({"rgrl.loss.name": "own_losses:fails"}, "IndexError"),
    "own loss that is a mean": ({"rgrl.loss.name": "own_losses:mean"}, "one value an example"),
    "t-SNE of classes there are not": ({"report.tsne_classes": (2, 4)}, "tsne_classes"),
    "unknown data set": ({"dataset.name": "cifar11", "dataset.path": ""}, "cifar10"),
    "data that is not there": ({"dataset.path": "nowhere.npz"}, "nowhere.npz"),
}


def refusal(tmp_path, fields, workdir=None, **arrays):
    """What is said of this config and data; nothing may have been written."""
    config = configuration.default()
    config.dataset.name = "npz"
    config.dataset.path = str(write_npz(tmp_path / "data.npz", **arrays))
    config.update_from_flattened_dict(fields)
    workdir = workdir or tmp_path / "w"
    with pytest.raises(InputError) as error:
        experiment.run(config, workdir, command="")
    assert "\n" not in str(error.value)
    assert not workdir.exists()
    return str(error.value)


@pytest.mark.parametrize("case", DATA)
def test_bad_data(case, tmp_path):
    arrays, says = DATA[case]
    assert says in refusal(tmp_path, {}, **arrays)


@pytest.mark.parametrize("case", CONFIG)
def test_bad_config(case, tmp_path, monkeypatch):
    (tmp_path / "own_losses.py").write_text(OWN_LOSSES)
    (tmp_path / "broken_losses.py").write_text("def loss(:")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("own_losses", "broken_losses"):
        sys.modules.pop(name, None)
    fields, says = CONFIG[case]
    assert says in refusal(tmp_path, fields)


def test_unwritable_workdir(tmp_path):
    (tmp_path / "file").write_text("")
    said = refusal(tmp_path, {"rgrl.batch_size": 32, "rm.batch_size": 32},
                   workdir=tmp_path / "file" / "w")  # fmt: skip
    assert "cannot write the workdir" in said


# What is wrong with the command -> (config, flags, what the line must say).
COMMANDS = {
    "mistyped field": ("rgrl_cifar10.py", ["--config.rgrl.epoch=3"], "epochs"),
    "no such group": ("rgrl_cifar10.py", ["--config.student.k=3"], "student"),
    "rate is no number": ("rgrl_cifar10.py", ["--config.noise.rate=much"], "noise.rate"),
    "stray argument": ("rgrl_cifar10.py", ["rgrl.k=3"], "unexpected argument"),
    "unknown flag": ("rgrl_cifar10.py", ["--wrkdir=x"], "workdir"),
    "no such config": ("rgrl_cifar01.py", [], "configs/rgrl_cifar10.py"),
    "no such loss": ("rgrl_cifar10.py:gec", [], "'gce'"),
    "a config to predict": ("rgrl_cifar10.py", ["--predict=."], "no --config"),
    "bad data": ("rgrl_cifar10.py", ["--config.dataset.path=nowhere.npz"], "nowhere.npz"),
}


def test_a_config_after_a_space_is_looked_for_too():
    refused = launch("--config", "configs/rgrl_cifar01.py")
    assert refused.returncode == 2
    assert "no config file 'configs/rgrl_cifar01.py'" in refused.stderr


@pytest.mark.parametrize("case", COMMANDS)
def test_a_bad_command_ends_with_status_2_and_one_line(case, tmp_path):
    config, flags, says = COMMANDS[case]
    workdir = tmp_path / "w"
    refused = launch(*TINY, f"--workdir={workdir}", *flags, config=f"configs/{config}")
    assert refused.returncode == 2, refused.stderr
    assert refused.stderr.startswith("error: ")
    assert refused.stderr.count("\n") == 1, refused.stderr
    assert says in refused.stderr
    assert not workdir.exists()


def test_a_workdir_without_a_model_predicts_nothing(tmp_path):
    refused = launch(f"--predict={tmp_path}", f"--workdir={tmp_path}", config=None)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"error: no model in {tmp_path}")
    assert list(tmp_path.iterdir()) == []


def test_help_lists_configs_and_fields():
    told = launch("--help")
    assert told.returncode == 0
    for text in ("configs/demo.py", "rgrl:", "Exit status"):
        assert text in told.stdout
