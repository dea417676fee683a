"""The predictions of networks for a whole set of images, every image exactly once."""

import collections
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rmdnet_jax.data import lazy_images
from rmdnet_jax.data.lazy_images import Images
from rmdnet_jax.machine import sharding
from rmdnet_jax.methods.interface import Network, Prediction, Weights

# Up to this many images, a smaller program is worth compiling: a prediction for one image should
# not take a batch of 256.
_FEW = 16

# Batches in flight, whose predictions are on the devices; earlier ones are in the host's memory.
# From 32 on, devices of a CPU could wait for one another forever (machine/cpu.py).
_AHEAD = 8

# A batch holds this many times more feature vectors than images: they are that much less work.
_VECTORS = 8


def predictor(
    network: Network, batch_size: int = 256, embeds: bool = True
) -> Callable[[tuple[Weights, ...], Images], Prediction]:
    """A compiled (weights of one or more networks, images uint8 [N, H, W, 3] or features float32
    [N, D]) -> Prediction of NumPy arrays [N, ...]. For several networks, the logits are averaged
    and the embeddings are concatenated.

    Without `embeds`, only the logits are kept, [N, C] instead of [N, C + D].

    The last batch is padded with zeros, and the padding's predictions are dropped. Batches have
    `batch_size` images or eight times as many feature vectors, or 16 if there are no more, rounded
    up to a multiple of the number of devices.
    """
    mesh = sharding.mesh()

    # Every host reads all predictions.
    @functools.partial(jax.jit, out_shardings=sharding.replicated(mesh))
    def predict(networks: tuple[Weights, ...], images: jax.Array) -> Prediction:
        images = sharding.split_batch(images, mesh)
        said = _together([network.predict(weights, images) for weights in networks])
        return said if embeds else Prediction(said.logits, None)

    def run(networks: tuple[Weights, ...], images: Images) -> Prediction:
        networks = sharding.replicate(networks, mesh)  # one program, wherever they are stored
        usual = batch_size * (_VECTORS if images.ndim == 2 else 1)
        size = min(batch_size, _FEW) if len(images) <= _FEW else usual
        size += -size % mesh.size
        waiting: collections.deque = collections.deque()
        found: Any = None
        with jax.set_mesh(mesh):  # as in training: without it, another program is compiled
            for number, batch in enumerate(lazy_images.blocks(images, size)):
                if len(batch) < size:
                    batch = np.pad(batch, [(0, size - len(batch)), *[(0, 0)] * (batch.ndim - 1)])
                waiting.append((number * size, predict(networks, batch)))
                if len(waiting) > _AHEAD:
                    found = _filled(found, len(images), *waiting.popleft())
        while waiting:
            found = _filled(found, len(images), *waiting.popleft())
        return found

    return run


def _filled(found: Any, count: int, start: int, part: Prediction) -> Any:
    """Arrays [count, ...] on the host, made if there are none, with a batch's predictions from row
    `start` on."""
    part = jax.device_get(part)
    if found is None:
        found = jax.tree.map(lambda x: np.empty((count, *x.shape[1:]), x.dtype), part)
    for whole, rows in zip(jax.tree.leaves(found), jax.tree.leaves(part), strict=True):
        whole[start : start + len(rows)] = rows[: count - start]
    return found


def _together(said: list[Prediction]) -> Prediction:
    """The predictions of several networks, joined."""
    if len(said) == 1:
        return said[0]
    has_logits = said[0].logits is not None
    return Prediction(
        sum(one.logits for one in said) / len(said) if has_logits else None,
        jnp.concatenate([one.embedding for one in said], axis=-1),
    )
