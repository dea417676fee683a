"""A teacher and what it is worth: whether it is good enough to learn from."""

import dataclasses
import math

import numpy as np

from rmdnet_jax.methods.interface import Teacher
from rmdnet_jax.teachers.source import Source


@dataclasses.dataclass(frozen=True)
class Verdict:
    """kNN accuracies on the test images, in [0, 1]; None: not measured.

    Attributes:
      knn_accuracy: of the teacher's embeddings.
      random_encoder_knn_accuracy: of the same network untrained, if it is a network of ours.
      pixel_knn_accuracy: of raw pixels, if the images are in memory.
    """

    knn_accuracy: float
    random_encoder_knn_accuracy: float | None = None
    pixel_knn_accuracy: float | None = None


@dataclasses.dataclass(frozen=True)
class Judged:
    """A teacher that has been judged.

    Attributes:
      kind: as the config has it.
      source: where it comes from, and what to call it.
      teacher: frozen.
      train_embedding, test_embedding: of all training and all test images, float32 [N, D] and
        [M, D].
      verdict: how good it is.
      tested: number of test images.
    """

    kind: str
    source: Source
    teacher: Teacher
    train_embedding: np.ndarray
    test_embedding: np.ndarray
    verdict: Verdict
    tested: int

    def warning(self) -> str | None:
        """One line for the user where the teacher is too weak to guide anybody: not better than
        all others by more than two standard errors. A random one is not meant to."""
        if self.source.is_control:
            return None
        verdict = self.verdict
        others = {
            "a random encoder's": verdict.random_encoder_knn_accuracy,
            "raw pixels'": verdict.pixel_knn_accuracy,
        }
        known = {whose: accuracy for whose, accuracy in others.items() if accuracy is not None}
        if not known:
            return None
        best = max(known.values())
        clearly = best + 2 * math.sqrt(best * (1 - best) / self.tested)
        if verdict.knn_accuracy >= min(clearly, 1):
            return None
        beside = " and ".join(f"{whose} ({accuracy:.1%})" for whose, accuracy in known.items())
        weak = f"kNN accuracy ({verdict.knn_accuracy:.1%}) is not clearly better than {beside}"
        if self.source.is_free:
            return f"the encoder's {weak}: what is learned from it is weak; {self.source.remedy}"
        return (
            f"the teacher's {weak}: its relations can harm the student; {self.source.remedy} or "
            "trust it less (a smaller rgrl.k)"
        )
