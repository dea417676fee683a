"""The moving average of a network's parameters, and ramps that rise during training."""

from typing import Any

import jax
import jax.numpy as jnp


def average(mean: Any, now: Any, decay: jax.Array | float) -> Any:
    """An exponential moving average of trees of float arrays: decay mean + (1 - decay) now."""
    return jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, mean, now)


def linear_ramp(share: jax.Array) -> jax.Array:
    """Rises from 0 at share 0 to 1 at share 1, and is constant beyond; float32."""
    return jnp.clip(share, 0, 1)


def sigmoid_ramp(share: jax.Array) -> jax.Array:
    """exp(-5 (1 - share)^2): rises from 0.0067 at share 0 to 1 at share 1, constant beyond.

    References:
      Laine and Aila 2017, arXiv 1610.02242, section A.
    """
    return jnp.exp(-5 * (1 - linear_ramp(share)) ** 2)
