"""The labels a run learns from: drawn from the true ones by a noise, or given by people."""

import dataclasses
import os

import numpy as np

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import brief, listed
from rmdnet_jax.data import instance_noise, noise
from rmdnet_jax.data.dataset import Dataset


@dataclasses.dataclass(frozen=True)
class Labels:
    """Labels of the training images.

    Attributes:
      given: int32 [N], what training reads.
      true: int32 [N], or None where nobody knows them (noise kind "none", which gives the labels
        as they are, on data without true ones).
      kind: the noise's kind.
      rate_asked: the config's; None where the labels were not drawn.
      rate_realised: share of given labels that differ from the true ones; None without those.
      transition: float64 [C, C], realised P(given | true); None without true labels.
    """

    given: np.ndarray
    true: np.ndarray | None
    kind: str
    rate_asked: float | None
    rate_realised: float | None
    transition: np.ndarray | None

    @property
    def reference(self) -> np.ndarray:
        """The best labels there are to judge a teacher with: true ones, or the given."""
        return self.given if self.true is None else self.true

    def take(self, index: np.ndarray) -> "Labels":
        """Those of some images; rates and transition stay those of all."""
        true = None if self.true is None else self.true[index]
        return dataclasses.replace(self, given=self.given[index], true=true)


def give(
    data: Dataset,
    kind: str,
    rate: float,
    seed: int,
    exact: bool = False,
    field: str = "",
    map: str = "",
    matrix: str = "",
) -> Labels:
    """The labels that training on `data` reads.

    Args:
      data: unless `kind` is "none", its true_labels, or else its train_labels, are the truth that
        noise is drawn from and measured against.
      kind: of rmdnet_jax/data/noise.py, or "human": the label set `field` of the data. What
        "instance" looks at are the training images of `data`.
      rate: share of wrong labels asked of the noise, in [0, 1].
      seed: the draw depends on (seed, kind, rate) alone, that of "instance" on the images too.
      exact: flip exactly round(rate * n) labels of each class; not of "instance", whose images have
        rates of their own.
      field: for "human", one of data.label_sets.
      map: for "asymmetric", a CSV of true,given class numbers.
      matrix: for "matrix", a .npy or .csv of [C, C] probabilities.

    Raises:
      InputError: a value is wrong, or given for a kind that does not read it; the label set
        `field` lacks a class, or has labels that are none.
    """
    for name, value, reader in (
        ("field", field, "human"),
        ("map", map, "asymmetric"),
        ("matrix", matrix, "matrix"),
    ):
        if value and kind != reader:
            raise InputError(
                f"noise.{name} is given but noise.kind is {kind}; only {reader} reads it"
            )
    if exact and kind == "instance":
        raise InputError(
            "noise.exact is True but noise.kind is instance, where every image has a rate of its "
            "own; right is False"
        )
    true = data.train_labels if data.true_labels is None else data.true_labels
    if kind == "human":
        if field not in data.label_sets:
            raise InputError(
                f"noise.field is {brief(field)}; {data.name} has the label sets "
                f"{listed(sorted(data.label_sets)) or 'none'}"
            )
        given = data.label_sets[field]
        data.check_training_labels(given, f"labels {field}")
    elif kind == "instance":
        given = instance_noise.corrupt(data.train_images, true, data.num_classes, rate, seed)
    else:
        given = noise.corrupt(
            data.train_labels if kind == "none" else true,
            kind,
            rate,
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
