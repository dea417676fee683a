"""The kNN probe against scikit-learn's neighbours and votes counted in NumPy."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from rmdnet_jax.evaluation import knn

RNG = np.random.default_rng(0)
BANK = RNG.normal(size=(300, 12)).astype(np.float32)
LABELS = RNG.integers(0, 5, 300)
QUERIES = RNG.normal(size=(700, 12)).astype(np.float32)  # more than one compiled chunk


def reference(queries, k, temperature, own=False):
    """Wu et al. 2018, equation 7, with scikit-learn's cosine neighbours."""
    distance, index = (
        NearestNeighbors(n_neighbors=k + own, metric="cosine").fit(BANK).kneighbors(queries)
    )
    distance, index = distance[:, own:], index[:, own:]
    weights = np.exp((1 - distance) / temperature)
    votes = np.stack([(weights * (LABELS[index] == c)).sum(axis=1) for c in range(5)], axis=1)
    return votes / votes.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("k", [1, 20, 300])
def test_votes_are_scikit_learns(k):
    votes = knn.votes(BANK, LABELS, QUERIES, 5, k=k)
    np.testing.assert_allclose(votes, reference(QUERIES, k, 0.1), atol=1e-4)


def test_leaving_one_out_nobody_votes_for_himself():
    votes = knn.neighbours_mean(BANK, np.eye(5)[LABELS], k=10)
    np.testing.assert_allclose(votes, reference(BANK, 10, 0.1, own=True), atol=1e-4)


def test_more_neighbours_than_there_are_are_all_there_are():
    votes = knn.votes(BANK, LABELS, QUERIES[:4], 5, k=1000)
    np.testing.assert_allclose(votes, knn.votes(BANK, LABELS, QUERIES[:4], 5, k=300))


def test_scale_does_not_matter_and_zero_vectors_give_no_nan():
    scaled = knn.votes(BANK * 100, LABELS, QUERIES[:9] / 7, 5, k=5)
    np.testing.assert_allclose(scaled, knn.votes(BANK, LABELS, QUERIES[:9], 5, k=5), atol=1e-4)
    assert np.isfinite(knn.votes(BANK, LABELS, np.zeros((2, 12), np.float32), 5)).all()


def test_accuracy_of_what_is_its_own_neighbour_is_one():
    assert knn.accuracy(BANK, LABELS, BANK, LABELS, 5, k=1) == 1


@pytest.mark.parametrize("k", [1, 20, 1000])
def test_the_mean_of_one_hot_labels_is_the_votes(k):
    one_hot = np.eye(5)[LABELS]
    np.testing.assert_allclose(
        knn.neighbours_mean(BANK, one_hot, QUERIES, k=k),
        knn.votes(BANK, LABELS, QUERIES, 5, k=k), atol=1e-5,
    )  # fmt: skip
    np.testing.assert_allclose(
        knn.neighbours_mean(BANK, one_hot, k=k),
        reference(BANK, min(k, len(BANK) - 1), 0.1, own=True), atol=1e-4,
    )  # fmt: skip
