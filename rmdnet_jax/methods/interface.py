"""The interfaces of methods and teachers: pure functions over pytrees.

A method is one file in this folder whose METHOD is a class as below; methods/registry.py finds it
by the file's name. The training loop, resuming, devices, label issues, models and reports need
nothing else.
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
    """A batch as stored in memory; augmentation happens inside the compiled step.

    Attributes:
      image: uint8 [B, H, W, 3], or float32 [B, D] of feature vectors.
      label: int32 [B], the given (perhaps wrong) labels.
      index: int32 [B], positions in the training set, for what is stored per sample.

    Examples:
      >>> import jax.numpy as jnp
      >>> from rmdnet_jax.methods.interface import Batch
      >>> images = jnp.zeros((2, 8, 8, 3), jnp.uint8)
      >>> batch = Batch(images, label=jnp.array([0, 1]), index=jnp.array([7, 4]))
      >>> batch.image.shape, batch.label.dtype
      ((2, 8, 8, 3), dtype('int32'))
    """

    image: jax.Array
    label: jax.Array
    index: jax.Array


@flax.struct.dataclass
class State:
    """Everything that a method carries from step to step, checkpointed whole.

    A state with more to remember (e.g. something per sample) derives from it and adds fields:
    training and checkpoints accept any dataclass whose fields are dicts (or other trees) of arrays.

    Attributes:
      params: float32 parameters by network.
      batch_stats: running batch statistics by network.
      opt_state: the optimiser's state.

    Examples:
      >>> import flax.struct
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from rmdnet_jax.methods.interface import State
      >>> @flax.struct.dataclass
      ... class Averaging(State):
      ...     target: dict[str, jax.Array]  # float32 [N, C], of every training image
      >>> state = Averaging({}, {}, (), {"mean": jnp.zeros((5, 2))})
      >>> [leaf.shape for leaf in jax.tree.leaves(state)]
      [(5, 2)]
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

    Examples:
      >>> import jax.numpy as jnp
      >>> from rmdnet_jax.methods.interface import Weights
      >>> linear = {"kernel": jnp.ones((3, 2)), "bias": jnp.zeros(2)}
      >>> weights = Weights({"classifier": linear}, batch_stats={})
      >>> sorted(weights.params["classifier"])
      ['bias', 'kernel']
    """

    params: dict
    batch_stats: dict


class Prediction(NamedTuple):
    """A network's outputs for images, on the device or, from methods/inference.py, the host.

    Attributes:
      logits: float32 [B, C]; None without a classifier.
      embedding: float32 [B, D], the backbone's output; a ResNet's is global average pooled.

    Examples:
      >>> import numpy as np
      >>> from rmdnet_jax.methods.interface import Prediction
      >>> of_an_encoder = Prediction(None, np.zeros((5, 16), np.float32))
      >>> of_an_encoder.logits is None, of_an_encoder.embedding.shape
      (True, (5, 16))
    """

    logits: Any
    embedding: Any


@dataclasses.dataclass(frozen=True)
class Task:
    """What a method may know about the training set and the training as a whole.

    Attributes:
      given: int32 [N], the given labels.
      num_classes: number of classes C.
      batch_size: images per step, over all devices.
      epochs: number of epochs of the training.
      folds: with 2 or more, each fold of the images is left out of one training
        (methods/folds.py).
      image_shape: (H, W, 3) for images, (D,) for feature vectors.

    Examples:
      >>> import numpy as np
      >>> from rmdnet_jax.methods.interface import Task
      >>> given = np.array([0, 1, 1, 0, 2], np.int32)
      >>> task = Task(given, num_classes=3, batch_size=2, epochs=10)
      >>> task.num_images, task.steps
      (5, 2)
    """

    given: np.ndarray
    num_classes: int
    batch_size: int
    epochs: int
    folds: int = 1
    image_shape: tuple[int, ...] = (32, 32, 3)

    @property
    def num_images(self) -> int:
        """Number of training images N."""
        return len(self.given)

    @property
    def steps(self) -> int:
        """Steps per epoch; leftover images are not seen in that epoch."""
        return self.learned_from // self.batch_size

    @property
    def learned_from(self) -> int:
        """The smallest number of images that a network learns from."""
        return learned_from(self.num_images, self.folds)


def learned_from(num_images: int, folds: int) -> int:
    """The smallest number of images that one of `folds` trainings learns from; all for one."""
    return num_images - (-(-num_images // folds) if folds > 1 else 0)


@dataclasses.dataclass(frozen=True)
class Look:
    """What a method may query between epochs, or at the end; nothing is computed unless it is
    called.

    Attributes:
      given: int32 [N], the given labels.
      predict: the logits of given networks for all training images, without augmentation, on the
        host: one inference pass each.
      predictions: the same for the networks that `Method.networks` returns.
      remembered: float32 [N, C] on the host, the mean prediction for every image during training
        (methods/samples.py); zeros for an image that was in no batch yet. If no memory is kept,
        the networks' current joint prediction.
      noise: the label noise, estimated from `remembered`, before the first epoch from the networks'
        current predictions; with folds (methods/folds.py), from the networks that have not seen the
        labels.
      is_remembered: whether a memory is kept.

    Examples:
      What `between_epochs` is given; in a test of a method, made by hand:

      >>> import numpy as np
      >>> from rmdnet_jax.methods.interface import Look, Prediction
      >>> given = np.array([0, 1, 1], np.int32)
      >>> said = Prediction(np.array([[4.0, 0.0], [0.0, 4.0], [4.0, 0.0]], np.float32), None)
      >>> nothing = lambda: None
      >>> look = Look(given, lambda _: (said,), lambda: (said,), nothing, nothing, False)
      >>> (one,) = look.predictions()
      >>> np.flatnonzero(one.logits.argmax(axis=1) != look.given)  # flagged labels
      array([2])
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
    """A training method. Implementations derive from this and are frozen dataclasses of their
    hyperparameters; those that a user may set declare their range (base/ranges.py, `declared`).

    Attributes:
      title: its name on pages and in figures.
      network: the architecture that predicts, of each of `networks`.
      learners: its number of networks.
      needs_classifier: whether it learns from a teacher that is a trained classifier
        (`Learner.guide`); `needs_embedding`: whether from its embeddings of new views, too.
      takes_relation: whether the relation term can be added to it, if it trains a single network;
        with more, it never is.
    """

    learners: ClassVar[int] = 1
    needs_classifier: ClassVar[bool] = False
    needs_embedding: ClassVar[bool] = False
    takes_relation: ClassVar[bool] = True

    @property
    def title(self) -> str:
        """Its name on pages and in figures."""
        ...

    @property
    def network(self) -> Network:
        """The architecture of each of `networks`."""
        ...

    @classmethod
    def of(cls, learner: Any, **parameters: Any) -> "Method":
        """The method with its parameters, by default an instance of this class. A class whose
        parameters select between several classes makes the right one here.

        Raises:
          InputError: the parameters do not fit together.
        """
        return cls(learner, **parameters)  # type: ignore[call-arg]

    def check(self, task: Task) -> None:
        """Raises InputError if the method cannot handle this task, before anything is compiled."""
        return

    def init(self, key: jax.Array, example: jax.Array, task: Task) -> S:
        """Fresh state; `example` is an image, uint8 [1, H, W, 3] or float32 [1, D], that gives the
        shapes. Does its own compilation."""
        ...

    def step(
        self, state: S, batch: Batch, key: jax.Array, frozen: Any
    ) -> tuple[S, Metrics, jax.Array | None]:
        """One update, pure.

        Args:
          state: is donated.
          batch: the images of a row of `order`.
          key: of this step.
          frozen: `self.frozen` on the devices: read, never changed.

        Returns:
          The state; metrics, float32 scalars, one of which is "loss"; and the probabilities
          float32 [B, C] of the batch's images for the memory, or None.
        """
        ...

    @property
    def frozen(self) -> Any:
        """Arrays that every step reads and none changes, such as a teacher's weights. They are
        kept on the devices, and in no checkpoint."""
        return ()

    def between_epochs(self, state: S, epoch: int, look: Look) -> S:
        """The state with what is decided before epoch number `epoch`, from 0, on the host. A run
        that resumes within an epoch does not decide again: the state holds the decision."""
        return state

    def order(self, state: S, key: jax.Array, task: Task) -> jax.Array:
        """The images of every step of an epoch: int32 [task.steps, rows], positions in the training
        set, none twice in a step whose probabilities are remembered. By default a permutation, with
        `task.batch_size` per step.

        A run that resumes within an epoch calls this again: the order may depend on the key and on
        what `between_epochs` has decided, and on nothing that `step` changes.
        """
        return permutation(key, task.num_images, task.steps, task.batch_size)

    def networks(self, state: S) -> tuple[Weights, ...]:
        """The trained networks; the predictions of several are averaged."""
        return tuple(
            Weights(state.params[name], state.batch_stats[name]) for name in sorted(state.params)
        )

    def belief(self, state: S, look: Look) -> np.ndarray | None:
        """The probabilities that label issues are judged by, float32 [N, C] of the training images,
        on the host; zeros where nothing is known of an image. By default the memory of predictions
        during training, if it was kept; None: the networks' final predictions.

        Args:
          state: at the end of training.
          look: at that time.
        """
        return look.remembered() if look.is_remembered else None

    def divided(
        self, state: S, index: np.ndarray, given: np.ndarray, said: np.ndarray | None
    ) -> Division | None:
        """Which labels are right, of another class, or on images of none of the classes, if the
        method knows this better than its belief shows.

        Args:
          state: at the end of training.
          index: int [n], the positions of its images among all N; the others were held out.
          given: int32 [N], the given labels of all images.
          said: float32 [N, C], the guide's logits for all images; None without a guide.
        """
        return None


def permutation(key: jax.Array, size: int, steps: int, rows: int) -> jax.Array:
    """int32 [steps, rows], random indices in [0, size), none twice."""
    order = jax.random.permutation(key, size).astype(jnp.int32)
    return order[: steps * rows].reshape(steps, rows)


class Teacher(Protocol):
    """What guides a learner: an embedding of every image, from a fixed source.

    Attributes:
      size: D, the embedding size.
      reads_labels: whether labels were read to make it; SimSiam and an encoder read none.
      frozen: arrays that `embed` reads; in no state and in no learner's checkpoint.
    """

    @property
    def size(self) -> int:
        """D, the embedding size."""
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
        """The same teacher for a training set of only these of its images, int [n]."""
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
      train: its outputs for the learner's unaugmented training images, on the host: logits float32
        [N, C] and embeddings float32 [N, D], or None without them.
      accuracy: of the teacher on its own held-out images, in [0, 1]; None: not measured.
    """

    teacher: ClassifierTeacher
    train: Prediction
    accuracy: float | None = None
