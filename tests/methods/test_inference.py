"""Every image is predicted exactly once, however the number divides, by one network or several."""

import jax.numpy as jnp
import numpy as np
import pytest

from rmdnet_jax.methods import inference
from rmdnet_jax.methods.interface import Prediction, Weights


class Sums:
    """A network whose embedding is the sum of an image."""

    has_classifier = True

    def predict(self, weights, images):
        total = images.astype(jnp.float32).sum(axis=(1, 2, 3))[:, None]
        scaled = total * weights.params["scale"]
        return Prediction(scaled + 1 if self.has_classifier else None, scaled)


def scaled_by(*scales):
    return tuple(Weights({"scale": jnp.full((1, 1), scale)}, {}) for scale in scales)


def images_and_sums(count):
    images = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), np.uint8)
    return images, images.sum(axis=(1, 2, 3))[:, None]


@pytest.mark.parametrize("count", [1, 7, 8, 9, 24])
def test_padding_is_dropped_and_order_kept(count):
    images, sums = images_and_sums(count)
    predicted = inference.predictor(Sums(), batch_size=8)(scaled_by(1.0), images)
    np.testing.assert_allclose(predicted.embedding, sums)
    np.testing.assert_allclose(predicted.logits, sums + 1)


@pytest.mark.parametrize(("count", "batch"), [(1, 16), (16, 16), (17, 64), (100, 64)])
def test_few_images_do_not_fill_a_large_batch(count, batch):
    traced = []

    class Shapes(Sums):
        def predict(self, weights, images):
            traced.append(len(images))
            return super().predict(weights, images)

    images = np.ones((count, 8, 8, 3), np.uint8)
    predicted = inference.predictor(Shapes(), batch_size=64)(scaled_by(1.0), images)
    assert traced == [batch]  # compiled once, of that size
    np.testing.assert_array_equal(predicted.logits, np.full((count, 1), 8 * 8 * 3 + 1))


def test_of_several_networks_the_logits_are_averaged_and_the_embeddings_stand_side_by_side():
    images, sums = images_and_sums(9)
    predicted = inference.predictor(Sums(), batch_size=8)(scaled_by(1.0, 4.0), images)
    np.testing.assert_allclose(predicted.logits, 2.5 * sums + 1)
    np.testing.assert_allclose(predicted.embedding, np.hstack([sums, 4 * sums]))


@pytest.mark.parametrize("scales", [(2.0,), (2.0, 3.0)])
def test_without_a_classifier_there_are_no_logits(scales):
    encoder = Sums()
    encoder.has_classifier = False
    images, sums = images_and_sums(5)
    predicted = inference.predictor(encoder)(scaled_by(*scales), images)
    assert predicted.logits is None
    np.testing.assert_allclose(predicted.embedding, sums * np.array(scales))


def test_a_predictor_serves_one_network_and_then_two():
    images, sums = images_and_sums(3)
    predict = inference.predictor(Sums())
    for scales in ((1.0,), (1.0, 3.0), (5.0,)):
        expected = sums * np.mean(scales) + 1
        np.testing.assert_allclose(predict(scaled_by(*scales), images).logits, expected)
