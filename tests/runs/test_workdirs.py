"""A folder belongs to one experiment, and nothing of anybody else's is touched."""

import fcntl
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rmdnet_jax.base.errors import InputError, WorkdirInUseError
from rmdnet_jax.config import default
from rmdnet_jax.runs import workdirs

ROOT = Path(__file__).resolve().parents[2]

# Claims the workdir of argv[1] and holds it until its input ends.
HOLD = """
import json, sys
from pathlib import Path
from rmdnet_jax.runs import workdirs
with workdirs.claim(Path(sys.argv[1]), json.loads(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""

CONFIG = {"seed": 0, "rgrl": {"k": 1.0}, "train": {"lr_drops": (0.5, 0.75)}}


def claim(workdir, config=CONFIG):
    with workdirs.claim(workdir, config):
        pass


def test_a_new_folder_is_claimed_and_claimed_again(tmp_path):
    for _ in range(2):
        claim(tmp_path / "a/b")
    written = json.loads((tmp_path / "a/b/config.json").read_text())
    assert written == CONFIG | {"train": {"lr_drops": [0.5, 0.75]}}


def test_another_experiment_is_told_the_field_and_changes_nothing(tmp_path):
    claim(tmp_path / "w")
    before = (tmp_path / "w/config.json").read_text()
    with pytest.raises(InputError, match=r"rgrl\.k is 1\.0 there, 2\.0 here"):
        claim(tmp_path / "w", CONFIG | {"rgrl": CONFIG["rgrl"] | {"k": 2.0}})
    assert (tmp_path / "w/config.json").read_text() == before


def test_of_long_values_what_differs_is_told(tmp_path):
    first, second = (CONFIG | {"dataset": {"path": "p" * 500 + name}} for name in ("a", "b"))
    claim(tmp_path / "w", first)
    with pytest.raises(InputError, match=r"path is \.\.\.p+a' there, \.\.\.p+b' here") as caught:
        claim(tmp_path / "w", second)
    assert len(str(caught.value).replace(str(tmp_path), "")) <= 240


def test_a_field_that_is_new_and_not_at_its_default_is_a_difference(tmp_path):
    claim(tmp_path / "w")
    with pytest.raises(InputError, match=r"train\.grad_clip is 0\.0 there, 1\.0 here"):
        claim(tmp_path / "w", CONFIG | {"train": CONFIG["train"] | {"grad_clip": 1.0}})


def test_a_field_of_a_table_has_the_default_of_the_field(tmp_path):
    table = {"table": "table1", "cifar10": {"train.grad_clip": 1.0}}
    workdirs.share(tmp_path / "w", {"table": "table1"})
    with pytest.raises(InputError, match=r"cifar10\.train\.grad_clip is 0\.0 there, 1\.0 here"):
        workdirs.share(tmp_path / "w", table)


def test_a_field_that_a_later_version_added_is_none_at_its_default(tmp_path):
    claim(tmp_path / "w")
    claim(tmp_path / "w", CONFIG | {"train": CONFIG["train"] | {"grad_clip": 0.0}})


def test_what_is_told_and_how_often_it_is_saved_may_change(tmp_path):
    claim(tmp_path / "w")
    told = {"report": {"tsne_points": 7}, "checkpoint_every": 9, "tensorboard": False}
    claim(tmp_path / "w", CONFIG | told)
    assert json.loads((tmp_path / "w/config.json").read_text())["checkpoint_every"] == 9


def test_a_second_run_in_a_folder_in_use_stops_and_names_the_first(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "w"), json.dumps(CONFIG)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    with holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(WorkdirInUseError, match=f"in use by process {holder.pid};"):
            claim(tmp_path / "w")
        assert workdirs.is_held(tmp_path / "w")
        holder.kill()  # SIGKILL: nothing of it is left to let go of the lock
        holder.wait()
        assert not workdirs.is_held(tmp_path / "w")
        claim(tmp_path / "w")


def test_who_asks_whether_a_folder_is_held_does_not_hold_it(tmp_path):
    claim(tmp_path / "w")
    with open(tmp_path / "w/.lock") as asking, ThreadPoolExecutor() as pool:
        fcntl.flock(asking, fcntl.LOCK_SH)  # as is_held, in another process
        claimed = pool.submit(claim, tmp_path / "w")
        time.sleep(0.1)
        assert not claimed.done()
        fcntl.flock(asking, fcntl.LOCK_UN)
        claimed.result(timeout=10)


def test_a_folder_may_be_shared_by_those_of_one_config(tmp_path):
    for _ in range(2):
        workdirs.share(tmp_path / "w", CONFIG)
    assert not workdirs.is_held(tmp_path / "w")
    with pytest.raises(InputError, match="seed is 0 there, 1 here"):
        workdirs.share(tmp_path / "w", CONFIG | {"seed": 1})


def test_an_experiment_is_known_by_what_is_not_at_its_default_or_free():
    config = default()
    config.train.lr_drops, config.report.tsne_points, config.tensorboard = (0.5,), 7, False
    assert workdirs.identity(config.to_dict()) == {"train.lr_drops": [0.5]}


# config.json as 0.1.0 wrote it, but for the fields that are the same there.
OLD = {"seed": 0, "rgrl": {"k": 1.0, "epochs": 240, "loss": {"name": "ce"}, "baseline": False}}


@pytest.mark.parametrize("old", [OLD, {"table": "table1", "cifar10": OLD}])
def test_a_folder_of_an_older_version_is_refused_as_such(tmp_path, old):
    (tmp_path / "config.json").write_text(json.dumps(old))
    says = r"was made by an older rmdnet_jax \(its config\.json has (cifar10\.)?rgrl\.epochs\);"
    with pytest.raises(InputError, match=says) as refused:
        claim(tmp_path, default().to_dict())
    assert "\n" not in str(refused.value)
    assert json.loads((tmp_path / "config.json").read_text()) == old


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds files but no"):
        claim(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_what_a_kill_left_of_the_claim_does_not_stand_in_the_way(tmp_path):
    (tmp_path / ".config.json.x1y2").write_text("{")
    (tmp_path / ".lock").write_text("1")
    claim(tmp_path)
    assert (tmp_path / "config.json").exists()


def test_a_config_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        claim(tmp_path)
    assert (tmp_path / "config.json").read_text() == "{"


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write the workdir"):
        claim(tmp_path / "file" / "w")
