"""A teacher and its quality: whether it is good enough to learn from."""

import dataclasses
import math

import numpy as np

from rmdnet_jax.methods.interface import Teacher
from rmdnet_jax.teachers.source import Source

_CLEARLY = 1.5  # standard errors


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Accuracies, in [0, 1], by kNN on the test images except a classifier's own; None: not
    measured.

    Attributes:
      knn_accuracy: of the teacher's embeddings.
      random_encoder_knn_accuracy: of the same network untrained, if it is built here.
      pixel_knn_accuracy: of raw pixels, if the images are in memory.
      test_accuracy: of a classifier, on the test images.
      agreement: of a classifier with the labels that it is judged by: those of the test images, or
        else of the training images.
      usual: agreement from always predicting the most frequent of these labels.
      measured_on: number of these labels.
    """

    knn_accuracy: float | None = None
    random_encoder_knn_accuracy: float | None = None
    pixel_knn_accuracy: float | None = None
    test_accuracy: float | None = None
    agreement: float | None = None
    usual: float | None = None
    measured_on: float | None = None


@dataclasses.dataclass(frozen=True)
class Judged:
    """A teacher that has been judged.

    Attributes:
      kind: as in the config.
      source: where it comes from, and its names.
      teacher: frozen.
      train_embedding, test_embedding: of all training and all test images, float32 [N, D] and
        [M, D]; None if there are none.
      verdict: how good it is.
      tested: number of test images.
      train_logits, test_logits: of a classifier, float32 [N, C] and [M, C]; None if there are
        none.
    """

    kind: str
    source: Source
    teacher: Teacher
    train_embedding: np.ndarray | None
    test_embedding: np.ndarray | None
    verdict: Verdict
    tested: int
    train_logits: np.ndarray | None = None
    test_logits: np.ndarray | None = None

    @property
    def embeddings(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Those of the training and the test images, if it has both."""
        if self.train_embedding is None or self.test_embedding is None:
            return None
        return self.train_embedding, self.test_embedding

    def warning(self) -> str | None:
        """One line for the user if the teacher is too weak to guide a learner: not better than all
        references by more than two standard errors; or a classifier that is not better than the
        most frequent label, by one and a half. A random teacher gets none, being a control."""
        if self.source.is_control:
            return None
        verdict = self.verdict
        if self.source.has_classifier:
            return self._unlike_labels()
        if verdict.knn_accuracy is None:
            return None
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
            return f"the encoder's {weak}: it is a weak teacher; {self.source.remedy}"
        return (
            f"the teacher's {weak}: its relations can harm the student; {self.source.remedy} or "
            "reduce its weight (rgrl.k)"
        )

    def _unlike_labels(self) -> str | None:
        agreement, usual = self.verdict.agreement, self.verdict.usual
        if agreement is None or usual is None or not self.verdict.measured_on:
            return None
        error = math.sqrt(usual * (1 - usual) / self.verdict.measured_on)
        if agreement > usual + _CLEARLY * error or agreement == 1:
            return None
        images = "training" if self.verdict.test_accuracy is None else "test"
        return (
            f"the teacher agrees with the labels of {agreement:.1%} of the {images} images, not "
            f"clearly more than one class for all ({usual:.1%}): it is a weak teacher; "
            f"{self.source.remedy}"
        )
