"""A table of embeddings as a teacher: a row an image, read at its place, of whatever width."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.teachers import registry
from rmdnet_jax.teachers.table import Table, TableTeacher

ROWS = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
TEST = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
DATA = types.SimpleNamespace(train_images=np.zeros(6), test_images=np.zeros(3))


def build(path):
    return Table.build(types.SimpleNamespace(path=str(path)), DATA)


@pytest.fixture
def file(tmp_path):
    """Writes arrays, those of DATA where none are given."""

    def write(**arrays):
        np.savez(tmp_path / "table.npz", **({"train": ROWS, "test": TEST} | arrays))
        return tmp_path / "table.npz"

    return write


def test_a_batchs_rows_lie_where_its_images_do_and_the_view_is_not_read():
    teacher = TableTeacher(ROWS)
    assert (teacher.size, teacher.reads_labels) == (4, False)
    index, view = np.array([5, 0, 0, 3]), jnp.full((4, 8, 8, 3), jnp.nan)
    rows = jax.jit(teacher.embed)(teacher.frozen, view, jnp.asarray(index))
    np.testing.assert_array_equal(rows, ROWS[index])


def test_what_is_frozen_is_what_it_reads():
    """The loop puts it on the devices once; the table itself is no constant of the program."""
    other = {"table": jnp.asarray(2 * ROWS)}
    rows = TableTeacher(ROWS).embed(other, None, jnp.array([1]))
    np.testing.assert_array_equal(rows, 2 * ROWS[[1]])


def test_of_some_images_it_is_their_rows_in_their_order():
    """As where some are held out for validation: index 0 is then the first that is left."""
    left = np.array([1, 2, 5])
    teacher = TableTeacher(ROWS, reads_labels=True).of_images(left)
    np.testing.assert_array_equal(teacher.frozen["table"], ROWS[left])
    assert teacher.reads_labels
    rows = teacher.embed(teacher.frozen, None, jnp.array([2, 0]))
    np.testing.assert_array_equal(rows, ROWS[[5, 1]])


def test_the_kind_reads_a_file_and_trains_nothing(file):
    table = build(file())
    assert registry.get("table") is Table
    assert table.method is None
    assert table.fresh(jax.random.key(0), None) is None
    train, test = table.embeddings(None, DATA)
    np.testing.assert_array_equal(train, ROWS)
    np.testing.assert_array_equal(test, TEST)
    np.testing.assert_array_equal(table.teacher(None).table, ROWS)
    table.watch({}, 1, [])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_any_floats_become_float32(file, dtype):
    table = build(file(train=ROWS.astype(dtype), test=TEST.astype(dtype)))
    assert {table.train.dtype, table.test.dtype} == {np.dtype(np.float32)}
    np.testing.assert_allclose(table.train, ROWS.astype(np.float16), rtol=1e-2)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"train": ROWS[:5]}, r"train is float32 \(5, 4\); right is .*\(6, D\), in the images"),
        ({"test": TEST[:, :3]}, r"test is float32 \(3, 3\); right is .*\(3, D\)"),
        ({"train": ROWS[0, 0]}, r"train is float32 \(\);"),
        ({"train": ROWS.ravel()}, r"train is float32 \(24,\);"),
        ({"train": ROWS[:, :1], "test": TEST[:, :1]}, r"train is float32 \(6, 1\);"),
        ({"train": ROWS[:, :0], "test": TEST[:, :0]}, r"train is float32 \(6, 0\);"),
        ({"train": np.ones((6, 4), int)}, r"train is int64 \(6, 4\); right is one row of floats"),
        ({"train": np.where(ROWS > 0, np.nan, ROWS)}, "train holds values that are not finite"),
        ({"test": np.where(TEST > 0, np.inf, TEST)}, "test holds values that are not finite"),
        # Finite, but not as float32, whose largest is 3e38.
        ({"train": np.full((6, 4), 1e300)}, "train holds values that are not finite"),
        ({"train": np.array(["a"] * 6)}, "train is <U1"),
    ],
)
def test_a_table_of_other_images_or_no_numbers_is_refused(file, arrays, says):
    with pytest.raises(InputError, match=says) as told:
        build(file(**arrays))
    assert str(told.value).startswith("config.teacher.path, ")


def test_a_file_without_both_is_refused(tmp_path):
    np.savez(tmp_path / "half.npz", train=ROWS)
    with pytest.raises(InputError, match=r"half.npz, .*test.*; right is a .npz of `train`"):
        build(tmp_path / "half.npz")


@pytest.mark.parametrize("content", [None, b"", b"no archive", b"PK\x03\x04cut"])
def test_what_is_no_such_file_is_refused_in_a_line(tmp_path, content):
    path = tmp_path / "table.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"config.teacher.path, .*; right is") as told:
        build(path)
    assert "\n" not in str(told.value)


def test_objects_are_not_unpickled(tmp_path):
    np.savez(tmp_path / "bad.npz", train=np.array([{}], object), test=TEST)
    with pytest.raises(InputError, match="cannot be read"):
        build(tmp_path / "bad.npz")
