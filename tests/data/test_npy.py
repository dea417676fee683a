"""Arrays come back as NumPy wrote them; from any other file comes one line, and no code, no pickle
and no memory that the file does not fill."""

import math
import os
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import npy, sources
from rmdnet_jax.data.dataset import Dataset


def head(shape, descr="|u1", fortran=False, version=1):
    """The head of a .npy; shape as text may be anything."""
    text = f"{{'descr': {descr!r}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H", len(text)) + text


def zipped(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_come_back_as_they_were_saved(tmp_path, compressed):
    rng = np.random.default_rng(0)
    arrays = {
        "images": rng.integers(0, 256, (3, 8, 9, 3), np.uint8),
        "transposed": rng.normal(size=(3, 4)).T,
        "big_endian": np.arange(5, dtype=">i4"),
        "text": np.array(["ant", "große Biene"]),
        "none": np.zeros((0, 8), np.int16),
        "one": np.array(7),
        "large": np.zeros(20_000_000, bool),  # more than a block
    }
    (np.savez_compressed if compressed else np.savez)(tmp_path / "a.npz", **arrays)
    found = npy.load_all(tmp_path / "a.npz", 1e9)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
        np.save(tmp_path / "a.npy", array)
        np.testing.assert_array_equal(npy.load(tmp_path / "a.npy"), array)


# What is wrong with a .npy -> (its bytes, what the line must say).
BAD = {
    "nothing": (b"", "EOF"),
    "text": (b"0.1,0.9\n0.9,0.1\n", "magic string"),
    "a cut head": (head("(4,)")[:30], "EOF"),
    "a head without end": (b"\x93NUMPY\x01\0\x10\0" + b"(" * 16, "EOF in multi-line"),
    "a huge head": (head("(" * 30_000), "large and may not be safe"),
    "code in the head": (head("__import__('os').mkdir('hacked')"), "malformed"),
    "an unknown version": (head("(4,)", version=9), "format"),
    "an unknown dtype": (head("(4,)", "<q9"), "not a valid dtype"),
    "too little": (head("(4,)") + b"abc", r"header states uint8 \(4,\), but it has 3 bytes"),
    "too much": (head("(4,)") + b"abcde", "has 5 bytes"),
    "a shape of petabytes": (head(f"({10**15},)") + b"abcd", "has 4 bytes"),
    "a shape beyond every integer": (head(f"({10**40},)", "<f8"), "has 0 bytes"),
    "a shape below zero": (head("(-2, -2)") + b"abcd", "has 4 bytes"),
    "a string of gigabytes": (head("(1,)", "|S2000000000"), "has 0 bytes"),
    "pointers to objects": (head("(1,)", "|O") + bytes(8), "Python objects"),
    "no characters": (head("(1,)", "<U1") + b"\xff" * 4, "text with invalid characters"),
    "a pickle": (pickle.dumps([1]), "magic string"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_whole_array_is_refused_before_it_takes_memory(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    content, says = BAD[case]
    (tmp_path / "a.npy").write_bytes(content)
    zipped(tmp_path / "a.npz", [("y_train.npy", content)])
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=says) as alone:
            npy.load(tmp_path / "a.npy")
        with pytest.raises(
            InputError, match=rf"y_train of .*a\.npz cannot be read .*{says}"
        ) as in_zip:
            npy.load_all(tmp_path / "a.npz", 1e9)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()
    for refused in (alone, in_zip):
        assert "\n" not in str(refused.value)
        assert len(str(refused.value)) < 600
    assert not (tmp_path / "hacked").exists()


def test_no_pickle_is_loaded(tmp_path):
    evil = np.array([Evil(tmp_path / "hacked")] * 4)
    np.save(tmp_path / "a.npy", evil)
    np.savez(tmp_path / "a.npz", y_train=evil)
    (tmp_path / "b.npy").write_bytes(pickle.dumps(evil[0]))
    for load in (
        lambda: npy.load(tmp_path / "a.npy"),
        lambda: npy.load(tmp_path / "b.npy"),
        lambda: npy.load_all(tmp_path / "a.npz", 1e9),
    ):
        with pytest.raises(InputError, match="not of Python objects"):
            load()
    assert not (tmp_path / "hacked").exists()


def test_a_bomb_is_refused_by_the_size_that_it_tells(tmp_path):
    member = head("(50_000_000,)".replace("_", "")) + bytes(50_000_000)
    bomb = zipped(tmp_path / "bomb.npz", [("x_train.npy", member)])
    assert bomb.stat().st_size < 1e5
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"takes 0\.05 GB unpacked, but only 0.01"):
            npy.load_all(bomb, 1e7)
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


def test_a_member_is_read_no_further_than_the_size_it_tells(tmp_path):
    member = head("(1000,)") + bytes(1000)
    path = zipped(tmp_path / "a.npz", [("x.npy", member + bytes(10_000_000))])
    raw = bytearray(path.read_bytes())
    told = raw.rindex(b"PK\x01\x02") + 24
    raw[told : told + 4] = struct.pack("<I", len(member))
    path.write_bytes(raw)
    with pytest.raises(InputError, match="cannot be read"):  # the checksum is of all of it
        npy.load_all(path, 1e6)


def locked(raw):
    raw[raw.rindex(b"PK\x01\x02") + 8] |= 1
    return raw


def test_other_zips_are_refused(tmp_path):
    member = ("x.npy", head("(4,)") + b"abcd")
    whole = zipped(tmp_path / "a.npz", [member]).read_bytes()
    inner = ("inner.npz", whole)
    cases = [
        (zipped(tmp_path / "b.npz", [member], zipfile.ZIP_LZMA), "not compressed as by numpy"),
        (zipped(tmp_path / "c.npz", [inner]), "contains inner.npz, which is not an array"),
        (zipped(tmp_path / "d.npz", [("inner.npy", whole)]), "magic string"),
        (tmp_path / "missing.npz", "no file"),
        (tmp_path, "no file"),
    ]
    with pytest.warns(UserWarning, match="Duplicate"):
        cases.append((zipped(tmp_path / "e.npz", [member, member]), "contains x twice"))
    for name, raw, says in [
        ("f.npz", locked(bytearray(whole)), "password"),
        ("g.npz", whole[:-30], "is not a .npz file"),
        ("h.npz", b"", "is not a .npz file"),
    ]:
        (tmp_path / name).write_bytes(raw)
        cases.append((tmp_path / name, says))
    os.mkfifo(tmp_path / "pipe.npz")
    cases.append((tmp_path / "pipe.npz", "no file"))
    for path, says in cases:
        with pytest.raises(InputError, match=says) as refused:
            npy.load_all(path, 1e9)
        assert "\n" not in str(refused.value)


DTYPES = st.one_of(
    st.sampled_from(["u1", "u1", "u1", "i1", "u2", ">i4", "i8", "u8", "?", "f2", "f8", "c8"]),
    st.sampled_from(["U3", "S2", "M8[s]", "m8[D]", "V4"]),
)
SHAPES = st.one_of(
    st.tuples(st.integers(0, 4), st.integers(7, 9), st.integers(7, 9), st.sampled_from([1, 3, 4])),
    st.tuples(st.integers(0, 4)),
    st_numpy.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)


def array(dtype, shape, seed):
    """Zeros, or whatever random bytes mean as this dtype."""
    if seed == 0 or dtype == "U3":  # not every four bytes are a character
        return np.zeros(shape, dtype)
    size = math.prod(shape) * np.dtype(dtype).itemsize
    return np.frombuffer(np.random.default_rng(seed).bytes(size), dtype).reshape(shape)


ARRAYS = st.builds(array, DTYPES, SHAPES, st.integers(0, 3))
GOOD = {
    "x_train": np.zeros((4, 8, 8, 3), np.uint8),
    "y_train": np.arange(4) % 2,
    "x_test": np.zeros((2, 8, 8, 3), np.uint8),
    "y_test": np.arange(2),
}
CHANGES = st.dictionaries(
    st.sampled_from([*GOOD, "class_names", "y_train_true", "human", "\x1b[2J\n"]),
    ARRAYS,
    max_size=3,
)


@given(changes=CHANGES)
def test_whatever_arrays_there_are_it_is_a_data_set_or_one_line(tmp_path_factory, changes):
    path = tmp_path_factory.getbasetemp() / "any.npz"
    np.savez(path, **(GOOD | changes))
    refusal = ""
    try:
        data = sources.load("npz", str(path))
        assert isinstance(data.check(), Dataset)
    except InputError as error:
        refusal = str(error)
    assert "\n" not in refusal
