"""The kNN probe: labels predicted by the nearest neighbours in an embedding, without training.

Cosine similarity and votes weighted by exp(similarity / temperature): the protocol of Wu et al.
2018 (arXiv 1805.01978, section 3.4), which SimSiam's monitor uses with k = 200 and 0.1.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from rmdnet_jax.losses.relation import unit_rows

# Queries in one compiled call. Their similarities to the whole bank are the largest array: 100 MB
# for CIFAR's 50,000, regardless of the number of queries.
_CHUNK = 512

# The smaller, the more the nearest neighbours dominate.
_TEMPERATURE = 0.1


def votes(
    bank: np.ndarray,
    bank_labels: np.ndarray,
    queries: np.ndarray,
    num_classes: int,
    *,
    k: int = 200,
) -> np.ndarray:
    """How the k nearest rows of the bank vote on each query's label.

    A zero vector has similarity 0 to everything.

    Args:
      bank: float [N, D], embeddings whose labels are known.
      bank_labels: int [N] in [0, num_classes).
      queries: float [M, D].
      num_classes: C.
      k: neighbours that vote; all, if there are fewer.

    Returns:
      float32 [M, C] in [0, 1]; each row sums to 1.

    Raises:
      ValueError: there is no neighbour.

    References:
      Wu et al. 2018, arXiv 1805.01978, section 3.4.
    """
    k = _available(k, bank, leave_one_out=False)
    unit_bank = unit_rows(jnp.asarray(bank, jnp.float32))
    labels = jnp.asarray(bank_labels, jnp.int32)
    return _in_chunks(
        queries,
        False,
        num_classes,
        lambda rows, own: _chunk_votes(unit_bank, labels, rows, own, k, num_classes),
    )


def neighbours_mean(
    bank: np.ndarray,
    values: np.ndarray,
    queries: np.ndarray | None = None,
    *,
    k: int,
) -> np.ndarray:
    """The mean of the values of the k nearest rows of the bank, with the weights of `votes`.

    Args:
      bank: float [N, D].
      values: float [N, C], one row for each row of the bank.
      queries: float [M, D]; None is the bank itself, where no row is its own neighbour.
      k: neighbours; all, if there are fewer.

    Returns:
      float32 [M, C]. With labels as one-hot values this is `votes`.

    Raises:
      ValueError: there is no neighbour.
    """
    leave_one_out = queries is None
    k = _available(k, bank, leave_one_out)
    unit_bank = unit_rows(jnp.asarray(bank, jnp.float32))
    known = jnp.asarray(values, jnp.float32)
    return _in_chunks(
        bank if queries is None else queries,
        leave_one_out,
        values.shape[1],
        lambda rows, own: _chunk_mean(unit_bank, known, rows, own, k),
    )


def accuracy(
    bank: np.ndarray,
    bank_labels: np.ndarray,
    queries: np.ndarray,
    query_labels: np.ndarray,
    num_classes: int,
    *,
    k: int = 200,
) -> float:
    """Share of the queries [M, D] whose neighbours elect their label [M], in [0, 1].

    The other arguments are those of `votes`; the lower class wins a tie.
    """
    voted = votes(bank, bank_labels, queries, num_classes, k=k)
    return float(np.mean(voted.argmax(axis=1) == query_labels))


def _available(k: int, bank: np.ndarray, leave_one_out: bool) -> int:
    k = min(k, len(bank) - leave_one_out)
    if k < 1:
        raise ValueError(f"a bank of {len(bank)} has no neighbours to vote; expected a larger one")
    return k


def _in_chunks(
    queries: np.ndarray, leave_one_out: bool, num_classes: int, answer: Callable
) -> np.ndarray:
    """float32 [M, C]: `answer` for all queries, called with rows [Q, D] and the rows of the bank
    that are the queries themselves, int32 [Q] (-1: none)."""
    answers = np.empty((len(queries), num_classes), np.float32)
    for start in range(0, len(queries), _CHUNK):
        rows = np.asarray(queries[start : start + _CHUNK], np.float32)
        chunk = np.pad(rows, [(0, _CHUNK - len(rows)), (0, 0)])  # one shape, one compilation
        own = np.arange(start, start + _CHUNK) if leave_one_out else np.full(_CHUNK, -1)
        part = answer(chunk, own.astype(np.int32))
        answers[start : start + len(rows)] = np.asarray(part)[: len(rows)]
    return answers


def _nearest(bank, queries, own, k):
    """Weights float32 [Q, k], which sum to 1, and rows int32 [Q, k] of the k nearest of the unit
    rows `bank`, without row own[i] (-1: none)."""
    # Accelerators would otherwise multiply in tf32 or bfloat16, which reorders close neighbours.
    similarity = jnp.dot(unit_rows(queries), bank.T, precision=jax.lax.Precision.HIGHEST)
    is_own = jnp.arange(len(bank), dtype=jnp.int32)[None, :] == own[:, None]
    nearest, index = jax.lax.top_k(jnp.where(is_own, -jnp.inf, similarity), k)
    # A softmax over the neighbours is exp(similarity / temperature) divided by its sum, and does
    # not overflow at a low temperature.
    return jax.nn.softmax(nearest / _TEMPERATURE, axis=1), index


@functools.partial(jax.jit, static_argnames="k")
def _chunk_mean(bank, values, queries, own, k):
    """Mean float32 [Q, C] of the values [N, C] of the nearest of `bank`."""
    weights, index = _nearest(bank, queries, own, k)
    # One neighbour after the other: no [Q, k, C] array is made.
    return jax.lax.fori_loop(
        0,
        k,
        lambda i, mean: mean + weights[:, i, None] * values[index[:, i]],
        jnp.zeros((len(queries), values.shape[1]), jnp.float32),
    )


@functools.partial(jax.jit, static_argnames=("k", "num_classes"))
def _chunk_votes(bank, labels, queries, own, k, num_classes):
    """Votes float32 [Q, C] of the nearest of `bank` for their labels."""
    weights, index = _nearest(bank, queries, own, k)
    # Comparison, choice and sum fuse into one loop: no [Q, k, C] array is made, and the order of
    # the sum is fixed, unlike that of a scatter on a GPU.
    classes = jnp.arange(num_classes, dtype=jnp.int32)
    votes_for = labels[index][:, :, None] == classes[None, None, :]
    return jnp.sum(jnp.where(votes_for, weights[:, :, None], 0.0), axis=1)
