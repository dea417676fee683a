"""The teacher's division: clusters that are there are found, and where the thresholds cannot work
they do not (the table of docs/method.md)."""

import numpy as np
import pytest
from scipy.special import softmax

from rmdnet_jax.data import label_kinds
from rmdnet_jax.data.label_kinds import CLEAN, CLOSED, OPEN
from rmdnet_jax.methods import division


def pictures(classes, top, size=400):
    """What a perfect teacher says of clean, closed and open pictures: its top logit, or all flat;
    others are slightly below 0. Logits, given labels, the parts and the true classes."""
    rng = np.random.default_rng(0)
    true = rng.integers(0, classes, 3 * size)
    part = np.repeat([CLEAN, CLOSED, OPEN], size)
    given = np.where(part == CLOSED, (true + rng.integers(1, classes, 3 * size)) % classes, true)
    logits = -0.1 + 0.01 * rng.normal(size=(3 * size, classes))
    known = part != OPEN
    logits[known, true[known]] = top
    return logits.astype(np.float32), given, part, true


def test_names_and_numbers_agree():
    names = {CLEAN: "clean", CLOSED: "closed", OPEN: "open"}
    assert {n: label_kinds.KINDS[n] for n in names} == names


@pytest.mark.parametrize("top", [10, 15, 20])
def test_a_perfect_teacher_of_ten_classes_finds_all_three(top):
    logits, given, part, true = pictures(10, top)
    found = division.by_evidence(logits, given)
    np.testing.assert_array_equal(found.part, part)
    known = part != OPEN
    np.testing.assert_array_equal(found.label[known], true[known])
    assert [x.dtype for x in found] == [np.int8, np.int32, np.float32]
    assert found.clean[part == CLEAN].min() > 0.99
    assert found.clean[part != CLEAN].max() < 0.01


@pytest.mark.parametrize("top", [10, 20])
def test_of_a_hundred_classes_an_open_picture_looks_closed(top):
    logits, given, part, _ = pictures(100, top)
    # But those that the teacher happens to call what their labels say.
    unlucky = (part == OPEN) & (logits.argmax(axis=1) != given)
    assert (division.by_evidence(logits, given).part[unlucky] == CLOSED).all()
    assert (division.by_teacher(logits, given).part[unlucky] == OPEN).all()


@pytest.mark.parametrize("top", [3, 15, 300])
@pytest.mark.parametrize("classes", [10, 100])
def test_by_the_teacher_no_scale_matters(classes, top):
    logits, given, part, true = pictures(classes, top)
    rng = np.random.default_rng(1)
    logits[part != OPEN] += rng.normal(size=(part != OPEN).sum())[:, None].astype(np.float32)
    found = division.by_teacher(logits, given)
    # An open picture that happens to be called what its label says is clean, by the definition.
    lucky = (part == OPEN) & (logits.argmax(axis=1) == given)
    np.testing.assert_array_equal(found.part[~lucky], part[~lucky])
    assert (found.part[lucky] == CLEAN).all()
    known = part != OPEN
    np.testing.assert_array_equal(found.label[known], true[known])
    of_given = softmax(logits.astype(np.float64), axis=1)[np.arange(len(given)), given]
    np.testing.assert_allclose(found.clean, of_given, rtol=1e-5, atol=1e-30)


def test_a_label_the_teacher_says_is_clean_however_unsure_it_is():
    logits = np.array([[0.02, 0, 0], [0, 0.02, 0], [9, 0, 0], [0, 0, 9]] * 5, np.float32)
    found = division.by_teacher(logits, np.array([0, 0, 0, 0] * 5))
    np.testing.assert_array_equal(found.part, [CLEAN, OPEN, CLEAN, CLOSED] * 5)


@pytest.mark.parametrize("divide", division.DIVISIONS.values())
def test_nothing_to_tell_apart_is_finite(divide):
    for logits in (np.zeros((6, 3), np.float32), np.full((1, 3), 2, np.float32)):
        found = divide(logits, np.zeros(len(logits), int))
        assert all(np.isfinite(x).all() for x in found)
        assert ((found.label >= 0) & (found.label < 3)).all()


@pytest.mark.parametrize("divide", division.DIVISIONS.values())
def test_the_order_of_the_pictures_does_not_matter(divide):
    rng = np.random.default_rng(2)
    logits, given = rng.normal(size=(300, 5)).astype(np.float32) * 5, rng.integers(0, 5, 300)
    order = rng.permutation(300)
    found, shuffled = divide(logits, given), divide(logits[order], given[order])
    np.testing.assert_array_equal(shuffled.part, found.part[order])
    np.testing.assert_array_equal(shuffled.label, found.label[order])
    np.testing.assert_allclose(shuffled.clean, found.clean[order], rtol=1e-4, atol=1e-6)


def test_the_smallest_loss_is_clean_and_the_largest_is_not():
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(50, 10)).astype(np.float32) * 0.01
    logits[0, 0], logits[1, 1] = 0.5, 0.5  # hardly better than all others
    found = division.by_evidence(logits, np.zeros(50, int))
    assert found.part[0] == CLEAN
    assert found.part[1] == CLOSED


def test_a_part_of_hardly_any_pictures_is_warned_of(capsys):
    logits, given, part, _ = pictures(10, 15)
    division.warn(division.by_evidence(logits, given))
    assert capsys.readouterr().err == ""
    few = part != OPEN
    division.warn(division.by_evidence(logits[few], given[few]))
    said = capsys.readouterr().err
    assert said.startswith("warning: the teacher finds 0 images of no class among 800 images")
    assert said.count("\n") == 1
