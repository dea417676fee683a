"""What a run says of its labels is made of a method's belief and its teacher's neighbourhoods."""

import types

import numpy as np
import pytest

from rmdnet_jax.data import label_kinds, noise, transition
from rmdnet_jax.data.label_kinds import Division
from rmdnet_jax.evaluation import classification, knn, label_issues, suspicion
from rmdnet_jax.evaluation.suspicion import suspect

rng = np.random.default_rng(0)
GIVEN, OF_TEST = rng.integers(0, 3, 60).astype(np.int32), rng.integers(0, 3, 8).astype(np.int32)
BELIEF = rng.dirichlet(np.ones(3), 60).astype(np.float32)
LOGITS = rng.normal(size=(8, 3)).astype(np.float32)
BANK, QUERIES = (rng.normal(size=(n, 4)).astype(np.float32) for n in (60, 8))
DATA = types.SimpleNamespace(
    test_labels=OF_TEST, train_index=np.arange(60) * 2, test_index=np.arange(8) + 5
)
LABELS = types.SimpleNamespace(given=GIVEN, review=None)


@pytest.mark.parametrize("guided", [True, False])
def test_both_splits_are_scored_by_what_is_believed_and_what_is_near(guided):
    found = suspect(BELIEF, LOGITS, DATA, LABELS, (BANK, QUERIES) if guided else None)
    near = knn.neighbours_mean(BANK, BELIEF, k=50) if guided else None
    near_test = knn.neighbours_mean(BANK, BELIEF, QUERIES, k=50) if guided else None
    expected = transition.estimate(BELIEF if near is None else near, GIVEN, learned=not guided)
    np.testing.assert_array_equal(found.transition, expected.transition)
    assert (found.rate, found.range) == (expected.rate, expected.range)
    rate = expected.rate or 0
    of_test = classification.softmax(LOGITS)
    for issues, other in (
        (found.train, label_issues.score(BELIEF, near, GIVEN, rate, DATA.train_index)),
        (found.test, label_issues.score(of_test, near_test, OF_TEST, rate, DATA.test_index)),
    ):
        np.testing.assert_array_equal(issues.index, other.index)
        np.testing.assert_allclose(issues.score, other.score, rtol=1e-6)
        np.testing.assert_array_equal(issues.is_issue, other.is_issue)
        assert (issues.neighbour_score is None) == (not guided)


def test_where_nothing_can_be_told_no_label_is_an_issue():
    found = suspect(BELIEF, LOGITS, DATA, LABELS, None)  # that knows nothing of the labels
    assert found.rate is None
    assert not found.train.is_issue.any()
    assert np.ptp(found.train.score) > 0.5  # there is an order all the same


def test_a_belief_that_contradicts_a_label_makes_it_suspicious():
    sure = np.eye(3, dtype=np.float32)[GIVEN] * 0.94 + 0.02
    wrong = np.arange(0, 60, 10)
    given = GIVEN.copy()
    given[wrong] = (given[wrong] + 1) % 3
    found = suspect(sure, LOGITS, DATA, types.SimpleNamespace(given=given, review=None), None)
    assert set(np.argsort(-found.train.score)[: len(wrong)]) == set(wrong)
    assert found.rate == pytest.approx(0.1, abs=0.1)


@pytest.mark.parametrize("right", [0.6, 0.95])
def test_a_network_that_has_memorised_its_labels_does_not_know_how_many_are_wrong(right):
    """It agrees with all of them, and with these shares of the labels that it has not learned."""
    tested = np.repeat(np.arange(3), 100).astype(np.int32)
    said = np.where(np.arange(300) % 100 < right * 100, tested, (tested + 1) % 3)
    data = types.SimpleNamespace(**(vars(DATA) | {"test_labels": tested, "test_index": None}))
    belief = np.eye(3, dtype=np.float32)[GIVEN] * 0.94 + 0.02
    found = suspect(belief, 5 * np.eye(3, dtype=np.float32)[said], data, LABELS, None)
    assert found.rate == (None if right == 0.6 else 0)
    assert found.range == ((0, 1) if right == 0.6 else (0, pytest.approx(3 / 60)))
    assert not found.train.is_issue.any()


def test_classes_of_other_shares_in_training_than_in_testing_are_not_memorised():
    """Right for 99 % of one class and 40 % of the other, on both; 9:1 and 1:1 of them."""
    rng = np.random.default_rng(0)
    given = np.repeat([0, 1], (9000, 1000)).astype(np.int32)
    tested = np.repeat([0, 1], (500, 500)).astype(np.int32)

    def said(labels):
        right = rng.random(len(labels)) < np.where(labels == 0, 0.99, 0.4)
        return np.eye(2, dtype=np.float32)[np.where(right, labels, 1 - labels)]

    belief = 0.9 * said(given) + 0.05
    assert not suspicion._is_memorised(belief, given, said(tested), tested)


@pytest.mark.parametrize("tested", [[0], [0, 1]])
def test_few_test_images_do_not_tell_that_labels_are_memorised(tested):
    wrong = np.eye(3, dtype=np.float32)[(np.array(tested) + 1) % 3]
    assert not suspicion._is_memorised(np.eye(3)[GIVEN], GIVEN, wrong, np.array(tested))


def test_a_methods_own_division_says_what_labels_are_and_how_many_are_wrong():
    part = np.repeat(np.array([0, 1, 2], np.int8), 20)
    label = np.where(part == 0, GIVEN, (GIVEN + 1) % 3).astype(np.int32)
    clean = np.where(part == 0, 0.8, 0.1).astype(np.float32)
    data = types.SimpleNamespace(**vars(DATA), num_classes=3)
    found = suspect(BELIEF, LOGITS, data, LABELS, None, division=Division(part, label, clean))
    np.testing.assert_array_equal(found.train.kind, part)
    np.testing.assert_array_equal(found.train.suggested, label)
    assert found.rate == pytest.approx(2 / 3)
    # By the sum of the probabilities 1 - (0.8 + 2 * 0.1) / 3 are wrong.
    assert found.range == pytest.approx((2 / 3, 2 / 3))
    # Of the open images nothing is known of what became what.
    known = part < 2
    _, expected = noise.realised(label[known], GIVEN[known], 3)
    np.testing.assert_allclose(found.transition, expected)
    assert (found.test.kind == label_issues.kinds(found.test.is_issue)).all()


def test_a_label_without_a_likelier_class_is_on_an_image_of_none():
    part, label = np.repeat(np.array([0, 1, 1], np.int8), 20), GIVEN.copy()
    label[20:40] = (GIVEN[20:40] + 1) % 3  # of the last 20 the given class is the likeliest
    data = types.SimpleNamespace(**vars(DATA), num_classes=3)
    clean = np.where(part == 0, 0.8, 0.1).astype(np.float32)
    found = suspect(BELIEF, LOGITS, data, LABELS, None, division=Division(part, label, clean))
    np.testing.assert_array_equal(found.train.kind, np.repeat([0, 1, 2], 20))
    assert found.rate == pytest.approx(2 / 3)
    _, expected = noise.realised(label[:40], GIVEN[:40], 3)
    np.testing.assert_allclose(found.transition, expected)


@pytest.mark.parametrize("tells", [True, False])
def test_of_the_issues_embeddings_may_tell_which_are_of_no_class(tells):
    """Four classes apart, and what lies between them."""
    generator = np.random.default_rng(1)
    true = np.concatenate([np.arange(400) % 4, np.full(100, -1)])
    bank = generator.normal(size=(500, 16)).astype(np.float32)
    bank[:400] += 8 * np.eye(4, 16, dtype=np.float32)[true[:400]]
    given = np.where(true < 0, generator.integers(0, 4, 500), true).astype(np.int32)
    given[:60] = (given[:60] + 1) % 4
    belief = np.full((500, 4), 0.05, np.float32)
    belief[np.arange(500), np.where(true < 0, (given + 1) % 4, true)] = 0.85
    data = types.SimpleNamespace(
        test_labels=OF_TEST, train_index=None, test_index=None, num_classes=4
    )
    labels = types.SimpleNamespace(given=given, review=None)
    logits, queries = generator.normal(size=(8, 4)), bank[:8]
    found = suspect(belief, logits, data, labels, (bank, queries), tells_open=tells).train
    is_open = found.kind == label_kinds.OPEN
    assert not is_open[~found.is_issue].any()
    assert is_open[:400].sum() <= 4
    assert (is_open[400:].sum() > 20) == tells
