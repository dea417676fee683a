"""`--predict` as a user gives it, with a model of one step's worth of arrays."""

import csv

import jax
import numpy as np
import pytest
from command import run_here
from PIL import Image

from rmdnet_jax import model as models
from rmdnet_jax.methods.network import Classifier
from rmdnet_jax.models.heads import Linear
from rmdnet_jax.models.resnet import ResNet


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A model of pictures of 8x8 pixels, ants and bees."""
    mean = np.full(3, 0.5, np.float32)
    network = Classifier(ResNet(1, blocks=(1,)), Linear(2), mean, mean)
    shapes = models._shapes(network, (8, 8, 3))
    weights = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), shapes)
    place = tmp_path_factory.mktemp("model")
    models.Model(network, (weights,), (8, 8, 3), ("ant", "bee")).save(place)
    return place


@pytest.fixture
def photos(tmp_path):
    """A picture, one behind a link to a folder, and a folder of others behind a link out of it."""
    (tmp_path / "photos" / ".store").mkdir(parents=True)
    (tmp_path / "others").mkdir()
    for place in ("photos/a.png", "photos/.store/b.png", "others/c.png"):
        Image.new("RGB", (9, 9)).save(tmp_path / place)
    (tmp_path / "photos" / "in").symlink_to(".store")
    (tmp_path / "photos" / "out").symlink_to(tmp_path / "others")
    return tmp_path / "photos"


def test_what_is_left_out_is_said_and_a_row(workdir, photos, tmp_path):
    told = tmp_path / "told.csv"
    before = sorted(workdir.rglob("*"))
    done = run_here(
        f"--predict={photos}", f"--workdir={workdir}", f"--predict_to={told}", config=None
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"2 pictures; 1 folder or link cannot be read: {told}\n"
    with open(told, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == ["a.png", "in/b.png", "out"]
    assert [bool(row["predicted_class"]) for row in rows] == [True, True, False]
    assert "is a link to outside of" in rows[2]["error"]
    assert sorted(workdir.rglob("*")) == before


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--predict_to=x.csv"], "--predict_to without --predict; expected"),
        (["--predict_to=x.csv", "--config=configs/demo.py"], "--predict_to without --predict"),
        (["--predict=PHOTOS", "--workdir=WORKDIR", "--predict_to=/proc/x.csv"], "cannot write /"),
        (["--predict=PHOTOS", "--workdir=WORKDIR", "--predict_to=x.png"], "is not a .csv file"),
    ],
)  # fmt: skip
def test_a_place_that_is_none_is_refused(workdir, photos, flags, says):
    flags = [flag.replace("PHOTOS", str(photos)).replace("WORKDIR", str(workdir)) for flag in flags]
    refused = run_here(*flags, config=None)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: ")
    assert refused.stderr.count("\n") == 1
    assert says in refused.stderr
