"""Which samples are taken: of a batch those of small loss, of a training set the surest, and of a
part of it as many as an epoch asks for."""

import jax
import jax.numpy as jnp
import numpy as np


def smallest(losses: jax.Array, keep: jax.Array | int) -> jax.Array:
    """Weights float32 [B]: 1 for the `keep` smallest losses, 0 for the others.

    No shape depends on `keep`, which may be traced. Of equal losses the first in the batch are
    kept; no gradient goes through the choice.

    Args:
      losses: float [B].
      keep: int32 scalar in [0, B].
    """
    order = jnp.argsort(jax.lax.stop_gradient(losses), stable=True)
    rank = jnp.zeros_like(order).at[order].set(jnp.arange(len(losses), dtype=order.dtype))
    return (rank < keep).astype(jnp.float32)


def surest(clean: np.ndarray, count: int) -> np.ndarray:
    """The `count` largest of float [N], as bool [N]; of equal ones the first."""
    chosen = np.zeros(len(clean), bool)
    chosen[np.argsort(-clean, kind="stable")[:count]] = True
    return chosen


def cycled(key: jax.Array, members: jax.Array, size: int) -> jax.Array:
    """int32 [size]: the places of the members in an order that the key draws, as often as it takes;
    of all, where none is a member.

    Args:
      key: PRNG key.
      members: bool [N]; no shape depends on their number.
    """
    members = members | ~members.any()
    drawn = jax.random.uniform(key, members.shape)
    order = jnp.argsort(jnp.where(members, drawn, 2)).astype(jnp.int32)
    return order[jnp.arange(size, dtype=jnp.int32) % members.sum(dtype=jnp.int32)]
