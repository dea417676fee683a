import os
import stat

import pytest

from rmdnet_jax.base.atomic import folder_atomic, open_atomic


def test_the_file_holds_what_was_written(tmp_path):
    with open_atomic(tmp_path / "a.txt") as file:
        file.write("naïve")
    assert (tmp_path / "a.txt").read_bytes() == "naïve".encode()


def test_bytes_are_written_as_they_are(tmp_path):
    with open_atomic(tmp_path / "a.bin", "wb") as file:
        file.write(b"\x00\r\n\xff")
    assert (tmp_path / "a.bin").read_bytes() == b"\x00\r\n\xff"


def test_a_path_may_be_a_string(tmp_path):
    with open_atomic(str(tmp_path / "a.txt")) as file:
        file.write("x")
    assert (tmp_path / "a.txt").read_text() == "x"


def test_readers_see_the_old_file_until_the_block_ends(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with open_atomic(path) as file:
        file.write("new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_keeps_the_old_file_and_leaves_no_trace(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_half():
        with open_atomic(path) as file:
            file.write("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_in_the_flush_leaves_no_trace(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"), open_atomic(tmp_path / "a.txt") as file:
        file.write("x")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), open_atomic(tmp_path / "no" / "a.txt"):
        pass


def test_two_writers_of_one_path_do_not_mix(tmp_path):
    path = tmp_path / "a.txt"
    with open_atomic(path) as first:
        first.write("first")
        with open_atomic(path) as second:
            second.write("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"


def test_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    with open_atomic(tmp_path / "atomic") as file:
        file.write("x")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "atomic")}
    assert len(modes) == 1


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    place = tmp_path / "above" / "folder"
    with folder_atomic(place) as folder:
        (folder / "file").write_text("whole")
        assert not place.exists()
    assert (place / "file").read_text() == "whole"
    assert list(place.parent.iterdir()) == [place]


def test_an_error_leaves_no_folder(tmp_path):
    def fill():
        with folder_atomic(tmp_path / "folder") as folder:
            (folder / "file").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill()
    assert not list(tmp_path.iterdir())


def test_a_folder_takes_the_place_of_an_empty_one_and_of_nothing_else(tmp_path):
    for name in ("empty", "full"):
        (tmp_path / name).mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    with folder_atomic(tmp_path / "empty") as folder:
        (folder / "file").write_text("new")
    assert (tmp_path / "empty" / "file").read_text() == "new"
    with pytest.raises(OSError, match="not empty"), folder_atomic(tmp_path / "full") as folder:
        (folder / "file").write_text("new")
    assert (tmp_path / "full" / "file").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 2
