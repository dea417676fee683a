"""The noise estimated from anchors: right where the evidence is, and no matrix but a transition."""

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from rmdnet_jax.data import noise, transition


@pytest.mark.parametrize("kind", ["symmetric", "pairflip"])
def test_evidence_that_is_right_finds_the_noise(kind):
    rng = np.random.default_rng(0)
    true = rng.integers(0, 4, 20_000)
    given = noise.corrupt(true.astype(np.int32), kind, 0.3, 4, seed=0)
    # Sure of some images, unsure of others, and independent of the given label.
    sure = rng.uniform(0.3, 1, len(true))[:, None]
    evidence = sure * np.eye(4)[true] + (1 - sure) / 4
    matrix, rate, _ = transition.estimate(evidence, given)
    assert rate == pytest.approx(0.3, abs=0.05)
    assert transition.error(matrix, noise.transition_matrix(kind, 0.3, 4)) < 0.08


def test_clean_labels_have_no_noise():
    true = np.arange(90) % 3
    matrix, rate, _ = transition.estimate(np.eye(3)[true], true)
    np.testing.assert_array_equal(matrix, np.eye(3))
    assert rate == 0


@drawn(st.integers(0, 2**32 - 1), st.integers(2, 60), st.integers(2, 5))
def test_rows_are_distributions_whatever_is_given(seed, size, num_classes):
    rng = np.random.default_rng(seed)
    evidence = rng.dirichlet(np.ones(num_classes), size)
    matrix, rate, _ = transition.estimate(evidence, rng.integers(0, num_classes, size))
    np.testing.assert_allclose(matrix.sum(axis=1), 1)
    assert (matrix >= 0).all()
    assert 0 <= rate <= 1


def test_error_by_hand():
    """Row 0 is 0.3 away, row 1 not at all."""
    ours, theirs = np.array([[0.7, 0.3], [0, 1]]), np.eye(2)
    assert transition.error(ours, theirs) == pytest.approx(0.15)
