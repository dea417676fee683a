"""What was read of pictures is kept while they are unchanged: whole, once, and of one state."""

import os
import pickle
import shutil
import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import picture_cache
from rmdnet_jax.data.picture_cache import CachedReader, NoRoomError, PictureCache

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 8, 9, 3), np.uint8)
FILES = [f"{i}.png" for i in range(5)]
STATE = [(file, 100 + i, 7, 8) for i, file in enumerate(FILES)]


@pytest.fixture
def cache(tmp_path):
    return PictureCache.of(str(tmp_path / "cache"), tmp_path / "photos", STATE)


def blocks():
    yield IMAGES[:3]
    yield IMAGES[3:]


def never():
    raise AssertionError("it was in the cache")


def test_an_array_is_decoded_once_and_mapped(cache):
    file, told = cache.decoded(FILES, IMAGES.shape, blocks, lambda: {"2.png": "cut"})
    assert told == {"2.png": "cut"}
    assert cache.decoded(FILES, IMAGES.shape, never, never) == (file, told)
    read = pickle.loads(pickle.dumps(CachedReader(str(file))))
    np.testing.assert_array_equal(list(read(np.array([4, 0]))), IMAGES[[4, 0]])


def test_what_was_told_is_not_asked_again(cache):
    assert cache.told(lambda: {"a": 1}) == {"a": 1}
    assert cache.told(never) == {"a": 1}


@pytest.mark.parametrize("change", ["bytes", "mtime", "ctime", "name", "another file"])
def test_a_changed_file_is_another_state_and_the_old_one_goes(cache, tmp_path, change):
    cache.told(lambda: {})
    file, _ = cache.decoded(FILES, IMAGES.shape, blocks, dict)
    name, size, mtime, ctime = STATE[2]
    changed = {"bytes": (name, size + 1, mtime, ctime), "mtime": (name, size, mtime + 1, ctime),
               "ctime": (name, size, mtime, ctime + 1), "name": ("x.png", size, mtime, ctime),
               "another file": STATE[2]}[change]  # fmt: skip
    state = [*STATE[:2], changed, *STATE[3:], *([("y.png", 1, 1, 1)] if change[0] == "a" else [])]
    other = PictureCache.of(str(tmp_path / "cache"), tmp_path / "photos", state)
    assert other.told(lambda: {"new": 1}) == {"new": 1}
    assert not file.exists()
    assert len(list(file.parent.glob("*.json"))) == 1


def test_another_place_and_another_choice_of_files_stand_beside(cache, tmp_path):
    one, _ = cache.decoded(FILES, IMAGES.shape, blocks, dict)
    two, _ = cache.decoded(FILES[:3], (3, 8, 9, 3), lambda: [IMAGES[:3]], dict)
    elsewhere = PictureCache.of(str(tmp_path / "cache"), tmp_path / "others", STATE)
    three, _ = elsewhere.decoded(FILES, IMAGES.shape, blocks, dict)
    assert len({one, two, three}) == 3
    assert one.exists()
    assert two.exists()


@pytest.mark.parametrize("damage", ["cut", "no json"])
def test_what_was_damaged_is_made_anew(cache, damage):
    file, _ = cache.decoded(FILES, IMAGES.shape, blocks, dict)
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-10])
    else:
        file.with_suffix(".json").unlink()
    assert cache.decoded(FILES, IMAGES.shape, blocks, lambda: {"a": "b"})[1] == {"a": "b"}


def test_an_error_or_a_kill_on_the_way_leaves_no_array(cache, tmp_path):
    def interrupted():
        yield IMAGES[:3]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.decoded(FILES, IMAGES.shape, interrupted, dict)
    assert not list(cache.folder.glob("*.npy"))
    left = cache.folder / f".{cache.place}-{cache.state}-x.npy.0123.tmp"
    left.touch()  # as a kill leaves it
    cache.decoded(FILES, IMAGES.shape, blocks, dict)
    assert not left.exists()


def test_a_reader_keeps_what_it_has_opened(cache):
    file, _ = cache.decoded(FILES, IMAGES.shape, blocks, dict)
    read = CachedReader(str(file))
    np.testing.assert_array_equal(next(iter(read(np.array([1])))), IMAGES[1])
    shutil.rmtree(cache.folder)
    np.testing.assert_array_equal(next(iter(read(np.array([2])))), IMAGES[2])
    with pytest.raises(InputError, match="start again to recreate it"):
        CachedReader(str(file) + "x")(np.array([0]))


def test_a_disk_that_would_be_full_is_named_before_anything_is_decoded(cache, monkeypatch):
    usage = types.SimpleNamespace(free=IMAGES.nbytes * 1.1)
    monkeypatch.setattr(picture_cache.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(NoRoomError, match=r"the disk of .* has 0.00 GB left; expected another --"):
        cache.decoded(FILES, IMAGES.shape, never, never)
    usage.free = IMAGES.nbytes * 1.2
    cache.decoded(FILES, IMAGES.shape, blocks, dict)
    usage.free = 0  # what is there needs no room
    cache.decoded(FILES, IMAGES.shape, never, never)


def test_a_disk_that_fills_up_on_the_way_is_named(cache):
    def full():
        yield IMAGES[:3]
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match=r"cannot write .* \(No space left on device\); expected"):
        cache.decoded(FILES, IMAGES.shape, full, dict)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    cache = PictureCache.of(str(tmp_path / "file"), tmp_path, STATE)
    with pytest.raises(InputError, match="cannot write the cache of pictures"):
        cache.told(dict)


def test_of_two_that_start_at_once_one_decodes_and_the_other_says_that_it_waits(cache, capsys):
    """Locks are of an open file: threads stand for processes here."""
    started = threading.Event()

    def slowly():
        started.set()
        time.sleep(0.3)
        yield from blocks()

    with ThreadPoolExecutor() as pool:
        first = pool.submit(cache.decoded, FILES, IMAGES.shape, slowly, lambda: {"by": "first"})
        started.wait()
        second = cache.decoded(FILES, IMAGES.shape, never, never)
    assert second == first.result()
    said = f"waiting  for process {os.getpid()}, which reads the same pictures\n"
    assert capsys.readouterr().out == said
