"""Relation graphs of a batch, and the losses that pull a student's graph towards its teacher's.

The graph is the matrix of Pearson correlations between embeddings; RMDNet's regulariser is
`rmd_loss`, usable in any training loop. Normalising by the batch size is left to the caller.
"""

import jax
import jax.numpy as jnp

# Inside the square root, in squared units of the embedding: it bounds the gradient of nearly
# constant rows, and changes the correlation of rows of standard deviation 1e-3 by less than 1e-6.
_EPSILON = 1e-12


def unit_rows(x: jax.Array) -> jax.Array:
    """Scales each row to length 1; a zero row stays zero, with zero gradient.

    Args:
      x: float [B, D].

    Returns:
      float32 [B, D] (float64 if x is float64).
    """
    x = _at_least_float32(x)
    square = jnp.sum(x * x, axis=-1, keepdims=True)
    # Without the `where`, the gradient at a zero row would be 1/sqrt(epsilon): finite, but wild.
    return x * jnp.where(square > 0, jax.lax.rsqrt(square + _EPSILON), jnp.zeros_like(square))


def edge_matrix(a: jax.Array, b: jax.Array | None = None) -> jax.Array:
    """Pearson correlation of every row of `a` with every row of `b` over their D features.

    Without `b` it is the edge matrix E(N, N) of one graph: symmetric, with ones on the diagonal.
    With a teacher's and a student's embeddings it is the node matrix M = E(N_t, N_s).
    A constant row has no correlation: its entries are 0, also on the diagonal, with zero gradient.

    Args:
      a: float [B, D]; 16-bit input is raised to float32.
      b: float [B, D], or None for `a` itself.

    Returns:
      float32 [B, B] (float64 if the input is float64), in [-1, 1] up to rounding; entry (i, j) is
      the correlation of a[i] with b[j].

    Raises:
      ValueError: `a` or `b` is not [B, D], or their shapes differ.

    References:
      RMDNet, equations 5, 6 and 8.

    Examples:
      >>> import jax.numpy as jnp
      >>> from rmdnet_jax.losses.relation import edge_matrix
      >>> rising, falling = [1.0, 2.0, 3.0], [3.0, 2.0, 1.0]
      >>> print(edge_matrix(jnp.array([rising, rising, falling])).round(2))
      [[ 1.  1. -1.]
       [ 1.  1. -1.]
       [-1. -1.  1.]]
    """
    if b is not None:
        _check_same_batch(a, b)
        if a.shape[1] != b.shape[1]:
            raise ValueError(
                f"embeddings of {a.shape[1]} and {b.shape[1]} features cannot be correlated; "
                "project one side with a linear layer to the other's width"
            )
    elif a.ndim != 2:
        raise ValueError(f"embeddings have shape {a.shape}; expected [batch, features]")
    rows = _standardise(a)
    columns = rows if b is None else _standardise(b)
    # Over standardised rows the pairwise correlation is a dot product, and the two vmaps of it
    # are one matrix product: no [B, B, D] array is made.
    return jax.vmap(jax.vmap(_correlation, in_axes=(None, 0)), in_axes=(0, None))(rows, columns)


def edge_loss(teacher: jax.Array, student: jax.Array) -> jax.Array:
    """Frobenius norm of the difference of the two edge matrices, ||E_t - E_s||.

    Grows with the batch size B; divide by B to compare between batch sizes.

    Args:
      teacher: float [B, D_t]; gets no gradient.
      student: float [B, D_s]; D_s may differ from D_t.

    Returns:
      float32 scalar in [0, 2B]; 0 with zero gradient where the graphs are equal.

    Raises:
      ValueError: an input is not [B, D], or the batch sizes differ.

    References:
      RMDNet, equation 7.

    Examples:
      >>> import jax.numpy as jnp
      >>> from rmdnet_jax.losses.relation import edge_loss
      >>> teacher = jnp.array([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]])  # two opposites
      >>> print(edge_loss(teacher, 5 * teacher).round(2))  # no matter of scale
      0.0
      >>> student = jnp.array([[0.0, 1.0], [0.0, 2.0]])  # takes them for alike
      >>> print(edge_loss(teacher, student).round(2))  # the root of 2 * 2 ** 2
      2.83
    """
    _check_same_batch(teacher, student)
    return _frobenius(edge_matrix(jax.lax.stop_gradient(teacher)) - edge_matrix(student))


def node_loss(teacher: jax.Array, student: jax.Array) -> jax.Array:
    """Frobenius norm of the node matrix minus the identity, ||E(N_t, N_s) - I||.

    Not 0 for student = teacher, as different samples are never completely uncorrelated.
    Grows with the batch size B; divide by B to compare between batch sizes.

    Args:
      teacher: float [B, D]; gets no gradient.
      student: float [B, D].

    Returns:
      float32 scalar in [0, 2B].

    Raises:
      ValueError: an input is not [B, D], or the shapes differ; where D differs, project one side.

    References:
      RMDNet, equation 9.

    Examples:
      >>> import jax.numpy as jnp
      >>> from rmdnet_jax.losses.relation import node_loss
      >>> teacher = jnp.array([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]])  # correlated by -1
      >>> print(node_loss(teacher, teacher).round(2))  # the root of 2 * (-1) ** 2
      1.41
    """
    nodes = edge_matrix(jax.lax.stop_gradient(teacher), student)
    return _frobenius(nodes - jnp.eye(len(nodes), dtype=nodes.dtype))


def rmd_loss(
    teacher: jax.Array, student: jax.Array, alpha: float = 0.8, beta: float = 0.35
) -> jax.Array:
    """RMDNet's regulariser, alpha * node_loss + beta * edge_loss.

    Args:
      teacher: float [B, D], embeddings from the frozen teacher; gets no gradient.
      student: float [B, D], embeddings of the same images from the network in training.
      alpha: weight of the node loss.
      beta: weight of the edge loss.

    Returns:
      float32 scalar, to be added to a classification loss with a weight K. It grows with B: a K
      quoted for one batch size does not hold for another.

    Raises:
      ValueError: an input is not [B, D], or the shapes differ.

    References:
      RMDNet, equation 10 and section 4.3.

    Examples:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from rmdnet_jax.losses.relation import rmd_loss
      >>> teacher = jnp.array([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]])
      >>> print(rmd_loss(teacher, teacher).round(2))  # 0.8 * 1.41, and no edge loss
      1.13
      >>> print(rmd_loss(teacher, teacher, alpha=0.0))
      0.0
      >>> jax.grad(rmd_loss, argnums=1)(teacher, teacher[::-1]).shape
      (2, 3)
    """
    return alpha * node_loss(teacher, student) + beta * edge_loss(teacher, student)


def _at_least_float32(x: jax.Array) -> jax.Array:
    x = jnp.asarray(x)
    return x if x.dtype == jnp.float64 else x.astype(jnp.float32)


def _standardise(x: jax.Array) -> jax.Array:
    x = _at_least_float32(x)
    # The rounding error of a mean would turn a constant row of 1000.1 into noise of length 1.
    # Minus its own first entry, a constant row is exactly zero; the correlation does not change.
    x = x - jax.lax.stop_gradient(x[:, :1])
    return unit_rows(x - jnp.mean(x, axis=-1, keepdims=True))


def _correlation(x: jax.Array, y: jax.Array) -> jax.Array:
    # Accelerators would otherwise multiply float32 matrices in tf32 or bfloat16.
    return jnp.dot(x, y, precision=jax.lax.Precision.HIGHEST)


def _frobenius(matrix: jax.Array) -> jax.Array:
    square = jnp.sum(matrix * matrix)
    # Both branches of a `where` are differentiated: the inner one keeps sqrt'(0) = inf out, so
    # that the gradient at 0 (a student that is the teacher) is 0 and not NaN.
    root = jnp.sqrt(jnp.where(square > 0, square, jnp.ones_like(square)))
    return jnp.where(square > 0, root, jnp.zeros_like(square))


def _check_same_batch(teacher: jax.Array, student: jax.Array) -> None:
    if teacher.ndim != 2 or student.ndim != 2:
        raise ValueError(
            f"embeddings have shapes {teacher.shape} and {student.shape}; "
            "expected [batch, features] for both"
        )
    if len(teacher) != len(student):
        raise ValueError(
            f"batches of {len(teacher)} and {len(student)} embeddings cannot be compared; "
            "both sides must hold the same images in the same order"
        )
