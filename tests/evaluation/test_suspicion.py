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
LOGITS = tuple(rng.normal(size=(n, 3)).astype(np.float32) for n in (60, 8))
BANK, QUERIES = (rng.normal(size=(n, 4)).astype(np.float32) for n in (60, 8))
DATA = types.SimpleNamespace(
    test_labels=OF_TEST, train_index=np.arange(60) * 2, test_index=np.arange(8) + 5
)
LABELS = types.SimpleNamespace(given=GIVEN, review=None)


@pytest.mark.parametrize("guided", [True, False])
def test_both_splits_are_scored_by_what_is_believed_and_what_is_near(guided):
    found = suspect(BELIEF, *LOGITS, DATA, LABELS, (BANK, QUERIES) if guided else None)
    near = knn.neighbours_mean(BANK, BELIEF, k=50) if guided else None
    near_test = knn.neighbours_mean(BANK, BELIEF, QUERIES, k=50) if guided else None
    expected = transition.estimate(BELIEF if near is None else near, GIVEN, learned=not guided)
    np.testing.assert_array_equal(found.transition, expected.transition)
    assert (found.rate, found.range) == (expected.rate, expected.range)
    rate = expected.rate or 0
    of_test = classification.softmax(LOGITS[1])
    for issues, other in (
        (found.train, label_issues.score(BELIEF, near, GIVEN, rate, DATA.train_index)),
        (found.test, label_issues.score(of_test, near_test, OF_TEST, rate, DATA.test_index)),
    ):
        np.testing.assert_array_equal(issues.index, other.index)
        np.testing.assert_allclose(issues.score, other.score, rtol=1e-6)
        np.testing.assert_array_equal(issues.is_issue, other.is_issue)
        assert (issues.neighbour_score is None) == (not guided)


def test_where_nothing_can_be_told_no_label_is_an_issue():
    found = suspect(BELIEF, *LOGITS, DATA, LABELS, None)  # that knows nothing of the labels
    assert found.rate is None
    assert not found.train.is_issue.any()
    assert np.ptp(found.train.score) > 0.5  # there is an order all the same


def test_a_belief_that_contradicts_a_label_makes_it_suspicious():
    sure = np.eye(3, dtype=np.float32)[GIVEN] * 0.94 + 0.02
    wrong = np.arange(0, 60, 10)
    given = GIVEN.copy()
    given[wrong] = (given[wrong] + 1) % 3
    labels = types.SimpleNamespace(given=given, review=None)
    found = suspect(sure, *LOGITS, DATA, labels, None)
    assert set(np.argsort(-found.train.score)[: len(wrong)]) == set(wrong)
    assert found.rate == pytest.approx(0.1, abs=0.1)


@pytest.mark.parametrize("right", [0.6, 0.95])
def test_a_network_that_has_memorised_its_labels_does_not_know_how_many_are_wrong(right):
    """It agrees with all of them, and with these shares of the labels that it has not learned."""
    tested = np.repeat(np.arange(3), 100).astype(np.int32)
    said = np.where(np.arange(300) % 100 < right * 100, tested, (tested + 1) % 3)
    data = types.SimpleNamespace(**(vars(DATA) | {"test_labels": tested, "test_index": None}))
    belief = np.eye(3, dtype=np.float32)[GIVEN] * 0.94 + 0.02
    logits = 5 * np.eye(3, dtype=np.float32)[said]
    found = suspect(belief, np.log(belief), logits, data, LABELS, None)
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
    agreement = suspicion._tested(said(tested), tested, given)
    assert not suspicion._is_memorised(belief, given, agreement)


@pytest.mark.parametrize("tested", [[0], [0, 1]])
def test_few_test_images_do_not_tell_that_labels_are_memorised(tested):
    wrong = np.eye(3, dtype=np.float32)[(np.array(tested) + 1) % 3]
    agreement = suspicion._tested(wrong, np.array(tested), GIVEN)
    assert not suspicion._is_memorised(np.eye(3)[GIVEN], GIVEN, agreement)


def logits(labels, right, rng):
    """Of a network that is right for a share of the images, and as often wrong in each way."""
    others = (labels + rng.integers(1, 3, len(labels))) % 3
    said = np.where(rng.random(len(labels)) < right, labels, others)
    return 5 * np.eye(3, dtype=np.float32)[said]


def judged(rng, tests, right=0.9, rate=0.4, test_rate=0.0, belief=None):
    """What is found of 6,000 labels, if the network is as often right for them as in testing; its
    belief says nothing."""
    true, of_test = (rng.integers(0, 3, n).astype(np.int32) for n in (6000, tests))
    given, shown = (
        noise.corrupt(labels, "symmetric", share, 3, seed=1)
        for labels, share in ((true, rate), (of_test, test_rate))
    )
    data = types.SimpleNamespace(test_labels=shown, train_index=None, test_index=None)
    labels = types.SimpleNamespace(given=given, review=None)
    belief = rng.dirichlet(np.ones(3), 6000) if belief is None else belief(given)
    of_train = logits(true, right, rng)
    found = suspect(belief, of_train, logits(of_test, right, rng), data, labels, None)
    return found, float((given != true).mean())


def test_labels_that_a_tested_network_contradicts_are_wrong():
    """By hand: right for 90 % of the test labels, it agrees with 0.6 * 0.9 + 0.4 * 0.05 = 0.56 of
    the given ones, so that 1 - 0.56 / 0.9 = 0.378 are wrong, but for chance in the tests."""
    found, rate = judged(np.random.default_rng(0), tests=100_000)
    assert found.rate == found.range[0] == pytest.approx(0.375, abs=0.015)
    assert found.rate < rate
    assert found.train.is_issue.sum() > 1000


@pytest.mark.parametrize("surest", [0.9, 0.5])
def test_the_matrix_has_the_share_that_is_found(surest):
    """A belief that is surest of the labels it agrees with finds no wrong ones, and one that is not
    finds too few."""
    rng = np.random.default_rng(0)

    def belief(given):
        said = np.where(rng.random(len(given)) < 0.6, given, (given + 1) % 3)
        sure = np.where(said == given, rng.uniform(0.5, surest, len(given)), 0.49)
        return np.eye(3)[said] * sure[:, None] + (1 - sure[:, None]) / 3

    found, _ = judged(rng, tests=100_000, belief=belief)
    assert found.rate == found.range[0] == pytest.approx(0.375, abs=0.015)
    np.testing.assert_allclose(1 - found.transition.diagonal(), found.rate, atol=0.03)
    np.testing.assert_allclose(found.transition.sum(axis=1), 1)


@pytest.mark.parametrize(
    ("tests", "right", "test_rate"),
    [(100_000, 0.9, 0.4), (100_000, 0.9, 0.6), (5, 0.9, 0.0), (100_000, 0.4, 0.0)],
    ids=["as often wrong", "more often wrong", "few", "of a network that knows little"],
)
def test_test_labels_may_say_nothing(tests, right, test_rate):
    """That of a network which is right for 40 % is not nothing, but little."""
    found, _ = judged(np.random.default_rng(0), tests, right, test_rate=test_rate)
    assert found.range[0] < (0.16 if right == 0.4 else 0.02)


@pytest.mark.parametrize("seed", range(20))
def test_no_more_labels_are_surely_wrong_than_are_wrong(seed):
    """Networks of any quality for each class, classes of other shares in testing, any noise."""
    rng = np.random.default_rng(seed)
    right, rates = rng.uniform(0.3, 1, 3), rng.uniform(0, 0.5)
    true, tested = (
        rng.choice(3, n, p=rng.dirichlet(3 * np.ones(3))).astype(np.int32) for n in (20_000, 300)
    )
    given = noise.corrupt(true, "symmetric", rates, 3, seed=seed)
    of_train, of_test = (logits(labels, right[labels], rng) for labels in (true, tested))
    agreement = suspicion._tested(of_test, tested, given)
    surely = suspicion._surely_wrong(of_train, given, agreement)
    assert 0 <= surely <= (given != true).mean() + 0.01


def test_nothing_follows_where_no_given_class_is_tested():
    assert suspicion._tested(np.eye(3)[[2, 2]], np.array([2, 2]), np.array([0, 1, 1])) is None


def test_a_methods_own_division_says_what_labels_are_and_how_many_are_wrong():
    part = np.repeat(np.array([0, 1, 2], np.int8), 20)
    label = np.where(part == 0, GIVEN, (GIVEN + 1) % 3).astype(np.int32)
    clean = np.where(part == 0, 0.8, 0.1).astype(np.float32)
    data = types.SimpleNamespace(**vars(DATA), num_classes=3)
    found = suspect(BELIEF, *LOGITS, data, LABELS, None, division=Division(part, label, clean))
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
    found = suspect(BELIEF, *LOGITS, data, LABELS, None, division=Division(part, label, clean))
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
    of_train, of_test = (generator.normal(size=(n, 4)) for n in (500, 8))
    embeddings = bank, bank[:8]
    found = suspect(belief, of_train, of_test, data, labels, embeddings, tells_open=tells).train
    is_open = found.kind == label_kinds.OPEN
    assert not is_open[~found.is_issue].any()
    assert is_open[:400].sum() <= 4
    assert (is_open[400:].sum() > 20) == tells
