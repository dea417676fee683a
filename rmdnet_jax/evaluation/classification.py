"""Metrics of a classifier's logits: accuracy, accuracy per class, and calibration.

In NumPy, after training; methods compute their own running metrics during an epoch.
"""

import numpy as np
from scipy.special import log_softmax


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities float64 [N, C] of logits [N, C]; rows sum to 1, even for logits of +-1e4."""
    return np.exp(log_softmax(logits.astype(np.float64), axis=1))


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Share of the rows of [N, C] whose largest entry (the first if tied) is the label's."""
    return float(np.mean(logits.argmax(axis=1) == labels))


def confusion_matrix(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Counts int64 [C, C] of logits [N, C] and labels int [N]: row label, column prediction."""
    num_classes = logits.shape[1]
    cells = labels.astype(np.int64) * num_classes + logits.argmax(axis=1)
    counts = np.bincount(cells, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes).astype(np.int64)


def per_class_accuracy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """float64 [C]: share of each class's samples predicted as it; NaN for an empty class."""
    confusion = confusion_matrix(logits, labels)
    samples = confusion.sum(axis=1)
    missing = np.full(len(samples), np.nan)
    return np.divide(confusion.diagonal(), samples, out=missing, where=samples > 0)


def expected_calibration_error(
    probabilities: np.ndarray, labels: np.ndarray, bins: int = 15
) -> float:
    """Mean gap between confidence and accuracy over bins of confidence, weighted by bin size.

    Args:
      probabilities: float [N, C], rows sum to 1.
      labels: int [N].
      bins: number of bins of equal width over (0, 1]; each is open below and closed above.

    Returns:
      In [0, 1]; 0 if the accuracy in every bin equals its mean confidence.

    References:
      Guo et al. 2017, arXiv 1706.04599, equation 3.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    correct = probabilities.argmax(axis=1) == labels
    inner_edges = np.linspace(0, 1, bins + 1)[1:-1]
    index = np.digitize(confidence, inner_edges, right=True)
    # A bin's share times the gap of its means is the sum of its samples' gaps over N.
    gaps = np.bincount(index, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def summarise(logits: np.ndarray, labels: np.ndarray) -> dict:
    """All of these metrics, for results.json.

    Args:
      logits: float [N, C].
      labels: int [N].

    Returns:
      accuracy, per_class_accuracy (a list of C, None for a class without samples),
      expected_calibration_error (15 bins), nll (mean negative log-likelihood, nats).
    """
    shares = per_class_accuracy(logits, labels)
    log_p = log_softmax(logits.astype(np.float64), axis=1)
    log_likelihood = log_p[np.arange(len(labels)), labels]
    return {
        "accuracy": accuracy(logits, labels),
        "per_class_accuracy": [None if np.isnan(share) else float(share) for share in shares],
        "expected_calibration_error": expected_calibration_error(softmax(logits), labels),
        "nll": float(-log_likelihood.mean()),
    }
