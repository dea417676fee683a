"""Several people's labels: votes, agreement and the likeliest class, by hand and as properties."""

import numpy as np
import pytest

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import annotators, labels, sources
from rmdnet_jax.data.dataset import Dataset


def person(rng, true, wrong, classes=4):
    """Labels of somebody who is wrong at a rate, of any other class."""
    is_wrong = rng.random(len(true)) < wrong
    return np.where(is_wrong, (true + rng.integers(1, classes, len(true))) % classes, true)


def crowd(seed, rates, size=1500, classes=4, gaps=0.5):
    """True labels [N], labels [N, A] with gaps, at least one an image."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, classes, size)
    said = np.stack([person(rng, true, rate, classes) for rate in rates], axis=1)
    is_gap = rng.random(said.shape) < gaps
    is_gap[np.arange(size), rng.integers(0, len(rates), size)] = False
    return true, np.where(is_gap, annotators.GAP, said).astype(np.int32)


def test_votes_by_hand():
    said = np.array([[0, 0, 1], [2, -1, -1], [1, 1, 1], [-1, 2, 2]], np.int32)
    won, share = annotators.majority(said, 3)
    np.testing.assert_array_equal(won, [0, 2, 1, 2])
    np.testing.assert_allclose(share, [2 / 3, 1, 1, 1])
    assert won.dtype == np.int32


def test_agreement_by_hand():
    # Pairs of the first: (=, /), none, (=, =): 3 of 4. The second: (=, /), (=, =), and the last
    # row's: 4 of 5. The third: (/, /), (=, =), and the last row's: 3 of 5.
    said = np.array([[0, 0, 1], [2, -1, -1], [1, 1, 1], [-1, 2, 2]], np.int32)
    np.testing.assert_allclose(annotators.agreement(said), [3 / 4, 4 / 5, 3 / 5])
    alone = np.array([[0, -1], [-1, 1]], np.int32)
    assert np.isnan(annotators.agreement(alone)).all()


def test_of_as_many_votes_that_of_who_agrees_more_wins_then_the_first_class():
    # The third annotator never agrees with anybody; the last row is between the second and third.
    said = np.array([[2, 2, 1], [0, 0, 1], [1, 1, 0], [-1, 2, 0]], np.int32)
    np.testing.assert_array_equal(annotators.majority(said, 3)[0], [2, 0, 1, 2])
    even = np.array([[2, 1]], np.int32)
    np.testing.assert_array_equal(annotators.majority(even, 3)[0], [1])


def test_all_agree():
    said = np.tile(np.arange(3, dtype=np.int32)[:, None], (20, 4))
    found = annotators.consensus(said, 3)
    np.testing.assert_array_equal(found.labels, said[:, 0])
    assert (found.quality > 0.99).all()
    np.testing.assert_allclose(found.annotator_quality, 0.999)
    np.testing.assert_allclose(found.agreement, 1)


def test_two_annotators_and_a_model_by_hand():
    """One step of the fit, by Bayes' rule: the rates that were found give the quality."""
    true, said = crowd(0, (0.1, 0.4))
    model = np.full((len(true), 4), 0.1)
    model[np.arange(len(true)), true] = 0.7
    found = annotators.consensus(said, 4, model)
    rates = found.annotator_quality
    for row in range(20):
        joint = model[row] ** found.exponent
        for rate, label in zip(rates, said[row], strict=True):
            if label != annotators.GAP:
                joint = joint * np.where(np.arange(4) == label, rate, (1 - rate) / 3)
        assert found.labels[row] == joint.argmax()
        np.testing.assert_allclose(found.quality[row], joint.max() / joint.sum(), atol=2e-3)


@pytest.mark.parametrize("has_model", [False, True])
def test_rates_are_found_and_the_consensus_beats_the_majority(has_model):
    rates = (0.05, 0.2, 0.3, 0.5, 0.7)
    true, said = crowd(1, rates)
    model = None
    if has_model:
        right = person(np.random.default_rng(9), true, 0.25)
        model = np.full((len(true), 4), 0.25 / 3)
        model[np.arange(len(true)), right] = 0.75
    found = annotators.consensus(said, 4, model)
    np.testing.assert_allclose(found.annotator_quality, 1 - np.array(rates), atol=0.06)
    wrong, by_votes = (np.mean(said != true) for said in (found.labels, found.majority))
    assert wrong < by_votes - (0.05 if has_model else 0.02)
    # A probability is one: so many are right.
    np.testing.assert_allclose(found.quality.mean(), 1 - wrong, atol=0.02)


def test_a_model_that_is_too_sure_is_trusted_less_and_one_that_knows_nothing_not_at_all():
    true, said = crowd(2, (0.1, 0.2, 0.3))
    right = person(np.random.default_rng(9), true, 0.4)
    sure = np.full((len(true), 4), 1e-4)
    sure[np.arange(len(true)), right] = 1 - 3e-4
    found = annotators.consensus(said, 4, sure)
    assert found.exponent < 0.5
    assert np.mean(found.labels != true) < np.mean(found.majority != true)
    noise = np.random.default_rng(3).dirichlet(np.ones(4), len(true))
    found = annotators.consensus(said, 4, noise)
    assert found.exponent < 0.2
    alone = annotators.consensus(said, 4)
    assert alone.exponent == 0
    assert np.mean(found.labels == alone.labels) > 0.97


def test_the_order_of_annotators_images_and_classes_does_not_matter():
    _, said = crowd(3, (0.1, 0.2, 0.3), size=300)
    found = annotators.consensus(said, 4)
    rows = np.random.default_rng(0).permutation(300)
    moved = annotators.consensus(np.where(said < 0, said, 3 - said)[rows][:, [2, 0, 1]], 4)
    is_even = np.isclose(found.quality, 0.5, atol=0.02)[rows]
    np.testing.assert_array_equal(moved.labels[~is_even], 3 - found.labels[rows][~is_even])
    np.testing.assert_allclose(
        moved.annotator_quality, found.annotator_quality[[2, 0, 1]], atol=1e-3
    )


def test_who_is_asked_again():
    _, said = crowd(4, (0.1, 0.3), size=200)
    found = annotators.consensus(said, 4)
    assert sorted(found.ask_again) == list(range(1, 201))
    assert found.quality[found.ask_again == 1] == found.quality.min()
    order = np.argsort(found.ask_again)
    assert (np.diff(found.quality[order].round(6)) >= 0).all()
    # Of those who disagree nobody can say who is right.
    assert (found.quality[order[:5]] < 0.9).all()


def test_who_has_said_nothing_or_shares_no_image():
    said = np.array([[0, -1, -1], [1, -1, -1], [-1, 2, -1]], np.int32)
    found = annotators.consensus(said, 3)
    np.testing.assert_array_equal(found.labels, [0, 1, 2])
    np.testing.assert_array_equal(found.given, [2, 1, 0])
    assert np.isnan(found.agreement).all()
    assert np.isnan(found.annotator_quality[2])
    assert np.isfinite(found.quality).all()


def test_many_annotators_of_few_labels_each():
    rng = np.random.default_rng(5)
    true = rng.integers(0, 10, 3000)
    said = np.full((3000, 400), annotators.GAP, np.int32)
    for _ in range(3):
        who = rng.integers(0, 400, 3000)
        wrong = np.where(who % 4 == 0, 0.8, 0.1)  # every fourth clicks about
        is_wrong = rng.random(3000) < wrong
        label = np.where(is_wrong, (true + rng.integers(1, 10, 3000)) % 10, true)
        said[np.arange(3000), who] = label
    found = annotators.consensus(said, 10)
    assert np.mean(found.labels != true) < np.mean(found.majority != true)
    quality, clicks = found.annotator_quality, np.arange(400) % 4 == 0
    assert np.mean(quality[clicks] < quality[~clicks].min()) > 0.9


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ([[0, 3]], "range from 0 to 3; expected 0 to 2"),
        ([[0, -2]], "range from -2 to 0"),
        ([[0, 1], [-1, -1], [-1, -1]], "2 images have no label from any annotator, first image 1"),
    ],
)
def test_labels_that_are_none(said, says):
    with pytest.raises(InputError, match=says):
        annotators.check(np.array(said, np.int32), 3)


def test_floats_with_gaps():
    read = annotators.with_gaps(np.array([[0, np.nan], [2, 1]]), "a")
    np.testing.assert_array_equal(read, [[0, -1], [2, 1]])
    assert read.dtype == np.int32
    for wrong in ([[0.5, 1]], [[np.inf, 1]]):
        with pytest.raises(InputError, match="a has values that are not whole"):
            annotators.with_gaps(np.array(wrong), "a")
    with pytest.raises(InputError, match="expected integers"):
        annotators.with_gaps(np.array([["cat"]]), "a")
    with pytest.raises(InputError, match="expected integers"):
        annotators.with_gaps(np.array([1, 2]), "a")


def test_fields_of_a_data_set():
    _, said = crowd(6, (0.1, 0.3, 0.6), size=80)
    images = np.zeros((80, 8, 8, 3), np.uint8)
    sets = {f"label:{name}": column for name, column in zip("abc", said.T, strict=True)}
    most, _ = annotators.majority(said, 4)
    data = Dataset("d", images, most, images, most, sets | {"mine": most}, tuple("wxyz"))
    people = annotators.of(data.label_sets)
    assert people.names == ("a", "b", "c")
    np.testing.assert_array_equal(people.labels, said)
    given = labels.give(data, "human", 0.0, seed=0, field="majority").given
    np.testing.assert_array_equal(given, most)
    given = labels.give(data, "human", 0.0, seed=0, field="consensus").given
    np.testing.assert_array_equal(given, annotators.consensus(said, 4).labels)
    with pytest.raises(
        InputError, match="label sets label:a, label:b, label:c, mine, majority and 1"
    ):
        labels.give(data, "human", 0.0, seed=0, field="other")
    assert annotators.of({"mine": most}) is None


def test_arrays_of_annotators(tmp_path):
    true, said = crowd(7, (0.1, 0.2, 0.3), size=60)
    images = np.zeros((60, 8, 8, 3), np.uint8)
    arrays = {"x_train": images, "x_test": images, "y_test": true}
    with_nan = np.where(said < 0, np.nan, said)
    for name, array in (("ints", said), ("floats", with_nan)):
        np.savez(tmp_path / f"{name}.npz", **arrays, annotators=array)
        data = sources.load("npz", str(tmp_path / f"{name}.npz"))
        np.testing.assert_array_equal(annotators.of(data.label_sets).labels, said)
        assert annotators.of(data.label_sets).names == ("0", "1", "2")
        np.testing.assert_array_equal(data.train_labels, annotators.majority(said, 4)[0])
    np.savez(tmp_path / "own.npz", **arrays, annotators=said, y_train=true)
    np.testing.assert_array_equal(sources.load("npz", str(tmp_path / "own.npz")).train_labels, true)
