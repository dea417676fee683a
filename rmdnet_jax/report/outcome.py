"""All that a run found out, as it is handed to what writes and draws it."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from rmdnet_jax import teachers
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.data.labels import Labels
from rmdnet_jax.methods.interface import Prediction


@dataclasses.dataclass(frozen=True)
class Student:
    """A trained student's predictions, without augmentation, and its training's record.

    Attributes:
      train, test: of all training images [N], held out or not, and the test images [M].
      history: the lines of metrics.jsonl, one an epoch.
      said: float [N, C], probabilities of the training images as it said them while it learned
        (methods/memory.py), or at the end of those that it did not learn from.
    """

    train: Prediction
    test: Prediction
    history: list[dict]
    said: np.ndarray


@dataclasses.dataclass(frozen=True)
class Outcome:
    """All that a run found out.

    Attributes:
      data, labels: of all training images, those held out among them.
      teacher: None without one.
      teacher_history: lines of metrics.jsonl; empty where the teacher was not trained here.
      students: "student" and perhaps "baseline"; none if only stage RM was asked for.
      validation_size: number of training images that no student learned from.
    """

    data: Dataset
    labels: Labels
    teacher: teachers.Judged | None
    teacher_history: list[dict]
    students: Mapping[str, Student]
    validation_size: int = 0
