"""A teacher is the one that was meant, finished, and worth learning from, or the user is told."""

import jax.numpy as jnp
import numpy as np
import pytest

from rmdnet_jax import teachers
from rmdnet_jax.errors import CollapsedError, InputError
from rmdnet_jax.methods.interface import State
from rmdnet_jax.methods.rgrl import Teacher
from rmdnet_jax.training.checkpoints import Checkpoints

FITS = {"images": "abc", "width": 16, "stem": "cifar"}

NONE = np.zeros((1, 1))  # embeddings that are not read


@pytest.fixture
def workdir(tmp_path):
    """A workdir whose teacher has done 2 of 2 epochs."""
    save(tmp_path, epochs=2)
    return tmp_path


def save(workdir, epochs):
    tree = {"net": {"w": jnp.ones(2)}}
    description = FITS | {"recipe": {"epochs": epochs}}
    with Checkpoints(workdir / "teacher", description=description) as checkpoints:
        checkpoints.save(2, State(tree, tree, tree), {"epoch": 2})


@pytest.mark.parametrize("folder", ["", "teacher"])
def test_found_by_its_workdir_or_its_own_folder(workdir, folder):
    with teachers.find(str(workdir / folder), FITS) as found:
        assert found.latest() == 2


def test_missing(tmp_path):
    with pytest.raises(InputError, match="no teacher in"):
        teachers.find(str(tmp_path / "nowhere"), FITS)


def test_unfinished(tmp_path):
    save(tmp_path, epochs=5)
    with pytest.raises(InputError, match="has done 2 of its 5 epochs"):
        teachers.find(str(tmp_path), FITS)


@pytest.mark.parametrize(
    ("recipe", "meta"),
    [
        ({}, {}),
        ({"epochs": "many"}, {"epoch": 2}),
        ({"epochs": [2]}, {"epoch": 2}),
        ([], {"epoch": 2}),
    ],
)
def test_checkpoints_of_something_else_under_a_teachers_name(tmp_path, recipe, meta):
    tree = {"net": {"w": jnp.ones(2)}}
    with Checkpoints(tmp_path / "teacher", FITS | {"recipe": recipe}) as checkpoints:
        checkpoints.save(2, State(tree, tree, tree), meta)
    with pytest.raises(InputError, match="are of no teacher; give the workdir"):
        teachers.find(str(tmp_path), FITS)


@pytest.mark.parametrize(("field", "value"), [("images", "xyz"), ("width", 32)])
def test_of_another_kind(workdir, field, value):
    with pytest.raises(InputError, match=f"other {field}"):
        teachers.find(str(workdir), FITS | {field: value})


@pytest.mark.parametrize(
    ("teacher", "random_encoder", "pixels", "warns"),
    [
        (0.50, 0.30, 0.35, False),
        (0.36, 0.30, 0.35, True),  # two standard errors of 0.35 over 1,000 images are 0.030
        (0.37, 0.30, 0.35, True),
        (0.39, 0.30, 0.35, False),
        (0.50, 0.60, 0.35, True),
    ],
)
def test_weak_teachers_are_warned_of_with_the_figures(teacher, random_encoder, pixels, warns):
    judged = teachers.Judged(
        "simsiam", None, NONE, NONE, teacher, random_encoder, pixels, tested=1000
    )
    warning = judged.warning()
    assert bool(warning) == warns
    if warns:
        for text in (f"{teacher:.1%}", f"{random_encoder:.1%}", "rm.epochs", "rgrl.k"):
            assert text in warning


def test_pixels_that_were_not_measured_are_left_out():
    judged = teachers.Judged("simsiam", None, NONE, NONE, 0.3, 0.3, None, tested=1000)
    assert "a random encoder's (30.0%): its relations" in judged.warning()


def test_a_random_teacher_was_asked_for_and_is_not_warned_of():
    judged = teachers.Judged("random", None, NONE, NONE, 0.3, 0.3, 0.4, tested=1000)
    assert judged.warning() is None


def test_teachers_of_other_weights_have_other_fingerprints():
    def fingerprint(value):
        network = Teacher(None, None, {"w": np.full(2, value)}, {})
        return teachers.Judged("simsiam", network, NONE, NONE, 0, 0, 0, 1).fingerprint()

    assert fingerprint(1.0) == fingerprint(1.0)
    assert fingerprint(1.0) != fingerprint(2.0)


def test_a_collapse_is_told_once_or_stops(capsys):
    healthy, collapsed = {"spread": 0.8}, {"spread": 0.05}
    teachers.tell_collapse(0.04, 2, [healthy], "warn")
    said = capsys.readouterr().err
    assert said.startswith("warning: the teacher has collapsed in epoch 2: the spread")
    assert "0.040" in said
    teachers.tell_collapse(0.04, 3, [healthy, collapsed], "warn")
    assert capsys.readouterr().err == ""
    with pytest.raises(CollapsedError, match=r"spread of its embeddings is 0.040"):
        teachers.tell_collapse(0.04, 3, [healthy, collapsed], "stop")
