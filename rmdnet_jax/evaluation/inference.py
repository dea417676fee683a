"""A method's predictions for a whole set of images, every image exactly once."""

from collections.abc import Callable

import jax
import numpy as np

from rmdnet_jax.data import lazy_images
from rmdnet_jax.data.lazy_images import Images
from rmdnet_jax.methods.interface import Method, Prediction, S
from rmdnet_jax.training import sharding


def predictor(method: Method[S], batch_size: int = 256) -> Callable[[S, Images], Prediction]:
    """A compiled (state, images uint8 [N, H, W, 3]) -> Prediction of NumPy arrays [N, ...].

    The last batch is padded with zeros and the padding's predictions are dropped; `batch_size` is
    rounded up to a multiple of the number of devices.
    """
    mesh = sharding.mesh()
    batch_size += -batch_size % mesh.size
    predict = jax.jit(
        lambda state, images: method.predict(state, sharding.split_batch(images, mesh)),
        out_shardings=sharding.replicated(mesh),  # every host reads all of them
    )

    def run(state: S, images: Images) -> Prediction:
        parts = []
        for batch in lazy_images.blocks(images, batch_size):
            padding = [(0, batch_size - len(batch))] + [(0, 0)] * (batch.ndim - 1)
            parts.append(predict(state, np.pad(batch, padding)))
        parts = jax.device_get(parts)
        return jax.tree.map(lambda *arrays: np.concatenate(arrays)[: len(images)], *parts)

    return run
