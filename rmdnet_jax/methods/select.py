"""Sample selection: the smallest losses of a batch, the most certain of a training set, and as many
of a part as an epoch needs."""

import jax
import jax.numpy as jnp
import numpy as np


def smallest(losses: jax.Array, keep: jax.Array | int) -> jax.Array:
    """Weights float32 [B]: 1 for the `keep` smallest losses, 0 for the others.

    No shape depends on `keep`, which may be traced. Among equal losses, the first in the batch are
    kept; no gradient flows through the selection.

    Args:
      losses: float [B].
      keep: int32 scalar in [0, B].
    """
    order = jnp.argsort(jax.lax.stop_gradient(losses), stable=True)
    rank = jnp.zeros_like(order).at[order].set(jnp.arange(len(losses), dtype=order.dtype))
    return (rank < keep).astype(jnp.float32)


def surest(clean: np.ndarray, count: int) -> np.ndarray:
    """The `count` largest of float [N], as bool [N]; the first among equal ones."""
    chosen = np.zeros(len(clean), bool)
    chosen[np.argsort(-clean, kind="stable")[:count]] = True
    return chosen


def cycled(key: jax.Array, members: jax.Array, size: int) -> jax.Array:
    """int32 [size]: the positions of the members in random order, repeated as needed; those of all
    if there is no member.

    Args:
      key: PRNG key.
      members: bool [N]; no shape depends on their number.
    """
    members = members | ~members.any()
    drawn = jax.random.uniform(key, members.shape)
    order = jnp.argsort(jnp.where(members, drawn, 2)).astype(jnp.int32)
    return order[jnp.arange(size, dtype=jnp.int32) % members.sum(dtype=jnp.int32)]
