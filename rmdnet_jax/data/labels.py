"""The labels a run learns from: drawn from the true ones by a noise, or human labels."""

import dataclasses
import os

import numpy as np

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import brief, listed
from rmdnet_jax.data import annotators, instance_noise, lazy_images, noise
from rmdnet_jax.data.dataset import NO_CLASS, Dataset


@dataclasses.dataclass(frozen=True)
class Review:
    """The outcome of a human review of labels (data/corrected.py).

    Attributes:
      train, test: bool [N] and [M], which labels a person has confirmed or set.
      corrected: number of labels that were changed.
      removed: number of images that were left out.
    """

    train: np.ndarray
    test: np.ndarray
    corrected: int
    removed: int

    @staticmethod
    def none(train_size: int, test_size: int) -> "Review":
        """Nothing was reviewed yet."""
        return Review(np.zeros(train_size, bool), np.zeros(test_size, bool), 0, 0)


@dataclasses.dataclass(frozen=True)
class Labels:
    """Labels of the training images.

    Attributes:
      given: int32 [N], what training reads.
      true: int32 [N], NO_CLASS for an image that shows none of the classes; or None if they are
        unknown (noise kind "none", which leaves the labels as they are, on data without true ones).
      kind: the noise's kind.
      rate_asked: the nominal rate, from the config; None if the labels were not drawn.
      rate_realised: the actual rate, the share of given labels that differ from the true ones,
        which includes all open images; None without true labels.
      transition: float64 [C, C], the actual P(given | true) for images of known classes; None
        without true labels.
      review: of the labels; None if there are no corrections.
    """

    given: np.ndarray
    true: np.ndarray | None
    kind: str
    rate_asked: float | None
    rate_realised: float | None
    transition: np.ndarray | None
    review: Review | None = None

    @property
    def reference(self) -> np.ndarray:
        """The best available labels to evaluate a teacher with: the true ones, some of which may be
        NO_CLASS, or else the given ones."""
        return self.given if self.true is None else self.true

    @property
    def rate_open(self) -> float | None:
        """Share of these images that show none of the classes; None without true labels."""
        return None if self.true is None else float(np.mean(self.true == NO_CLASS))

    def take(self, index: np.ndarray) -> "Labels":
        """The labels of some images; rates and transition are still those of all."""
        true = None if self.true is None else self.true[index]
        review = self.review and dataclasses.replace(self.review, train=self.review.train[index])
        return dataclasses.replace(self, given=self.given[index], true=true, review=review)


def give(
    data: Dataset,
    kind: str,
    rate: float,
    seed: int,
    exact: bool = False,
    field: str = "",
    map: str = "",
    matrix: str = "",
    rho2: float = 0.0,
) -> Labels:
    """The labels that training on `data` reads.

    Args:
      data: unless `kind` is "none", its true_labels, or else its train_labels, are the truth that
        noise is drawn from and measured against. An image whose true label is NO_CLASS keeps its
        label in `data`; noise is drawn for the others.
      kind: of rmdnet_jax/data/noise.py, or "human": the label set `field` of the data. "instance"
        reads the training images of `data`. For "universal" the open images are in the data already
        (`open_set.added`).
      rate: nominal share of wrong labels, in [0, 1]; for "universal" among all images, including
        open ones (`noise.flip_rate`), for other kinds among those of known classes.
      seed: the draw depends only on (seed, kind, rate), for "instance" on the images too.
      exact: flip exactly round(rate * n) labels of each class; not for "instance", whose images
        have individual rates.
      field: for "human", one of data.label_sets, or of annotators.FIELDS if there are annotators
        among them.
      map: for "asymmetric", a CSV of true,given class numbers.
      matrix: for "matrix", a .npy or .csv of [C, C] probabilities.
      rho2: for "universal", the share in [0, 1] of the wrong labels that are on open images. The
        others are on images of known classes, whose labels are flipped as for "symmetric".

    Raises:
      InputError: a value is wrong, or given for a kind that does not use it; the label set `field`
        lacks a class, or has labels that are not classes.
    """
    for name, value, reader in (
        ("field", field, "human"),
        ("map", map, "asymmetric"),
        ("matrix", matrix, "matrix"),
        ("rho2", rho2, "universal"),
    ):
        if value and kind != reader:
            raise InputError(
                f"noise.{name} is given, but noise.kind is {kind}; only {reader} uses it"
            )
    if exact and kind == "instance":
        raise InputError(
            "noise.exact is True, but noise.kind is instance, where every image has its own rate; "
            "expected False"
        )
    true = data.truth
    known = true != NO_CLASS
    people = annotators.of(data.label_sets) if kind in ("human", "none") else None
    if people:
        annotators.check(people.labels, data.num_classes)
    if kind == "human":
        known_sets = [*sorted(data.label_sets), *(annotators.FIELDS if people else ())]
        if field not in known_sets:
            raise InputError(
                f"noise.field is {brief(field)}; {data.name} has the label sets "
                f"{listed(known_sets) or 'none'}"
            )
        if people and field not in data.label_sets:
            given = annotators.label_set(people, field, data.num_classes)
        else:
            given = data.label_sets[field]
        data.check_training_labels(given, f"labels {field}")
    elif kind == "instance":
        seen = data.train_images
        if not known.all():
            seen = lazy_images.subset(seen, np.flatnonzero(known))
        given = data.train_labels.copy()
        given[known] = instance_noise.corrupt(seen, true[known], data.num_classes, rate, seed)
    else:
        noise.check(kind, rate, data.num_classes)
        is_universal = kind == "universal"
        given = data.train_labels.copy()
        given[known] = noise.corrupt(
            given[known] if kind == "none" else true[known],
            "symmetric" if is_universal else kind,
            noise.flip_rate(rate, rho2) if is_universal else rate,
            data.num_classes,
            seed,
            data.name,
            mapping=noise.load_mapping(os.path.expanduser(map)) if map else None,
            matrix=noise.load_matrix(os.path.expanduser(matrix)) if matrix else None,
            exact=exact,
        )
    if kind == "none" and data.true_labels is None:
        return Labels(given, None, kind, None, None, None)
    realised_rate, transition = noise.realised(true, given, data.num_classes)
    asked = None if kind in ("none", "human", "matrix") else rate
    return Labels(given, true, kind, asked, realised_rate, transition)
