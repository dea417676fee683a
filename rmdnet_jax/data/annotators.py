"""Several people's labels of the same images: how good each person is, and which class is right.

That a model which has learned from such labels is one more voice, and tells who is worth asking
again, is CROWDLAB's idea (Goh, Tkachenko, Mueller 2022, arXiv 2210.06812), which averages the
voices. Here they are joined by likelihood instead: an annotator is right with a rate of the
annotator's own and else says any other class (Dawid and Skene 1979, with one rate in place of a
matrix), and the model's probabilities, brought to a right temperature, are what is known before
anybody is asked. Rates and temperature are those under which the labels are likeliest.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from scipy.special import log_softmax, softmax

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import brief

# The label of an image by who has not looked at it.
GAP = -1

# Label sets of a data set with this before their name are an annotator's, with GAP in places.
PREFIX = "label:"

# What `label_set` makes of annotators' labels.
FIELDS = ("majority", "consensus")

# An annotator's rate has so many labels' worth of the mean rate of all, and lies between these.
_PRIOR, _LEAST, _MOST = 10, 0.001, 0.999

# Iterations at most, and a change of probabilities that ends them.
_ITERATIONS, _CHANGE = 200, 1e-4

# The exponent of the model's probabilities: its bounds, and the step it is first changed by.
_EXPONENTS, _STEP = (0.05, 4.0), 1.5


@dataclasses.dataclass(frozen=True)
class Annotators:
    """Who has labelled, and how.

    Attributes:
      names: one an annotator.
      labels: int32 [N, A], classes or GAP.
    """

    names: tuple[str, ...]
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Consensus:
    """What annotators, and a model if there is one, say together.

    Attributes:
      majority, labels: int32 [N], the class by number of votes, and the likeliest.
      share: float64 [N] in (0, 1], of an image's labels that are the majority's.
      quality: float64 [N] in [0, 1], the probability of the class in `labels`.
      counts: int64 [N], labels of each image.
      given: int64 [A], labels of each annotator.
      agreement: float64 [A] in [0, 1], how often an annotator says what another says of the same
        image; NaN of who has no image in common with others.
      annotator_quality: float64 [A] in [0, 1], the share of an annotator's labels that are right,
        as estimated; NaN of who has given none.
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
        """int64 [N]: 1 for the image whose class is least sure, of which another label would tell
        most, 2 for the next. Of equal ones that with fewer labels comes first, then by place."""
        order = np.lexsort((self.counts, self.quality.round(6)))
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(1, len(order) + 1)
        return rank


def of(label_sets: Mapping[str, np.ndarray]) -> Annotators | None:
    """The annotators among the label sets of a data set, int32 [N] each; None without any."""
    names = [name for name in label_sets if name.startswith(PREFIX)]
    if not names:
        return None
    labels = np.stack([label_sets[name] for name in names], axis=1).astype(np.int32)
    return Annotators(tuple(name.removeprefix(PREFIX) for name in names), labels)


def label_set(annotators: Annotators, field: str, num_classes: int) -> np.ndarray:
    """The labels of a field of FIELDS, int32 [N]: "majority", or "consensus", in which people count
    as they are estimated to be right; no model has a say.

    Raises:
      InputError: an image has no label, or a label is no class.
    """
    check(annotators.labels, num_classes)
    if field == "majority":
        return majority(annotators.labels, num_classes)[0]
    return consensus(annotators.labels, num_classes).labels


def check(labels: np.ndarray, num_classes: int) -> None:
    """Raises InputError unless `labels` is int [N, A] of classes and GAP, with a label an image."""
    if labels.size and (labels.min() < GAP or labels.max() >= num_classes):
        raise InputError(
            f"annotators' labels run from {labels.min()} to {labels.max()}; expected 0 to "
            f"{num_classes - 1} ({num_classes} classes), or {GAP} for none"
        )
    has_none = ~(labels != GAP).any(axis=1)
    if has_none.any():
        raise InputError(
            f"{int(has_none.sum()):,} images have no label of any annotator, first image "
            f"{int(has_none.argmax())}; expected one at least, or to leave them out"
        )


def with_gaps(array: np.ndarray, where: str) -> np.ndarray:
    """Labels [N, A] as a user has them, as int32; of floats NaN is a GAP, and others are whole.

    Raises:
      InputError: they are no such numbers.
    """
    if array.ndim != 2 or array.dtype.kind not in "iuf":
        raise InputError(
            f"{where} is {brief(array)} of {brief(str(array.dtype))}; expected integers [N, A], a "
            f"column an annotator, {GAP} for a gap"
        )
    if array.dtype.kind == "f":
        is_gap = np.isnan(array)
        if np.isinf(array).any() or (array[~is_gap] % 1).any():
            raise InputError(f"{where} has values that are not whole; expected classes, NaN or -1")
        array = np.where(is_gap, GAP, array)
    limits = np.iinfo(np.int32)
    return np.clip(array, limits.min, limits.max).astype(np.int32)


def majority(labels: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """The class that most annotators of each image say, int32 [N], and the share of its labels that
    say so, float64 [N]. Of classes with as many votes that wins whose annotators agree more with
    others, then the first.

    Args:
      labels: int [N, A], as `check` takes them.
      num_classes: C.
    """
    said = _Said.of(labels, num_classes)
    votes = said.votes(np.ones(labels.shape[1]))
    trust = np.nan_to_num(agreement(labels), nan=0.0)
    # In all less than a vote; rounded, so that no tie of equal trust is decided by the last digit.
    ties = said.votes(trust).round(9) / (1 + trust.sum())
    won = (votes + ties / 2).argmax(axis=1)
    return won.astype(np.int32), votes[np.arange(len(labels)), won] / votes.sum(axis=1)


def agreement(labels: np.ndarray) -> np.ndarray:
    """How often each annotator says what another says of the same image: float64 [A] in [0, 1],
    over all pairs of labels; NaN without any."""
    said = _Said.of(labels, max(int(labels.max(initial=0)) + 1, 1))
    votes = said.votes(np.ones(labels.shape[1]))
    same = votes[said.rows, said.classes] - 1
    pairs = votes.sum(axis=1)[said.rows] - 1
    with np.errstate(invalid="ignore"):
        return said.sums(same) / said.sums(pairs)


def consensus(
    labels: np.ndarray, num_classes: int, probabilities: np.ndarray | None = None
) -> Consensus:
    """The likeliest class of each image, and what else is told by the fit (expectation and
    maximisation, from the shares of votes).

    Args:
      labels: int [N, A], as `check` takes them.
      num_classes: C, 2 or more.
      probabilities: float [N, C], of a model that has not learned from the labels of the image it
        judges; None: there is none, and all classes are alike before anybody is asked.
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
    # Of classes that are alike that of the majority.
    best = np.where(posterior[rows, vote] > posterior[rows, best] - 1e-9, vote, best)
    return Consensus(
        vote, best.astype(np.int32), share, posterior[rows, best], counts, given.astype(np.int64),
        agreement(labels), np.where(given > 0, rates, np.nan), float(exponent),
    )  # fmt: skip


def _likelier(
    posterior: np.ndarray, log: np.ndarray, exponent: float, step: float
) -> tuple[float, float]:
    """The exponent of a model's probabilities, their logarithms [N, C], or one a step from it, that
    is likeliest; and the next step, smaller once it stays."""
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
        """The weight of the annotators, [A], who say each class: float64 [N, C]."""
        size, _, classes = self.shape
        places = self.rows * classes + self.classes
        counted = np.bincount(places, weights[self.people], minlength=size * classes)
        return counted.reshape(size, classes)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """The sum of values of labels, [L], by annotator: float64 [A]."""
        return np.bincount(self.people, values, minlength=self.shape[1])
