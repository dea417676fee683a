"""The noise is found from what networks say that have not seen the labels, sure of it or not."""

import numpy as np
import pytest
from scipy.special import softmax

from rmdnet_jax.data import noise as made
from rmdnet_jax.data import unseen


def drawn(size=4000, classes=5, prior=0.0, seed=0):
    """Logits, and true classes of which they know just as much as they say."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 4, (size, classes)) + prior
    true = (softmax(logits, 1).cumsum(axis=1) > rng.random((size, 1))).argmax(axis=1)
    return logits, true.astype(np.int32)


@pytest.mark.parametrize(
    ("kind", "rate"),
    [("none", 0.0), ("symmetric", 0.2), ("symmetric", 0.4), ("pairflip", 0.2), ("pairflip", 0.4)],
)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_rate_and_matrix_are_found_however_sure_the_network_is(kind, rate, temperature):
    """Over eight seeds no rate was off by more than 0.03, and no entry by more than 0.05."""
    logits, true = drawn()
    given = made.corrupt(true, kind, rate, 5, seed=1)
    found = unseen.noise(softmax(logits / temperature, 1), given)
    assert found.rate == pytest.approx((given != true).mean(), abs=0.06)
    np.testing.assert_allclose(found.transition.sum(axis=1), 1)
    assert np.abs(found.transition - made.transition_matrix(kind, rate, 5)).max() < 0.1


def test_where_classes_become_others_by_habit_labels_are_judged_by_the_habit():
    logits, true = drawn()
    given = made.corrupt(true, "pairflip", 0.4, 5, seed=1)
    # The network has half learned the habit: whoever is k, it says, may be k + 1.
    habit = made.transition_matrix("pairflip", 0.2, 5)
    believed = softmax(logits, 1) @ habit
    found = unseen.noise(believed, given)
    rows, is_wrong = np.arange(len(true)), given != true

    def auroc(belief):
        score = 1 - belief[rows, given]
        return (score[is_wrong][:, None] > score[~is_wrong][None, :]).mean()

    assert auroc(unseen.judged(found, believed, given)) > auroc(believed) + 0.02
    np.testing.assert_allclose(unseen.judged(found, believed, given).sum(axis=1), 1, rtol=1e-5)


def test_a_habit_is_of_rates_and_not_of_counts():
    """A small class that turns into a large one more often than back is a habit, though fewer
    images go that way."""
    logits, true = drawn(20_000, 2, prior=np.array([6, 0]))
    assert 4 * (true == 1).sum() < (true == 0).sum()
    draw = np.random.default_rng(1).random(len(true))
    given = np.where(draw < np.where(true == 0, 0.1, 0.45), 1 - true, true)
    found = unseen.noise(softmax(logits, 1), given)
    assert found.habits is not None
    assert found.habits[1, 0] > 0.3 > 0.15 > found.habits[0, 1]


@pytest.mark.parametrize("kind", ["none", "symmetric"])
def test_without_habits_the_probabilities_judge_as_they_are(kind):
    logits, true = drawn()
    given, probabilities = made.corrupt(true, kind, 0.3, 5, seed=1), softmax(logits, 1)
    found = unseen.noise(probabilities, given)
    assert found.habits is None
    judged = unseen.judged(found, probabilities, given)
    np.testing.assert_array_equal(judged, probabilities.astype(np.float32))


def test_a_class_of_a_few_samples_is_not_accused():
    logits, true = drawn(classes=4, prior=np.array([0, 0, -9, -9]))
    assert np.bincount(true).max() > 20 * np.bincount(true).min()
    found = unseen.noise(softmax(logits, 1), true)
    assert found.rate < 0.05
    assert found.transition.diagonal().min() > 0.8


def test_many_samples_are_looked_at_in_part_and_judged_all(monkeypatch):
    logits, true = drawn()
    given, probabilities = made.corrupt(true, "symmetric", 0.3, 5, seed=1), softmax(logits, 1)
    whole = unseen.noise(probabilities, given)
    monkeypatch.setattr(unseen, "_ENTRIES", (5 * 1000, 5 * 2000))
    monkeypatch.setattr(unseen, "_FEWEST", 1000)
    part = unseen.noise(probabilities, given)
    assert part.transition.shape == (5, 5)
    assert part.rate == pytest.approx(whole.rate, abs=0.03)


def test_certainty_of_the_wrong_is_no_error():
    found = unseen.noise(np.eye(3)[[0, 1, 2, 0]], np.array([1, 1, 2, 0]))
    assert np.isfinite(found.transition).all()
    assert 0 <= found.range[0] <= (found.rate or 0) <= found.range[1] <= 1
