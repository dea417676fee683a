"""A pool of label weights per image, from which labels are drawn (Yu et al., CVPR 2023, "How to
Prevent the Continuous Damage of Noises to Model Training?", section 5.1).

Only what is added to a pool is stored, `added` here; the initial weight 1 of the given label is
not, since the labels are known.
"""

from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from rmdnet_jax.losses.robust import Loss
from rmdnet_jax.machine import sharding
from rmdnet_jax.methods.interface import Task

# Folded into a step's key to make the keys of the draws, and of those of unlabelled images: "draw"
# in ASCII, and the next. A small number could give one of the keys that the step splits it into.
DRAW, DRAW_UNLABELLED = 0x64726177, 0x64726178


def fresh(names: Iterable[str], task: Task) -> dict[str, jax.Array]:
    """Empty pools, float32 [N, C] by name."""
    return {name: jnp.zeros((task.num_images, task.num_classes), jnp.float32) for name in names}


def weights(added: jax.Array, given: jax.Array) -> jax.Array:
    """The weights D in the pools of images, float32 [B, C], at least 0.

    Args:
      added: float32 [B, C], the sum of the increments so far.
      given: int32 [B], the given labels.
    """
    return added + jax.nn.one_hot(given, added.shape[1])


def draw(key: jax.Array, weights: jax.Array) -> jax.Array:
    """A label for every image, int32 [B]: k with probability D_k / sum D (equation 5). A label of
    weight 0, log 0, is never drawn.

    Args:
      key: of the draw.
      weights: float32 [B, C], at least 0, with a positive one in every row.
    """
    return jax.random.categorical(key, jnp.log(weights))


def shares(weights: jax.Array) -> jax.Array:
    """The probabilities of the draw, D / sum D: float32 [B, C]."""
    return weights / weights.sum(axis=1, keepdims=True)


def share_of_given(shares: Sequence[jax.Array], given: jax.Array) -> jax.Array:
    """The mean share of the given labels int32 [B] in pools, float32 [B, C] each: a scalar."""
    return jnp.stack([jnp.take_along_axis(one, given[:, None], axis=1) for one in shares]).mean()


def expected(loss: Loss, logits: jax.Array, shares: jax.Array) -> jax.Array:
    """The expected loss over the draws, sum_k q_k loss(logits, k): float32 [B]. For cross entropy,
    it is the one to the soft label q.

    Args:
      loss: per example, (logits [B, C], labels [B]) -> [B].
      logits: float32 [B, C].
      shares: float32 [B, C], q; rows sum to 1.
    """
    size, num_classes = shares.shape
    labels = jnp.tile(jnp.arange(num_classes)[:, None], (1, size))
    losses = jax.vmap(loss, in_axes=(None, 0))(logits, labels)
    return jnp.sum(shares.T * losses, axis=0)


def increment(
    logits: jax.Array,
    given: jax.Array,
    progress: jax.Array,
    lambda1: float | jax.Array,
    lambda2: float | jax.Array,
    weight_by: str = "predicted",
) -> jax.Array:
    """What is added to the pools of images, float32 [B, C], at least 0 (equations 6 to 9).

    With p = softmax(logits), y the given label and s the progress: p_y (1 - s) to the given label,
    v lambda1 s to the predicted one, argmax p, and lambda2 s / C to each. v is max p, or p_y as
    equation 7 is printed.

    Args:
      logits: float32 [B, C]; no gradient goes through them.
      given: int32 [B], the given labels.
      progress: float32 scalar in [0, 1], the share of epochs done.
      lambda1: weight of the predicted label, at least 0.
      lambda2: equal weight of all labels, at least 0.
      weight_by: v: "predicted" for max p, "given" for p_y.
    """
    p = jax.nn.softmax(jax.lax.stop_gradient(logits))
    num_classes = p.shape[1]
    is_given = jax.nn.one_hot(given, num_classes)
    is_predicted = jax.nn.one_hot(p.argmax(axis=1), num_classes)
    p_given = jnp.sum(p * is_given, axis=1, keepdims=True)
    v = {"predicted": p.max(axis=1, keepdims=True), "given": p_given}[weight_by]
    return (
        is_given * p_given * (1 - progress)
        + is_predicted * v * (lambda1 * progress)
        + lambda2 * progress / num_classes
    )


def grown(added: jax.Array, index: jax.Array, more: jax.Array) -> jax.Array:
    """The pools of all images, float32 [N, C], after `more` [B, C] is added to those of the images
    `index` int32 [B]."""
    # Every device keeps the whole pool, and so needs the additions of the whole batch.
    index, more = sharding.whole((index, more))
    return added.at[index].add(more)


def shares_of_all(pools: Iterable[jax.Array], given: np.ndarray) -> np.ndarray:
    """The labels' shares in the pools of all images, by the mean of all pools: float32 [N, C] on
    the host; zeros for an image that was in no batch.

    Args:
      pools: what was added, float32 [N, C] each.
      given: int32 [N], the given labels.
    """
    added = np.mean([np.asarray(jax.device_get(one)) for one in pools], axis=0)
    weights = added + np.eye(added.shape[1], dtype=np.float32)[given]
    is_seen = added.any(axis=1, keepdims=True)
    return np.where(is_seen, weights / weights.sum(axis=1, keepdims=True), 0)
