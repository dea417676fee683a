"""A teacher that is a classifier trained with labels: a run of rmdnet_jax, a saved model, an ONNX
file or a table of logits."""

import dataclasses
from typing import ClassVar

from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.methods.interface import ClassifierTeacher, Prediction, State
from rmdnet_jax.teachers.classifier import ClassifierNetwork, ClassifierTable
from rmdnet_jax.teachers.source import Recipe, Source, Trained


@dataclasses.dataclass(frozen=True)
class SupervisedSource(Source):
    """The kind "supervised".

    Attributes:
      known: the classifier that the path names.
    """

    known: Trained

    reads_path: ClassVar[bool] = True
    needs_path: ClassVar[bool] = True
    sees_views: ClassVar[bool] = True
    has_classifier: ClassVar[bool] = True
    title: ClassVar[str] = "trained classifier"
    term: ClassVar[str] = "RGRL, supervised teacher"
    story: ClassVar[str] = (
        "The teacher is a classifier that was trained with labels: nothing was trained here."
    )
    remedy: ClassVar[str] = "use a better one, or one with these classes in this order"

    @property
    def is_network(self) -> bool:
        """Whether the path names weights, which are applied to the learner's views."""
        return isinstance(self.known.teacher, ClassifierNetwork)

    @classmethod
    def build(cls, recipe: Recipe, data: Dataset) -> "SupervisedSource":
        """The classifier of the recipe."""
        assert recipe.classifier
        return cls(recipe.classifier)

    def teacher(self, state: State | None) -> ClassifierTeacher:
        """The classifier itself."""
        return self.known.teacher

    def predictions(self, state: State | None, data: Dataset) -> tuple[Prediction, Prediction]:
        """A network is run; a table returns its rows."""
        teacher = self.known.teacher
        if isinstance(teacher, ClassifierTable):
            return teacher.said, self.known.test or Prediction(None, None)
        assert isinstance(teacher, ClassifierNetwork)
        train, test = teacher.asked(data.train_images, data.test_images)
        return train, test


KIND = SupervisedSource
