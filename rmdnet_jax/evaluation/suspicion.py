"""What a run says of its labels: how suspicious each is, how many are wrong, and which become
which; from a method's belief and the neighbourhoods in the teacher's space."""

import dataclasses

import numpy as np

from rmdnet_jax.data import transition, unseen
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.data.labels import Labels
from rmdnet_jax.evaluation import classification, knn, label_issues

# Neighbours in the teacher's space that have a say on a label.
_NEIGHBOURS = 50


@dataclasses.dataclass(frozen=True)
class Suspicion:
    """What a method and a teacher say of the labels.

    Attributes:
      train, test: of the training and of the test images.
      transition: float64 [C, C], estimated P(given | true).
      rate: estimated share of wrong training labels; None where nothing can be said, and no label
        is an issue.
      range: between which it may be.
    """

    train: label_issues.LabelIssues
    test: label_issues.LabelIssues
    transition: np.ndarray
    rate: float | None
    range: tuple[float, float]


def suspect(
    belief: np.ndarray,
    test_logits: np.ndarray,
    data: Dataset,
    labels: Labels,
    embeddings: tuple[np.ndarray, np.ndarray] | None,
    is_unseen: bool = False,
) -> Suspicion:
    """Judges every given label.

    Args:
      belief: float [N, C], probabilities of the training images.
      test_logits: float [M, C], of the test images at the end of training.
      data, labels: of all training images.
      embeddings: the teacher's, of the training and the test images; None without a teacher.
      is_unseen: whether the belief is of networks that have not learned from the labels they judge,
        which then need no neighbours to be trusted.
    """
    train, test = belief, classification.softmax(test_logits)
    neighbours = test_neighbours = None
    if is_unseen:
        found = unseen.noise(belief, labels.given)
        train = unseen.judged(found, train, labels.given)
        test = unseen.judged(found, test, data.test_labels)
    elif embeddings:
        bank, queries = embeddings
        neighbours = knn.neighbours_mean(bank, belief, k=_NEIGHBOURS)
        test_neighbours = knn.neighbours_mean(bank, belief, queries, k=_NEIGHBOURS)
        found = transition.estimate(neighbours, labels.given)
    else:
        found = transition.estimate(belief, labels.given, learned=True)
    rate = found.rate or 0
    return Suspicion(
        label_issues.score(train, neighbours, labels.given, rate, data.train_index),
        label_issues.score(test, test_neighbours, data.test_labels, rate, data.test_index),
        found.transition,
        found.rate,
        found.range,
    )
