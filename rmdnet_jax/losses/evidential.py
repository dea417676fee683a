"""Evidence for a label, by subjective logic: logits as counts for each class."""

import jax


def subjective_logic(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The expected squared error of a label under a Dirichlet distribution.

    With evidence e = relu(logits), alpha = e + 1, S = sum alpha and p = alpha / S it is
    sum_k (t_k - p_k)^2 + p_k (1 - p_k) / (S + 1), where t is the one-hot label: small if the
    evidence is for the label, about 1 if there is none, large if it is for another class.

    Args:
      logits: float32 [B, C].
      labels: int [B].

    Returns:
      float32 [B] in (0, 2).

    References:
      Sensoy et al. 2018, arXiv 1806.01768, equation 5; MODUL, equation 2.
    """
    alpha = jax.nn.relu(logits) + 1
    total = alpha.sum(axis=1, keepdims=True)
    mean = alpha / total
    target = jax.nn.one_hot(labels, logits.shape[1], dtype=mean.dtype)
    return ((target - mean) ** 2 + mean * (1 - mean) / (total + 1)).sum(axis=1)
