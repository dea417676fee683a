"""Trained classifiers as teachers: networks on the learner's views, tables read at the index."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from rmdnet_jax.data import augment
from rmdnet_jax.methods.interface import Prediction
from rmdnet_jax.methods.network import Classifier
from rmdnet_jax.models.heads import Linear
from rmdnet_jax.models.resnet import batch_norm
from rmdnet_jax.teachers.classifier import ClassifierNetwork, ClassifierTable

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 8, 8, 3), np.uint8)
OWN = np.array([0.3, 0.5, 0.6], np.float32), np.array([0.2, 0.25, 0.3], np.float32)
VIEWS = np.array([0.5, 0.4, 0.45], np.float32), np.array([0.25, 0.26, 0.22], np.float32)
INDEX = jnp.arange(6)


class Layer(nn.Module):
    """A backbone of one layer, with running statistics."""

    embedding_size: int = 5

    @nn.compact
    def __call__(self, x, train):
        return batch_norm(train, jnp.float32)(nn.Dense(self.embedding_size)(x.reshape(len(x), -1)))


NETWORK = Classifier(Layer(), Linear(3), *OWN)


def teacher(*seeds, shape=(8, 8, 3), network=NETWORK, views=VIEWS):
    example = jnp.zeros((1, *shape), jnp.float32 if len(shape) == 1 else jnp.uint8)
    weights = tuple(jax.device_get(network.init(jax.random.key(seed), example)) for seed in seeds)
    return ClassifierNetwork(network, weights, shape, *views)


def said(one, images, index=INDEX):
    """Of the learner's views of images that are not augmented."""
    view = augment.as_input(jnp.asarray(images), *VIEWS)
    return jax.jit(one.classify)(one.frozen, view, index)


def test_a_view_is_normalised_as_the_teacher_was_trained():
    one = teacher(0)
    expected = NETWORK.predict(one.weights[0], jnp.asarray(IMAGES))
    found = said(one, IMAGES)
    np.testing.assert_allclose(found.logits, expected.logits, atol=1e-5)
    np.testing.assert_allclose(found.embedding, expected.embedding, atol=1e-5)
    view = augment.as_input(jnp.asarray(IMAGES), *VIEWS)
    wrong = Classifier(NETWORK.backbone, NETWORK.classifier, *VIEWS)  # what would come of the view
    unlike = wrong.predict(one.weights[0], jnp.asarray(IMAGES)).logits
    assert np.abs(unlike - found.logits).max() > 0.1
    np.testing.assert_array_equal(one.embed(one.frozen, view, INDEX).shape, (6, one.size))
    np.testing.assert_allclose(one.embed(one.frozen, view, INDEX), found.embedding, atol=1e-6)


def test_clean_pictures_are_predicted_as_by_the_network_itself():
    one = teacher(0)
    first, again = one.asked(IMAGES, IMAGES[:2])
    expected = NETWORK.predict(one.weights[0], jnp.asarray(IMAGES))
    np.testing.assert_allclose(first.logits, expected.logits, atol=1e-5)
    np.testing.assert_allclose(first.embedding, expected.embedding, atol=1e-5)
    np.testing.assert_allclose(again.logits, expected.logits[:2], atol=1e-5)


@pytest.mark.parametrize("side", [4, 12])
def test_a_view_of_another_size_is_brought_to_the_teachers_as_pictures_are(side):
    """As Pillow resizes, but for its rounding to whole grey levels."""
    one = teacher(0, shape=(side, side, 3))
    sized = np.stack([
        np.stack([np.asarray(Image.fromarray(channel.astype(np.float32)).resize(
            (side, side), Image.Resampling.BILINEAR)) for channel in image.transpose(2, 0, 1)],
            axis=-1)
        for image in IMAGES
    ])  # fmt: skip
    pixels = augment.normalise(jnp.asarray(sized / 255), *OWN)
    weights = one.weights[0]
    variables = {"params": weights.params["backbone"],
                 "batch_stats": weights.batch_stats["backbone"]}  # fmt: skip
    embedding = NETWORK.backbone.apply(variables, pixels, train=False)
    found = said(one, IMAGES)
    np.testing.assert_allclose(found.embedding, embedding, atol=1e-4)
    (clean,) = one.asked(IMAGES)
    np.testing.assert_allclose(found.logits, clean.logits, atol=1e-5)


def test_of_several_networks_the_logits_are_averaged_and_there_is_no_embedding():
    one = teacher(0, 1)
    parts = [NETWORK.predict(weights, jnp.asarray(IMAGES)).logits for weights in one.weights]
    found = said(one, IMAGES)
    np.testing.assert_allclose(found.logits, (parts[0] + parts[1]) / 2, atol=1e-5)
    assert found.embedding is None
    assert one.size == 0
    assert one.parameters == 2 * teacher(0).parameters == 2 * (192 * 5 + 5 + 2 * 5 + 5 * 3 + 3)


def test_feature_vectors_have_no_size_to_be_brought_to():
    rng = np.random.default_rng(1)
    mean, std = rng.normal(size=(2, 4)).astype(np.float32)
    views = rng.normal(size=4).astype(np.float32), np.full(4, 0.5, np.float32)
    linear = Classifier(None, Linear(3), mean, np.abs(std))
    one = teacher(0, shape=(4,), network=linear, views=views)
    features = jnp.asarray(rng.normal(size=(6, 4)), jnp.float32)
    found = one.classify(one.frozen, augment.as_input(features, *views), INDEX)
    expected = linear.predict(one.weights[0], features)
    np.testing.assert_allclose(found.logits, expected.logits, atol=1e-5)
    assert found.embedding.shape == (6, 4) == (6, one.size)


def test_what_is_frozen_is_what_a_network_reads():
    """Weights and normalisation: another teacher is told from this one by them."""
    one = teacher(0)
    zeros = jax.tree.map(np.zeros_like, one.frozen) | {"std": one.frozen["std"]}
    view = augment.as_input(jnp.asarray(IMAGES), *VIEWS)
    np.testing.assert_array_equal(one.classify(zeros, view, INDEX).logits, np.zeros((6, 3)))
    assert one.reads_labels
    assert one.of_images(np.array([3, 1])) is one


LOGITS = RNG.normal(size=(6, 3)).astype(np.float32)
EMBEDDING = RNG.normal(size=(6, 4)).astype(np.float32)
NAN = jnp.full((4, 8, 8, 3), jnp.nan)  # a view that is not read


def test_a_tables_rows_lie_where_the_images_do():
    table = ClassifierTable(Prediction(LOGITS, None))
    index = np.array([5, 0, 0, 3])
    found = jax.jit(table.classify)(table.frozen, NAN, jnp.asarray(index))
    np.testing.assert_array_equal(found.logits, LOGITS[index])
    assert found.embedding is None
    assert (table.size, table.reads_labels) == (0, True)
    doubled = {"logits": jnp.asarray(2 * LOGITS)}  # the table is no constant of the program
    np.testing.assert_array_equal(table.classify(doubled, NAN, index).logits, 2 * LOGITS[index])


def test_a_tables_embeddings_are_of_the_clean_images_and_no_views():
    table = ClassifierTable(Prediction(LOGITS, EMBEDDING))
    index = jnp.array([4, 2])
    assert table.size == 4
    np.testing.assert_array_equal(table.embed(table.frozen, NAN, index), EMBEDDING[[4, 2]])
    assert table.classify(table.frozen, NAN, index).embedding is None


@pytest.mark.parametrize("embedding", [None, EMBEDDING])
def test_of_some_images_a_table_is_their_rows(embedding):
    table = ClassifierTable(Prediction(LOGITS, embedding))
    assert table.of_images(np.arange(6)) is table
    left = table.of_images(np.array([1, 2, 5]))
    found = left.classify(left.frozen, None, jnp.array([2, 0]))
    np.testing.assert_array_equal(found.logits, LOGITS[[5, 1]])
    assert left.size == table.size
    assert dataclasses.replace(left, reads_labels=False).of_images(np.array([0])).size == left.size
