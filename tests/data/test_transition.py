"""The noise estimated from anchors: right where the evidence is, and no matrix but a transition."""

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from rmdnet_jax.data import noise, transition, unseen


@pytest.mark.parametrize("kind", ["symmetric", "pairflip"])
def test_evidence_that_is_right_finds_the_noise(kind):
    rng = np.random.default_rng(0)
    true = rng.integers(0, 4, 20_000)
    given = noise.corrupt(true.astype(np.int32), kind, 0.3, 4, seed=0)
    # Sure of some images, unsure of others, and independent of the given label.
    sure = rng.uniform(0.3, 1, len(true))[:, None]
    evidence = sure * np.eye(4)[true] + (1 - sure) / 4
    matrix, rate, (lowest, highest), *_ = transition.estimate(evidence, given)
    assert lowest <= rate <= highest
    assert lowest == pytest.approx(highest, abs=0.05)  # it is never wrong by itself
    assert rate == pytest.approx(0.3, abs=0.05)
    assert transition.error(matrix, noise.transition_matrix(kind, 0.3, 4)) < 0.08


def test_of_a_network_that_is_surest_of_what_it_has_learned_more_is_counted():
    """It is a little surer of pictures whose label agrees: the surest are all of that kind, and
    show no noise at all."""
    rng = np.random.default_rng(0)
    true = rng.integers(0, 4, 20_000)
    given = noise.corrupt(true.astype(np.int32), "symmetric", 0.3, 4, seed=0)
    wrong = given != true
    sure = rng.uniform(0.5, 0.8, len(true)) + np.where(wrong, 0, 0.04)  # the label helps, or not
    errs = rng.random(len(true)) < np.where(sure < 0.65, 0.2, 0)
    said = np.where(errs, rng.integers(0, 4, len(true)), true)
    evidence = np.eye(4)[said] * sure[:, None] + (1 - sure[:, None]) / 4
    few, more = (transition.estimate(evidence, given, learned) for learned in (False, True))
    assert few.rate == 0
    assert more.rate == pytest.approx(0.3, abs=0.1)
    assert more.range == few.range
    matrix = noise.transition_matrix("symmetric", 0.3, 4)
    assert transition.error(more.transition, matrix) < transition.error(few.transition, matrix)


def test_of_evidence_that_makes_few_mistakes_most_is_counted():
    """Right for 97 %, and little surer where the label agrees: few have to be left out."""
    rng = np.random.default_rng(0)
    true = rng.integers(0, 10, 20_000)
    given = noise.corrupt(true.astype(np.int32), "symmetric", 0.4, 10, seed=0)
    said = np.where(rng.random(len(true)) < 0.03, rng.integers(0, 10, len(true)), true)
    sure = (rng.uniform(0.5, 0.8, len(true)) + 0.05 * (said == given))[:, None]
    evidence = np.eye(10)[said] * sure + (1 - sure) / 10
    assert transition.estimate(evidence, given).rate < 0.1
    assert transition.estimate(evidence, given, learned=True).rate == pytest.approx(0.4, abs=0.05)


def test_a_network_that_agrees_with_some_of_many_wrong_labels_still_has_a_rate():
    """Of 80 % wrong labels it has learned a few, where it is least sure: the others show more noise
    than it disagrees with, and no more than that can be said."""
    rng = np.random.default_rng(0)
    true = rng.integers(0, 10, 20_000)
    given = noise.corrupt(true.astype(np.int32), "symmetric", 0.8, 10, seed=0)
    sure = rng.uniform(0.3, 0.9, len(true))
    said = np.where((sure < 0.4) & (rng.random(len(true)) < 0.5), given, true)
    evidence = np.eye(10)[said] * sure[:, None] + (1 - sure[:, None]) / 10
    assert transition.estimate(evidence, given).rate is None
    assert transition.estimate(evidence, given, learned=True).rate == np.mean(said != given)


def test_a_rate_that_is_not_known_is_guessed_from_the_middle_of_its_range():
    matrix = np.eye(2)
    assert transition.Noise(matrix, 0.3, (0.1, 0.9), None).guess == 0.3
    assert transition.Noise(matrix, 0.0, (0.0, 0.9), None).guess == 0
    assert transition.Noise(matrix, None, (0.0, 0.8), None).guess == 0.4


def test_clean_labels_have_no_noise():
    true = np.arange(90) % 3
    matrix, rate, range_, habits, _ = transition.estimate(np.eye(3)[true], true)
    np.testing.assert_array_equal(matrix, np.eye(3))
    assert (rate, habits) == (0, None)
    assert range_ == (0, pytest.approx(3 / 90))  # as many may be wrong where 90 are seen


@pytest.mark.parametrize("sizes", [(500, 20, 20, 20, 20), (3000, *[30] * 9), (2, 1, 1), (100, 1)])
@pytest.mark.parametrize("found_by", ["anchors", "learned", "likelihood"])
def test_rare_classes_are_not_accused(sizes, found_by):
    """Right labels and a witness that is always right: anchors of a class are its own samples."""
    true = np.repeat(np.arange(len(sizes)), sizes)
    evidence = 0.9 * np.eye(len(sizes))[true] + 0.1 / len(sizes)
    if found_by == "likelihood":
        found = unseen.noise(evidence, true)
    else:
        found = transition.estimate(evidence, true, found_by == "learned")
    assert found.rate == pytest.approx(0, abs=1e-3)
    assert found.range == (0, pytest.approx(min(1, 3 / len(true))))
    np.testing.assert_allclose(found.transition.diagonal(), 1, atol=0.02)


@pytest.mark.parametrize("knows", [0.0, 0.1])
def test_a_witness_that_knows_nothing_finds_no_rate(knows):
    """Guesses; and guesses that follow the largest class."""
    rng = np.random.default_rng(0)
    true = rng.choice(9, 4000, p=[0.2, *[0.1] * 8])
    evidence = rng.dirichlet(np.ones(9), len(true))
    evidence[:, 0] += knows
    for found in (
        transition.estimate(evidence, true),
        transition.estimate(evidence, true, learned=True),
        unseen.noise(evidence, true),
    ):
        assert found.rate is None
        assert found.range[0] == 0
        assert found.range[1] > 0.75


@pytest.mark.parametrize("seed", range(9))
def test_labels_that_are_all_wrong_have_a_noise(seed):
    """The sum of the classes' shares is then rounded, also up."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(200, 600))
    true = rng.integers(0, 10, size)
    evidence = rng.dirichlet(np.ones(10), size) * 0.2 + 0.8 * np.eye(10)[true]
    found = transition.estimate(evidence, (true + 1) % 10)
    assert found.rate is None or found.rate <= 1
    assert found.range[1] == 1


def steep(rng, size, classes, right):
    """Evidence and true classes: right for a share of samples that rises from `right[0]` at the
    lowest to `right[1]` at the highest confidence, else any other class."""
    true, sure = rng.integers(0, classes, size), rng.uniform(0, 1, size)
    is_right = rng.random(size) < right[0] + (right[1] - right[0]) * sure
    said = np.where(is_right, true, (true + rng.integers(1, classes, size)) % classes)
    sure = (0.3 + 0.6 * sure)[:, None]
    return sure * np.eye(classes)[said] + (1 - sure) / classes, true


def test_a_weak_witness_whose_confidence_hides_its_mistakes_finds_no_rate():
    """Photos under a weak teacher: 16 % were wrong, and 56 % were said to be. Its most confident
    predictions are wrong half of the time, so anchors show mostly its own mistakes."""
    rng = np.random.default_rng(0)
    evidence, true = steep(rng, 2000, 5, (0.15, 0.5))
    given = noise.corrupt(true.astype(np.int32), "symmetric", 0.16, 5, seed=0)
    found = transition.estimate(evidence, given)
    assert found.rate is None
    assert found.range[0] == 0.0
    assert found.guess == found.withheld
    assert found.withheld > 0.4  # which is reported to nobody


def test_training_gets_the_rate_of_weak_evidence_too():
    """Co-teaching and JoCoR need a rate at 80 % noise, early, when the evidence is weak and steep;
    the middle of its range would be half of it."""
    rng = np.random.default_rng(0)
    evidence, true = steep(rng, 20_000, 10, (0.3, 0.95))
    given = noise.corrupt(true.astype(np.int32), "symmetric", 0.8, 10, seed=0)
    found = transition.estimate(evidence, given)
    assert found.rate is None
    assert found.guess == pytest.approx(0.8, abs=0.05)


def test_few_labels_are_right_where_even_all_evidence_agrees_with_few():
    """80 % wrong: hardly any agreement, of the confident half and of the other alike."""
    rng = np.random.default_rng(0)
    evidence, true = steep(rng, 20_000, 10, (0.85, 1.0))
    given = noise.corrupt(true.astype(np.int32), "symmetric", 0.8, 10, seed=0)
    found = transition.estimate(evidence, given)
    assert found.rate == pytest.approx(0.8, abs=0.05)
    assert found.range[0] == 0.0


def test_evidence_that_is_as_confident_as_can_be_of_many_has_a_less_confident_half():
    """Certain of 60 %, of which it is right for 98 %, and right for half of the others."""
    rng = np.random.default_rng(0)
    true, is_certain = rng.integers(0, 4, 20_000), rng.random(20_000) < 0.6
    right = rng.random(20_000) < np.where(is_certain, 0.98, 0.5)
    sure = np.where(is_certain, 1.0, rng.uniform(0.3, 0.9, 20_000))[:, None]
    evidence = np.eye(4)[np.where(right, true, (true + 1) % 4)] * sure
    flat = transition.flatness(evidence.argmax(axis=1), evidence.max(axis=1), true)
    assert flat == pytest.approx((0.5 - 0.25) / (0.98 - 0.25), abs=0.03)


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.6])
def test_flatness_is_of_the_evidence_and_not_of_random_wrong_labels(rate):
    rng = np.random.default_rng(0)
    for right, expected in (((1.0, 1.0), 1.0), ((0.1, 0.9), 1 / 3)):
        evidence, true = steep(rng, 200_000, 10, right)
        given = noise.corrupt(true.astype(np.int32), "symmetric", rate, 10, seed=0)
        flat = transition.flatness(evidence.argmax(axis=1), evidence.max(axis=1), given)
        # By hand: halves are right for 0.3 and 0.7, the largest class for 0.1: 0.2 / 0.6.
        assert flat == pytest.approx(expected, abs=0.03)


def test_a_weak_witness_says_how_far_its_rate_may_be_off():
    """Of 4,000 right labels it gets 40 % wrong: all of it may be noise, to who sees no truth."""
    rng = np.random.default_rng(0)
    true = rng.integers(0, 9, 4000)
    taken_for = np.where(rng.random(4000) < 0.6, true, rng.integers(0, 9, 4000))
    sure = rng.uniform(0.2, np.where(taken_for == true, 1.0, 0.6))
    evidence = np.eye(9)[taken_for] * sure[:, None] + 0.01
    found = transition.estimate(evidence, true, learned=True)
    assert found.range[0] <= 0.05
    assert found.range[1] == pytest.approx((taken_for != true).mean())


@settings(max_examples=20)
@drawn(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 200), min_size=2, max_size=8))
def test_right_labels_of_any_class_sizes_have_no_noise(seed, sizes):
    rng = np.random.default_rng(seed)
    true = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    sure = rng.uniform(0.6, 1, (len(true), 1))
    evidence = sure * np.eye(len(sizes))[true] + (1 - sure) / len(sizes)
    for learned in (False, True):
        assert transition.estimate(evidence, true, learned).rate == 0
    assert unseen.noise(evidence, true).rate == pytest.approx(0, abs=1e-3)


@drawn(st.integers(0, 2**32 - 1), st.integers(2, 60), st.integers(2, 5))
def test_rows_are_distributions_whatever_is_given(seed, size, num_classes):
    rng = np.random.default_rng(seed)
    evidence = rng.dirichlet(np.ones(num_classes), size)
    given = rng.integers(0, num_classes, size)
    for learned in (False, True):
        matrix, rate, range_, *_ = transition.estimate(evidence, given, learned)
        np.testing.assert_allclose(matrix.sum(axis=1), 1)
        assert (matrix >= 0).all()
        assert 0 <= range_[0] <= range_[1] <= 1
        assert rate is None or range_[0] <= rate <= range_[1]


@pytest.mark.parametrize(
    ("rate", "withheld", "share", "expected"),
    [
        (0.2, None, 0.1, 0.2),  # is higher than that
        (0.2, None, 0.3, 0.3),
        (None, 0.4, 0.3, 0.3),  # the weak estimate is not needed
        (None, None, 0.3, 0.3),
        (None, 0.4, 0.0, None),
        (0.2, None, 0.9, 0.6),  # the evidence contradicts no more
    ],
)
def test_a_share_that_is_wrong_at_least_raises_the_rate(rate, withheld, share, expected):
    before = np.array([[0.9, 0.1, 0.0], [0.1, 0.6, 0.3], [0.0, 0.1, 0.9]])
    found = transition.Noise(before, rate, (0.0, 0.6), None, withheld).at_least(share)
    assert found.rate == expected
    assert found.range == (pytest.approx(min(share, 0.6)), 0.6)
    if expected == rate:
        np.testing.assert_array_equal(found.transition, before)
    np.testing.assert_allclose(found.transition.sum(axis=1), 1)
    assert (found.transition >= 0).all()


def test_a_matrix_is_raised_with_its_rate_by_hand():
    """Three times as many wrong: 0.3 of the first row; all of the second, as 1.2 is too many."""
    before = np.array([[0.9, 0.1, 0.0], [0.1, 0.6, 0.3], [0.0, 0.0, 1.0]])
    found = transition.Noise(before, 0.1, (0.0, 0.6), None).at_least(0.3)
    expected = [[0.7, 0.3, 0.0], [0.25, 0.0, 0.75], [0.0, 0.0, 1.0]]
    np.testing.assert_allclose(found.transition, expected, atol=1e-12)


def test_error_by_hand():
    """Row 0 is 0.3 away, row 1 not at all."""
    ours, theirs = np.array([[0.7, 0.3], [0, 1]]), np.eye(2)
    assert transition.error(ours, theirs) == pytest.approx(0.15)
