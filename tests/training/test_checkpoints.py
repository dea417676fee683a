"""What is saved comes back; what is another's, or another process is writing, is left alone."""

import asyncio
import dataclasses
import errno
import gc
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

from rmdnet_jax.base.errors import InputError, LostProcessError
from rmdnet_jax.methods.interface import State
from rmdnet_jax.training import checkpoints, checksums
from rmdnet_jax.training.checkpoints import Checkpoints, NoCheckpoints, fields

STATE = State(
    {"net": {"w": jnp.arange(3.0)}}, {"net": {"mean": jnp.ones(2)}}, {"momentum": jnp.zeros(3)}
)


def save(folder, numbers=(1,), **description):
    with Checkpoints(folder, description) as made:
        for number in numbers:
            made.save(number, fields(STATE), {"epoch": number})


def zeros(state=STATE):
    """What to restore, without its values."""
    return fields(jax.tree.map(jnp.zeros_like, state))


def test_a_state_comes_back_as_it_was(tmp_path):
    save(tmp_path / "stage")
    with Checkpoints(tmp_path / "stage") as saved:
        restored = saved.restore(zeros())
        jax.tree.map(np.testing.assert_array_equal, restored, fields(STATE))
        assert saved.meta()["epoch"] == 1


def test_what_is_asked_for_is_restored_and_nothing_else(tmp_path):
    """A teacher's weights without its optimiser's state."""
    save(tmp_path / "stage")
    like = {"params": STATE.params, "batch_stats": STATE.batch_stats}
    with Checkpoints(tmp_path / "stage") as saved:
        restored = saved.restore(jax.tree.map(jnp.zeros_like, like))
    jax.tree.map(np.testing.assert_array_equal, restored, like)


def test_a_shape_and_a_dtype_are_enough_to_restore(tmp_path):
    save(tmp_path)
    with Checkpoints(tmp_path) as saved:
        restored = saved.restore(jax.eval_shape(lambda: fields(STATE)))
    jax.tree.map(np.testing.assert_array_equal, restored, fields(STATE))
    everywhere = {leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(restored)}
    assert everywhere == {True}


def test_the_last_two_are_kept(tmp_path):
    save(tmp_path / "stage", numbers=(1, 2, 5, 7))
    kept = sorted(path.name for path in (tmp_path / "stage").iterdir())
    assert kept == ["5", "7"]


def test_checkpoints_of_something_else_are_refused(tmp_path):
    save(tmp_path / "stage", images="abc", width=16)
    Checkpoints(tmp_path / "stage", description={"width": 16}).check()
    with pytest.raises(InputError, match=r"different width \(16; here 32"):
        Checkpoints(tmp_path / "stage", description={"width": 32}).check()


def test_looking_leaves_alone_what_another_process_is_writing(tmp_path):
    save(tmp_path / "stage")
    unfinished = tmp_path / "stage" / "2.orbax-checkpoint-tmp"
    (unfinished / "params").mkdir(parents=True)
    with Checkpoints(tmp_path / "stage") as seen:
        assert seen.latest() == 1
        seen.restore(fields(STATE))
    assert (unfinished / "params").is_dir()
    save(tmp_path / "stage", numbers=(3,))  # the writer itself clears it away
    assert not unfinished.exists()


def test_looking_makes_no_folder(tmp_path):
    assert Checkpoints(tmp_path / "stage").latest() is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("version", "age"), [(1, "an older"), (99, "a newer")])
def test_checkpoints_of_another_version_are_refused_as_such(tmp_path, monkeypatch, version, age):
    with monkeypatch.context() as then:
        then.setattr(checkpoints, "_NEWEST", version)
        save(tmp_path / "stage")
    with pytest.raises(InputError, match=rf"by {age} rmdnet_jax \(format {version}; here 2\)") as e:
        Checkpoints(tmp_path / "stage", {"images": "abc"}).check()
    assert "\n" not in str(e.value)


def test_somebody_elses_orbax_folder_is_told_from_ours(tmp_path):
    with ocp.CheckpointManager(tmp_path / "theirs") as manager:
        manager.save(1, args=ocp.args.StandardSave({"w": jnp.ones(2)}))
    with pytest.raises(InputError, match="none that is intact and from rmdnet_jax"):
        Checkpoints(tmp_path / "theirs").meta()


def test_a_field_without_arrays_is_not_kept_and_not_asked_for(tmp_path):
    state = dataclasses.replace(STATE, opt_state={})
    assert set(fields(state)) == {"params", "batch_stats"}
    with Checkpoints(tmp_path) as saved:
        saved.save(1, fields(state), {})
    assert not (tmp_path / "1" / "opt_state").exists()
    with Checkpoints(tmp_path) as found:
        assert set(found.restore(zeros(state))) == {"params", "batch_stats"}


@pytest.mark.parametrize(
    "array", [jnp.zeros(3), np.zeros(3), jax.ShapeDtypeStruct((3,), jnp.float32)]
)
def test_a_field_that_is_a_bare_array_is_refused_with_what_is_right(array):
    state = dataclasses.replace(STATE, batch_stats=array)
    says = r"the field batch_stats of State is a bare array or value, .*; expected a dict of arrays"
    with pytest.raises(InputError, match=says):
        fields(state)


def test_without_a_folder_nothing_is_kept_and_nothing_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with NoCheckpoints() as none:
        assert none.latest() is None
        none.check()
        none.save(1, fields(STATE), {"epoch": 1})
        assert none.latest() is None
    assert list(tmp_path.iterdir()) == []


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
        restored = saved.restore(zeros())
        assert (saved.latest(), saved.meta()["epoch"]) == (1, 1)
        jax.tree.map(np.testing.assert_array_equal, restored, fields(STATE))
        said = capsys.readouterr().err
        assert (
            said == f"warning: the checkpoint {folder}/2 is damaged; 1, the one before, is used\n"
        )
        assert sorted(path.name for path in folder.iterdir()) == ["1", "2"]
        saved.save(2, fields(STATE), {"epoch": 2})
    assert sorted(path.name for path in folder.iterdir()) == ["1", "2", "damaged-2"]
    with Checkpoints(folder) as again:
        assert again.meta()["epoch"] == 2


@pytest.mark.parametrize("file", FILES)
def test_where_none_is_whole_nothing_is_changed(tmp_path, file):
    folder = tmp_path / "stage"
    save(folder)
    flip(next((folder / "1").glob(file)))
    with Checkpoints(folder) as saved, pytest.raises(InputError, match="nothing was changed"):
        saved.restore(fields(STATE))
    assert [path.name for path in folder.iterdir()] == ["1"]


def set_format(folder, version):
    """As if the checkpoint had been written by a program of that format; None: before there was
    one, when there were no checksums either."""
    meta = folder / "meta" / "metadata"
    facts = json.loads(meta.read_text()) | {"format": version}
    if version is None:
        del facts["format"]
        (folder / "sha256.txt").unlink()
    meta.write_text(json.dumps(facts))
    if version is not None:
        checksums.write(folder, without=("_CHECKPOINT_METADATA", "commit_success.txt"))


@pytest.mark.parametrize(
    ("version", "says"),
    [
        (3, r"newer rmdnet_jax \(format 3; here 2\); expected that version, or another folder"),
        (1, r"an older rmdnet_jax \(format 1; here 2\); expected that version"),
        (None, r"an older rmdnet_jax \(format 0; here 2\); expected that version"),
    ],
)
def test_one_of_another_program_is_refused_in_a_line_and_not_taken_for_damaged(
    tmp_path, capsys, version, says
):
    save(tmp_path, numbers=(1, 2))
    set_format(tmp_path / "2", version)
    with Checkpoints(tmp_path) as saved:
        for ask in (saved.check, saved.meta, lambda: saved.restore(zeros())):
            with pytest.raises(InputError, match=says) as told:
                ask()
            assert "\n" not in str(told.value)
        assert saved.latest() == 2
    assert capsys.readouterr().err == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]


@pytest.mark.parametrize("harm", [Path.unlink, lambda file: file.write_text(""), os.mkfifo])
def test_one_that_has_lost_its_checksums_is_damaged(tmp_path, harm):
    save(tmp_path)
    listed = tmp_path / "1" / "sha256.txt"
    if harm is os.mkfifo:
        listed.unlink()
    harm(listed)
    with Checkpoints(tmp_path) as saved, pytest.raises(InputError, match="none that is intact"):
        saved.restore(fields(STATE))


def test_one_that_has_lost_an_item_is_damaged(tmp_path):
    save(tmp_path, numbers=(1, 2))
    shutil.rmtree(tmp_path / "2" / "opt_state")
    with Checkpoints(tmp_path) as saved:
        saved.restore({"params": STATE.params})
        assert saved.latest() == 1


def test_what_is_whole_but_cannot_be_read_is_no_damage(tmp_path):
    save(tmp_path, numbers=(1, 2))
    other = dataclasses.replace(STATE, params={"net": {"w": jnp.zeros(5)}})
    with Checkpoints(tmp_path) as saved:
        with pytest.raises(InputError, match=rf"cannot read {tmp_path}/2 "):
            saved.restore(fields(other))
        assert saved.latest() == 2


def test_the_same_number_damaged_again(tmp_path):
    for _ in range(2):
        save(tmp_path, numbers=(1, 2))
        flip(next((tmp_path / "2").glob("params/d/*")))
        with Checkpoints(tmp_path) as saved:
            saved.restore(fields(STATE))
            saved.save(2, fields(STATE), {"epoch": 2})
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
        (ValueError("Gloo AllGather failed"), LostProcessError, r"has stopped \(Gloo AllGather"),
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
        made.save(1, fields(STATE), {})
        patch.setattr(ocp.CheckpointManager, "wait_until_finished", fails)
        patch.setattr(jax, "process_count", lambda: 2)
        with pytest.raises(raised, match=message):
            made.save(2, fields(STATE), {})


@pytest.mark.parametrize(("message", "told"), [("[os_error_code='13']", 0), ("a fault", 1)])
def test_of_writes_that_fail_together_one_is_told(caplog, message, told):
    """Orbax raises the first; asyncio would tell of the others when they are collected."""

    async def fails():
        raise ValueError(message)

    loop = asyncio.new_event_loop()
    task = loop.create_task(fails())
    loop.run_until_complete(asyncio.wait([task]))
    loop.close()
    del task
    gc.collect()
    assert len(caplog.records) == told


def test_the_checksums_are_those_that_sha256sum_knows(tmp_path):
    save(tmp_path)
    checked = subprocess.run(
        ["sha256sum", "-c", "sha256.txt"], cwd=tmp_path / "1", check=True, capture_output=True
    )
    assert b"params/_METADATA: OK" in checked.stdout
