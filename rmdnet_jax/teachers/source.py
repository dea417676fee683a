"""Sources of teachers: what `config.teacher.kind` names.

A kind is one file in this folder whose KIND is a class as below; teachers/registry.py finds it by
the file's name.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.methods.interface import (
    ClassifierTeacher,
    Method,
    Prediction,
    State,
    Teacher,
    Weights,
)
from rmdnet_jax.models.torch_weights import Pretrained


@dataclasses.dataclass(frozen=True)
class Trained:
    """A classifier trained elsewhere, for one data set.

    Attributes:
      teacher: for all training images.
      origin: a one-line description for the terminal.
      digest: a hash of its contents.
      test: for a table, the classifier's outputs for the test images, if it has rows for them.
      accuracy: on its own held-out images, in [0, 1]; None: not measured.
      parameters: their number; None for a table.
    """

    teacher: ClassifierTeacher
    origin: str
    digest: str
    test: Prediction | None = None
    accuracy: float | None = None
    parameters: int | None = None


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a config states about the teacher; a kind reads what it needs.

    Attributes:
      path: of an existing teacher.
      width, stem, blocks, block, dtype: of a ResNet.
      flip: whether views may be mirrored.
      projected: whether the embedding is that of SimSiam's projector, and not of the backbone.
      rm: the fields of the config group `rm` by name.
      pretrained: weights of the run's encoder, if it is a ResNet that rmdnet_jax can run.
      embeddings: of the training and the test images by the run's encoder, float32 [N, D] and
        [M, D]; None without an encoder.
      classifier: what the path names, if it is a trained classifier.
      is_built_in: whether the run's encoder is the one without a download.

    Examples:
      What a kind's `build` is given; in a test of a kind, made by hand:

      >>> import jax.numpy as jnp
      >>> from rmdnet_jax.teachers.source import Recipe
      >>> recipe = Recipe("", 8, "cifar", (1,), jnp.float32, flip=True, projected=False, rm={})
      >>> recipe.width, recipe.embeddings is None
      (8, True)
    """

    path: str
    width: int
    stem: str
    blocks: tuple[int, ...]
    dtype: jnp.dtype
    flip: bool
    projected: bool
    rm: Mapping[str, Any]
    embeddings: tuple[np.ndarray, np.ndarray] | None = None
    pretrained: Pretrained | None = None
    block: str = "basic"
    classifier: Trained | None = None
    is_built_in: bool = False


class Source(Protocol):
    """A kind of teacher, made for one data set. Implementations derive from this.

    Attributes:
      reads_path: whether the kind reads config.teacher.path; needs_path: whether it requires it.
      is_free: whether it costs nothing, and so is judged even if nothing learns from it.
      most_tested: number of test images that it is judged on; 0: all.
      trains: whether the kind is trained here, unless a path names a finished one.
      has_network: whether its teacher is a ResNet built according to config.teacher, which can
        initialise a learner.
      sees_views: whether its teacher may be a network that sees views.
      has_classifier: whether its teacher is a ClassifierTeacher.
      tells_open: whether its embeddings distinguish images of none of the classes from others.
      story: a sentence on where it comes from, for the page.
      remedy: what to do about a teacher that is too weak.
      learning_rate: of the method's optimiser, by update, if there is a method.
      title: its name on pages and in figures: "SimSiam teacher".
      term: the name there of a learner's relation term with it: "RMDNet".
      is_control: whether it is only for comparison, and not meant to be good.
      method: what trains it; None: nothing is trained.
      known: for a classifier, its description.
    """

    reads_path: ClassVar[bool] = False
    needs_path: ClassVar[bool] = False
    is_free: ClassVar[bool] = False
    most_tested: ClassVar[int] = 0
    trains: ClassVar[bool] = False
    has_network: ClassVar[bool] = False
    sees_views: ClassVar[bool] = False
    has_classifier: ClassVar[bool] = False
    tells_open: ClassVar[bool] = False
    title: ClassVar[str]
    term: ClassVar[str] = "RMDNet"
    is_control: ClassVar[bool] = False
    story: ClassVar[str]
    remedy: ClassVar[str]

    learning_rate: optax.Schedule
    known: Trained | None = None

    @property
    def is_network(self) -> bool:
        """Whether its teacher is a network that sees views, and not a table."""
        return self.has_network

    @property
    def method(self) -> Method | None:
        """What trains it; None if nothing does."""
        return None

    @classmethod
    def build(cls, recipe: Recipe, data: Dataset) -> "Source":
        """The kind for a data set; raises InputError for what cannot be used."""
        ...

    def fresh(self, key: jax.Array, example: jax.Array) -> State | None:
        """Its network before training; None if it has none built here."""
        return None

    def teacher(self, state: State | None) -> Teacher:
        """The frozen teacher, its arrays on the host."""
        ...

    def predictions(self, state: State | None, data: Dataset) -> tuple[Prediction, Prediction]:
        """Outputs for the clean training and test images, on the host: embeddings float32 [N, D]
        and [M, D], and from a classifier logits float32 [N, C] and [M, C]; None if there are
        none."""
        ...

    def start(self, teacher: Teacher) -> Weights | None:
        """Weights for a learner's backbone of the same architecture; None if it has none."""
        return None

    def watch(self, metrics: Mapping[str, float], epoch: int, history: list[dict]) -> None:
        """Warns of problems in training, after an epoch; raises DivergedError to end it."""
