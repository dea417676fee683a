"""A method's predictions for a whole set of images, every image exactly once."""

import functools
from collections.abc import Callable

import jax
import numpy as np

from rmdnet_jax.data import lazy_images
from rmdnet_jax.data.lazy_images import Images
from rmdnet_jax.methods.interface import Method, Prediction, S
from rmdnet_jax.training import sharding

# Images up to which a smaller program is worth its compilation: who asks for one picture's class
# should not wait for a batch of 256.
_FEW = 16


def predictor(method: Method[S], batch_size: int = 256) -> Callable[[S, Images], Prediction]:
    """A compiled (state, images uint8 [N, H, W, 3]) -> Prediction of NumPy arrays [N, ...].

    The last batch is padded with zeros and the padding's predictions are dropped; batches are of
    `batch_size`, or 16 where there are no more images, rounded up to a multiple of the number of
    devices.
    """
    mesh = sharding.mesh()

    # Every host reads all of them.
    @functools.partial(jax.jit, out_shardings=sharding.replicated(mesh))
    def predict(state: S, images: jax.Array) -> Prediction:
        return method.predict(state, sharding.split_batch(images, mesh))

    def run(state: S, images: Images) -> Prediction:
        state = sharding.replicate(state, mesh)  # one program, wherever the state lies
        parts = []
        size = min(batch_size, _FEW) if len(images) <= _FEW else batch_size
        size += -size % mesh.size
        with jax.set_mesh(mesh):  # as in training: without it, it is another program
            for batch in lazy_images.blocks(images, size):
                padding = [(0, size - len(batch))] + [(0, 0)] * (batch.ndim - 1)
                parts.append(predict(state, np.pad(batch, padding)))
        parts = jax.device_get(parts)
        return jax.tree.map(lambda *arrays: np.concatenate(arrays)[: len(images)], *parts)

    return run
