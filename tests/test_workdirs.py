"""A folder belongs to one experiment, and nothing of anybody else's is touched."""

import json

import pytest

from rmdnet_jax import workdirs
from rmdnet_jax.errors import InputError

CONFIG = {"seed": 0, "rgrl": {"k": 1.0, "lr_drops": (0.5, 0.75)}}


def test_a_new_folder_is_claimed_and_claimed_again(tmp_path):
    for _ in range(2):
        workdirs.claim(tmp_path / "a/b", CONFIG)
    written = json.loads((tmp_path / "a/b/config.json").read_text())
    assert written["rgrl"] == {"k": 1.0, "lr_drops": [0.5, 0.75]}


def test_another_experiment_is_told_the_field_and_changes_nothing(tmp_path):
    workdirs.claim(tmp_path / "w", CONFIG)
    before = (tmp_path / "w/config.json").read_text()
    with pytest.raises(InputError, match=r"rgrl\.k is 1\.0 there, 2\.0 here"):
        workdirs.claim(tmp_path / "w", CONFIG | {"rgrl": CONFIG["rgrl"] | {"k": 2.0}})
    assert (tmp_path / "w/config.json").read_text() == before


def test_a_field_that_is_new_is_a_difference(tmp_path):
    workdirs.claim(tmp_path / "w", CONFIG)
    with pytest.raises(InputError, match="extra is None there, 1 here"):
        workdirs.claim(tmp_path / "w", CONFIG | {"extra": 1})


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds files but no"):
        workdirs.claim(tmp_path, CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_what_a_kill_left_of_the_claim_does_not_stand_in_the_way(tmp_path):
    (tmp_path / ".config.json.x1y2").write_text("{")
    workdirs.claim(tmp_path, CONFIG)
    assert (tmp_path / "config.json").exists()


def test_a_config_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        workdirs.claim(tmp_path, CONFIG)
    assert (tmp_path / "config.json").read_text() == "{"


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write the workdir"):
        workdirs.claim(tmp_path / "file" / "w", CONFIG)
