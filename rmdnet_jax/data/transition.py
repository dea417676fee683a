"""An estimate of the label noise, P(given label | true class), without true labels.

By anchor points: where the evidence for a class is strongest, the class is taken to be the true
one, and the given labels are counted. The evidence must not come from the very label that is
counted: a student that has begun to learn its labels by heart is surest where label and picture
agree, and finds no noise. What it says of an image's neighbours is free of that (0.39 in the demo,
where 0.40 of the labels are wrong; 0.12 by its word on the image itself), but not all anchors are
of their class where teacher and student are weak, and the rate comes out too high: by 0.20 in the
mean of four runs on 10,000 CIFAR-10 images with a teacher whose neighbours are right in 48 % of
the cases (docs/label_issues.md).
"""

import numpy as np

# Anchors a class: this share of a class's mean size, and no fewer than so many, which may be up to
# a third of a class.
_SHARE = 0.03
_FEWEST = 50


def estimate(evidence: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, float]:
    """The estimated transition matrix and rate of wrong labels.

    Args:
      evidence: float [N, C] in [0, 1], for each class of each sample; of knn.neighbours_mean where
        there is a teacher.
      given: int [N], the labels.

    Returns:
      float64 [C, C], rows are true classes and sum to 1; the rate in [0, 1].

    References:
      Liu and Tao 2016 (arXiv 1411.7718) and Patrini et al. 2017 (arXiv 1609.03683) estimate noise
      at anchor points; they read one anchor's probabilities where here given labels are counted.
    """
    size, num_classes = evidence.shape
    class_size = size / num_classes
    count = max(1, round(max(_SHARE * class_size, min(_FEWEST, class_size / 3))))
    matrix = np.empty((num_classes, num_classes))
    for label in range(num_classes):
        anchors = np.argpartition(evidence[:, label], size - count)[size - count :]
        matrix[label] = np.bincount(given[anchors], minlength=num_classes) / count
    classes = np.bincount(evidence.argmax(axis=1), minlength=num_classes) / size
    return matrix, float(classes @ (1 - matrix.diagonal()))


def error(estimated: np.ndarray, realised: np.ndarray) -> float:
    """How far two transition matrices [C, C] are from each other, in [0, 1]: the total variation
    distance of their rows, in the mean."""
    return float(np.abs(estimated - realised).sum(axis=1).mean() / 2)
