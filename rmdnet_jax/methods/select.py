"""Which samples of a batch are taken for rightly labelled: those of small loss."""

import jax
import jax.numpy as jnp


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
