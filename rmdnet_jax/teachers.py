"""A teacher is checked before it is used: that it is the one meant, and that it is worth learning
from. Training it is methods/simsiam.py's."""

import dataclasses
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rmdnet_jax.errors import CollapsedError, InputError
from rmdnet_jax.losses.simsiam import COLLAPSED
from rmdnet_jax.methods.rgrl import Teacher
from rmdnet_jax.training import hosts
from rmdnet_jax.training.checkpoints import Checkpoints, fingerprint


def find(path: str, description: dict) -> Checkpoints:
    """The finished teacher in the workdir (or the teacher folder of a workdir) `path`.

    Args:
      path: the folder.
      description: what the teacher must have been trained on and be built like.

    Raises:
      InputError: there is none, it is not finished, or it does not fit.
    """
    inside = os.path.join(path, "teacher")
    # Path.is_dir raises, on Python 3.11, where the folder may not be looked into.
    folder = inside if os.path.isdir(inside) else path
    checkpoints = Checkpoints(Path(folder), description=description)
    if checkpoints.latest() is None:
        raise InputError(
            f"no teacher in {path} (teacher.path); give the workdir of a run that trained one"
        )
    checkpoints.check()
    meta = checkpoints.meta()
    try:
        epoch, epochs = int(meta["epoch"]), int(meta["recipe"]["epochs"])
    except (LookupError, TypeError, ValueError) as error:
        raise InputError(
            f"the checkpoints in {folder} (teacher.path) are of no teacher; give the workdir of a "
            "run that trained one"
        ) from error
    if epoch < epochs:
        raise InputError(
            f"the teacher in {path} (teacher.path) has done {epoch} of its {epochs} epochs; "
            "start its own run again to finish it"
        )
    return checkpoints


def tell_collapse(spread: float, epoch: int, history: Sequence[dict], then: str) -> None:
    """Warns that a teacher in training has collapsed, once.

    Args:
      spread: of the epoch; below losses.simsiam.COLLAPSED.
      epoch: its number, from 1.
      history: the lines of metrics.jsonl of the epochs before.
      then: "warn", or "stop" to raise.

    Raises:
      CollapsedError: it is to stop.
    """
    verdict = (
        f"the teacher has collapsed in epoch {epoch}: the spread of its embeddings is {spread:.3f} "
        f"(below {COLLAPSED}; 1 is spread evenly, 0 the same for every image)"
    )
    if then == "stop":
        raise CollapsedError(
            f"{verdict}; a smaller rm.lr or other views may help, in a new workdir"
        )
    is_new = not history or history[-1]["spread"] >= COLLAPSED
    if is_new and hosts.is_writer():
        print(
            f"warning: {verdict}; its relations will say nothing (rm.on_collapse=stop ends here)",
            file=sys.stderr,
            flush=True,
        )


@dataclasses.dataclass(frozen=True)
class Judged:
    """A teacher and what it is worth: kNN accuracies on the test images, in [0, 1].

    Attributes:
      kind: "simsiam" or "random".
      network: the frozen teacher.
      train_embedding, test_embedding: float32 [N, D] and [M, D], its backbone's.
      knn_accuracy, random_encoder_knn_accuracy, pixel_knn_accuracy: of the teacher's backbone, of
        the same network untrained, and of raw pixels (None: not measured, as the images are on
        disk).
      tested: number of test images.
    """

    kind: str
    network: Teacher
    train_embedding: np.ndarray
    test_embedding: np.ndarray
    knn_accuracy: float
    random_encoder_knn_accuracy: float
    pixel_knn_accuracy: float | None
    tested: int

    def fingerprint(self) -> str:
        """A hash of the network's weights."""
        return fingerprint((self.network.params, self.network.batch_stats))

    def warning(self) -> str | None:
        """One line for the user where the teacher is too weak to guide anybody: not better than
        all others by more than two standard errors. A random one is not meant to."""
        if self.kind == "random":
            return None
        others = {"a random encoder's": self.random_encoder_knn_accuracy}
        if self.pixel_knn_accuracy is not None:
            others["raw pixels'"] = self.pixel_knn_accuracy
        best = max(others.values())
        if self.knn_accuracy > best + 2 * math.sqrt(best * (1 - best) / self.tested):
            return None
        return (
            f"the teacher's kNN accuracy ({self.knn_accuracy:.1%}) is not clearly better than "
            + " and ".join(f"{whose} ({accuracy:.1%})" for whose, accuracy in others.items())
            + ": its relations can harm the student; train it longer (rm.epochs) or trust it less "
            "(a smaller rgrl.k)"
        )
