"""A run's assessment of its labels: how suspicious each is, how many are wrong, and which classes
are confused; from a method's predictions and the neighbourhoods in the teacher's space."""

import dataclasses
from typing import NamedTuple

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
_MEMORISED = 0.15

# Standard errors by which a difference from the test labels is clear.
_CLEARLY = 3


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
    train_logits: np.ndarray,
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
      train_logits, test_logits: float [N, C] and [M, C], of one network at the end of training.
      data, labels: of all training images.
      embeddings: the teacher's, of the training and the test images; None without a teacher.
      is_unseen: whether the belief comes from networks that were not trained on the labels they
        judge, and can be trusted without neighbours.
      division: of the training labels, by a method whose division says more than its belief.
      tells_open: whether the embeddings distinguish images that show none of the classes.
    """
    train, test = belief, classification.softmax(test_logits)
    tested = _tested(test_logits, data.test_labels, labels.given)
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
        if tested and _is_memorised(belief, labels.given, tested):
            found = found._replace(rate=None, range=(0.0, 1.0))
    if division:
        division = division.for_people(labels.given)
        found = _noise_of(division, labels.given, data.num_classes)
    elif tested:
        found = found.at_least(_surely_wrong(train_logits, labels.given, tested))
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


class _Tested(NamedTuple):
    """How often a network agrees with test labels.

    Attributes:
      compared: bool [N], the training images whose given class occurs among the test labels.
      agreement: with the test labels, in [0, 1], if the classes had the shares of those images.
      error: its standard error.
    """

    compared: np.ndarray
    agreement: float
    error: float


def _tested(test_logits: np.ndarray, test_labels: np.ndarray, given: np.ndarray) -> _Tested | None:
    """The agreement with the test labels, at the shares of the given classes [N]; None if no given
    class was tested."""
    right = classification.per_class_accuracy(test_logits, test_labels)
    is_tested = ~np.isnan(right)
    compared = is_tested[given]
    if not compared.any():
        return None
    classes = len(right)
    shares = np.bincount(given[compared], minlength=classes)[is_tested] / compared.sum()
    counts = np.bincount(test_labels, minlength=classes)[is_tested]
    right = right[is_tested]
    likely = (right * counts + 1) / (counts + 2)  # not certain, however few were tested
    error = np.sqrt(np.sum(shares**2 * likely * (1 - likely) / counts))
    return _Tested(compared, float(shares @ right), float(error))


def _is_memorised(belief: np.ndarray, given: np.ndarray, tested: _Tested) -> bool:
    """Whether the agreement with the given labels is clearly higher than with the test labels."""
    agreement = classification.accuracy(belief[tested.compared], given[tested.compared])
    return agreement > tested.agreement + _MEMORISED + _CLEARLY * tested.error


def _surely_wrong(train_logits: np.ndarray, given: np.ndarray, tested: _Tested) -> float:
    """The share of the given labels [N] that must be wrong, in [0, 1], except by chance.

    A network agrees with right labels that it was trained on at least as often as with those of
    test images. If a share r of the labels is wrong, it agrees with 1 - r times as many, or more.
    This holds whether or not the test labels are all right; if they are as often wrong, it says
    nothing.
    """
    agreement = classification.accuracy(train_logits[tested.compared], given[tested.compared])
    expected = tested.agreement - _CLEARLY * tested.error
    if expected <= agreement:
        return 0.0
    return float((1 - agreement / expected) * tested.compared.mean())


def _noise_of(division: Division, given: np.ndarray, classes: int) -> transition.Noise:
    """The noise according to a division. The share of wrong labels is the counted one; its range
    extends to the mean probability of being wrong. The matrix is of images of the classes."""
    is_known = division.part != OPEN
    _, matrix = noise.realised(division.label[is_known], given[is_known], classes)
    rate = float(np.mean(division.part != CLEAN))
    ends = sorted((rate, float(1 - division.clean.mean(dtype=np.float64))))
    return transition.Noise(matrix, rate, (ends[0], ends[1]), None)
