"""Several annotators' labels of the same images: how good each annotator is, and which class is
right.

Using a model that has learned from such labels as one more vote, and finding the images worth
another label, is CROWDLAB's idea (Goh, Tkachenko, Mueller 2022, arXiv 2210.06812), which averages
the votes. Here they are combined by likelihood instead: an annotator is right with a rate of their
own and otherwise gives any other class (Dawid and Skene 1979, with one rate in place of a matrix),
and the model's probabilities, at a fitted temperature, are the prior. Rates and temperature
maximise the likelihood of the labels.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from scipy.special import log_softmax, softmax

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import brief

# The label of an image by an annotator who has not labelled it.
GAP = -1

# Label sets of a data set whose name starts with this are an annotator's, with GAP in places.
PREFIX = "label:"

# What `label_set` makes of annotators' labels.
FIELDS = ("majority", "consensus")

# The prior of an annotator's rate is the mean rate of all, weighted as so many labels; its bounds.
_PRIOR, _LEAST, _MOST = 10, 0.001, 0.999

# The most iterations, and the change of probabilities that ends them.
_ITERATIONS, _CHANGE = 200, 1e-4

# The exponent of the model's probabilities: its bounds, and the first step of the search.
_EXPONENTS, _STEP = (0.05, 4.0), 1.5


@dataclasses.dataclass(frozen=True)
class Annotators:
    """The annotators and their labels.

    Attributes:
      names: one per annotator.
      labels: int32 [N, A], classes or GAP.
    """

    names: tuple[str, ...]
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Consensus:
    """The combined result of annotators, and a model if there is one.

    Attributes:
      majority, labels: int32 [N], the class with the most votes, and the likeliest.
      share: float64 [N] in (0, 1], the share of an image's labels that are the majority's.
      quality: float64 [N] in [0, 1], the probability of the class in `labels`.
      counts: int64 [N], the number of labels of each image.
      given: int64 [A], the number of labels of each annotator.
      agreement: float64 [A] in [0, 1], how often an annotator gives the same label as another for
        the same image; NaN for one who has no image in common with others.
      annotator_quality: float64 [A] in [0, 1], the estimated share of an annotator's labels that
        are right; NaN for one who has given none.
      exponent: of the model's probabilities: 1 takes them as they are, less trusts them less; 0
        without a model.
    """

    majority: np.ndarray
    labels: np.ndarray
    share: np.ndarray
    quality: np.ndarray
    counts: np.ndarray
    given: np.ndarray
    agreement: np.ndarray
    annotator_quality: np.ndarray
    exponent: float

    @property
    def ask_again(self) -> np.ndarray:
        """int64 [N]: 1 for the image whose class is least certain, where another label would help
        most, 2 for the next. Ties go to the image with fewer labels, then to the earlier one."""
        order = np.lexsort((self.counts, self.quality.round(6)))
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(1, len(order) + 1)
        return rank


def of(label_sets: Mapping[str, np.ndarray]) -> Annotators | None:
    """The annotators among the label sets of a data set, int32 [N] each; None if there are none."""
    names = [name for name in label_sets if name.startswith(PREFIX)]
    if not names:
        return None
    labels = np.stack([label_sets[name] for name in names], axis=1).astype(np.int32)
    return Annotators(tuple(name.removeprefix(PREFIX) for name in names), labels)


def label_set(annotators: Annotators, field: str, num_classes: int) -> np.ndarray:
    """The labels of a field of FIELDS, int32 [N]: "majority", or "consensus", which weighs
    annotators by how often they are estimated to be right; neither uses a model.

    Raises:
      InputError: an image has no label, or a label is not a class.
    """
    check(annotators.labels, num_classes)
    if field == "majority":
        return majority(annotators.labels, num_classes)[0]
    return consensus(annotators.labels, num_classes).labels


def check(labels: np.ndarray, num_classes: int) -> None:
    """Raises InputError unless `labels` is int [N, A] of classes and GAP, with a label for every
    image."""
    if labels.size and (labels.min() < GAP or labels.max() >= num_classes):
        raise InputError(
            f"annotators' labels range from {labels.min()} to {labels.max()}; expected 0 to "
            f"{num_classes - 1} ({num_classes} classes), or {GAP} for none"
        )
    has_none = ~(labels != GAP).any(axis=1)
    if has_none.any():
        raise InputError(
            f"{int(has_none.sum()):,} images have no label from any annotator, first image "
            f"{int(has_none.argmax())}; expected at least one each: label them or leave them out"
        )


def with_gaps(array: np.ndarray, where: str) -> np.ndarray:
    """Labels [N, A] as a user has them, as int32; in floats NaN is a GAP, and others are whole.

    Raises:
      InputError: they are not such numbers.
    """
    if array.ndim != 2 or array.dtype.kind not in "iuf":
        raise InputError(
            f"{where} is {brief(array)} of {brief(str(array.dtype))}; expected integers [N, A], "
            f"one column per annotator, {GAP} for a gap"
        )
    if array.dtype.kind == "f":
        is_gap = np.isnan(array)
        if np.isinf(array).any() or (array[~is_gap] % 1).any():
            raise InputError(
                f"{where} has values that are not whole numbers; expected classes, NaN or -1"
            )
        array = np.where(is_gap, GAP, array)
    limits = np.iinfo(np.int32)
    return np.clip(array, limits.min, limits.max).astype(np.int32)


def majority(labels: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """The class that most annotators of each image give, int32 [N], and the share of its labels
    that do, float64 [N]. A tie goes to the class whose annotators agree more with others, then to
    the first.

    Args:
      labels: int [N, A], as `check` takes them.
      num_classes: C.
    """
    said = _Said.of(labels, num_classes)
    votes = said.votes(np.ones(labels.shape[1]))
    trust = np.nan_to_num(agreement(labels), nan=0.0)
    # Less than one vote in total; rounded, so that the last digit decides no tie of equal trust.
    ties = said.votes(trust).round(9) / (1 + trust.sum())
    won = (votes + ties / 2).argmax(axis=1)
    return won.astype(np.int32), votes[np.arange(len(labels)), won] / votes.sum(axis=1)


def agreement(labels: np.ndarray) -> np.ndarray:
    """How often each annotator gives the same label as another for the same image: float64 [A] in
    [0, 1], over all pairs of labels; NaN without any."""
    said = _Said.of(labels, max(int(labels.max(initial=0)) + 1, 1))
    votes = said.votes(np.ones(labels.shape[1]))
    same = votes[said.rows, said.classes] - 1
    pairs = votes.sum(axis=1)[said.rows] - 1
    with np.errstate(invalid="ignore"):
        return said.sums(same) / said.sums(pairs)


def consensus(
    labels: np.ndarray, num_classes: int, probabilities: np.ndarray | None = None
) -> Consensus:
    """The likeliest class of each image, and the other results of the fit (expectation
    maximisation, starting from the shares of votes).

    Args:
      labels: int [N, A], as `check` takes them.
      num_classes: C, 2 or more.
      probabilities: float [N, C], from a model that has not learned from the labels of the image it
        predicts; None: there is no model, and the prior is uniform.
    """
    said = _Said.of(labels, num_classes)
    people = labels.shape[1]
    vote, share = majority(labels, num_classes)
    given, counts = said.sums(np.ones(len(said.rows))), (labels != GAP).sum(axis=1)
    posterior = said.votes(np.ones(people)) / counts[:, None]
    model = None if probabilities is None else np.log(np.maximum(probabilities, 1e-12))
    exponent, step = (0.0 if model is None else 1.0), _STEP
    rates = np.ones(people)
    for _ in range(_ITERATIONS):
        hits = said.sums(posterior[said.rows, said.classes])
        usual = hits.sum() / given.sum()
        rates = np.clip((hits + _PRIOR * usual) / (given + _PRIOR), _LEAST, _MOST)
        evidence = said.votes(np.log(rates) - np.log((1 - rates) / (num_classes - 1)))
        if model is not None:
            exponent, step = _likelier(posterior, model, exponent, step)
            evidence += exponent * model
        before, posterior = posterior, softmax(evidence, axis=1)
        if np.abs(posterior - before).max() < _CHANGE:
            break
    rows = np.arange(len(labels))
    best = posterior.argmax(axis=1)
    # Among equally likely classes, that of the majority.
    best = np.where(posterior[rows, vote] > posterior[rows, best] - 1e-9, vote, best)
    return Consensus(
        vote, best.astype(np.int32), share, posterior[rows, best], counts, given.astype(np.int64),
        agreement(labels), np.where(given > 0, rates, np.nan), float(exponent),
    )  # fmt: skip


def _likelier(
    posterior: np.ndarray, log: np.ndarray, exponent: float, step: float
) -> tuple[float, float]:
    """The likeliest of the exponent of a model's probabilities and those one step from it; and the
    next step, smaller once the exponent stays. `log` [N, C] are the logarithms of the
    probabilities."""
    tried = [min(max(exponent * by, _EXPONENTS[0]), _EXPONENTS[1]) for by in (1, step, 1 / step)]
    best = max(tried, key=lambda one: float((posterior * log_softmax(one * log, axis=1)).sum()))
    return best, step if best != exponent else step**0.5


@dataclasses.dataclass(frozen=True)
class _Said:
    """Labels [N, A] without their gaps: L triples.

    Attributes:
      rows, people, classes: int [L], the image, the annotator and the label.
      shape: N, A and C.
    """

    rows: np.ndarray
    people: np.ndarray
    classes: np.ndarray
    shape: tuple[int, int, int]

    @staticmethod
    def of(labels: np.ndarray, num_classes: int) -> "_Said":
        rows, people = np.nonzero(labels != GAP)
        return _Said(rows, people, labels[rows, people], (*labels.shape, num_classes))

    def votes(self, weights: np.ndarray) -> np.ndarray:
        """The total weight, of `weights` [A], of the annotators who give each class: float64
        [N, C]."""
        size, _, classes = self.shape
        places = self.rows * classes + self.classes
        counted = np.bincount(places, weights[self.people], minlength=size * classes)
        return counted.reshape(size, classes)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """The sum of values [L], one per label, by annotator: float64 [A]."""
        return np.bincount(self.people, values, minlength=self.shape[1])
