"""What a pretrained encoder sees of a run's pictures, before anything is trained."""

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

# Training pictures on which the normalisations are compared, where nobody says which is right, and
# neighbours of each.
_COMPARED, _NEIGHBOURS = 400, 10

# Share of one class above which neighbours in right rows need not agree more often than by chance.
_NEARLY_ALL = 0.75


class Encoded(NamedTuple):
    """The pictures of a data set as an encoder sees them.

    Attributes:
      encoder: None where the embeddings were made elsewhere.
      train, test: float32 [N, D] and [M, D].
      story: a line on where they are from.
    """

    encoder: Encoder | None
    train: np.ndarray
    test: np.ndarray
    story: str

    def take(self, train_rows: np.ndarray, test_rows: np.ndarray) -> "Encoded":
        """Those of some pictures of each split, int [n] without repeats."""
        train, test = (
            part if len(rows) == len(part) else part[rows]
            for part, rows in ((self.train, train_rows), (self.test, test_rows))
        )
        return self._replace(train=train, test=test)


@dataclasses.dataclass(frozen=True)
class Source:
    """What config.encoder names, found and read, before there is any data.

    Attributes:
      path: the file on this machine.
      asked: what the config says of it.
      encoder: the network; None of a table.
      cache: where embeddings are kept; None: nowhere.
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
        """What can be known of the embeddings of a data set of pictures without seeing all of them:
        of a network's zeros stand for the numbers. And where the normalisation was chosen here, the
        reason.

        Args:
          data: the pictures.
          given: int [N], their given labels, by which normalisations are compared.

        Raises:
          InputError: the embeddings are none, or not of these pictures.
        """
        if self.encoder is None:
            train, test = table_file.read(self.path, data)
            _check_order(train, given, f"config.encoder.path, {self.path}")
            story = f"{self.path.name}: embeddings made elsewhere, {train.shape[1]} features"
            return Encoded(None, train, test, story), None
        encoder, reason = self._normalised(self.encoder, data, given)
        train, test = (
            np.broadcast_to(np.float32(0), (len(images), encoder.size))
            for images in (data.train_images, data.test_images)
        )
        return Encoded(encoder, train, test, encoder.story), reason

    def finished(self, begun: Encoded, data: Dataset) -> Encoded:
        """With the embeddings themselves: a network sees every picture now.

        Raises:
          InputError: the embeddings are none.
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
        if data.originals:  # two pictures may look the same once they are small
            of_files = fingerprint((data.train_digests, data.test_digests))
        return self.cache / text_digest(data.fingerprint_of_all(), of_files, encoder.digest, name)

    def _normalised(
        self, encoder: Encoder, data: Dataset, given: np.ndarray
    ) -> tuple[Encoder, str | None]:
        """The encoder with the normalisation under which neighbours agree best, where neither its
        file nor the user says which it was trained with: a wrong one costs much, and shows in
        nothing else."""
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
        told = ", ".join(f"{name} {agrees.mean():.1%}" for name, agrees in agreement.items())
        return self._asked(chosen), f"neighbours of {len(rows)} pictures share labels: {told}"

    def _asked(self, normalisation: str) -> Encoder:
        return opening.read(self.path, dataclasses.replace(self.asked, normalisation=normalisation))


def source(config: ConfigDict) -> Source | None:
    """What config.encoder names; None where it names nothing.

    Raises:
      InputError: there is no such file, or it is no encoder.
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
                    "embeddings; expected to leave it out"
                )
        return Source(path, asked, None, cache)
    return Source(path, asked, opening.read(path, asked), cache)


def _clearly_best(agreement: dict[str, np.ndarray]) -> str:
    """The normalisation under which neighbours agree most often, if that is by two standard errors
    of the difference (McNemar); else ImageNet's, with which most are trained."""
    usual, best = "imagenet", max(agreement, key=lambda name: agreement[name].mean())
    gained = int((agreement[best] & ~agreement[usual]).sum())
    lost = int((agreement[usual] & ~agreement[best]).sum())
    return best if gained - lost > 2 * math.sqrt(gained + lost) else usual


def _agreement(embeddings: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Whether the neighbours of each image elect its given label, bool [N]."""
    return np.asarray(_votes(embeddings, given).argmax(axis=1) == given)


def _votes(embeddings: np.ndarray, given: np.ndarray) -> np.ndarray:
    """What each image's neighbours say its label is: float32 [N, C], rows sum to 1."""
    labels = np.eye(int(given.max()) + 1, dtype=np.float32)[given]
    return knn.neighbours_mean(embeddings, labels, k=_NEIGHBOURS)


def _check_order(train: np.ndarray, given: np.ndarray, where: str) -> None:
    """Raises InputError for rows whose neighbours know no more of the labels than chance: they are
    in another order, or of other pictures."""
    rows = np.linspace(0, len(given) - 1, min(2000, len(given))).astype(int)
    given = given[rows]
    shares = np.bincount(given) / len(given)
    if len(rows) < 100 or shares.max() > _NEARLY_ALL:
        return
    votes = _votes(train[rows], given).astype(np.float64)
    found = votes[np.arange(len(rows)), given].mean()
    # As it would be of labels that have nothing to do with the votes.
    expected = votes @ shares
    variance = (votes**2 @ shares - expected**2).sum()
    spread = math.sqrt(max(variance, 0)) / len(rows)  # rounding may leave less than none
    if found <= expected.mean() + 2 * spread:
        raise InputError(
            f"{where}: neighbours among its rows share the given labels no more often than by "
            f"chance ({found:.1%}); expected rows of these pictures in their order, or joined by "
            "paths or index"
        )
