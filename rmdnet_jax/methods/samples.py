"""A network's mean prediction for every training image during training.

By the end of training, a network may have memorised a wrong label; its predictions for the image's
views over many epochs are better evidence. The training loop keeps such a memory for every method's
label issues; a method may keep its own, which then feeds back into training.
"""

import jax
import jax.numpy as jnp
import numpy as np

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.methods.interface import Task

# The mean's weights grow with the cube of the epoch: half of the weight is on the last sixth of
# training, however long it is (polynomial-decay averaging, Shamir and Zhang 2013, with eta = 3).
_ETA = 3

# A memory above this many bytes is not kept: every device holds a copy.
LARGEST = 1 << 30

# By name: probabilities float32 [N, C] and visits int32 [N]. A dict, since checkpoints need one.
Memory = dict[str, jax.Array]


def empty(images: int, classes: int) -> Memory:
    """The memory before any of the `images` has been seen."""
    return {
        "probabilities": jnp.zeros((images, classes), jnp.float32),
        "visits": jnp.zeros(images, jnp.int32),
    }


def fits(images: int, classes: int) -> bool:
    """Whether a memory of this size is small enough to be kept."""
    return 4 * images * (classes + 1) <= LARGEST


def check(title: str, arrays: int, task: Task) -> None:
    """Raises InputError for a method whose arrays [N, C] are too large to be kept on every device.

    Args:
      title: of the method.
      arrays: how many it keeps for one training.
      task: its images, classes and folds; with folds, a training is kept for each and for all.
    """
    arrays *= task.folds + 1 if task.folds > 1 else 1
    size = 4 * arrays * task.num_images * task.num_classes
    if size > LARGEST:
        raise InputError(
            f"{title} keeps {task.num_images:,} images times {task.num_classes:,} classes "
            f"{arrays} times, {size / 2**30:.3g} GiB on every device; expected at most "
            f"{LARGEST / 2**30:.3g} GiB, or another config.method.name"
        )


def remember(memory: Memory, index: jax.Array, probabilities: jax.Array) -> Memory:
    """The memory after a batch.

    Args:
      memory: of N images.
      index: int32 [B], the images' positions, none twice.
      probabilities: float32 [B, C], the network's predictions.
    """
    visits = memory["visits"][index] + 1
    share = ((_ETA + 1) / (visits + _ETA)).astype(jnp.float32)
    before = memory["probabilities"][index]
    after = before + share[:, None] * (probabilities - before)
    return {
        "probabilities": memory["probabilities"].at[index].set(after),
        "visits": memory["visits"].at[index].set(visits),
    }


def average(
    mean: jax.Array, index: jax.Array, probabilities: jax.Array, beta: float
) -> tuple[jax.Array, jax.Array]:
    """An exponential average per image after a batch: beta t + (1 - beta) p.

    Args:
      mean: float32 [N, C], t of all images; zeros at the start (as in ELR: rows then sum to less
        than 1).
      index: int32 [B], the batch's images, none twice.
      probabilities: float32 [B, C], p.
      beta: in [0, 1).

    Returns:
      The whole average, float32 [N, C], and the batch's rows, float32 [B, C].
    """
    rows = beta * mean[index] + (1 - beta) * probabilities
    return mean.at[index].set(rows), rows


def recalled(memory: Memory) -> np.ndarray:
    """The mean of every image, float32 [N, C] on the host; zeros for an image in no batch."""
    return np.asarray(jax.device_get(memory["probabilities"]))


def known(belief: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """The rows of `belief` [N, C], or of `otherwise` where all are zeros, so nothing is known."""
    return np.where(belief.sum(axis=1, keepdims=True) > 0, belief, otherwise)
