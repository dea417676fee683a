"""Training targets for images whose given labels are not fully trusted."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp


def sharpen(p: jax.Array, temperature: float) -> jax.Array:
    """p^(1/T), with rows normalised to sum 1: sharper for smaller T; T = 1 changes nothing.

    Args:
      p: float32 [B, C], probabilities.
      temperature: T > 0.

    References:
      Berthelot et al. 2019, arXiv 1905.02249, equation 7.
    """
    # In logarithms, no power underflows to 0 in all classes.
    return jax.nn.softmax(jnp.log(jnp.maximum(p, jnp.finfo(p.dtype).tiny)) / temperature)


def refine(given: jax.Array, w: jax.Array, p: jax.Array) -> jax.Array:
    """w given + (1 - w) p (Li et al. 2020, arXiv 2002.07394, equation 3).

    Args:
      given: float32 [B, C], one-hot.
      w: float32 [B] in [0, 1], how far the label is trusted.
      p: float32 [B, C], predictions.
    """
    return w[:, None] * given + (1 - w[:, None]) * p


def guess(said: Sequence[jax.Array]) -> jax.Array:
    """The mean of probabilities float32 [B, C], of several views or networks (equation 4 there)."""
    return functools.reduce(jnp.add, said) / len(said)
