"""What is held out of a .npz without a test split, and what refers to its one list of images."""

import numpy as np
import pytest

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import corrected, corrections, npz_source
from rmdnet_jax.data.labels import Labels
from rmdnet_jax.encoders import table_file

SIZE = 72
GIVEN = np.repeat([0, 1, 2], (50, 20, 2))[np.random.default_rng(3).permutation(SIZE)]
ROWS = np.random.default_rng(0).normal(size=(SIZE, 4)).astype(np.float32)


@pytest.fixture
def load(tmp_path):
    """Loads a .npz of these arrays."""

    def load(share=0.3, **arrays):
        np.savez(tmp_path / "beasts.npz", **({"x_train": ROWS, "y_train": GIVEN} | arrays))
        return npz_source.load(tmp_path / "beasts.npz", share)

    return load


def check_splits(data, images=ROWS):
    """That both splits are rows of the one list, each row in one of them."""
    np.testing.assert_array_equal(data.train_images, images[data.train_index])
    np.testing.assert_array_equal(data.test_images, images[data.test_index])
    assert sorted([*data.train_index, *data.test_index]) == list(range(len(images)))


def test_a_share_of_each_class_is_held_out(load):
    data = load(human_aggre=(GIVEN + 1) % 3)
    check_splits(data.check())
    assert np.bincount(data.test_labels).tolist() == [15, 6, 1]
    np.testing.assert_array_equal(data.train_labels, GIVEN[data.train_index])
    np.testing.assert_array_equal(data.test_labels, GIVEN[data.test_index])
    np.testing.assert_array_equal(data.label_sets["human_aggre"], (data.train_labels + 1) % 3)
    assert "22 of 72 images are held out for testing" in data.changes[0]


def test_more_images_than_are_moved_at_once_stay_in_order(load):
    many = np.arange(2 * 5000, dtype=np.float32).reshape(5000, 2)
    check_splits(load(x_train=many, y_train=np.arange(5000) % 2), many)


def test_a_single_image_of_a_class_stays_in_training(load):
    data = load(0.9, x_train=ROWS[:9], y_train=np.array([0] * 4 + [1] * 4 + [2]))
    assert np.bincount(data.train_labels).tolist() == [1, 1, 1]


def test_what_is_held_out_is_tested_against_the_truth(load):
    true = np.where(np.arange(SIZE) < 20, -1, (GIVEN + (np.arange(SIZE) < 40)) % 3)
    data = load(0.5, y_train_true=true)
    check_splits(data.check())
    np.testing.assert_array_equal(data.test_labels, true[data.test_index])
    np.testing.assert_array_equal(data.true_labels, true[data.train_index])
    assert (data.true_labels == -1).sum() == 20  # they show no class to be tested on
    of_each = np.bincount(GIVEN[20:])
    assert len(data.test_labels) == sum(round(size / 2) for size in of_each)


def test_the_truth_of_one_image_moves_at_most_two(load):
    """Runs before and after it became known can be compared."""
    before = set(load(y_train_true=GIVEN).test_index)
    for image in range(5):
        true = np.where(np.arange(SIZE) == image, -1, GIVEN)
        assert len(before ^ set(load(y_train_true=true).test_index)) <= 2


def test_nothing_to_test_on(load):
    with pytest.raises(InputError, match=r"no class of .*beasts\.npz has two images that show it"):
        load(y_train_true=np.where(np.arange(SIZE) < SIZE - 1, -1, GIVEN))


def test_annotators_may_have_labelled_them(load, tmp_path):
    votes = np.stack([GIVEN, GIVEN, (GIVEN + 1) % 3], axis=1)
    np.savez(tmp_path / "voted.npz", x_train=ROWS, annotators=votes)
    data = npz_source.load(tmp_path / "voted.npz")
    np.testing.assert_array_equal(data.train_labels, GIVEN[data.train_index])
    np.testing.assert_array_equal(data.label_sets["label:2"], votes[data.train_index, 2])


def test_a_table_of_all_rows_serves_a_part_of_them(load, tmp_path):
    table = np.arange(SIZE * 3, dtype=np.float32).reshape(SIZE, 3)
    np.save(tmp_path / "table.npy", table)
    part = load().subset(20, 5)
    train, test = table_file.read(tmp_path / "table.npy", part)
    np.testing.assert_array_equal(train, table[part.train_index])
    np.testing.assert_array_equal(test, table[part.test_index])
    np.save(tmp_path / "table.npy", table[:25])
    with pytest.raises(InputError, match="has 25 rows for a list of 72 images"):
        table_file.read(tmp_path / "table.npy", part)


def test_corrections_find_every_image_by_its_index(load, tmp_path):
    data = load()
    given = Labels(data.train_labels, None, "none", None, None, None)
    tested, trained = int(data.test_index[3]), int(data.train_index[3])
    file = tmp_path / "corrections.csv"
    file.write_text(f"index,verdict,class\n{tested},class,2\n{trained},remove,\n")
    after = corrected.applied(data, given, corrections.read(str(file)))
    assert after.data.test_labels[3] == 2
    np.testing.assert_array_equal(after.train_rows, np.delete(np.arange(50), 3))
    file.write_text(f"index,verdict,class\n{SIZE},remove,\n")
    with pytest.raises(InputError, match="no image of beasts has the index 72; expected 0 to 71"):
        corrected.applied(data, given, corrections.read(str(file)))
