"""What shows none of the classes is told from what shows one, whatever its label says."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from rmdnet_jax.evaluation import open_set


def made(num_open=150, wrong=0.3, seed=0, classes=4, size=600, features=64):
    """Embeddings, given labels and true ones (-1: open): classes apart in a few directions, open
    images in between, as alike in all others."""
    rng = np.random.default_rng(seed)
    centres = np.zeros((classes, features))
    centres[np.arange(classes), np.arange(classes)] = 6
    true = np.concatenate([np.arange(size) % classes, np.full(num_open, -1)])
    x = rng.normal(size=(len(true), features))
    x[:size] += centres[true[:size]]
    x[size:] += centres.mean(axis=0) * rng.uniform(0.5, 1.5, (num_open, 1))
    given = np.where(true < 0, rng.integers(0, classes, len(true)), true)
    flipped = (rng.random(len(true)) < wrong) & (true >= 0)
    given = np.where(flipped, (true + rng.integers(1, classes, len(true))) % classes, given)
    return x.astype(np.float32), given, true


def test_open_images_are_farther_than_those_of_classes_rightly_labelled_or_not():
    x, given, true = made()
    openness = open_set.openness(x, given, 4)
    is_open, is_wrong = true < 0, given != true
    assert openness.dtype == np.float64
    assert 0 <= openness.min() <= openness.max() <= 1
    assert roc_auc_score(is_open, openness) > 0.95
    assert roc_auc_score(is_open[is_wrong], openness[is_wrong]) > 0.95


def test_only_issues_are_called_open_and_mostly_rightly():
    x, given, true = made()
    is_issue = given != true
    flagged = open_set.is_open(x, given, 4, is_issue)
    assert not flagged[~is_issue].any()
    assert (true < 0)[flagged].mean() > 0.9
    assert flagged[true < 0].mean() > 0.3
    assert not open_set.is_open(x, given, 4, np.zeros(len(given), bool)).any()


@pytest.mark.parametrize("wrong", [0.2, 0.4])
def test_where_nothing_is_open_few_are_called_so(wrong):
    x, given, true = made(num_open=0, wrong=wrong, size=2000)
    assert open_set.is_open(x, given, 4, given != true).mean() < 0.02


@pytest.mark.parametrize(
    ("x", "given"),
    [
        (np.ones((200, 8), np.float32), np.arange(200) % 2),  # all alike
        (np.zeros((200, 8), np.float32), np.arange(200) % 2),
        (np.eye(60, dtype=np.float32), np.arange(60) % 2),  # too few
    ],
)
def test_nothing_is_said_where_nothing_can_be(x, given):
    assert not open_set.openness(x, given, 2).any()


def test_a_class_without_an_image_is_no_ones_nearest():
    x, given, _ = made()
    there, one_more = (open_set.openness(x, given, classes) for classes in (4, 5))
    np.testing.assert_array_equal(there, one_more)


def test_the_distance_is_to_means_and_covariances_of_the_other_folds():
    """By hand, in one dimension: two classes at -1 and 1 in every fold."""
    x = np.tile([[-1.5], [-0.5], [0.5], [1.5]], (10, 1))
    given, fold = np.tile([0, 0, 1, 1], 10), np.repeat(np.arange(5), 8)
    distance, nearest = open_set._relative(x, given, 2, fold, np.ones(40, bool))
    np.testing.assert_array_equal(nearest, given)
    # Variances: .25 within, 1.25 overall; of one number the shrunken covariance is itself.
    np.testing.assert_allclose(distance[:2], [1 - 1.5**2 / 1.25, 1 - 0.5**2 / 1.25])


def test_one_fold_does_not_see_itself():
    x = np.tile([[-1.0], [1.0]], (20, 1)) + np.linspace(-0.1, 0.1, 40)[:, None]
    given, fold = np.tile([0, 1], 20), np.arange(40) // 8
    before, _ = open_set._relative(x, given, 2, fold, np.ones(40, bool))
    moved = np.where(np.arange(40)[:, None] == 0, 50.0, x)
    after, _ = open_set._relative(moved, given, 2, fold, np.ones(40, bool))
    np.testing.assert_array_equal(before[1:8], after[1:8])  # its fold's own
    assert not np.allclose(before[8:], after[8:])
