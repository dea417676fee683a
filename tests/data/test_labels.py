"""The labels that training reads: drawn, given by people, or as they are."""

import dataclasses

import numpy as np
import pytest

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import instance_noise, labels, noise, sources
from rmdnet_jax.data.dataset import NO_CLASS, Dataset
from rmdnet_jax.data.lazy_images import LazyImages

TRUE = (np.arange(600) % 3).astype(np.int32)
HUMAN = np.where(np.arange(600) < 60, (TRUE + 1) % 3, TRUE).astype(np.int32)
IMAGES = np.zeros((600, 8, 8, 3), np.uint8)
DATA = Dataset("three", IMAGES, TRUE, IMAGES[:3], TRUE[:3], {"human": HUMAN}, ("a", "b", "c"))


def test_drawn_labels_know_what_was_asked_and_what_came():
    given = labels.give(DATA, "symmetric", 0.4, seed=0, exact=True)
    assert given.rate_asked == 0.4
    assert given.rate_realised == (given.given != TRUE).mean() == 0.4
    np.testing.assert_allclose(given.transition.sum(axis=1), 1)
    np.testing.assert_array_equal(given.reference, TRUE)


def test_human_labels_come_from_a_field():
    given = labels.give(DATA, "human", 0.4, seed=0, field="human")
    np.testing.assert_array_equal(given.given, HUMAN)
    assert given.rate_asked is None
    assert given.rate_realised == 0.1


def test_labels_as_they_are_are_not_called_true():
    given = labels.give(DATA, "none", 0.0, seed=0)
    np.testing.assert_array_equal(given.given, TRUE)
    assert given.true is None
    assert given.rate_realised is None
    np.testing.assert_array_equal(given.reference, TRUE)


def test_true_labels_of_the_data_are_the_truth():
    data = dataclasses.replace(DATA, train_labels=HUMAN, true_labels=TRUE)
    given = labels.give(data, "none", 0.4, seed=0)
    np.testing.assert_array_equal(given.given, HUMAN)
    np.testing.assert_array_equal(given.true, TRUE)
    assert given.rate_realised == 0.1
    assert given.rate_asked is None
    drawn = labels.give(data, "symmetric", 0.4, seed=0, exact=True)
    assert (drawn.given != TRUE).mean() == 0.4


IS_OPEN = np.arange(600) % 5 == 0
WITH_OPEN = dataclasses.replace(
    DATA,
    train_images=np.random.default_rng(1).integers(0, 256, IMAGES.shape, np.uint8),
    train_labels=HUMAN,
    true_labels=np.where(IS_OPEN, NO_CLASS, TRUE).astype(np.int32),
)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("kind", ["symmetric", "pairflip", "universal", "instance"])
def test_noise_is_drawn_for_images_of_a_class_alone(kind, exact):
    if kind == "instance" and exact:
        return
    given = labels.give(WITH_OPEN, kind, 0.4, seed=3, exact=exact)
    np.testing.assert_array_equal(given.given[IS_OPEN], HUMAN[IS_OPEN])
    known = ~IS_OPEN
    if kind == "instance":
        alone = instance_noise.corrupt(WITH_OPEN.train_images[known], TRUE[known], 3, 0.4, 3)
    else:
        drawn = "symmetric" if kind == "universal" else kind
        alone = noise.corrupt(TRUE[known], drawn, 0.4, 3, 3, exact=exact)
    np.testing.assert_array_equal(given.given[known], alone)
    assert given.rate_open == 0.2
    assert given.rate_realised == pytest.approx(0.2 + 0.8 * (alone != TRUE[known]).mean())
    np.testing.assert_allclose(given.transition, noise.realised(TRUE[known], alone, 3)[1])
    assert given.given.min() >= 0


@pytest.mark.parametrize(("kind", "field"), [("none", ""), ("human", "human")])
def test_labels_that_are_not_drawn_know_open_images(kind, field):
    given = labels.give(WITH_OPEN, kind, 0.4, seed=0, field=field)
    np.testing.assert_array_equal(given.given, HUMAN)
    assert given.rate_open == 0.2
    assert given.rate_realised == pytest.approx(((HUMAN != TRUE) | IS_OPEN).mean())
    assert given.take(np.flatnonzero(IS_OPEN)).rate_open == 1


def test_without_true_labels_nobody_knows_of_open_images():
    assert labels.give(DATA, "none", 0.0, seed=0).rate_open is None
    assert labels.give(DATA, "symmetric", 0.1, seed=0).rate_open == 0


def test_flips_of_universal_noise_leave_room_for_open_images():
    given = labels.give(DATA, "universal", 0.5, seed=0, rho2=0.5, exact=True)
    assert given.rate_realised == pytest.approx(1 / 3, abs=0.01)
    assert given.rate_asked == 0.5


def test_a_users_own_map_and_matrix(tmp_path):
    (tmp_path / "map.csv").write_text("true,given\n0,2\n")
    given = labels.give(DATA, "asymmetric", 1.0, seed=0, map=str(tmp_path / "map.csv"))
    np.testing.assert_array_equal(given.given, np.where(TRUE == 0, 2, TRUE))
    np.savetxt(tmp_path / "matrix.csv", np.eye(3)[[1, 2, 0]], delimiter=",")
    given = labels.give(DATA, "matrix", 0.4, seed=0, matrix=str(tmp_path / "matrix.csv"))
    np.testing.assert_array_equal(given.given, (TRUE + 1) % 3)
    assert given.rate_asked is None


@pytest.mark.parametrize("on_disk", [False, True])
def test_noise_by_the_image_looks_at_the_training_images(on_disk):
    data = sources.load("digits")
    images = data.train_images
    expected = instance_noise.corrupt(images, data.train_labels, 10, 0.4, 0)
    if on_disk:
        lazy = LazyImages(images.__getitem__, np.arange(len(images)), data.image_shape)
        data = dataclasses.replace(data, train_images=lazy)
    given = labels.give(data, "instance", 0.4, seed=0)
    np.testing.assert_array_equal(given.given, expected)
    np.testing.assert_array_equal(given.true, data.train_labels)
    assert given.rate_asked == 0.4
    rate, transition = noise.realised(data.train_labels, expected, 10)
    assert given.rate_realised == rate == pytest.approx(0.4, abs=0.05)
    np.testing.assert_array_equal(given.transition, transition)


def test_noise_by_the_image_is_of_the_true_labels():
    images = np.random.default_rng(0).integers(0, 256, IMAGES.shape, np.uint8)
    data = dataclasses.replace(DATA, train_images=images, train_labels=HUMAN, true_labels=TRUE)
    given = labels.give(data, "instance", 0.4, seed=0)
    np.testing.assert_array_equal(given.given, instance_noise.corrupt(images, TRUE, 3, 0.4, 0))
    np.testing.assert_array_equal(given.true, TRUE)


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        ("instance", {"exact": True}, "noise.exact is True, but noise.kind is instance"),
        ("instance", {"map": "map.csv"}, "only asymmetric uses it"),
        ("human", {}, "has the label sets"),
        ("human", {"field": "mturk"}, "noise.field is 'mturk'; three has the label sets human"),
        ("symmetric", {"field": "human"}, "only human uses it"),
        ("symmetric", {"map": "map.csv"}, "only asymmetric uses it"),
        ("pairflip", {"matrix": "m.csv"}, "only matrix uses it"),
        ("symmetric", {"rho2": 0.5}, "noise.rho2 is given, .* symmetric; only universal uses it"),
        ("universal", {"map": "map.csv"}, "only asymmetric uses it"),
        ("universal", {"rho2": 1.5}, "noise.rho2 is 1.5; expected a number from 0 to 1"),
    ],
)
def test_what_nobody_would_read_is_refused(kind, options, says):
    with pytest.raises(InputError, match=says):
        labels.give(DATA, kind, 0.4, seed=0, **options)


def test_test_labels_are_never_touched():
    data = sources.load("digits")
    before = data.test_labels.copy(), data.train_labels.copy()
    labels.give(data, "symmetric", 1.0, seed=0)
    np.testing.assert_array_equal(data.test_labels, before[0])
    np.testing.assert_array_equal(data.train_labels, before[1])
