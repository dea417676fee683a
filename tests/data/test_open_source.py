"""Pictures of another source: a folder, or an array; what they are labelled as is not read."""

import numpy as np
import pytest
from PIL import Image

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import open_source, pictures

SHAPE = (12, 12, 3)


def pixels(size=5, side=12, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (size, side, side, 3), np.uint8)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "web"
    for i, place in enumerate(("b/deep/er", "a", "")):
        (root / place).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(3, 20)[i]).save(root / place / f"{i}.png")
    (root / "notes.txt").write_text("no picture")
    (root / ".hidden.png").write_bytes(b"")
    (root / ".trash").mkdir()
    (root / ".trash" / "old.png").write_bytes(b"")
    return root


def test_pictures_lie_at_any_depth_and_become_squares_of_the_datas_side(folder):
    pool = open_source.read(str(folder), SHAPE)
    assert pool.files == tuple(str(folder / f) for f in ("2.png", "a/1.png", "b/deep/er/0.png"))
    for place, row in enumerate((2, 1, 0)):
        np.testing.assert_array_equal(pool.images[place], pictures.square(pixels(3, 20)[row], 12))
    np.testing.assert_array_equal(pool.squares(20)[np.arange(3)], pixels(3, 20)[::-1])
    assert len(np.unique(pool.digests, axis=0)) == 3


@pytest.mark.parametrize("in_memory", [True, False])
def test_what_is_no_whole_picture_is_passed_over_and_told(folder, in_memory):
    cut = (folder / "a" / "1.png").read_bytes()[:90]
    (folder / "a" / "1.png").write_bytes(cut)
    (folder / "3.png").symlink_to(folder / "nothing.png")
    pool = open_source.read(str(folder), SHAPE)
    order = np.array([1, 2, 3, 0])  # 2.png, 3.png, a/1.png, b/deep/er/0.png are 0 to 3
    taken, skipped = open_source.whole(pool, order, 2, in_memory, 0.5)
    assert taken.files == tuple(str(folder / f) for f in ("b/deep/er/0.png", "2.png"))
    expected = [pictures.square(pixels(3, 20)[row], 12) for row in (0, 2)]
    np.testing.assert_array_equal(taken.images[np.arange(2)], expected)
    assert isinstance(taken.images, np.ndarray) is in_memory
    np.testing.assert_array_equal(taken.digests, pool.digests[[3, 0]])
    np.testing.assert_array_equal(taken.squares(20)[np.arange(2)], pixels(3, 20)[[0, 2]])
    assert [file.path for file in skipped] == [str(folder / f) for f in ("3.png", "a/1.png")]
    assert skipped[0].reason == "there is no such file"
    says = r"2 of 4 files of .*web \(noise.open_path\) cannot be used \(.*no such file; .*a/1.png: "
    with pytest.raises(InputError, match=says):
        open_source.whole(pool, order, 2, in_memory, 0.49)


def test_pictures_that_are_not_asked_for_are_not_looked_at(folder):
    (folder / "2.png").write_bytes(b"broken")
    pool = open_source.read(str(folder), SHAPE)
    taken, skipped = open_source.whole(pool, np.array([2, 1, 0]), 2, True, 0.0)
    assert (len(taken), skipped) == (2, ())
    again, _ = open_source.whole(taken, np.array([1, 0]), 1, True, 0.0)
    assert again.files == taken.files[1:]


def test_as_many_as_there_are_where_more_are_broken(folder):
    (folder / "2.png").write_bytes(b"broken")
    pool = open_source.read(str(folder), SHAPE)
    taken, skipped = open_source.whole(pool, np.arange(3), 3, False, 0.4)
    assert (len(taken), len(skipped)) == (2, 1)


@pytest.mark.parametrize("array", ["x_train", "images"])
def test_an_array_of_a_npz(tmp_path, array):
    np.savez(tmp_path / "w.npz", **{array: pixels(), "y_train": np.arange(5), "wnids": ["n1"]})
    pool = open_source.read(str(tmp_path / "w.npz"), SHAPE)
    np.testing.assert_array_equal(pool.images, pixels())
    assert pool.files is None


def test_a_npy_of_another_size_is_resized(tmp_path):
    np.save(tmp_path / "w.npy", pixels(4, 24))
    pool = open_source.read(str(tmp_path / "w.npy"), SHAPE)
    expected = [pictures.square(one, 12) for one in pixels(4, 24)]
    np.testing.assert_array_equal(pool.images[np.arange(4)], expected)
    assert pool.squares(24) is not None
    np.testing.assert_array_equal(pool.squares(24)[:], pixels(4, 24))


def test_feature_vectors_beside_feature_vectors(tmp_path):
    np.save(tmp_path / "f.npy", np.ones((3, 7)))
    assert open_source.read(str(tmp_path / "f.npy"), (7,)).images.dtype == np.float32


WRONG = {
    "nothing": ("missing", SHAPE, "does not exist; expected a folder of pictures"),
    "text": ("t.txt", SHAPE, "is another kind of file; expected a folder"),
    "other arrays": ("other.npz", SHAPE, "contains y_train; expected"),
    "floats": ("floats.npy", SHAPE, "are float64; expected uint8"),
    "features beside pictures": ("f.npy", SHAPE, r"shape \(7,\), but the data's are \(12, 12, 3\)"),
    "pictures beside features": ("p.npy", (7,), r"shape \(12, 12, 3\), but the data's are \(7,\)"),
    "other features": ("f.npy", (8,), "expected feature vectors of the same size"),
    "no squares": ("p.npy", (12, 13, 3), "the data's have 12x13 pixels; expected an array of"),
    "empty folder": ("empty", SHAPE, "has no pictures in .jpg"),
    "folder beside features": ("web", (7,), "folder of pictures, but the data is feature vectors"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_stand_beside_the_data_is_refused_in_a_line(folder, tmp_path, case):
    (tmp_path / "t.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    np.savez(tmp_path / "other.npz", y_train=np.arange(3))
    np.save(tmp_path / "floats.npy", pixels() / 255)
    np.save(tmp_path / "f.npy", np.ones((3, 7)))
    np.save(tmp_path / "p.npy", pixels())
    name, shape, says = WRONG[case]
    with pytest.raises(InputError, match=says) as caught:
        open_source.read(str(tmp_path / name), shape)
    assert "\n" not in str(caught.value)
    assert "noise.open_path" in str(caught.value)
