"""The kind `supervised`: a trained classifier is taken as it is, and asked of every clean image."""

import types

import jax
import jax.numpy as jnp
import numpy as np

from rmdnet_jax.methods.interface import Prediction
from rmdnet_jax.methods.network import Classifier
from rmdnet_jax.models.heads import Linear
from rmdnet_jax.teachers import registry
from rmdnet_jax.teachers.classifier import ClassifierNetwork, ClassifierTable
from rmdnet_jax.teachers.source import Trained
from rmdnet_jax.teachers.supervised import SupervisedSource

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(7, 4)).astype(np.float32)
DATA = types.SimpleNamespace(train_images=FEATURES[:5], test_images=FEATURES[5:])
ONE = np.ones(4, np.float32)
LINEAR = Classifier(None, Linear(3), 0 * ONE, ONE)


def built(teacher, **facts):
    known = Trained(teacher, "a line", "a hash", **facts)
    return SupervisedSource.build(types.SimpleNamespace(classifier=known), DATA)


def test_a_network_is_asked_of_training_and_test_images():
    weights = jax.device_get(LINEAR.init(jax.random.key(0), jnp.asarray(FEATURES[:1])))
    teacher = ClassifierNetwork(LINEAR, (weights,), (4,), 0 * ONE, ONE)
    source = built(teacher, accuracy=0.9)
    assert registry.get("supervised") is SupervisedSource
    assert source.teacher(None) is teacher
    assert source.is_network
    assert source.method is None
    assert source.fresh(jax.random.key(0), None) is None
    train, test = source.predictions(None, DATA)
    kernel, bias = (weights.params["classifier"]["Dense_0"][name] for name in ("kernel", "bias"))
    found = np.concatenate([train.logits, test.logits])
    np.testing.assert_allclose(found, FEATURES @ kernel + bias, rtol=1e-5, atol=1e-6)
    assert (len(train.logits), len(test.embedding)) == (5, 2)


def test_a_tables_rows_are_what_it_says():
    rows = Prediction(RNG.normal(size=(5, 3)).astype(np.float32), None)
    of_test = Prediction(RNG.normal(size=(2, 3)).astype(np.float32), None)
    source = built(ClassifierTable(rows), test=of_test)
    assert not source.is_network
    assert source.predictions(None, DATA) == (rows, of_test)
    unknown = built(ClassifierTable(rows)).predictions(None, DATA)[1]
    assert unknown.logits is unknown.embedding is None


def test_it_says_that_labels_were_read_and_starts_no_learner():
    assert "with labels" in SupervisedSource.story
    source = built(ClassifierTable(Prediction(FEATURES, None)))
    assert source.teacher(None).reads_labels
    assert source.start(source.teacher(None)) is None
    assert (source.has_classifier, source.needs_path, source.trains) == (True, True, False)
