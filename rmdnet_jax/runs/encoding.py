"""Embeds a run's pictures with a pretrained encoder, before anything is trained."""

import dataclasses
import math
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from rmdnet_jax.base.digest import fingerprint, text_digest
from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import lazy_images
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.encoders import extraction, opening, table_file
from rmdnet_jax.encoders.interface import PRESETS, Asked, Encoder
from rmdnet_jax.evaluation import knn

# Training images on which normalisations are compared if none is stated, and neighbours of each.
_COMPARED, _NEIGHBOURS = 400, 10

# Above this share of one class, neighbours may agree no more often than by chance even if the rows
# are right.
_NEARLY_ALL = 0.75


class Encoded(NamedTuple):
    """The embeddings of a data set's pictures.

    Attributes:
      encoder: None if the embeddings were computed elsewhere.
      train, test: float32 [N, D] and [M, D].
      story: a line on their origin.
    """

    encoder: Encoder | None
    train: np.ndarray
    test: np.ndarray
    story: str

    def take(self, train_rows: np.ndarray, test_rows: np.ndarray) -> "Encoded":
        """Those of some rows of each split, int [n] without repeats."""
        train, test = (
            part if len(rows) == len(part) else part[rows]
            for part, rows in ((self.train, train_rows), (self.test, test_rows))
        )
        return self._replace(train=train, test=test)


@dataclasses.dataclass(frozen=True)
class Source:
    """The encoder of config.encoder, located and read before the data.

    Attributes:
      path: the file on this machine.
      asked: its settings in the config.
      encoder: the network; None for a table.
      cache: where embeddings are stored; None: nowhere.
    """

    path: Path
    asked: Asked
    encoder: Encoder | None
    cache: Path | None

    @property
    def size(self) -> int:
        """D, features of an embedding."""
        return self.encoder.size if self.encoder else table_file.size(self.path)

    def begun(self, data: Dataset, given: np.ndarray) -> tuple[Encoded, str | None]:
        """The embeddings of a data set of pictures, as far as known without reading all of them:
        those of a network are zeros. And the reason for the normalisation, if it was chosen here.

        Args:
          data: the pictures.
          given: int [N], their given labels, by which normalisations are compared.

        Raises:
          InputError: they are not embeddings, or not of these pictures.
        """
        if self.encoder is None:
            train, test = table_file.read(self.path, data)
            _check_order(train, given, f"config.encoder.path, {self.path}")
            story = f"{self.path.name}: embeddings computed elsewhere, {train.shape[1]} features"
            return Encoded(None, train, test, story), None
        encoder, reason = self._normalised(self.encoder, data, given)
        train, test = (
            np.broadcast_to(np.float32(0), (len(images), encoder.size))
            for images in (data.train_images, data.test_images)
        )
        return Encoded(encoder, train, test, encoder.story), reason

    def finished(self, begun: Encoded, data: Dataset) -> Encoded:
        """With the actual embeddings: a network now reads every picture.

        Raises:
          InputError: its outputs are not embeddings.
        """
        encoder = begun.encoder
        if encoder is None:
            return begun
        pictures = data.squares(encoder.side)
        train, test = (
            extraction.embeddings(encoder, part, self._folder(encoder, data, name), name)
            for name, part in zip(("training pictures", "test pictures"), pictures, strict=True)
        )
        return begun._replace(train=train, test=test)

    def _folder(self, encoder: Encoder, data: Dataset, name: str) -> Path | None:
        if self.cache is None:
            return None
        of_files = ""
        if data.originals:  # two pictures may be equal once they are resized
            of_files = fingerprint((data.train_digests, data.test_digests))
        return self.cache / text_digest(data.fingerprint_of_all(), of_files, encoder.digest, name)

    def _normalised(
        self, encoder: Encoder, data: Dataset, given: np.ndarray
    ) -> tuple[Encoder, str | None]:
        """The encoder with the normalisation for which neighbours agree best, if neither its file
        nor the user states the one it was trained with: a wrong one costs much accuracy without any
        other sign."""
        if encoder.normalised is not None:
            return encoder, None
        rows = np.linspace(0, len(given) - 1, min(_COMPARED, len(given))).astype(int)
        pictures = lazy_images.decoded(lazy_images.subset(data.squares(encoder.side)[0], rows))
        agreement = {}
        for name in PRESETS:
            one = self._asked(name)
            folder = self._folder(one, data, f"sample of {len(rows)}")
            seen = extraction.embeddings(one, pictures, folder, f"a sample, {name}")
            agreement[name] = _agreement(seen, given[rows])
        chosen = _clearly_best(agreement)
        shares = ", ".join(f"{name} {agrees.mean():.1%}" for name, agrees in agreement.items())
        reason = f"neighbours of {len(rows)} pictures share labels: {shares}"
        return self._asked(chosen), reason

    def _asked(self, normalisation: str) -> Encoder:
        return opening.read(self.path, dataclasses.replace(self.asked, normalisation=normalisation))


def source(config: ConfigDict) -> Source | None:
    """The encoder of config.encoder; None if there is none.

    Raises:
      InputError: there is no such file, or it is not an encoder.
    """
    given = config.encoder
    if not given.path:
        return None
    path = opening.located(given.path)
    asked = Asked(given.image_size, given.normalisation, given.output)
    cache = Path(os.path.expanduser(given.cache)) if given.cache else None
    if path.suffix.lower() in opening.TABLES:
        for name in ("image_size", "normalisation", "output"):
            if given[name]:
                raise InputError(
                    f"config.encoder.{name} is {given[name]!r} with {path.name}, which holds "
                    "embeddings; leave it out"
                )
        return Source(path, asked, None, cache)
    return Source(path, asked, opening.read(path, asked), cache)


def _clearly_best(agreement: dict[str, np.ndarray]) -> str:
    """The normalisation for which neighbours agree most often, if its lead exceeds two standard
    errors (McNemar); otherwise ImageNet's, with which most encoders are trained."""
    usual, best = "imagenet", max(agreement, key=lambda name: agreement[name].mean())
    gained = int((agreement[best] & ~agreement[usual]).sum())
    lost = int((agreement[usual] & ~agreement[best]).sum())
    return best if gained - lost > 2 * math.sqrt(gained + lost) else usual


def _agreement(embeddings: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Whether the neighbours of each image elect its given label, bool [N]."""
    return np.asarray(_votes(embeddings, given).argmax(axis=1) == given)


def _votes(embeddings: np.ndarray, given: np.ndarray) -> np.ndarray:
    """The votes of each image's neighbours on its label: float32 [N, C], rows sum to 1."""
    labels = np.eye(int(given.max()) + 1, dtype=np.float32)[given]
    return knn.neighbours_mean(embeddings, labels, k=_NEIGHBOURS)


def _check_order(train: np.ndarray, given: np.ndarray, where: str) -> None:
    """Raises InputError for rows whose neighbours predict labels no better than chance: they are in
    another order, or of other pictures."""
    rows = np.linspace(0, len(given) - 1, min(2000, len(given))).astype(int)
    given = given[rows]
    shares = np.bincount(given) / len(given)
    if len(rows) < 100 or shares.max() > _NEARLY_ALL:
        return
    votes = _votes(train[rows], given).astype(np.float64)
    found = votes[np.arange(len(rows)), given].mean()
    # The expectation for labels that are independent of the votes.
    expected = votes @ shares
    variance = (votes**2 @ shares - expected**2).sum()
    spread = math.sqrt(max(variance, 0)) / len(rows)  # rounding may make it negative
    if found <= expected.mean() + 2 * spread:
        raise InputError(
            f"{where}: neighbours among its rows share the given labels no more often than by "
            f"chance ({found:.1%}); expected rows of these pictures in the same order, or with "
            "paths or index to join them by"
        )
