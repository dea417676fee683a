"""Accuracy, calibration and confusion against cases worked by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmdnet_jax.evaluation import classification

# Predictions 0, 1, 1, 2 for labels 0, 1, 0, 2.
LOGITS = np.log(
    np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.3, 0.6, 0.1], [0.1, 0.1, 0.8]], np.float32)
)
LABELS = np.array([0, 1, 0, 2])


def test_accuracy_by_hand():
    assert classification.accuracy(LOGITS, LABELS) == 0.75


def test_confusion_and_per_class_accuracy_by_hand():
    confusion = classification.confusion_matrix(LOGITS, LABELS)
    np.testing.assert_array_equal(confusion, [[1, 1, 0], [0, 1, 0], [0, 0, 1]])
    np.testing.assert_array_equal(
        classification.per_class_accuracy(LOGITS, LABELS), [0.5, 1.0, 1.0]
    )


def test_a_class_without_samples_has_no_accuracy():
    shares = classification.per_class_accuracy(LOGITS[:2], LABELS[:2])
    assert np.isnan(shares[2])
    assert classification.summarise(LOGITS[:2], LABELS[:2])["per_class_accuracy"][2] is None


def test_calibration_error_by_hand():
    """Ten bins: (0.7, 0.8] holds two right ones of confidence 0.8, gap 0.2; 0.7 right, gap 0.3;
    0.6 wrong, gap 0.6. Mean over four samples: (2 * 0.2 + 0.3 + 0.6) / 4."""
    probabilities = classification.softmax(LOGITS)
    error = classification.expected_calibration_error(probabilities, LABELS, bins=10)
    assert error == pytest.approx((0.4 + 0.3 + 0.6) / 4, abs=1e-6)


def test_certain_and_right_is_perfectly_calibrated():
    assert classification.expected_calibration_error(np.eye(3), np.arange(3)) == 0


def test_likelihood_by_hand():
    expected = -np.log([0.8, 0.7, 0.3, 0.8]).mean()
    assert classification.summarise(LOGITS, LABELS)["nll"] == pytest.approx(expected, abs=1e-6)


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=3, max_size=3))
def test_softmax_is_a_distribution_for_any_logits(row):
    probabilities = classification.softmax(np.array([row], np.float32))
    assert probabilities.sum() == pytest.approx(1)
    assert (probabilities >= 0).all()
