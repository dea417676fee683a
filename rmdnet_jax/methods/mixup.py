"""MixUp: convex combinations of two images and of their labels (Zhang et al. 2018, arXiv
1710.09412)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Mixed(NamedTuple):
    """Attributes:
    x, y: the mixed batch.
    lam: float32 scalar, the share of each image itself.
    partner: int32 [B], the image it is mixed with; a permutation.
    """

    x: jax.Array
    y: jax.Array
    lam: jax.Array
    partner: jax.Array

    def blend(self, values: jax.Array) -> jax.Array:
        """lam v + (1 - lam) v of the partner, for other values of the batch, float32 [B, ...]."""
        return self.lam * values + (1 - self.lam) * values[self.partner]


def mixup(
    key: jax.Array, x: jax.Array, y: jax.Array, alpha: float, at_least_half: bool = False
) -> Mixed:
    """lam x + (1 - lam) x of the partner, and y likewise; one lam ~ Beta(alpha, alpha) per batch.

    Args:
      key: PRNG key.
      x: float32 [B, ...], normalised views.
      y: float32 [B, C], labels as probabilities.
      alpha: > 0; a small value hardly mixes.
      at_least_half: lam is the larger of lam and 1 - lam, so that each image stays dominant
        (MixMatch, arXiv 1905.02249, equation 9).
    """
    lam_key, partner_key = jax.random.split(key)
    lam = jax.random.beta(lam_key, alpha, alpha, dtype=jnp.float32)
    lam = jnp.maximum(lam, 1 - lam) if at_least_half else lam
    partner = jax.random.permutation(partner_key, jnp.arange(len(x), dtype=jnp.int32))
    mixed = Mixed(x, y, lam, partner)
    return mixed._replace(x=mixed.blend(x), y=mixed.blend(y))
