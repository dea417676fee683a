"""All that a run found out, as it is handed to what writes and draws it."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.data.labels import Labels
from rmdnet_jax.evaluation.suspicion import Suspicion
from rmdnet_jax.methods.interface import Prediction
from rmdnet_jax.teachers.judged import Judged


@dataclasses.dataclass(frozen=True)
class Student:
    """A trained classifier's predictions, without augmentation, and its training's record.

    Attributes:
      title: what to call it: "CE + RMDNet".
      train, test: of all training images [N], held out or not, and the test images [M].
      history: the lines of metrics.jsonl, one an epoch.
      parameters: their number, of all its networks, without what serves training alone.
    """

    title: str
    train: Prediction
    test: Prediction
    history: list[dict]
    parameters: int = 0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """All that a run found out.

    Attributes:
      data, labels: of all training images, those held out among them.
      teacher: None without one.
      teacher_history: lines of metrics.jsonl; empty where the teacher was not trained here.
      students: "student" and perhaps "baseline"; none if only a teacher was asked for.
      suspicion: of the labels, by "student" and teacher; None without a student.
      validation_size: number of training images that no student learned from.
      belief: float32 [N, C], probabilities of the training images that their labels were judged
        by; None without a student.
    """

    data: Dataset
    labels: Labels
    teacher: Judged | None
    teacher_history: list[dict]
    students: Mapping[str, Student]
    suspicion: Suspicion | None
    validation_size: int = 0
    belief: np.ndarray | None = None
