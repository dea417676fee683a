"""SimSiam's loss, which trains RMDNet's teacher (relation modelling), and a monitor of collapse."""

import jax
import jax.numpy as jnp

from rmdnet_jax.losses.relation import unit_rows


def negative_cosine(q: jax.Array, y: jax.Array) -> jax.Array:
    """Mean over the batch of the negative cosine between predictions and targets.

    The gradient flows to both sides; `symmetric_loss` is the one that stops it.

    Args:
      q: float [B, D], the predictor's output; 16-bit input is raised to float32.
      y: float [B, D], the projector's output for the other view.

    Returns:
      float32 scalar in [-1, 1]. A zero vector counts as orthogonal to everything: 0, no gradient.

    Raises:
      ValueError: the shapes differ or are not [B, D].

    References:
      RMDNet, equation 1; Chen and He 2021, arXiv 2011.10566, equation 1.

    Examples:
      >>> import jax.numpy as jnp
      >>> from rmdnet_jax.losses.simsiam import negative_cosine
      >>> q = jnp.array([[1.0, 0.0], [0.0, 1.0]])
      >>> y = jnp.array([[3.0, 0.0], [3.0, 0.0]])  # one parallel, one orthogonal
      >>> print(negative_cosine(q, y).round(2))
      -0.5
    """
    if q.ndim != 2 or q.shape != y.shape:
        raise ValueError(
            f"predictions have shape {q.shape}, targets {y.shape}; expected one [batch, features]"
        )
    return -jnp.mean(jnp.sum(unit_rows(q) * unit_rows(y), axis=-1))


def symmetric_loss(q1: jax.Array, q2: jax.Array, y1: jax.Array, y2: jax.Array) -> jax.Array:
    """SimSiam's loss: each view's prediction against the other view's target, held fixed.

    L = C(q1, sg(y2)) / 2 + C(q2, sg(y1)) / 2. Without the stop-gradient the encoder collapses to
    a constant, so it lives here and not with the caller.

    Args:
      q1: float [B, D], the predictor's output for view 1.
      q2: float [B, D], the predictor's output for view 2.
      y1: float [B, D], the projector's output for view 1; gets no gradient.
      y2: float [B, D], the projector's output for view 2; gets no gradient.

    Returns:
      float32 scalar in [-1, 1].

    Raises:
      ValueError: the shapes differ or are not [B, D].

    References:
      RMDNet, equation 3; Chen and He 2021, arXiv 2011.10566, equation 4.

    Examples:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from rmdnet_jax.losses.simsiam import symmetric_loss
      >>> x = jnp.array([[1.0, 0.0], [0.0, 2.0]])
      >>> print(symmetric_loss(x, x, x, x).round(2))
      -1.0
      >>> print(jax.grad(symmetric_loss, argnums=2)(x, -x, x, x))  # targets stay fixed
      [[0. 0.]
       [0. 0.]]
    """
    forth = negative_cosine(q1, jax.lax.stop_gradient(y2))
    back = negative_cosine(q2, jax.lax.stop_gradient(y1))
    return forth / 2 + back / 2


# A spread below this means that the encoder has collapsed. A healthy one ends between 0.7 and 1,
# and often dips to 0.4 in the first epochs.
COLLAPSED = 0.1


def spread(z: jax.Array) -> jax.Array:
    """How far the directions of a batch are from collapse; a monitor, not a loss.

    The standard deviation over the batch of each feature of the L2-normalised rows, averaged over
    the features, times sqrt(D).

    Args:
      z: float [B, D], the projector's output.

    Returns:
      float32 scalar: about 1 for directions spread evenly, 0 when all are the same.

    References:
      Chen and He 2021, arXiv 2011.10566, section 4.1 and figure 2.
    """
    return jnp.mean(jnp.std(unit_rows(z), axis=0)) * z.shape[-1] ** 0.5
