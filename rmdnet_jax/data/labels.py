"""The labels a run learns from: drawn from the true ones by a noise, or given by people."""

import dataclasses
import os

import numpy as np

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import brief, listed
from rmdnet_jax.data import annotators, instance_noise, lazy_images, noise
from rmdnet_jax.data.dataset import NO_CLASS, Dataset


@dataclasses.dataclass(frozen=True)
class Review:
    """What came of people's looking at labels (data/corrected.py).

    Attributes:
      train, test: bool [N] and [M], whose labels a person has confirmed or set.
      corrected: labels that were changed.
      removed: images that were left out.
    """

    train: np.ndarray
    test: np.ndarray
    corrected: int
    removed: int

    @staticmethod
    def none(train_size: int, test_size: int) -> "Review":
        """Nobody has looked yet."""
        return Review(np.zeros(train_size, bool), np.zeros(test_size, bool), 0, 0)


@dataclasses.dataclass(frozen=True)
class Labels:
    """Labels of the training images.

    Attributes:
      given: int32 [N], what training reads.
      true: int32 [N], NO_CLASS of an image that shows none of the classes; or None where nobody
        knows them (noise kind "none", which gives the labels as they are, on data without true
        ones).
      kind: the noise's kind.
      rate_asked: the config's; None where the labels were not drawn.
      rate_realised: share of given labels that differ from the true ones, as all of open images
        do; None without true labels.
      transition: float64 [C, C], realised P(given | true) of images of a class; None without true
        labels.
      review: of the labels; None where there are no corrections.
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
        """The best labels there are to judge a teacher with: true ones, some of which may be
        NO_CLASS, or the given."""
        return self.given if self.true is None else self.true

    @property
    def rate_open(self) -> float | None:
        """Share of these images that show none of the classes; None without true labels."""
        return None if self.true is None else float(np.mean(self.true == NO_CLASS))

    def take(self, index: np.ndarray) -> "Labels":
        """Those of some images; rates and transition stay those of all."""
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
        noise is drawn from and measured against. An image whose true label is NO_CLASS keeps the
        label that `data` gives it; noise is drawn for the others.
      kind: of rmdnet_jax/data/noise.py, or "human": the label set `field` of the data. What
        "instance" looks at are the training images of `data`. For "universal" the open images are
        in the data already (`open_set.added`).
      rate: share of wrong labels asked of the noise, in [0, 1]; for "universal" among all images,
        open ones with them (`noise.flip_rate`), for other kinds among those of a class.
      seed: the draw depends on (seed, kind, rate) alone, that of "instance" on the images too.
      exact: flip exactly round(rate * n) labels of each class; not of "instance", whose images have
        rates of their own.
      field: for "human", one of data.label_sets, or of annotators.FIELDS where there are annotators
        among them.
      map: for "asymmetric", a CSV of true,given class numbers.
      matrix: for "matrix", a .npy or .csv of [C, C] probabilities.
      rho2: for "universal", the share in [0, 1] of the wrong labels that are of open images. The
        others are of images of a class, whose labels are flipped as those of "symmetric" are.

    Raises:
      InputError: a value is wrong, or given for a kind that does not read it; the label set
        `field` lacks a class, or has labels that are none.
    """
    for name, value, reader in (
        ("field", field, "human"),
        ("map", map, "asymmetric"),
        ("matrix", matrix, "matrix"),
        ("rho2", rho2, "universal"),
    ):
        if value and kind != reader:
            raise InputError(
                f"noise.{name} is given but noise.kind is {kind}; only {reader} reads it"
            )
    if exact and kind == "instance":
        raise InputError(
            "noise.exact is True but noise.kind is instance, where every image has a rate of its "
            "own; expected False"
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
