"""Contrastive losses on the unit sphere: between embeddings, and with the classes' prototypes."""

import jax
import jax.numpy as jnp

from rmdnet_jax.losses.soft import soft_cross_entropy


def prototype(
    z: jax.Array, prototypes: jax.Array, target: jax.Array, temperature: float
) -> jax.Array:
    """-sum_k q_k log softmax_k(z . prototype_k / t), which pulls an embedding to its class.

    Args:
      z: float32 [B, D], rows of norm 1.
      prototypes: float32 [K, D], one per class, of norm 1; zeros for a class without one.
      target: float32 [B, K], q; one-hot, or between two classes as MixUp makes it.
      temperature: t > 0.

    Returns:
      float32 [B], at least 0.

    References:
      MODUL, equations 11, 15 and 16.
    """
    return soft_cross_entropy(_products(z, prototypes) / temperature, target)


def npair(student: jax.Array, teacher: jax.Array) -> jax.Array:
    """log(1 + sum_{j != i} exp(s_i . t_j - s_i . t_i)), which pulls an image's two embeddings
    together and pushes those of different images apart.

    Args:
      student, teacher: s and t, float32 [B, D], rows of norm 1.

    Returns:
      float32 [B], at least 0; 0 for a batch of one.

    References:
      MODUL, equation 13; Sohn 2016 (NeurIPS), equation 6.
    """
    return -jnp.diagonal(jax.nn.log_softmax(_products(student, teacher)))


def infonce(student: jax.Array, teacher: jax.Array, temperature: float) -> jax.Array:
    """-log of the share of exp(s_i . t_i / t) in the sum of exp(s_i . t_j / t) over all j and of
    exp(s_i . s_j / t) over all j != i, which MODUL's code uses in place of `npair`.

    Args:
      student, teacher: s and t, float32 [B, D], rows of norm 1.
      temperature: t > 0.

    Returns:
      float32 [B], at least 0.

    References:
      Oord et al. 2018, arXiv 1807.03748, equation 4; Chen et al. 2020, arXiv 2002.05709, for the
      student's own negatives.
    """
    across, within = (_products(student, x) / temperature for x in (teacher, student))
    within = jnp.where(jnp.eye(len(student), dtype=bool), -jnp.inf, within)
    every = jnp.concatenate([across, within], axis=1)
    return jax.nn.logsumexp(every, axis=1) - jnp.diagonal(across)


def _products(a: jax.Array, b: jax.Array) -> jax.Array:
    """a_i . b_j, in float32 even if the device has something faster."""
    return jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST)
