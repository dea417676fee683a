"""What a network says of every training image while it learns, kept as a mean.

By the end of training a network may know a wrong label by heart; what it said of the image in the
views of many epochs is the better witness. The loop keeps such a memory of every method for its
label issues; a method may keep one of its own, which then goes back into training.
"""

import jax
import jax.numpy as jnp
import numpy as np

# The mean's weights grow as the cube of the epoch: half of the weight lies on the last sixth of
# training, however long that is (polynomial-decay averaging, Shamir and Zhang 2013, with eta = 3).
_ETA = 3

# Larger than so many bytes it is not kept: a copy lies on every device.
LARGEST = 1 << 30

# By name: probabilities float32 [N, C] and visits int32 [N]. A dict, as checkpoints hold states.
Memory = dict[str, jax.Array]


def empty(images: int, classes: int) -> Memory:
    """The memory of a network that has seen none of its `images` yet."""
    return {
        "probabilities": jnp.zeros((images, classes), jnp.float32),
        "visits": jnp.zeros(images, jnp.int32),
    }


def fits(images: int, classes: int) -> bool:
    """Whether a memory of so many images is small enough to be kept."""
    return 4 * images * (classes + 1) <= LARGEST


def remember(memory: Memory, index: jax.Array, probabilities: jax.Array) -> Memory:
    """The memory after a batch.

    Args:
      memory: of N images.
      index: int32 [B], the images' places, none twice.
      probabilities: float32 [B, C], what the network says of them.
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
    """An exponential average of every image after a batch: beta t + (1 - beta) p.

    Args:
      mean: float32 [N, C], t of all images; zeros at the start (ELR's way: rows then sum to less
        than 1).
      index: int32 [B], the batch's images, none twice.
      probabilities: float32 [B, C], p.
      beta: in [0, 1).

    Returns:
      All of it, float32 [N, C], and the batch's rows, float32 [B, C].
    """
    rows = beta * mean[index] + (1 - beta) * probabilities
    return mean.at[index].set(rows), rows


def recalled(memory: Memory) -> np.ndarray:
    """The mean of every image, float32 [N, C] on the host; zeros where it was in no batch."""
    return np.asarray(jax.device_get(memory["probabilities"]))


def known(belief: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """The rows of `belief` [N, C], and of `otherwise` where one is all zeros: nothing is known."""
    return np.where(belief.sum(axis=1, keepdims=True) > 0, belief, otherwise)
