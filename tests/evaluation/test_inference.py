"""Every image is predicted exactly once, however the number divides."""

import jax.numpy as jnp
import numpy as np
import pytest

from rmdnet_jax.evaluation import inference
from rmdnet_jax.methods.interface import Prediction


class Sums:
    """A method whose embedding is the sum of an image."""

    def predict(self, state, images):
        total = images.astype(jnp.float32).sum(axis=(1, 2, 3))[:, None]
        return Prediction(total + state, total)


@pytest.mark.parametrize("count", [1, 7, 8, 9, 24])
def test_padding_is_dropped_and_order_kept(count):
    images = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), np.uint8)
    predicted = inference.predictor(Sums(), batch_size=8)(jnp.float32(1), images)
    sums = images.sum(axis=(1, 2, 3))[:, None]
    np.testing.assert_allclose(predicted.embedding, sums)
    np.testing.assert_allclose(predicted.logits, sums + 1)


@pytest.mark.parametrize(("count", "batch"), [(1, 16), (16, 16), (17, 64), (100, 64)])
def test_few_images_do_not_fill_a_large_batch(count, batch):
    traced = []

    class Shapes(Sums):
        def predict(self, state, images):
            traced.append(len(images))
            return super().predict(state, images)

    images = np.ones((count, 8, 8, 3), np.uint8)
    predicted = inference.predictor(Shapes(), batch_size=64)(jnp.float32(1), images)
    assert traced == [batch]  # compiled once, of that size
    np.testing.assert_array_equal(predicted.logits, np.full((count, 1), 8 * 8 * 3 + 1))
