"""A run's assessment of its labels: how suspicious each is, how many are wrong, and which classes
are confused; from a method's predictions and the neighbourhoods in the teacher's space."""

import dataclasses

import numpy as np

from rmdnet_jax.data import noise, transition, unseen
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.data.label_kinds import CLEAN, OPEN, Division
from rmdnet_jax.data.labels import Labels
from rmdnet_jax.evaluation import classification, knn, label_issues, open_set

# Neighbours in the teacher's space that are consulted on a label.
_NEIGHBOURS = 50

# A network that agrees with so many more of the labels it has learned than of the test labels,
# clearly, has memorised them: what it says of them is nothing else.
_MEMORISED, _CLEARLY = 0.15, 3


@dataclasses.dataclass(frozen=True)
class Suspicion:
    """The assessment of the labels by a method and a teacher.

    Attributes:
      train, test: issues of the training and of the test images.
      transition: float64 [C, C], estimated P(given | true).
      rate: estimated share of wrong training labels; None if there is no estimate, and then no
        label is an issue.
      range: the range of the estimate.
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
    division: Division | None = None,
    tells_open: bool = False,
) -> Suspicion:
    """Scores every given label.

    Args:
      belief: float [N, C], probabilities of the training images.
      test_logits: float [M, C], of the test images at the end of training.
      data, labels: of all training images.
      embeddings: the teacher's, of the training and the test images; None without a teacher.
      is_unseen: whether the belief comes from networks that were not trained on the labels they
        judge, and can be trusted without neighbours.
      division: of the training labels, by a method whose division says more than its belief.
      tells_open: whether the embeddings distinguish images that show none of the classes.
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
        if _is_memorised(belief, labels.given, test_logits, data.test_labels):
            found = found._replace(rate=None, range=(0.0, 1.0))
    if division:
        division = division.for_people(labels.given)
        found = _noise_of(division, labels.given, data.num_classes)
    rate = found.rate or 0
    issues = label_issues.score(train, neighbours, labels.given, rate, data.train_index)
    if division:
        issues = label_issues.divided(division, train, neighbours, labels.given, data.train_index)
    elif embeddings and tells_open:
        is_open = open_set.is_open(embeddings[0], labels.given, data.num_classes, issues.is_issue)
        issues = dataclasses.replace(issues, kind=label_issues.kinds(issues.is_issue, is_open))
    test_issues = label_issues.score(test, test_neighbours, data.test_labels, rate, data.test_index)
    if review := labels.review:
        issues = label_issues.accepted(issues, review.train)
        test_issues = label_issues.accepted(test_issues, review.test)
    return Suspicion(
        issues,
        test_issues,
        found.transition,
        found.rate,
        found.range,
    )


def _is_memorised(
    belief: np.ndarray, given: np.ndarray, test_logits: np.ndarray, test_labels: np.ndarray
) -> bool:
    """Whether the agreement with the given labels is clearly higher than with the test labels, at
    the same shares of the classes."""
    right = classification.per_class_accuracy(test_logits, test_labels)
    is_tested = ~np.isnan(right)
    compared = is_tested[given]
    if not compared.any():
        return False
    classes = len(right)
    shares = np.bincount(given[compared], minlength=classes)[is_tested] / compared.sum()
    counts = np.bincount(test_labels, minlength=classes)[is_tested]
    right = right[is_tested]
    likely = (right * counts + 1) / (counts + 2)  # not certain, however few were tested
    by_chance = _CLEARLY * np.sqrt(np.sum(shares**2 * likely * (1 - likely) / counts))
    agreement = classification.accuracy(belief[compared], given[compared])
    return bool(agreement > shares @ right + _MEMORISED + by_chance)


def _noise_of(division: Division, given: np.ndarray, classes: int) -> transition.Noise:
    """The noise according to a division. The share of wrong labels is the counted one; its range
    extends to the mean probability of being wrong. The matrix is of images of the classes."""
    is_known = division.part != OPEN
    _, matrix = noise.realised(division.label[is_known], given[is_known], classes)
    rate = float(np.mean(division.part != CLEAN))
    ends = sorted((rate, float(1 - division.clean.mean(dtype=np.float64))))
    return transition.Noise(matrix, rate, (ends[0], ends[1]), None)
