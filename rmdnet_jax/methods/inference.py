"""What networks say of a whole set of images, every image exactly once."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from rmdnet_jax.data import lazy_images
from rmdnet_jax.data.lazy_images import Images
from rmdnet_jax.machine import cpu, sharding
from rmdnet_jax.methods.interface import Network, Prediction, Weights

# Images up to which a smaller program is worth its compilation: who asks for one picture's class
# should not wait for a batch of 256.
_FEW = 16


def predictor(
    network: Network, batch_size: int = 256
) -> Callable[[tuple[Weights, ...], Images], Prediction]:
    """A compiled (weights of one or more networks, images uint8 [N, H, W, 3]) -> Prediction of
    NumPy arrays [N, ...]. Of several networks the logits are averaged and the embeddings stand side
    by side.

    The last batch is padded with zeros and the padding's predictions are dropped; batches are of
    `batch_size`, or 16 where there are no more images, rounded up to a multiple of the number of
    devices.
    """
    mesh = sharding.mesh()

    # Every host reads all of them.
    @functools.partial(jax.jit, out_shardings=sharding.replicated(mesh))
    def predict(networks: tuple[Weights, ...], images: jax.Array) -> Prediction:
        images = sharding.split_batch(images, mesh)
        return _together([network.predict(weights, images) for weights in networks])

    def run(networks: tuple[Weights, ...], images: Images) -> Prediction:
        networks = sharding.replicate(networks, mesh)  # one program, wherever they lie
        parts = []
        size = min(batch_size, _FEW) if len(images) <= _FEW else batch_size
        size += -size % mesh.size
        with jax.set_mesh(mesh):  # as in training: without it, it is another program
            for number, batch in enumerate(lazy_images.blocks(images, size)):
                padding = [(0, size - len(batch))] + [(0, 0)] * (batch.ndim - 1)
                parts.append(cpu.waited(predict(networks, np.pad(batch, padding)), number))
        parts = jax.device_get(parts)
        return jax.tree.map(lambda *arrays: np.concatenate(arrays)[: len(images)], *parts)

    return run


def _together(said: list[Prediction]) -> Prediction:
    """What several networks say, as one."""
    if len(said) == 1:
        return said[0]
    has_logits = said[0].logits is not None
    return Prediction(
        sum(one.logits for one in said) / len(said) if has_logits else None,
        jnp.concatenate([one.embedding for one in said], axis=-1),
    )
