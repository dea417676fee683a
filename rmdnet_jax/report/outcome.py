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
      train, test: of the training images [N] and the test images [M].
      history: the lines of metrics.jsonl, one an epoch.
    """

    train: Prediction
    test: Prediction
    history: list[dict]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """All that a run found out.

    Attributes:
      data, labels: what the students learned from.
      teacher: None without one.
      teacher_history: lines of metrics.jsonl; empty where the teacher was not trained here.
      students: "student" and perhaps "baseline"; none if only stage RM was asked for.
      index: int [N], the places of data's training images among those of the whole data set, of
        which some may be held out.
      validation_size: number of those.
    """

    data: Dataset
    labels: Labels
    teacher: teachers.Judged | None
    teacher_history: list[dict]
    students: Mapping[str, Student]
    index: np.ndarray
    validation_size: int = 0
