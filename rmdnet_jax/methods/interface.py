"""What a method is to the training loop: three pure functions over one state pytree."""

from typing import Any, NamedTuple, Protocol, TypeVar

import flax.struct
import jax
import optax


@flax.struct.dataclass
class Batch:
    """A batch as it lies in memory; augmentation happens inside the compiled step.

    Attributes:
      image: uint8 [B, H, W, 3].
      label: int32 [B], the given (perhaps wrong) labels.
      index: int32 [B], positions in the training set, for methods that remember samples.
    """

    image: jax.Array
    label: jax.Array
    index: jax.Array


@flax.struct.dataclass
class State:
    """All that a run carries from step to step, checkpointed whole.

    A method that remembers more (a label per sample, say) derives from it and adds its fields:
    training and checkpoints take any dataclass whose fields are dicts (or other trees) of arrays.

    Attributes:
      params: float32 parameters by network ("student", "teacher", ...).
      batch_stats: running batch statistics by network.
      opt_state: the optimiser's state, over the trained networks only.
    """

    params: dict
    batch_stats: dict
    opt_state: optax.OptState


class Prediction(NamedTuple):
    """What a network says of images, on the device or, from evaluation/inference.py, the host.

    Attributes:
      logits: float32 [B, C]; None without a classifier.
      embedding: float32 [B, D], the backbone's output after global average pooling.
    """

    logits: Any
    embedding: Any


Metrics = dict[str, jax.Array]


S = TypeVar("S", bound=State)


class Method(Protocol[S]):
    """A way to learn. Implementations are frozen dataclasses whose fields are hyperparameters."""

    def init(self, key: jax.Array, example: jax.Array) -> S:
        """Fresh state; `example` is a uint8 [1, H, W, 3] image that gives the shapes. Compiles
        what it needs to itself."""

    def step(self, state: S, batch: Batch, key: jax.Array) -> tuple[S, Metrics]:
        """One update. Metrics are float32 scalars and hold at least "loss"."""

    def predict(self, state: S, images: jax.Array) -> Prediction:
        """Inference on uint8 [B, H, W, 3], without augmentation."""
