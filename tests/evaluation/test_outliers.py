"""Images unlike all others."""

import tracemalloc

import numpy as np
import pytest

from rmdnet_jax.evaluation import outliers

RNG = np.random.default_rng(0)


def test_distances_are_those_of_a_plain_loop():
    x = RNG.normal(size=(50, 6)).astype(np.float32)
    rows = x / np.linalg.norm(x, axis=1, keepdims=True)
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, -np.inf)
    expected = 1 - np.sort(cosines, axis=1)[:, -5:].mean(axis=1)
    np.testing.assert_allclose(outliers.distances(x), expected, rtol=1e-5)


def test_a_bank_is_asked_where_there_are_many_and_none_is_its_own_neighbour(monkeypatch):
    monkeypatch.setattr(outliers, "_BANK", 20)
    rows = outliers.directions(RNG.normal(size=(400, 40)).astype(np.float32))
    distance = outliers.distances(rows)
    assert distance.min() > 0.1  # it would be nearly 0.2 lower with itself among its five
    bank = np.linspace(0, 399, 20).astype(int)
    cosines = rows[1] @ rows[bank].T
    np.testing.assert_allclose(distance[1], 1 - np.sort(cosines)[-5:].mean(), rtol=1e-5)


def test_directions_keep_angles_less_the_mean():
    x = RNG.normal(size=(30, 8)).astype(np.float32) + 5
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    centred = unit - unit.mean(axis=0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    np.testing.assert_allclose(outliers.directions(x), centred, atol=1e-5)
    wide = outliers.directions(np.pad(x, [(0, 0), (0, 200)]))  # principal components, turned
    assert wide.shape == (30, 8)
    np.testing.assert_allclose(wide @ wide.T, centred @ centred.T, atol=1e-4)


@pytest.mark.parametrize(("size", "width"), [(90, 400), (400, 200)])
def test_components_are_those_of_a_singular_value_decomposition(size, width):
    scales = 0.97 ** np.arange(width)
    x = (RNG.normal(size=(size, width)) * scales).astype(np.float32)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    centred = unit - unit.mean(axis=0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    _, _, axes = np.linalg.svd(centred.astype(np.float64), full_matrices=False)
    expected = centred @ axes[:128].T
    found = outliers.projected(x, outliers.middle(x))
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=2e-3)


def test_projected_rows_are_never_farther_from_each_other_even_where_a_sample_told_the_axes():
    x = RNG.normal(size=(1500, 1300)).astype(np.float32)
    middle = outliers.middle(x)
    low, whole = (f(x, middle)[::50] for f in (outliers.projected, outliers.centred))
    assert low.shape == (30, 128)
    apart = [np.linalg.norm(rows[:, None] - rows, axis=2) for rows in (low, whole)]
    assert (apart[0] <= apart[1] + 1e-5).all()


def test_no_matrix_is_as_large_as_the_features_squared():
    x = RNG.normal(size=(300, 30_000)).astype(np.float32)
    tracemalloc.start()
    outliers.directions(x)
    outliers.distances(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * x.nbytes  # 288 MB; 30,000 squared are 3.6 GB


@pytest.mark.parametrize("planted", [0, 3])
def test_what_lies_apart_is_found_and_hardly_anything_else(planted):
    centres = np.repeat(np.eye(4, 40) * 8, 250, axis=0)
    x = centres + np.random.default_rng(1).normal(size=centres.shape)
    x[:planted] = 0
    x[np.arange(planted), 30 + np.arange(planted)] = 10  # each its own way
    score = outliers.scores(outliers.distances(x))
    found = np.flatnonzero(score)
    assert set(range(planted)) <= set(found)
    assert len(found) <= planted + 2
    assert 0 <= score.min() <= score.max() <= 1


def test_where_most_are_copies_rounding_makes_no_outlier():
    x = RNG.normal(size=(5, 24)).astype(np.float32)[np.arange(3000) % 5]
    assert not outliers.scores(outliers.distances(x)).any()


@pytest.mark.parametrize("rows", [np.ones((5, 3)), np.zeros((5, 3)), np.ones((1, 3))])
def test_where_all_are_the_same_none_is_an_outlier(rows):
    distance = outliers.distances(rows)
    assert not outliers.scores(distance).any()
