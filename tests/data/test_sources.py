"""What `load` gives for the built-in digits and for .npz files, and what it says of bad ones."""

import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import labels, sources
from rmdnet_jax.data.dataset import Dataset


@pytest.fixture(scope="module")
def digits():
    return sources.load("digits")


def test_digits_shapes_and_types(digits):
    assert digits.name == "digits"
    assert digits.train_images.shape == (1437, 16, 16, 3)
    assert digits.test_images.shape == (360, 16, 16, 3)
    assert digits.train_images.dtype == digits.test_images.dtype == np.uint8
    assert digits.train_labels.dtype == digits.test_labels.dtype == np.int32
    assert digits.class_names == tuple("0123456789")
    assert not digits.label_sets


def test_digits_are_grey_and_use_the_whole_range(digits):
    images = digits.train_images
    np.testing.assert_array_equal(images[..., 0], images[..., 1])
    np.testing.assert_array_equal(images[..., 0], images[..., 2])
    assert images.min() == 0
    assert images.max() == 255


def test_digits_hold_every_image_of_scikit_learn_once(digits):
    # Bilinear enlargement by 2 leaves the corner pixels as they were.
    corners = np.concatenate([digits.train_images, digits.test_images])[:, ::15, ::15, 0]
    original = np.rint(load_digits().images[:, ::7, ::7] * 255 / 16)
    ours, theirs = (
        np.sort(c.reshape(len(c), 4) @ 256 ** np.arange(4)) for c in (corners, original)
    )
    np.testing.assert_array_equal(ours, theirs)


def test_digits_split_is_stratified(digits):
    train, test = np.bincount(digits.train_labels), np.bincount(digits.test_labels)
    np.testing.assert_array_equal(train + test, np.bincount(load_digits().target))
    assert np.abs(test - (train + test) * 360 / 1797).max() < 1


def test_digits_are_always_the_same(digits):
    assert sources.load("digits").images_fingerprint() == digits.images_fingerprint()
    # The fixed split of this release: results are comparable only on the same one.
    assert digits.test_labels[:10].tolist() == [7, 6, 3, 7, 7, 3, 2, 8, 9, 3]


def test_digits_take_no_path():
    with pytest.raises(InputError, match="'digits' is built in"):
        sources.load("digits", "somewhere")


def test_subset_is_taken_before_classes_are_counted(digits):
    small = sources.load("digits", train_size=200, test_size=7)
    assert (len(small.train_images), len(small.test_images)) == (200, 7)
    np.testing.assert_array_equal(small.train_images, digits.train_images[:200])
    with pytest.raises(InputError, match="is empty in the train labels"):
        sources.load("digits", train_size=5)


def arrays(**changes):
    """The arrays of a good .npz, 3 classes and one human label set; None leaves one out."""
    rng = np.random.default_rng(0)
    good = {
        "x_train": rng.integers(0, 256, (12, 8, 10, 3), np.uint8),
        "y_train": np.arange(12, dtype=np.uint8) % 3,
        "x_test": rng.integers(0, 256, (5, 8, 10, 3), np.uint8),
        "y_test": np.arange(5) % 3,
        "human_aggre": (np.arange(12, dtype=np.int8) + 1) % 3,
    }
    return {key: value for key, value in (good | changes).items() if value is not None}


@pytest.fixture
def save(tmp_path):
    """Writes arrays to a .npz and returns its path."""

    def save(name="beasts.npz", **content):
        np.savez(tmp_path / name, **content)
        return str(tmp_path / name)

    return save


def test_npz_comes_back_as_it_was_saved(save):
    content = arrays()
    data = sources.load("npz", save(**content))
    assert isinstance(data, Dataset)
    for ours, theirs in [
        (data.train_images, content["x_train"]),
        (data.test_images, content["x_test"]),
        (data.train_labels, content["y_train"]),
        (data.test_labels, content["y_test"]),
        (data.label_sets["human_aggre"], content["human_aggre"]),
    ]:
        np.testing.assert_array_equal(ours, theirs)
    assert {labels.dtype for labels in (data.train_labels, data.test_labels)} == {np.dtype("int32")}
    assert data.label_sets["human_aggre"].dtype == np.int32
    assert set(data.label_sets) == {"human_aggre"}
    assert (data.name, data.class_names) == ("beasts", ("0", "1", "2"))


def test_npz_may_know_the_true_labels_of_its_training_images(save):
    true = (np.arange(12) + 2) % 3
    data = sources.load("npz", save(**arrays(y_train_true=true)))
    np.testing.assert_array_equal(data.true_labels, true)
    assert data.true_labels.dtype == np.int32
    assert set(data.label_sets) == {"human_aggre"}


def test_npz_may_know_that_images_show_none_of_the_classes(save):
    true = np.where(np.arange(12) < 2, -1, np.arange(12) % 3)
    data = sources.load("npz", save(**arrays(y_train_true=true)))
    np.testing.assert_array_equal(data.true_labels, true)
    assert data.class_names == ("0", "1", "2")


def test_images_at_the_start_are_skipped_before_some_are_taken(save):
    content = arrays(y_train_true=(np.arange(12) + 2) % 3)
    whole = sources.find("npz", save(**content))
    some = whole.subset(6, 2, skip=3)
    np.testing.assert_array_equal(some.train_images, content["x_train"][3:9])
    np.testing.assert_array_equal(some.true_labels, content["y_train_true"][3:9])
    np.testing.assert_array_equal(some.train_index, np.arange(3, 9))
    np.testing.assert_array_equal(some.test_labels, content["y_test"][:2])
    assert len(whole.subset(0, 0, skip=3).train_labels) == 9
    with pytest.raises(InputError, match=r"skip is 12 for beasts; expected 0 .none. to 11"):
        whole.subset(0, 0, skip=12)
    with pytest.raises(InputError, match=r"train_size is 10 for beasts; expected 0 .all. to 9"):
        whole.subset(10, 0, skip=3)


def test_npz_names_its_classes(save):
    data = sources.load("npz", save(**arrays(class_names=np.array(["ant", "bee", "cow"]))))
    assert data.class_names == ("ant", "bee", "cow")


def test_npz_of_keras_has_labels_in_a_column(save):
    plain, column = arrays(y_train_true=np.arange(12) % 3), {}
    for key, value in plain.items():
        is_labels = not key.startswith("x")
        column[key] = value.astype(np.uint8)[:, None] if is_labels else value
    expected, data = (sources.load("npz", save(**content)) for content in (plain, column))
    np.testing.assert_array_equal(data.train_labels, expected.train_labels)
    np.testing.assert_array_equal(data.test_labels, expected.test_labels)
    np.testing.assert_array_equal(data.true_labels, expected.true_labels)
    np.testing.assert_array_equal(
        data.label_sets["human_aggre"], expected.label_sets["human_aggre"]
    )
    assert data.train_labels.dtype == np.int32


@pytest.mark.parametrize(
    ("human", "says"),
    [
        (np.arange(12), "labels human_aggre of beasts range from 0 to 11; expected 0 to 2"),
        (np.arange(12) % 3 - 1, "labels human_aggre of beasts range from -1 to 1"),
        (np.arange(12) % 2, r"class 2 \(2\) is empty in the labels human_aggre of beasts"),
        (np.full(12, 2**64 - 1, np.uint64), "labels human_aggre of beasts range from"),
    ],
)
def test_a_label_set_must_be_right_only_where_it_is_trained_on(save, human, says):
    data = sources.load("npz", save(**arrays(human_aggre=human)))
    np.testing.assert_array_equal(labels.give(data, "none", 0.0, 0).given, data.train_labels)
    with pytest.raises(InputError, match=says):
        labels.give(data, "human", 0.0, 0, field="human_aggre")


def test_npz_counts_the_classes_of_both_splits(save):
    y_test = np.array([0, 1, 2, 3, 3])
    with pytest.raises(InputError, match=r"class 3 \(3\) is empty in the train labels"):
        sources.load("npz", save(**arrays(y_test=y_test)))


def test_npz_under_another_name_keeps_what_the_name_implies(save):
    data = sources.load("cifar10", save("any.npz", **arrays()))
    assert data.name == "cifar10"
    np.testing.assert_allclose(data.mean_std()[0], [0.4914, 0.4822, 0.4465], rtol=1e-6)


@pytest.mark.parametrize("channel", [(), (1,)])
def test_npz_greyscale_gets_three_equal_channels(save, channel):
    grey = np.random.default_rng(1).integers(0, 256, (12, 8, 9), np.uint8)
    content = arrays(
        x_train=grey.reshape(12, 8, 9, *channel), x_test=grey[:5].reshape(5, 8, 9, *channel)
    )
    data = sources.load("npz", save(**content))
    np.testing.assert_array_equal(data.train_images, np.stack([grey] * 3, axis=-1))


BAD_ARRAYS = {
    "no images": ({"x_train": None}, "has no array x_train; expected x_train"),
    "no labels": ({"y_train": None, "y_test": None}, "has no array y_train, y_test"),
    "no test images": ({"x_test": None}, "has no array x_test; expected x_train"),
    "no test labels": ({"y_test": None}, "has no array y_test; expected x_train"),
    "one image of each class": (
        {
            "x_train": np.zeros((3, 8, 8), np.uint8),
            "y_train": np.arange(3),
            "x_test": None,
            "y_test": None,
            "human_aggre": None,
        },
        r"no class of .*beasts.npz has two images that show it, .*; expected x_test",
    ),
    "float images": (
        {"x_train": np.zeros((12, 8, 10, 3), np.float32)},
        "x_train of .* are float32; expected uint8",
    ),
    "nan images": (
        {"x_test": np.full((5, 8, 10, 3), np.nan)},
        "x_test of .* are float64; expected uint8",
    ),
    "nan grey": ({"x_test": np.full((5, 8, 10), np.nan)}, "x_test of .* are float64"),
    "flat images": (
        {"x_train": np.zeros((12, 240), np.uint8)},
        r"x_train of .* are uint8 \(12, 240\); expected float32 \[N, D\]",
    ),
    "four channels": ({"x_test": np.zeros((5, 8, 10, 4), np.uint8)}, r"x_test .* \(5, 8, 10, 4\)"),
    "small images": ({"x_train": np.zeros((12, 7, 9, 3), np.uint8)}, "at least 8x8"),
    "two shapes": (
        {"x_test": np.zeros((5, 9, 10, 3), np.uint8)},
        "test images of beasts have .* expected the same shape",
    ),
    "no image": (
        {"x_test": np.zeros((0, 8, 10, 3), np.uint8), "y_test": np.zeros(0, int)},
        "no test images in beasts",
    ),
    "no training image": (
        {
            "x_train": np.zeros((0, 8, 10, 3), np.uint8),
            "y_train": np.zeros(0, int),
            "human_aggre": None,
            "y_test": np.zeros(5, int),
        },
        "no train images in beasts",
    ),
    "float labels": ({"y_train": np.zeros(12)}, "y_train of .* are float64; expected integers"),
    "float test labels": ({"y_test": np.zeros(5)}, "y_test of .* are float64"),
    "bool labels": ({"y_train": np.zeros(12, bool)}, "y_train of .* are bool"),
    "text labels": (
        {"y_train": np.full(12, "ant")},
        r"y_train of .* is text, <U3; expected integers from 0 and class_names: numpy\.unique",
    ),
    "labels in two columns": ({"y_train": np.zeros((12, 2), int)}, r"y_train.* \(12, 2\)"),
    "labels in a row": ({"y_test": np.zeros((1, 5), int)}, r"y_test.* shape \(1, 5\)"),
    "scalar labels": ({"y_test": np.array(1)}, r"y_test.* shape \(\)"),
    "too few labels": ({"y_train": np.arange(9) % 3}, r"y_train .* \(9,\); expected .* \(12,\)"),
    "too few human labels": ({"human_aggre": np.arange(5) % 3}, r"human_aggre .* shape \(5,\)"),
    "too few true labels": ({"y_train_true": np.arange(5) % 3}, r"y_train_true .* shape \(5,\)"),
    "negative true labels": (
        {"y_train_true": np.arange(12) % 3 - 2},
        "y_train_true .* from -2 to 0; expected 0 to 2 .3 classes., or -1 for none of them",
    ),
    "no true label": ({"y_train_true": np.full(12, -1)}, "y_train_true .* are all -1"),
    "negative labels": ({"y_test": np.arange(5) - 1}, "y_test of .* range from -1 to 3"),
    "huge labels": (
        {"y_train": np.array([2**62] * 12)},
        "go up to 4611686018427387904 with only 12 images",
    ),
    "labels beyond the names": (
        {"class_names": np.array(["ant", "bee"])},
        r"y_train of .* range from 0 to 2; expected 0 to 1 \(2 classes\)",
    ),
    "float human labels": ({"human_aggre": np.zeros(12)}, "human_aggre of .* are float64"),
    "unknown array": ({"extra": np.zeros((12, 2))}, r"unknown array extra \(12, 2\); expected"),
    "numbered names": ({"class_names": np.arange(3)}, r"class_names of .* is int64 \(3,\)"),
    "an unknown array of a long name": (
        {"x" * 3000: np.zeros((12, 2))},
        r"unknown array xx.*\.\.\.x* \(12, 2\); expected",
    ),
    "a name twice": (
        {"class_names": np.array(["ant", "bee", "ant"])},
        "beasts has 2 classes with the name 'ant'; expected unique names",
    ),
    "no name": (
        {"class_names": np.array(["ant", "", "bee"])},
        "beasts has 1 classes with the name ''",
    ),
    "one class": (
        {"y_train": np.zeros(12, int), "y_test": np.zeros(5, int), "human_aggre": None},
        "beasts has only one class, '0'; expected two or more",
    ),
    "scaled images": (
        {"x_train": np.ones((12, 8, 10, 3), np.float32)},
        r"float32; expected uint8 from 0 to 255, as from \(x \* 255\).round\(\).astype\(.uint8.\)$",
    ),
    "channels first": (
        {"x_test": np.zeros((5, 3, 8, 10), np.uint8)},
        r"expected \[N, height, width, 3\], as from x.transpose\(0, 2, 3, 1\)$",
    ),
    "classes from 1": (
        {"y_train": np.arange(12) % 3 + 1, "y_test": np.arange(2, 7) % 2 + 2},
        "go from 1 to 3, so that class 0 is empty; expected .*: subtract 1 from the labels$",
    ),
    "classes from 1 with names": (
        {
            "y_train": np.arange(12) % 3 + 1,
            "y_test": np.arange(5) % 3 + 1,
            "y_train_true": np.arange(12) % 4 - (np.arange(12) % 4 == 0),
            "class_names": np.array(["ant", "bee", "cow"]),
        },
        "go from 1 to 3, .* subtract 1 from the labels$",
    ),
    "no training image of class 0": (
        {"y_train": np.arange(12) % 2 + 1},
        r"class 0 \(0\) is empty in the train labels of beasts, and test image 0 has it; .* 2$",
    ),
    "an empty class with a name": (
        {
            "y_train": np.arange(12) % 2 + 1,
            "y_test": np.arange(5) % 2 + 1,
            "class_names": np.array(["ant", "bee", "cow"]),
        },
        r"class 0 \(ant\) is empty .* from 0 to 2$",
    ),
    "empty class": ({"y_train": np.arange(12) % 2 * 2}, r"class 1 \(1\) is empty"),
    "pickled labels": (
        {"human_aggre": np.array([None] * 12)},
        "human_aggre of .* expected .* not of Python objects",
    ),
}


@pytest.mark.parametrize(("changes", "message"), BAD_ARRAYS.values(), ids=BAD_ARRAYS)
def test_npz_with_a_bad_array(save, changes, message):
    path = save(**arrays(**changes))
    with pytest.raises(InputError, match=message) as caught:
        sources.load("npz", path)
    assert "\n" not in str(caught.value)
    assert "beasts" in str(caught.value)
    assert len(str(caught.value).replace(str(path), "")) <= 240


def test_npz_without_a_path():
    with pytest.raises(InputError, match=r"expected dataset\.path=FILE\.npz"):
        sources.load("npz")


def test_npz_that_is_missing(tmp_path):
    with pytest.raises(InputError, match=r"no file .*none\.npz"):
        sources.load("npz", str(tmp_path / "none.npz"))
    with pytest.raises(InputError, match="no file"):
        sources.load("npz", str(tmp_path))


def test_npz_that_is_something_else(tmp_path, save):
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "text.npz").write_text("not arrays")
    (tmp_path / "empty.npz").write_bytes(b"")
    for name in ("one.npy", "text.npz", "empty.npz"):
        with pytest.raises(InputError, match=f"{name} is not a .npz file"):
            sources.load("npz", str(tmp_path / name))


def test_npz_that_is_a_zip_of_something_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "pictures.npz", "w") as archive:
        archive.writestr("a.png", b"...")
    with pytest.raises(InputError, match=r"contains a\.png, which is not an array"):
        sources.load("npz", str(tmp_path / "pictures.npz"))


def test_npz_that_is_damaged(tmp_path, save):
    path = save(**arrays())
    with open(path, "r+b") as file:
        file.seek(2000)
        file.write(b"damaged")
    with pytest.raises(InputError, match=r"x_train of .* cannot be read"):
        sources.load("npz", path)


def test_any_other_name_goes_to_tensorflow_datasets(monkeypatch, digits):
    asked = []
    monkeypatch.setattr(sources.tfds_source, "load", lambda *args: asked.append(args) or digits)
    assert len(sources.load("mnist", "/data", train_size=100).train_images) == 100
    assert asked == [("mnist", "/data", 0)]


def test_tensorflow_and_tfds_stay_out_of_digits_and_npz(save):
    code = """
import sys
from rmdnet_jax.data import sources
sources.load('digits')
sources.load('npz', sys.argv[1])
print([name for name in ('tensorflow', 'tensorflow_datasets') if name in sys.modules])
"""
    command = [sys.executable, "-c", code, save(**arrays())]
    assert subprocess.check_output(command, text=True).strip() == "[]"


def test_npz_that_goes_by_cifars_name_has_cifars_class_names(tmp_path):
    numbers = np.arange(20) % 10
    images = np.zeros((20, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "c.npz", x_train=images, y_train=numbers, x_test=images, y_test=numbers)
    loaded = sources.load("cifar10", str(tmp_path / "c.npz"))
    assert loaded.class_names[8:] == ("ship", "truck")
    assert sources.load("npz", str(tmp_path / "c.npz")).class_names[8:] == ("8", "9")


@pytest.mark.parametrize("name", ["digits", "npz"])
def test_arrays_are_not_resized(name):
    with pytest.raises(InputError, match=r"image_size is 32, but the images of .* are not resized"):
        sources.load(name, "x.npz" if name == "npz" else "", image_size=32)


@pytest.mark.parametrize("kind", ["folder", "manifest", "npz"])
def test_own_data_are_what_their_path_is(tmp_path, save, kind):
    path = save("mine.npz", **arrays())
    if kind != "npz":
        rows = ["path,label"]
        for i in range(12):
            name = f"{'ab'[i % 2]}/{i}.png"
            (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(arrays()["x_train"][i]).save(tmp_path / "mine" / name)
            rows.append(f"{name},{'ab'[i % 2]}")
        path = tmp_path / "mine"
    if kind == "manifest":
        path = tmp_path / "mine" / "mine.csv"
        path.write_text("\n".join(rows))
    data = sources.load("own", str(path))
    assert data.name == "mine"
    assert len(data.train_images) == (12 if kind == "npz" else 10)


@pytest.mark.parametrize("path", ["photos ", " photos", "list.csv ", " ~/photos"])
def test_a_path_with_blanks_around_it_is_guessed(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "photos").mkdir()
    (tmp_path / "list.csv").touch()
    says = f"did you mean '{path.strip()}'? Expected a folder with one subfolder per class, a "
    with pytest.raises(InputError) as caught:
        sources.load("own", path)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("path", "says"),
    [("", "no folder or file ''"), ("nowhere", "no folder or file"), ("labels.txt", "no data set")],
)
def test_a_path_that_is_no_data(tmp_path, monkeypatch, path, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.txt").touch()
    with pytest.raises(InputError, match=rf"{says}.*; expected a folder with one subfolder per cl"):
        sources.load("own", path)
