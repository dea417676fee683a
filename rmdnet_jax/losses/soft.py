"""Losses against targets that are distributions over the classes, and terms of predictions alone.

All are computed from log-softmax, and are finite in value and gradient for logits of +-1e4. Targets
are taken as constants: code that computes them with a network has to stop their gradient.
"""

import jax
import jax.numpy as jnp


def soft_cross_entropy(logits: jax.Array, target: jax.Array) -> jax.Array:
    """-sum_c q_c log p_c.

    Args:
      logits: float32 [B, C].
      target: float32 [B, C], q; rows sum to 1.

    Returns:
      float32 [B], at least 0: the cross entropy, if q is one-hot.
    """
    return -jnp.sum(target * jax.nn.log_softmax(logits), axis=1)


def brier(logits: jax.Array, target: jax.Array) -> jax.Array:
    """mean_c (p_c - q_c)^2: bounded, so that no single wrong guess dominates.

    Args:
      logits: float32 [B, C].
      target: float32 [B, C], q; rows sum to 1.

    Returns:
      float32 [B] in [0, 2/C].

    References:
      Berthelot et al. 2019, arXiv 1905.02249, equation 4.
    """
    return jnp.mean((jax.nn.softmax(logits) - target) ** 2, axis=1)


def prior_penalty(logits: jax.Array) -> jax.Array:
    """KL(uniform || mean of p over the batch): against a network that predicts one class for all.

    Args:
      logits: float32 [B, C].

    Returns:
      float32 scalar, at least 0; finite even if a class is predicted for no image.

    References:
      Tanaka et al. 2018, arXiv 1803.11364, equation 10; Li et al. 2020, arXiv 2002.07394, 11.
    """
    batch, classes = logits.shape
    log_mean = jax.nn.logsumexp(jax.nn.log_softmax(logits), axis=0) - jnp.log(batch)
    return -jnp.log(classes) - jnp.mean(log_mean)


def negative_entropy(logits: jax.Array) -> jax.Array:
    """sum_c p_c log p_c: a penalty on confidence.

    Args:
      logits: float32 [B, C].

    Returns:
      float32 [B] in [-log C, 0].

    References:
      Pereyra et al. 2017, arXiv 1701.06548; Li et al. 2020, arXiv 2002.07394, equation 2.
    """
    log_p = jax.nn.log_softmax(logits)
    return jnp.sum(jnp.exp(log_p) * log_p, axis=1)


def symmetric_kl(logits1: jax.Array, logits2: jax.Array) -> jax.Array:
    """KL(p1 || p2) + KL(p2 || p1) = sum_c (p1_c - p2_c) (log p1_c - log p2_c).

    Args:
      logits1, logits2: float32 [B, C]; the gradient flows to both.

    Returns:
      float32 [B], at least 0; 0 where both predict the same.

    References:
      Wei et al. 2020, arXiv 2003.02752, equation 4.
    """
    log1, log2 = jax.nn.log_softmax(logits1), jax.nn.log_softmax(logits2)
    return jnp.sum((jnp.exp(log1) - jnp.exp(log2)) * (log1 - log2), axis=1)


def distillation(logits: jax.Array, teacher: jax.Array, temperature: float) -> jax.Array:
    """T^2 KL(softmax(teacher / T) || softmax(logits / T)).

    Args:
      logits: float32 [B, C].
      teacher: float32 [B, C], logits.
      temperature: T > 0; its square keeps the scale of the gradients independent of it. The value
        is a difference of terms that it makes equal: a relative error of 1e-5 at 4, .03 at 100.

    Returns:
      float32 [B], at least 0 but for rounding.

    References:
      Hinton et al. 2015, arXiv 1503.02531, section 2.
    """
    log_q = jax.nn.log_softmax(teacher / temperature)
    log_p = jax.nn.log_softmax(logits / temperature)
    return temperature**2 * jnp.sum(jnp.exp(log_q) * (log_q - log_p), axis=1)
