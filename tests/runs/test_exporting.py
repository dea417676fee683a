"""--export writes what a workdir has, in the form that was asked for, or says what is missing."""

import json

import numpy as np
import pytest

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.evaluation import label_issues
from rmdnet_jax.export import pred_probs
from rmdnet_jax.methods.interface import Weights
from rmdnet_jax.methods.network import Classifier
from rmdnet_jax.model import Model
from rmdnet_jax.models.heads import Linear
from rmdnet_jax.runs import exporting

BELIEF = np.array([[0.9, 0.1], [0.2, 0.8], [0.1, 0.9]], np.float32)
GIVEN = np.array([1, 1, 0], np.int32)
ISSUES = label_issues.score(BELIEF, None, GIVEN, 2 / 3)


def saved(folder, files=("a.png", "=b\u202e.png", "c.png")):
    network = Classifier(
        None, Linear(2, alone=True), np.zeros(3, np.float32), np.ones(3, np.float32)
    )
    dense = {"kernel": np.eye(3, 2, dtype=np.float32), "bias": np.zeros(2, np.float32)}
    weights = Weights({"classifier": {"Dense_0": dense}}, {})
    Model(network, (weights,), (3,), ("ant", "bee"), ISSUES, files).save(folder)
    pred_probs.write(folder / pred_probs.NAME, BELIEF, GIVEN, np.arange(3), ("ant", "bee"), True)
    return folder


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("run"))


@pytest.mark.parametrize(
    ("form", "name", "says"),
    [
        ("onnx", "model.onnx", "a classifier of 2 classes"),
        ("fiftyone", "labels.json", "3 labels"),
        ("labelstudio", "tasks.json", "3 labels"),
        ("cleanlab", "x.npz", "pred_probs, labels, index and class_names"),
    ],
)
def test_every_format_is_written_and_told(workdir, tmp_path, form, name, says):
    told = exporting.write(form, workdir, tmp_path / name)
    beside = f" and {tmp_path / 'tasks.xml'}" if form == "labelstudio" else ""
    assert told == f"{says}: {tmp_path / name}{beside}"
    assert (tmp_path / name).stat().st_size
    assert len(list(tmp_path.iterdir())) == (2 if form == "labelstudio" else 1)


def test_names_come_back_as_they_are_shown(workdir, tmp_path):
    exporting.write("fiftyone", workdir, tmp_path / "labels.json")
    found = json.loads((tmp_path / "labels.json").read_text())["labels"]
    assert set(found) == {"a", "=b\\u202e", "c"}


def test_the_arrays_are_the_runs(workdir, tmp_path):
    exporting.write("cleanlab", workdir, tmp_path / "x.npz")
    assert (tmp_path / "x.npz").read_bytes() == (workdir / pred_probs.NAME).read_bytes()


@pytest.mark.parametrize("form", exporting.FORMATS)
def test_a_workdir_without_a_model_is_told_in_a_line(tmp_path, form):
    (tmp_path / "empty").mkdir()
    out = tmp_path / f"x{exporting.FORMATS[form]}"
    with pytest.raises(InputError, match=r"no model in .*empty; expected the workdir of a"):
        exporting.write(form, tmp_path / "empty", out)
    assert not out.exists()


def test_what_a_format_needs_is_told(workdir, tmp_path):
    without = saved(tmp_path / "w", files=None)
    for form in ("fiftyone", "labelstudio"):
        with pytest.raises(InputError, match=f"have no file paths, which --export={form} needs"):
            exporting.write(form, without, tmp_path / "x.json")
    (without / pred_probs.NAME).unlink()
    with pytest.raises(InputError, match=r"has no pred_probs\.npz"):
        exporting.write("cleanlab", without, tmp_path / "x.npz")
    with pytest.raises(InputError, match="--export is 'coco'; expected one of onnx, fiftyone"):
        exporting.write("coco", workdir, tmp_path / "x.json")


@pytest.mark.parametrize("theirs", [b"<photos/>", b"", None])
def test_a_file_of_the_users_beside_the_tasks_is_left_alone(tmp_path, theirs):
    place = tmp_path / "x.xml"
    place.mkdir() if theirs is None else place.write_bytes(theirs)
    # Before the workdir is looked at, which is none.
    with pytest.raises(InputError, match=r"x\.xml exists, and the labelling interface would"):
        exporting.write("labelstudio", tmp_path, tmp_path / "x.json")
    assert theirs is None or place.read_bytes() == theirs
    assert [path.name for path in tmp_path.iterdir()] == ["x.xml"]


def test_an_interface_of_ours_is_written_anew(workdir, tmp_path):
    exporting.write("labelstudio", workdir, tmp_path / "x.json")
    first = (tmp_path / "x.xml").read_bytes()
    (tmp_path / "x.xml").write_bytes(first.replace(b"ant", b"wasp"))
    exporting.write("labelstudio", workdir, tmp_path / "x.json")
    assert (tmp_path / "x.xml").read_bytes() == first


def test_a_place_that_cannot_be_written_is_told(workdir, tmp_path):
    with pytest.raises(InputError, match=r"is not a \.onnx file; expected --out=FILE\.onnx"):
        exporting.write("onnx", workdir, tmp_path / "model.pt")
    with pytest.raises(InputError, match=r"cannot write .*No such file or directory"):
        exporting.write("onnx", workdir, tmp_path / "nowhere" / "model.onnx")
    (tmp_path / "x.json").mkdir()
    with pytest.raises(InputError, match=r"is not a \.json file"):
        exporting.write("labelstudio", workdir, tmp_path / "x.json")
