"""A network on feature vectors, and none at all: a linear model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rmdnet_jax.methods.network import Classifier
from rmdnet_jax.models.heads import Linear
from rmdnet_jax.models.mlp import MLP

FEATURES = np.random.default_rng(0).normal(3, 2, (6, 5)).astype(np.float32)
MEAN, STD = np.full(5, 3, np.float32), np.full(5, 2, np.float32)


@pytest.fixture(params=[(), (7,), (7, 4)])
def network(request):
    backbone = MLP(request.param) if request.param else None
    return Classifier(backbone, Linear(3), MEAN, STD)


def test_it_computes_what_numpy_does(network):
    weights = network.init(jax.random.key(0), jnp.asarray(FEATURES[:1]))
    x = (FEATURES - MEAN) / STD
    params = jax.device_get(weights.params)
    layers = sorted(params.get("backbone", {}).items())
    for _, layer in layers:
        x = np.maximum(x @ layer["kernel"] + layer["bias"], 0)
    head = params["classifier"]["Dense_0"]
    said = network.predict(weights, jnp.asarray(FEATURES))
    np.testing.assert_allclose(said.embedding, x, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(said.logits, x @ head["kernel"] + head["bias"], rtol=1e-5, atol=1e-5)
    assert said.embedding.shape[1] == network.embedding_size


def test_a_linear_model_has_a_classifier_alone():
    linear = Classifier(None, Linear(3), MEAN, STD)
    assert list(linear.modules) == ["classifier"]
    weights = linear.init(jax.random.key(0), jnp.asarray(FEATURES[:1]))
    assert list(weights.params) == ["classifier"]
    assert weights.batch_stats == {}
