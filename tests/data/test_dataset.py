"""A data set that passes `check` can be trained on; what fails is said in one line."""

import dataclasses
import hashlib

import numpy as np
import pytest

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import dataset, lazy_images
from rmdnet_jax.data.dataset import Dataset, with_three_channels
from rmdnet_jax.data.lazy_images import LazyImages


def make(**changes):
    """A good data set: 20 training and 6 test images of 8x9 pixels, 4 classes, human labels."""
    rng = np.random.default_rng(0)
    good = {
        "name": "beasts",
        "train_images": rng.integers(0, 256, (20, 8, 9, 3), np.uint8),
        "train_labels": np.arange(20, dtype=np.int32) % 4,
        "test_images": rng.integers(0, 256, (6, 8, 9, 3), np.uint8),
        "test_labels": np.arange(6, dtype=np.int32) % 4,
        "label_sets": {"human": (np.arange(20, dtype=np.int32) + 1) % 4},
        "class_names": ("ant", "bee", "cow", "dog"),
    }
    return Dataset(**(good | changes))


def test_a_good_data_set_passes_unchanged():
    data = make()
    assert data.check() is data
    assert data.num_classes == 4
    assert data.image_shape == (8, 9, 3)


def test_test_labels_may_lack_a_class():
    make(test_labels=np.zeros(6, np.int32)).check()


IMAGES = np.zeros((20, 8, 9, 3), np.uint8)
BAD = {
    "rank": ({"train_images": IMAGES[0]}, r"train images of beasts have shape \(8, 9, 3\)"),
    "channels": ({"test_images": IMAGES[:6, ..., :1]}, "test images of beasts have shape"),
    "dtype": ({"train_images": IMAGES / 255}, "are float64; expected uint8"),
    "scaled": (
        {"train_images": np.full((20, 8, 9, 3), 0.5)},
        r'to 255, as from \(x \* 255\)\.round\(\)\.astype\("uint8"\)$',
    ),
    "not scaled": ({"train_images": np.full((20, 8, 9, 3), 1.5)}, "expected uint8 from 0 to 255$"),
    "channels first": (
        {"train_images": np.zeros((20, 3, 8, 9), np.uint8)},
        r"\(20, 3, 8, 9\); expected \[N, height, width, 3\], as from x\.transpose\(0, 2, 3, 1\)$",
    ),
    "size": ({"train_images": IMAGES[:, :7]}, r"have \(7, 9\) pixels; expected at least 8x8"),
    "no image": ({"train_images": IMAGES[:0]}, "no train images in beasts"),
    "a path too few": (
        {"train_files": tuple(map(str, range(19)))},
        "train_files of beasts has 19 entries for 20 train images; expected one for each",
    ),
    "an index too many": (
        {"test_index": np.arange(7)},
        "test_index of beasts has 7 entries for 6 test images",
    ),
    "two shapes": ({"test_images": np.zeros((6, 9, 9, 3), np.uint8)}, "expected the same shape"),
    "float labels": ({"train_labels": np.zeros(20)}, "train labels of beasts are float64"),
    "nan labels": ({"test_labels": np.full(6, np.nan)}, "test labels of beasts are float64"),
    "length": ({"train_labels": np.arange(19) % 4}, r"shape \(19,\); expected .* \(20,\)"),
    "one-hot labels": ({"test_labels": np.eye(6, 4, dtype=int)}, r"shape \(6, 4\)"),
    "negative label": (
        {"train_labels": np.arange(20) % 4 - 1},
        "range from -1 to 2; expected 0 to 3",
    ),
    "label beyond": ({"test_labels": np.arange(6)}, r"from 0 to 5; expected 0 to 3 \(4 classes\)"),
    "empty class": (
        {"train_labels": np.arange(20) % 2 * 2},
        r"class 1 \(bee\) is empty in the train labels of beasts, and test image 1 has it; expec",
    ),
    "label set length": ({"label_sets": {"human": np.arange(9) % 4}}, "human of beasts have shape"),
    "a name twice": (
        {"class_names": ("ant", "bee", "ant", "dog")},
        "beasts has 2 classes with the name 'ant'; expected unique names that are not",
    ),
    "a class without a name": ({"class_names": ("ant", " ", "cow", "dog")}, "with the name ' '"),
}


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD)
def test_bad_data_is_refused_in_one_line(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        make(**changes).check()
    assert "\n" not in str(caught.value)


def test_labels_of_a_set_are_looked_at_when_they_are_trained_on():
    data = make(label_sets={"human": np.arange(20), "few": np.arange(20) % 2})
    assert data.check() is data
    with pytest.raises(InputError, match="human of beasts range from 0 to 19"):
        data.check_training_labels(data.label_sets["human"], "human")
    with pytest.raises(InputError, match="is empty in the few of beasts"):
        data.check_training_labels(data.label_sets["few"], "few")


def test_mean_and_std_are_those_of_the_pixels():
    data = make()
    pixels = data.train_images.astype(np.float64).reshape(-1, 3) / 255
    mean, std = data.mean_std()
    assert mean.dtype == std.dtype == np.float32
    np.testing.assert_allclose(mean, pixels.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(std, pixels.std(axis=0), rtol=1e-6)


def test_mean_and_std_of_features_are_those_of_all_blocks(monkeypatch):
    monkeypatch.setattr(lazy_images, "_BLOCK", 800)
    rng = np.random.default_rng(0)
    features = rng.normal((0, 1e4, 7), (1, 100, 0), size=(999, 3)).astype(np.float32)
    mean, std = dataset.mean_std_of(features)
    assert mean.dtype == std.dtype == np.float32
    np.testing.assert_allclose(mean, features.mean(axis=0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(std[:2], features[:, :2].std(axis=0, dtype=np.float64), rtol=1e-6)
    assert std[2] == 1


def test_a_constant_channel_is_not_divided_by_zero():
    images = make().train_images.copy()
    images[..., 1] = 51
    mean, std = make(train_images=images).mean_std()
    assert mean[1] == np.float32(0.2)
    assert std[1] == 1


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        ("cifar10", (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
        ("cifar100", (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    ],
)
def test_cifar_has_the_constants_of_the_literature(name, mean, std):
    ours = make(name=name).mean_std()
    np.testing.assert_array_equal(ours, np.asarray([mean, std], np.float32))
    assert ours[0].dtype == np.float32


def test_subset_takes_the_first_rows_of_everything():
    data = make()
    small = data.subset(8, 3)
    np.testing.assert_array_equal(small.train_images, data.train_images[:8])
    np.testing.assert_array_equal(small.train_labels, data.train_labels[:8])
    np.testing.assert_array_equal(small.label_sets["human"], data.label_sets["human"][:8])
    np.testing.assert_array_equal(small.test_images, data.test_images[:3])
    np.testing.assert_array_equal(small.test_labels, data.test_labels[:3])
    assert small.class_names == data.class_names


def test_take_takes_some_training_images_with_all_that_is_known_of_them():
    data = make(train_files=tuple(map(str, range(20))), true_labels=make().train_labels)
    some = data.take(np.array([3, 11]))
    np.testing.assert_array_equal(some.train_images, data.train_images[[3, 11]])
    np.testing.assert_array_equal(some.true_labels, data.true_labels[[3, 11]])
    np.testing.assert_array_equal(some.label_sets["human"], data.label_sets["human"][[3, 11]])
    assert some.train_files == ("3", "11")
    assert some.test_images is data.test_images


def test_take_test_takes_some_test_images_and_their_places():
    data = make(test_files=tuple(map(str, range(6))))
    some = data.take_test(np.array([1, 2, 5]))
    np.testing.assert_array_equal(some.test_images, data.test_images[[1, 2, 5]])
    np.testing.assert_array_equal(some.test_labels, data.test_labels[[1, 2, 5]])
    np.testing.assert_array_equal(some.test_index, [1, 2, 5])
    assert some.test_files == ("1", "2", "5")
    assert some.train_index is None
    np.testing.assert_array_equal(some.take_test(np.array([0, 2])).test_index, [1, 5])
    np.testing.assert_array_equal(data.subset(3, 4).test_index, np.arange(4))


def test_subset_of_zero_is_everything():
    data = make().subset(0, 0)
    assert (len(data.train_images), len(data.test_images)) == (20, 6)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((21, 0), r"train_size is 21 for beasts; expected 0 \(all\) to 20"),
        ((-1, 0), "train_size is -1 for beasts"),
        ((0, 7), r"test_size is 7 for beasts; expected 0 \(all\) to 6"),
    ],
)
def test_subset_beyond_what_there_is(sizes, message):
    with pytest.raises(InputError, match=message):
        make().subset(*sizes)


def test_fingerprint_changes_with_one_pixel_and_with_nothing_else():
    data = make()
    images = data.train_images.copy()
    fortran = np.asfortranarray(images)
    assert dataclasses.replace(data, train_images=fortran).images_fingerprint() == (
        data.images_fingerprint()
    )
    relabelled = make(name="others", train_labels=np.zeros(20, np.int32), test_images=IMAGES)
    assert relabelled.images_fingerprint() == data.images_fingerprint()
    images[3, 2, 1, 0] ^= 1
    assert make(train_images=images).images_fingerprint() != data.images_fingerprint()


def test_of_a_large_set_not_every_image_is_read(monkeypatch):
    monkeypatch.setattr(dataset, "_LARGE", 1000)
    monkeypatch.setattr(dataset, "_SAMPLE", 7)
    read = []

    def reader(rows):
        read.extend(rows.tolist())
        return make().train_images[rows]

    digests = np.arange(20 * 16, dtype=np.uint8).reshape(20, 16)
    in_memory = make(train_digests=digests)
    images = LazyImages(reader, np.arange(20), in_memory.image_shape)
    on_disk = make(train_images=images, train_digests=digests)
    np.testing.assert_array_equal(on_disk.mean_std(), on_disk.mean_std())
    assert read == list(range(0, 20, 3))  # once
    np.testing.assert_array_equal(on_disk.mean_std(), in_memory.mean_std())
    assert on_disk.images_fingerprint() == in_memory.images_fingerprint()
    assert len(read) == 7
    others = dataclasses.replace(on_disk, train_digests=digests[::-1])
    assert others.images_fingerprint() != on_disk.images_fingerprint()
    assert make().images_fingerprint() != on_disk.images_fingerprint()  # nothing but pixels to tell


def test_fingerprint_is_that_of_earlier_releases():
    data = make()
    whole = hashlib.sha256(b"(20, 8, 9, 3)" + data.train_images.tobytes()).hexdigest()
    assert data.images_fingerprint() == whole


def test_fingerprint_knows_the_shape():
    images = make().train_images
    turned = images.reshape(20, 9, 8, 3)
    assert make(train_images=turned).images_fingerprint() != make().images_fingerprint()


def test_greyscale_is_repeated_and_colour_left_alone():
    colour = make().train_images
    assert with_three_channels(colour) is colour
    grey = colour[..., 0]
    expected = np.stack([grey, grey, grey], axis=-1)
    np.testing.assert_array_equal(with_three_channels(grey), expected)
    np.testing.assert_array_equal(with_three_channels(grey[..., None]), expected)
