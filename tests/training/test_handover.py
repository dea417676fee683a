"""A teacher is the one that was meant, and finished; what was found out of one is found again."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.machine import hosts
from rmdnet_jax.methods.interface import State
from rmdnet_jax.training import handover
from rmdnet_jax.training.checkpoints import Checkpoints, fields

FITS = {"images": "abc", "width": 16, "stem": "cifar"}


@pytest.fixture
def workdir(tmp_path):
    """A workdir whose teacher has done 2 of 2 epochs."""
    save(tmp_path, {"epochs": 2})
    return tmp_path


def save(workdir, recipe, meta=None):
    tree = {"net": {"w": jnp.ones(2)}}
    description = FITS | {"recipe": recipe}
    with Checkpoints(workdir / "teacher", description=description) as checkpoints:
        checkpoints.save(2, fields(State(tree, tree, tree)), meta or {"epoch": 2})


@pytest.mark.parametrize("folder", ["", "teacher"])
def test_a_teacher_is_found_by_its_workdir_or_its_own_folder(workdir, folder):
    assert handover.folder_of(str(workdir / folder)) == workdir / "teacher"
    with handover.find(str(workdir / folder), FITS) as found:
        assert found.latest() == 2


def test_a_missing_one(tmp_path):
    with pytest.raises(InputError, match="no teacher in"):
        handover.find(str(tmp_path / "nowhere"), FITS)


def test_an_unfinished_one(tmp_path):
    save(tmp_path, {"epochs": 5})
    with pytest.raises(InputError, match="has done 2 of its 5 epochs"):
        handover.find(str(tmp_path), FITS)


@pytest.mark.parametrize(
    ("recipe", "meta"),
    [
        ({}, {"none": 0}),
        ({"epochs": "many"}, {"epoch": 2}),
        ({"epochs": [2]}, {"epoch": 2}),
        ([], {"epoch": 2}),
    ],
)
def test_checkpoints_of_something_else_under_a_teachers_name(tmp_path, recipe, meta):
    save(tmp_path, recipe, meta)
    with pytest.raises(InputError, match="are not a teacher's; expected the workdir"):
        handover.find(str(tmp_path), FITS)


@pytest.mark.parametrize(("field", "value"), [("images", "xyz"), ("width", 32)])
def test_one_of_another_kind(workdir, field, value):
    with pytest.raises(InputError, match=f"different {field}"):
        handover.find(str(workdir), FITS | {field: value})


class Count:
    """What `kept` asks for, and how often it did."""

    def __init__(self):
        self.asked = 0

    def __call__(self):
        self.asked += 1
        return {"train": np.arange(6.0).reshape(2, 3), "accuracy": np.asarray(0.25)}


def kept(folder, compute, name="embeddings"):
    found = handover.kept(folder, name, compute)
    assert set(found) == {"train", "accuracy"}
    np.testing.assert_array_equal(found["train"], [[0, 1, 2], [3, 4, 5]])
    assert float(found["accuracy"]) == 0.25


def test_what_was_computed_is_found_again_under_its_name(tmp_path):
    count, folder = Count(), tmp_path / "teacher"
    for _ in range(3):
        kept(folder, count)
    assert count.asked == 1
    assert [path.name for path in folder.iterdir()] == ["embeddings.npz"]
    kept(folder, count, "others")
    assert count.asked == 2


def test_without_a_folder_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    count = Count()
    for _ in range(2):
        kept(None, count)
    assert count.asked == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "harm",
    [
        lambda content: b"",
        lambda content: content[:-30],
        lambda content: b"no archive",
        lambda content: content.replace(b"NUMPY", b"NUMMY"),
    ],
)
def test_a_damaged_file_is_computed_again_and_written_anew(tmp_path, harm):
    count = Count()
    kept(tmp_path, count)
    file = tmp_path / "embeddings.npz"
    whole = file.read_bytes()
    file.write_bytes(harm(whole))
    kept(tmp_path, count)
    kept(tmp_path, count)
    assert count.asked == 2
    assert file.read_bytes() == whole


@pytest.mark.parametrize("where", ["below a file", "not ours"])
def test_a_folder_that_cannot_be_written_is_no_error(tmp_path, monkeypatch, where):
    folder = tmp_path
    if where == "below a file":
        (tmp_path / "file").touch()
        folder = tmp_path / "file" / "teacher"
    else:

        def refuses(*_):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "replace", refuses)
    count = Count()
    for _ in range(2):
        kept(folder, count)
    assert count.asked == 2
    assert not list(tmp_path.glob("*.npz"))


def test_what_is_too_large_is_not_kept(tmp_path, monkeypatch):
    count = Count()
    monkeypatch.setattr(handover, "_LARGEST", 8 * 7 - 1)
    kept(tmp_path, count)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(handover, "_LARGEST", 8 * 7)
    kept(tmp_path, count)
    assert [path.name for path in tmp_path.iterdir()] == ["embeddings.npz"]


@pytest.mark.parametrize(("everywhere", "asked"), [(True, 1), (False, 2)])
def test_all_processes_compute_or_none_does(tmp_path, monkeypatch, everywhere, asked):
    """Where another process does not find the file, this one must compute with it."""
    count = Count()
    kept(tmp_path, count)
    monkeypatch.setattr(hosts, "is_so_everywhere", lambda found: found and everywhere)
    kept(tmp_path, count)
    assert count.asked == asked


def test_a_process_that_does_not_write_leaves_the_folder_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    kept(tmp_path, Count())
    assert list(tmp_path.iterdir()) == []
