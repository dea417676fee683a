"""What a student says of every training image while it learns, kept as a mean over its epochs.

By the end of training a network may know a wrong label by heart; what it said of the image in the
views of many epochs is the better witness. Nothing of it goes back into training.
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
    """The memory of a student that has seen none of its `images` yet."""
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
      probabilities: float32 [B, C], what the student says of them.
    """
    visits = memory["visits"][index] + 1
    share = ((_ETA + 1) / (visits + _ETA)).astype(jnp.float32)
    before = memory["probabilities"][index]
    after = before + share[:, None] * (probabilities - before)
    return {
        "probabilities": memory["probabilities"].at[index].set(after),
        "visits": memory["visits"].at[index].set(visits),
    }


def recalled(memory: Memory, otherwise: np.ndarray) -> np.ndarray:
    """The mean of every image, float32 [N, C] on the host, and `otherwise` [N, C] where an image
    was never in a batch."""
    host = jax.device_get(memory)
    return np.where(host["visits"][:, None] > 0, host["probabilities"], otherwise)
