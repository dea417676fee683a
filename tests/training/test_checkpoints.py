"""What is saved comes back; what is another's, or another process is writing, is left alone."""

import dataclasses
import errno
import json
import os
import shutil
import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from jax.experimental import multihost_utils

from rmdnet_jax.errors import InputError, LostProcessError
from rmdnet_jax.methods.interface import State
from rmdnet_jax.training import checksums
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
    with pytest.raises(InputError, match="none that is whole and of rmdnet_jax"):
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


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def truncate(file):
    file.write_bytes(file.read_bytes()[:-1])


# What happens to a file of the last checkpoint.
DAMAGES = {"flipped": flip, "truncated": truncate, "missing": Path.unlink}
FILES = ("params/d/*", "opt_state/manifest.ocdbt", "params/_METADATA", "meta/metadata")


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_checkpoint_is_passed_over_and_put_aside(tmp_path, capsys, file, damage):
    folder = tmp_path / "stage"
    save(folder, numbers=(1, 2), width=16)
    DAMAGES[damage](next((folder / "2").glob(file)))
    with Checkpoints(folder, {"width": 16}) as saved:
        saved.check()
        restored = saved.restore(jax.tree.map(jnp.zeros_like, STATE))
        assert (saved.latest(), saved.meta()["epoch"]) == (1, 1)
        jax.tree.map(np.testing.assert_array_equal, restored, STATE)
        said = capsys.readouterr().err
        assert (
            said == f"warning: the checkpoint {folder}/2 is damaged; 1, the one before, is used\n"
        )
        assert sorted(path.name for path in folder.iterdir()) == ["1", "2"]
        saved.save(2, STATE, {"epoch": 2})
    assert sorted(path.name for path in folder.iterdir()) == ["1", "2", "damaged-2"]
    with Checkpoints(folder) as again:
        assert again.meta()["epoch"] == 2


@pytest.mark.parametrize("file", FILES)
def test_where_none_is_whole_nothing_is_changed(tmp_path, file):
    folder = tmp_path / "stage"
    save(folder)
    flip(next((folder / "1").glob(file)))
    with Checkpoints(folder) as saved, pytest.raises(InputError, match="nothing was changed"):
        saved.restore(STATE)
    assert [path.name for path in folder.iterdir()] == ["1"]


def test_a_checkpoint_from_before_there_were_checksums_is_read(tmp_path):
    save(tmp_path)
    meta = tmp_path / "1" / "meta" / "metadata"
    facts = json.loads(meta.read_text())
    del facts["format"]
    meta.write_text(json.dumps(facts))
    (tmp_path / "1" / "sha256.txt").unlink()
    with Checkpoints(tmp_path) as saved:
        assert saved.meta()["epoch"] == 1


@pytest.mark.parametrize("harm", [Path.unlink, lambda file: file.write_text(""), os.mkfifo])
def test_one_that_has_lost_its_checksums_is_damaged(tmp_path, harm):
    save(tmp_path)
    listed = tmp_path / "1" / "sha256.txt"
    if harm is os.mkfifo:
        listed.unlink()
    harm(listed)
    with Checkpoints(tmp_path) as saved, pytest.raises(InputError, match="none that is whole"):
        saved.restore(STATE)


def test_what_the_last_whole_one_holds(tmp_path):
    save(tmp_path, numbers=(1, 2))
    shutil.rmtree(tmp_path / "2" / "opt_state")
    with Checkpoints(tmp_path) as saved:
        assert saved.holds("opt_state")
        assert saved.latest() == 1


def test_what_is_whole_but_cannot_be_read_is_no_damage(tmp_path):
    save(tmp_path, numbers=(1, 2))
    other = dataclasses.replace(STATE, params={"net": {"w": jnp.zeros(5)}})
    with Checkpoints(tmp_path) as saved:
        with pytest.raises(InputError, match=rf"cannot read {tmp_path}/2 "):
            saved.restore(other)
        assert saved.latest() == 2


def test_the_same_number_damaged_again(tmp_path):
    for _ in range(2):
        save(tmp_path, numbers=(1, 2))
        flip(next((tmp_path / "2").glob("params/d/*")))
        with Checkpoints(tmp_path) as saved:
            saved.restore(STATE)
            saved.save(2, STATE, {"epoch": 2})
        shutil.rmtree(tmp_path / "1")
        shutil.rmtree(tmp_path / "2")
    assert {path.name for path in tmp_path.iterdir()} == {"damaged-2", "damaged-2-again"}


def test_orbax_leaves_the_question_of_preemption_alone(tmp_path, monkeypatch):
    """JAX counts how often it is asked, and has all processes stop at one number."""
    asked = []
    monkeypatch.setattr(multihost_utils, "reached_preemption_sync_point", asked.append)
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    save(tmp_path, numbers=(1, 2))
    assert asked == []


@pytest.mark.parametrize(
    ("error", "raised", "message"),
    [
        # Orbax's own time-outs are OSErrors, as a full disk is.
        (TimeoutError("Timed out.\nmore"), LostProcessError, r"has stopped \(Timed out.\)"),
        (TimeoutError(), LostProcessError, r"has stopped \(TimeoutError\)"),
        (jax.errors.JaxRuntimeError("DEADLINE"), LostProcessError, r"has stopped \(DEADLINE\)"),
        (ValueError("a fault"), InputError, r"cannot write checkpoints .* \(a fault\)"),
        (OSError(28, "No space"), InputError, r"cannot write checkpoints .* \(No space\)"),
        # As TensorStore tells of a quota.
        (
            ValueError(f"[os_error_code='{errno.EDQUOT}']"),
            InputError,
            r"cannot write checkpoints .* \(Disk quota exceeded\)",
        ),
    ],
)
def test_which_errors_of_several_processes_are_those_of_another(
    tmp_path, monkeypatch, error, raised, message
):
    def fails(*_, **__):
        raise error

    with Checkpoints(tmp_path / "stage") as made, monkeypatch.context() as patch:
        made.save(1, STATE, {})
        patch.setattr(ocp.CheckpointManager, "wait_until_finished", fails)
        patch.setattr(jax, "process_count", lambda: 2)
        with pytest.raises(raised, match=message):
            made.save(2, STATE, {})


def test_one_of_a_newer_program_is_refused(tmp_path):
    save(tmp_path)
    meta = tmp_path / "1" / "meta" / "metadata"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"format": 2}))
    checksums.write(tmp_path / "1", without=("_CHECKPOINT_METADATA", "commit_success.txt"))
    with pytest.raises(InputError, match=r"newer rmdnet_jax \(format 2; here 1\)"):
        Checkpoints(tmp_path).check()


def test_the_checksums_are_those_that_sha256sum_knows(tmp_path):
    save(tmp_path)
    checked = subprocess.run(
        ["sha256sum", "-c", "sha256.txt"], cwd=tmp_path / "1", check=True, capture_output=True
    )
    assert b"params/_METADATA: OK" in checked.stdout
