"""Images on disk answer as the array would that they decode to."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmdnet_jax.data import lazy_images
from rmdnet_jax.data.lazy_images import LazyImages

ARRAY = np.random.default_rng(0).integers(0, 256, (50, 8, 9, 3), np.uint8)


class Counting:
    """Reads ARRAY and remembers what was read."""

    def __init__(self):
        self.rows = []

    def __call__(self, rows):
        self.rows += rows.tolist()
        return ARRAY[rows]


def lazy(read=None):
    return LazyImages(read or Counting(), np.arange(50), (8, 9, 3))


def test_it_has_an_arrays_face():
    images = lazy()
    for name in ("shape", "ndim", "dtype", "nbytes"):
        assert getattr(images, name) == getattr(ARRAY, name), name
    assert len(images) == 50
    assert not images.read.rows


KEYS = st.one_of(
    st.integers(-50, 49),
    st.integers(0, 49).map(np.int32),
    st.builds(slice, st.none() | st.integers(-60, 60), st.none() | st.integers(-60, 60),
              st.sampled_from([None, 1, 3, -1])),
    st.lists(st.integers(0, 49), max_size=9).map(lambda rows: np.array(rows, np.int32)),
)  # fmt: skip


@given(key=KEYS)
def test_an_index_decodes_what_numpy_would_give(key):
    np.testing.assert_array_equal(lazy()[key], ARRAY[key])
    assert lazy()[key].dtype == np.uint8


@given(
    first=st.builds(slice, st.integers(-9, 50), st.integers(-9, 50), st.sampled_from([1, 2, -1])),
    second=st.builds(slice, st.integers(-9, 50), st.integers(-9, 50)),
)
def test_subsets_of_subsets_decode_nothing(first, second):
    read = Counting()
    images = lazy(read).subset(first).subset(second)
    assert images.shape == ARRAY[first][second].shape
    assert not read.rows
    np.testing.assert_array_equal(lazy_images.decoded(images), ARRAY[first][second])


def test_only_what_is_asked_for_is_read():
    read = Counting()
    lazy(read)[np.array([7, 3, 7])]
    assert read.rows == [7, 3, 7]


def test_beyond_the_end_is_an_index_error():
    with pytest.raises(IndexError):
        lazy()[50]


@pytest.mark.parametrize("size", [1, 7 * ARRAY[0].nbytes, 1 << 30])
def test_blocks_are_everything_once_and_in_order(size, monkeypatch):
    monkeypatch.setattr(lazy_images, "_BLOCK", size)
    read = Counting()
    for images in (ARRAY, lazy(read)):
        blocks = list(lazy_images.blocks(images))
        np.testing.assert_array_equal(np.concatenate(blocks), ARRAY)
        assert max(block.nbytes for block in blocks) <= max(size, ARRAY[0].nbytes)
    assert sorted(read.rows) == list(range(50))


def test_blocks_read_little_ahead_and_stop_when_nobody_wants_more(monkeypatch):
    monkeypatch.setattr(lazy_images, "_BLOCK", 1)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    read = Counting()
    blocks = lazy_images.blocks(lazy(read))
    next(blocks)
    blocks.close()
    assert len(read.rows) <= 4


def test_an_error_in_a_thread_is_everybodys():
    def broken(rows):
        raise ValueError("no such file")

    with pytest.raises(ValueError, match="no such file"):
        lazy_images.decoded(lazy(broken))


def test_it_can_be_pickled():
    images = pickle.loads(pickle.dumps(LazyImages(ARRAY.take, np.arange(3), (8, 9, 3))))
    assert images.shape == (3, 8, 9, 3)


def test_arrays_in_memory_are_left_as_they_are():
    assert lazy_images.decoded(ARRAY) is ARRAY
    assert lazy_images.subset(ARRAY, slice(3)).base is ARRAY
