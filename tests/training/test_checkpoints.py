"""What is saved comes back; what is another's, or another process is writing, is left alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from rmdnet_jax.errors import InputError
from rmdnet_jax.methods.interface import State
from rmdnet_jax.training.checkpoints import Checkpoints

STATE = State(
    {"net": {"w": jnp.arange(3.0)}}, {"net": {"mean": jnp.ones(2)}}, {"momentum": jnp.zeros(3)}
)


def save(folder, numbers=(1,), **description):
    with Checkpoints(folder, description) as made:
        for number in numbers:
            made.save(number, STATE, {"epoch": number})


def test_a_state_comes_back_as_it_was(tmp_path):
    save(tmp_path / "stage")
    with Checkpoints(tmp_path / "stage") as saved:
        restored = saved.restore(jax.tree.map(jnp.zeros_like, STATE))
        jax.tree.map(np.testing.assert_array_equal, restored, STATE)
        assert saved.meta()["epoch"] == 1


def test_some_fields_are_restored_and_the_others_kept(tmp_path):
    save(tmp_path / "stage")
    like = jax.tree.map(jnp.zeros_like, STATE).replace(opt_state=None)
    with Checkpoints(tmp_path / "stage") as saved:
        restored = saved.restore(like, ("params", "batch_stats"))
    assert restored.opt_state is None
    jax.tree.map(np.testing.assert_array_equal, restored.params, STATE.params)


def test_the_last_two_are_kept(tmp_path):
    save(tmp_path / "stage", numbers=(1, 2, 5, 7))
    kept = sorted(path.name for path in (tmp_path / "stage").iterdir())
    assert kept == ["5", "7"]


def test_checkpoints_of_something_else_are_refused(tmp_path):
    save(tmp_path / "stage", images="abc", width=16)
    Checkpoints(tmp_path / "stage", description={"width": 16}).check()
    with pytest.raises(InputError, match=r"other width \(16; here 32"):
        Checkpoints(tmp_path / "stage", description={"width": 32}).check()


def test_looking_leaves_alone_what_another_process_is_writing(tmp_path):
    save(tmp_path / "stage")
    unfinished = tmp_path / "stage" / "2.orbax-checkpoint-tmp"
    (unfinished / "params").mkdir(parents=True)
    with Checkpoints(tmp_path / "stage") as seen:
        assert seen.latest() == 1
        seen.restore(STATE)
    assert (unfinished / "params").is_dir()
    save(tmp_path / "stage", numbers=(3,))  # the writer itself clears it away
    assert not unfinished.exists()


def test_looking_makes_no_folder(tmp_path):
    assert Checkpoints(tmp_path / "stage").latest() is None
    assert not list(tmp_path.iterdir())


def test_somebody_elses_orbax_folder_is_told_from_ours(tmp_path):
    with ocp.CheckpointManager(tmp_path / "theirs") as manager:
        manager.save(1, args=ocp.args.StandardSave({"w": jnp.ones(2)}))
    with pytest.raises(InputError, match="not of rmdnet_jax"):
        Checkpoints(tmp_path / "theirs").meta()


def test_a_field_without_arrays_is_not_kept_and_not_asked_for(tmp_path):
    """As the memory of a student that has none, or of one from before students had one."""
    with Checkpoints(tmp_path) as saved:
        saved.save(1, dataclasses.replace(STATE, opt_state={}), {})
    with Checkpoints(tmp_path) as found:
        assert found.holds("params")
        assert not found.holds("opt_state")
        restored = found.restore(dataclasses.replace(STATE, opt_state={}))
    assert restored.opt_state == {}
