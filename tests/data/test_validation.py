"""What is held out is a share of every given class, drawn from the seed and the image's place."""

import numpy as np
import pytest

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.data.labels import Labels
from rmdnet_jax.data.validation import per_class, split

N = 60
IMAGES = np.arange(N, dtype=np.uint8).repeat(8 * 8 * 3).reshape(N, 8, 8, 3)
TRUE = np.arange(N, dtype=np.int32) % 3
GIVEN = np.where(np.arange(N) < 12, (TRUE + 1) % 3, TRUE).astype(np.int32)
DATA = Dataset("npz", IMAGES, TRUE, IMAGES[:6], TRUE[:6], {}, ("a", "b", "c"))
LABELS = Labels(GIVEN, TRUE, "human", None, 0.2, np.eye(3))


def test_two_parts_that_share_no_image_and_miss_none():
    parts = split(DATA, LABELS, 0.25, seed=0)
    learned = parts.data.train_images[:, 0, 0, 0]
    np.testing.assert_array_equal(learned, parts.index)
    np.testing.assert_array_equal(parts.labels.given, GIVEN[parts.index])
    np.testing.assert_array_equal(parts.labels.true, TRUE[parts.index])
    held_out = parts.held_out_images[:, 0, 0, 0]
    np.testing.assert_array_equal(parts.held_out_given, GIVEN[held_out])
    assert sorted([*learned, *held_out]) == list(range(N))
    assert parts.data.test_images is DATA.test_images


def test_the_share_is_that_of_every_given_class():
    parts = split(DATA, LABELS, 0.25, seed=0)
    expected = np.rint(0.25 * np.bincount(GIVEN)).astype(int)
    np.testing.assert_array_equal(np.bincount(parts.held_out_given), expected)


def test_a_share_of_zero_changes_nothing():
    parts = split(DATA, LABELS, 0.0, seed=0)
    assert parts.data is DATA
    assert parts.labels is LABELS
    assert len(parts.held_out_images) == len(parts.held_out_given) == 0
    np.testing.assert_array_equal(parts.index, np.arange(N))


def test_the_same_seed_chooses_the_same_images():
    chosen = split(DATA, LABELS, 0.25, seed=0).index
    np.testing.assert_array_equal(split(DATA, LABELS, 0.25, seed=0).index, chosen)
    assert not np.array_equal(split(DATA, LABELS, 0.25, seed=1).index, chosen)


def test_every_class_keeps_an_image_to_learn_from():
    parts = split(DATA, LABELS, 0.999, seed=0)
    np.testing.assert_array_equal(np.bincount(parts.labels.given), [1, 1, 1])


def test_of_a_class_of_a_few_one_is_held_out():
    """A tenth of five is none, and then only the large classes would choose a sweep's trial."""
    parts = split(DATA, LABELS, 0.001, seed=0)
    np.testing.assert_array_equal(np.bincount(parts.held_out_given), [1, 1, 1])


def test_where_no_class_has_two_images_none_can_be_held_out():
    alone = LABELS.take(np.array([int(np.argmax(LABELS.given == label)) for label in range(3)]))
    with pytest.raises(InputError, match=r"validation_fraction is 0.1, but no class has two"):
        split(DATA.take(np.arange(3)), alone, 0.1, seed=0)


@pytest.mark.parametrize(
    ("share", "held"),
    [(0.25, [3, 5]), (0.5, [3, 1, 5]), (0.1, [3, 5]), (1.0, [3, 1, 2, 5]), (0, [])],
)
def test_of_every_class_those_with_the_smallest_draws_are_held_out(share, held):
    """Class 0 has four samples, class 1 two, class 2 one, which always stays."""
    labels = np.array([0, 0, 0, 0, 1, 1, 2])
    draw = np.array([9, 2, 5, 1, 8, 7, 0], ">u8")
    assert set(np.flatnonzero(per_class(labels, share, draw))) == set(held)
