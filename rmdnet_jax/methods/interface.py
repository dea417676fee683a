"""What a method and a teacher are to everything around them: pure functions over pytrees.

A method is one file in this folder whose METHOD is a class as below; methods/registry.py finds it
by the file's name. The loop, resuming, devices, label issues, models and pages need nothing else.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from rmdnet_jax.data.label_kinds import Division
from rmdnet_jax.data.transition import Noise


@flax.struct.dataclass
class Batch:
    """A batch as it lies in memory; augmentation happens inside the compiled step.

    Attributes:
      image: uint8 [B, H, W, 3], or float32 [B, D] of feature vectors.
      label: int32 [B], the given (perhaps wrong) labels.
      index: int32 [B], positions in the training set, for what is kept of every sample.
    """

    image: jax.Array
    label: jax.Array
    index: jax.Array


@flax.struct.dataclass
class State:
    """All that a method carries from step to step, checkpointed whole.

    One that remembers more (something of every sample, say) derives from it and adds its fields:
    training and checkpoints take any dataclass whose fields are dicts (or other trees) of arrays.

    Attributes:
      params: float32 parameters by network.
      batch_stats: running batch statistics by network.
      opt_state: the optimiser's state.
    """

    params: dict
    batch_stats: dict
    opt_state: optax.OptState


@flax.struct.dataclass
class Weights:
    """The arrays of one trained network, by its modules ("backbone", "classifier").

    Attributes:
      params: float32 parameters.
      batch_stats: running batch statistics.
    """

    params: dict
    batch_stats: dict


class Prediction(NamedTuple):
    """What a network says of images, on the device or, from methods/inference.py, the host.

    Attributes:
      logits: float32 [B, C]; None without a classifier.
      embedding: float32 [B, D], the backbone's output, of a ResNet after global average pooling.
    """

    logits: Any
    embedding: Any


@dataclasses.dataclass(frozen=True)
class Task:
    """What a method may know of the whole that it learns from.

    Attributes:
      given: int32 [N], the given labels.
      num_classes: C.
      batch_size: images of a step, over all devices.
      epochs: of the training.
      folds: of 2 or more, each part of the images is left out of a training of its own
        (methods/folds.py).
      image_shape: of an image, (H, W, 3); or (D,), feature vectors.
    """

    given: np.ndarray
    num_classes: int
    batch_size: int
    epochs: int
    folds: int = 1
    image_shape: tuple[int, ...] = (32, 32, 3)

    @property
    def num_images(self) -> int:
        """N."""
        return len(self.given)

    @property
    def steps(self) -> int:
        """Steps of an epoch; the images left over are not seen in it."""
        return self.learned_from // self.batch_size

    @property
    def learned_from(self) -> int:
        """Images that a network learns from, the fewest."""
        return learned_from(self.num_images, self.folds)


def learned_from(num_images: int, folds: int) -> int:
    """Images that each of `folds` trainings learns from, the fewest; of one, all."""
    return num_images - (-(-num_images // folds) if folds > 1 else 0)


@dataclasses.dataclass(frozen=True)
class Look:
    """What a method may find out between two epochs, or at the end; nothing is computed unless it
    is called.

    Attributes:
      given: int32 [N], the given labels.
      predict: the logits that given networks have for all training images, without augmentation, on
        the host: one inference pass each.
      predictions: the same of the networks that `Method.networks` names.
      remembered: float32 [N, C] on the host, what was said of every image while it was learned
        (methods/samples.py); zeros where it was in no batch yet. Where that is not kept, what the
        networks say together.
      noise: the noise of the labels, by what was remembered; of a training without some of the
        images (methods/folds.py) by those that have not seen the labels.
      is_remembered: whether it is kept.
    """

    given: np.ndarray
    predict: Callable[[tuple[Weights, ...]], tuple[Prediction, ...]]
    predictions: Callable[[], tuple[Prediction, ...]]
    remembered: Callable[[], np.ndarray]
    noise: Callable[[], Noise]
    is_remembered: bool = True


class Network(Protocol):
    """An architecture that predicts."""

    def predict(self, weights: Weights, images: jax.Array) -> Prediction:
        """Inference on uint8 [B, H, W, 3] or float32 [B, D], without augmentation."""


Metrics = dict[str, jax.Array]

S = TypeVar("S", bound=State)


class Method(Protocol[S]):
    """A way to learn. Implementations derive from this and are frozen dataclasses of their
    hyperparameters; those that a user may set state their range (base/ranges.py, `declared`).

    Attributes:
      title: what pages and figures call it.
      network: the architecture that predicts, of each of `networks`.
      learners: number of its networks.
      needs_classifier: whether it learns from a teacher that is a trained classifier
        (`Learner.guide`), and `needs_embedding` whether from its embeddings of new views, too.
      takes_relation: whether the relation term can be added to it; it needs one network.
    """

    learners: ClassVar[int] = 1
    needs_classifier: ClassVar[bool] = False
    needs_embedding: ClassVar[bool] = False
    takes_relation: ClassVar[bool] = True

    @property
    def title(self) -> str:
        """What pages and figures call it."""
        ...

    @property
    def network(self) -> Network:
        """The architecture of each of `networks`."""
        ...

    @classmethod
    def of(cls, learner: Any, **parameters: Any) -> "Method":
        """The method with its parameters; by default one of this class. A class whose parameters
        choose between several makes the right one here.

        Raises:
          InputError: the parameters do not go together.
        """
        return cls(learner, **parameters)  # type: ignore[call-arg]

    def check(self, task: Task) -> None:
        """Raises InputError where the method can make nothing of this task; before anything is
        compiled."""
        return

    def init(self, key: jax.Array, example: jax.Array, task: Task) -> S:
        """Fresh state; `example` is an image, uint8 [1, H, W, 3] or float32 [1, D], that gives the
        shapes. Compiles what it needs to itself."""
        ...

    def step(
        self, state: S, batch: Batch, key: jax.Array, frozen: Any
    ) -> tuple[S, Metrics, jax.Array | None]:
        """One update, pure.

        Args:
          state: is given away.
          batch: of the rows that `order` names.
          key: of this step.
          frozen: `self.frozen` on the devices: what is read and never changes.

        Returns:
          The state; metrics, float32 scalars, of which "loss" is one; and the probabilities
          float32 [B, C] that the networks gave the batch's images, for who remembers them, or None.
        """
        ...

    @property
    def frozen(self) -> Any:
        """Arrays that every step reads and none changes, a teacher's weights say: kept on the
        devices, and in no checkpoint."""
        return ()

    def between_epochs(self, state: S, epoch: int, look: Look) -> S:
        """The state with what is to be decided before epoch number `epoch`, from 0, on the host. A
        run that resumes inside an epoch does not decide again: the state holds it."""
        return state

    def order(self, state: S, key: jax.Array, task: Task) -> jax.Array:
        """The images of every step of an epoch: int32 [task.steps, rows], places in the training
        set, none twice in one step whose probabilities are remembered. By default a permutation, of
        `task.batch_size` a step.

        A run that resumes inside an epoch asks again: the order may depend on the key and on what
        `between_epochs` has decided, and on nothing that `step` changes.
        """
        return permutation(key, task.num_images, task.steps, task.batch_size)

    def networks(self, state: S) -> tuple[Weights, ...]:
        """The trained networks; the predictions of several are averaged."""
        return tuple(
            Weights(state.params[name], state.batch_stats[name]) for name in sorted(state.params)
        )

    def belief(self, state: S, look: Look) -> np.ndarray | None:
        """What label issues are judged by: probabilities float32 [N, C] of the training images, on
        the host; zeros where nothing is known of an image. By default what was said of the images
        while they were learned, if that was kept; None: what the networks say at the end.

        Args:
          state: at the end of training.
          look: at that time.
        """
        return look.remembered() if look.is_remembered else None

    def divided(
        self, state: S, index: np.ndarray, given: np.ndarray, said: np.ndarray | None
    ) -> Division | None:
        """Which labels are right, of another class, or of images that show none of the classes, if
        the method knows better than its belief says.

        Args:
          state: at the end of training.
          index: int [n], the places of its images among all N, of which others were held out.
          given: int32 [N], the given labels of all.
          said: float32 [N, C], the guide's logits of all; None without a guide.
        """
        return None


def permutation(key: jax.Array, size: int, steps: int, rows: int) -> jax.Array:
    """int32 [steps, rows], no index of [0, size) twice."""
    order = jax.random.permutation(key, size).astype(jnp.int32)
    return order[: steps * rows].reshape(steps, rows)


class Teacher(Protocol):
    """What guides a learner: an embedding of every image, from something that does not change.

    Attributes:
      size: D, features of its embeddings.
      reads_labels: whether labels were read to make it; SimSiam and an encoder read none.
      frozen: arrays that `embed` reads; in no state and in no learner's checkpoint.
    """

    @property
    def size(self) -> int:
        """D, features of its embeddings."""
        ...

    @property
    def reads_labels(self) -> bool:
        """Whether labels were read to make it."""
        ...

    @property
    def frozen(self) -> Any:
        """Arrays that `embed` reads."""
        ...

    def embed(self, frozen: Any, view: jax.Array, index: jax.Array) -> jax.Array:
        """Embeddings float32 [B, D] of normalised views float32 [B, H, W, 3] of the training images
        int32 [B]; a network runs on the view, a table is read at the index."""
        ...

    def of_images(self, index: np.ndarray) -> "Teacher":
        """The same teacher for a training set that is these images of its own, int [n]."""
        ...


class ClassifierTeacher(Teacher, Protocol):
    """A teacher that is a trained classifier."""

    def classify(self, frozen: Any, view: jax.Array, index: jax.Array) -> Prediction:
        """Logits float32 [B, C] and embeddings float32 [B, D] of the learner's normalised views
        float32 [B, H, W, 3] or [B, D] of the training images int32 [B]; a table is read at the
        index, and has no embeddings."""
        ...


@dataclasses.dataclass(frozen=True)
class Guide:
    """A trained classifier that a method learns from.

    Attributes:
      teacher: frozen.
      train: what it says of the learner's clean training images, on the host: logits float32
        [N, C] and embeddings float32 [N, D], or None without them.
      accuracy: of the teacher on held-out images of its own, in [0, 1]; None: nobody measured it.
    """

    teacher: ClassifierTeacher
    train: Prediction
    accuracy: float | None = None
