"""A teacher that is a table: an embedding of every image, made elsewhere by whatever encoder."""

import dataclasses
import os
from pathlib import Path
from typing import ClassVar

import jax
import numpy as np

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import npy
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.machine import memory
from rmdnet_jax.methods.interface import State
from rmdnet_jax.teachers.source import Recipe, Source

# Of the host's memory, what a table may take.
_MEMORY_SHARE = 0.5


@dataclasses.dataclass(frozen=True)
class TableTeacher:
    """Embeddings of a training set's images, read at the place of each.

    A table saw the clean pictures; the learner's augmented view has no part in it.

    Attributes:
      table: float32 [N, D], on the host.
      reads_labels: whether labels were read to make it.
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
        """The rows of these images, for a training set that is these."""
        if len(index) == len(self.table):  # all of them, in order
            return self
        return dataclasses.replace(self, table=self.table[index])


@dataclasses.dataclass(frozen=True)
class Table(Source):
    """The kind: a .npz of `train` [N, D] and `test` [M, D], in the order of the data set's images.

    Attributes:
      train, test: float32.
    """

    train: np.ndarray
    test: np.ndarray

    path: ClassVar[str] = "required"
    right_path: ClassVar[str] = "a .npz of `train` [N, D] and `test` [M, D]"
    title: ClassVar[str] = "table of embeddings"
    story: ClassVar[str] = (
        "The teacher is a table of embeddings, made elsewhere: nothing was trained."
    )
    remedy: ClassVar[str] = "take the embeddings of a better encoder"

    @classmethod
    def build(cls, recipe: Recipe, data: Dataset) -> "Table":
        """Reads the file that the recipe's path names.

        Raises:
          InputError: it is no such file, or not of this data set's images.
        """
        where = f"config.teacher.path, {recipe.path}"
        right = f"right is {cls.right_path}"
        if not os.path.isfile(recipe.path):
            raise InputError(f"{where}, is no file; {right}")
        try:
            held = npy.load_all(Path(recipe.path), _MEMORY_SHARE * memory.host_bytes())
            arrays = {split: held[split] for split in ("train", "test")}
        except InputError as error:
            raise InputError(f"{where}, cannot be read: {error}") from error
        except KeyError as error:
            raise InputError(f"{where}, holds no {error}; {right}") from error
        counts = {"train": len(data.train_images), "test": len(data.test_images)}
        size = arrays["train"].shape[-1:]
        for split, array in arrays.items():
            if array.dtype.kind != "f" or array.shape != (counts[split], *size) or size[0] < 2:
                raise InputError(
                    f"{where}: {split} is {array.dtype} {array.shape}; right is one row of "
                    f"floats an image, ({counts[split]}, D), in the images' order"
                )
            if not (np.abs(array) <= np.finfo(np.float32).max).all():  # nor is NaN
                raise InputError(f"{where}: {split} holds values that are not finite")
        return cls(*(array.astype(np.float32) for array in arrays.values()))

    def teacher(self, state: State | None) -> TableTeacher:
        """The training images' rows."""
        return TableTeacher(self.train)

    def embeddings(self, state: State | None, data: Dataset) -> tuple[np.ndarray, np.ndarray]:
        """The table itself."""
        return self.train, self.test


KIND = Table
