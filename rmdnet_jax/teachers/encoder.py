"""A teacher that is an encoder, pretrained or built in: a table of its embeddings of the clean
images, or the data itself if that is feature vectors."""

import dataclasses
from typing import ClassVar

import jax
import numpy as np

from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.methods.interface import Prediction, State, Teacher, Weights
from rmdnet_jax.models.torch_weights import Pretrained
from rmdnet_jax.teachers.source import Recipe, Source


@dataclasses.dataclass(frozen=True)
class TableTeacher:
    """Embeddings of a training set's images, looked up by index.

    A table holds those of the clean images; the learner's augmented view is not used.

    Attributes:
      table: float32 [N, D], on the host.
      reads_labels: whether labels were read to make it.

    Examples:
      >>> import jax.numpy as jnp
      >>> import numpy as np
      >>> from rmdnet_jax.teachers.encoder import TableTeacher
      >>> teacher = TableTeacher(np.arange(8, dtype=np.float32).reshape(4, 2))
      >>> views = jnp.zeros((2, 8, 8, 3))  # not used
      >>> print(teacher.embed(teacher.frozen, views, np.array([3, 0])))
      [[6. 7.]
       [0. 1.]]
    """

    table: np.ndarray
    reads_labels: bool = False

    @property
    def size(self) -> int:
        """D."""
        return self.table.shape[1]

    @property
    def frozen(self) -> dict[str, np.ndarray]:
        """The table."""
        return {"table": self.table}

    def embed(self, frozen: dict, view: jax.Array, index: jax.Array) -> jax.Array:
        """The rows of the batch's images, float32 [B, D]."""
        return frozen["table"][index]

    def of_images(self, index: np.ndarray) -> "TableTeacher":
        """The rows of these images, for a training set of only these."""
        if len(index) == len(self.table):  # all of them, in order
            return self
        return dataclasses.replace(self, table=self.table[index])


@dataclasses.dataclass(frozen=True)
class EncoderSource(Source):
    """The kind "encoder".

    Attributes:
      train, test: embeddings float32 [N, D] and [M, D].
      pretrained: the encoder's weights, if it is a ResNet that rmdnet_jax can run.
    """

    train: np.ndarray
    test: np.ndarray
    pretrained: Pretrained | None = None

    is_free: ClassVar[bool] = True
    tells_open: ClassVar[bool] = True  # docs/label_issues.md has figures
    most_tested: ClassVar[int] = 1000
    title: ClassVar[str] = "pretrained encoder"
    story: ClassVar[str] = (
        "The teacher is a pretrained encoder, which sees the clean images: nothing was trained."
    )
    remedy: ClassVar[str] = "use a better encoder, or another image size, normalisation or output"

    @classmethod
    def build(cls, recipe: Recipe, data: Dataset) -> "EncoderSource":
        """The kind with the embeddings of the recipe, named for what they are."""
        if not data.are_pictures:
            return VectorSource._of(recipe)
        return BuiltInSource._of(recipe) if recipe.is_built_in else cls._of(recipe)

    @classmethod
    def _of(cls, recipe: Recipe) -> "EncoderSource":
        assert recipe.embeddings
        return cls(*recipe.embeddings, recipe.pretrained)

    def teacher(self, state: State | None) -> TableTeacher:
        """The training images' rows."""
        return TableTeacher(self.train)

    def predictions(self, state: State | None, data: Dataset) -> tuple[Prediction, Prediction]:
        """The table itself."""
        return Prediction(None, self.train), Prediction(None, self.test)

    def start(self, teacher: Teacher) -> Weights | None:
        """The ResNet's weights, if it is one."""
        if self.pretrained is None:
            return None
        return Weights(
            {"backbone": self.pretrained.params}, {"backbone": self.pretrained.batch_stats}
        )


class BuiltInSource(EncoderSource):
    """The same of the encoder without a download, encoders/classical.py."""

    title: ClassVar[str] = "built-in encoder"
    story: ClassVar[str] = (
        "The teacher is the built-in encoder, histograms of colours and of gradients of the clean "
        "images: nothing was trained."
    )
    remedy: ClassVar[str] = "use a pretrained encoder (encoder.path, docs/encoders.md)"


class VectorSource(EncoderSource):
    """The same where the data itself is feature vectors."""

    title: ClassVar[str] = "given feature vectors"
    story: ClassVar[str] = (
        "The teacher is the data itself, your feature vectors: nothing was trained."
    )


KIND = EncoderSource
