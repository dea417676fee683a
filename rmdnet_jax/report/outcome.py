"""All results of a run, as they are passed to the code that writes and draws them."""

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np

from rmdnet_jax.data.annotators import Consensus
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.data.labels import Labels
from rmdnet_jax.evaluation import consensus
from rmdnet_jax.evaluation.suspicion import Suspicion
from rmdnet_jax.methods.interface import Prediction
from rmdnet_jax.teachers.judged import Judged


@dataclasses.dataclass(frozen=True)
class Student:
    """A trained classifier's predictions, without augmentation, and its training history.

    Attributes:
      title: its name, such as "CE + RMDNet".
      train, test: for all training images [N], held out or not, and the test images [M].
      history: the lines of metrics.jsonl, one per epoch.
      parameters: their number, in all its networks, without those that only training needs.
    """

    title: str
    train: Prediction
    test: Prediction
    history: list[dict]
    parameters: int = 0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """All results of a run.

    Attributes:
      data, labels: of all training images, including those held out.
      teacher: None without one.
      teacher_history: lines of metrics.jsonl; empty where the teacher was not trained here.
      students: "student" and possibly "baseline"; empty if only a teacher was trained.
      suspicion: of the labels, according to "student" and teacher; None without a student.
      validation_size: number of training images that no student learned from.
      belief: float32 [N, C], probabilities of the training images that their labels were scored
        with; None without a student.
    """

    data: Dataset
    labels: Labels
    teacher: Judged | None
    teacher_history: list[dict]
    students: Mapping[str, Student]
    suspicion: Suspicion | None
    validation_size: int = 0
    belief: np.ndarray | None = None

    @functools.cached_property
    def consensus(self) -> Consensus | None:
        """That of the annotators and the student, if there are both."""
        if self.belief is None:
            return None
        return consensus.found(self.data, self.labels, self.belief)
