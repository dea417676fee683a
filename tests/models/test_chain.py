"""Networks one after the other: each on the output of the one before, statistics by name."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rmdnet_jax.models import chain
from rmdnet_jax.models.heads import Linear
from rmdnet_jax.models.resnet import batch_norm


class Normed(nn.Module):
    """One layer and a batch norm."""

    features: int

    @nn.compact
    def __call__(self, x, train):
        return batch_norm(train, jnp.float32)(nn.Dense(self.features)(x))


MODULES = {"backbone": Normed(4), "middle": Linear(3), "head": Normed(2)}
X = jnp.asarray(np.random.default_rng(0).normal(size=(6, 5)), jnp.float32)


def fresh(modules=MODULES):
    return chain.init(modules, jax.random.split(jax.random.key(0), len(modules)), X[:1])


def test_every_network_has_parameters_and_those_with_a_norm_have_statistics():
    params, stats = fresh()
    assert list(params) == ["backbone", "middle", "head"]
    assert set(stats) == {"backbone", "head"}
    shapes = {name: tree["Dense_0"]["kernel"].shape for name, tree in params.items()}
    assert shapes == {"backbone": (5, 4), "middle": (4, 3), "head": (3, 2)}


def test_a_network_starts_from_its_own_key_whatever_follows_it():
    keys = jax.random.split(jax.random.key(0), 3)
    params, _ = chain.init(MODULES, keys, X[:1])
    first = {"backbone": MODULES["backbone"]}
    alone, _ = chain.init(first, keys[:1], X[:1])
    jax.tree.map(np.testing.assert_array_equal, alone["backbone"], params["backbone"])
    assert chain.init({}, [], X[:1]) == ({}, {})


def test_it_is_one_after_the_other_and_inference_changes_no_statistics():
    params, stats = fresh()
    outputs, after = chain.apply(MODULES, params, stats, X, train=False)
    out = X
    for name, module in MODULES.items():
        variables = {"params": params[name]} | (
            {"batch_stats": stats[name]} if name in stats else {}
        )
        out = module.apply(variables, out, train=False)
        np.testing.assert_allclose(outputs[name], out, rtol=1e-6)
    assert list(outputs) == list(MODULES)
    jax.tree.map(np.testing.assert_array_equal, after, stats)


def test_training_normalises_by_the_batch_and_moves_the_statistics():
    params, stats = fresh()
    outputs, after = chain.apply(MODULES, params, stats, X, train=True)
    assert set(after) == set(stats)
    for name in stats:
        np.testing.assert_allclose(outputs[name].mean(axis=0), 0, atol=1e-5)
    dense = jax.device_get(params["backbone"]["Dense_0"])
    mean = (np.asarray(X) @ dense["kernel"] + dense["bias"]).mean(axis=0)
    found = after["backbone"]["BatchNorm_0"]["mean"]
    np.testing.assert_allclose(found, 0.1 * mean, rtol=1e-4, atol=1e-6)


def test_names_that_are_no_network_of_the_chain_are_not_read():
    """An adapter's parameters lie beside the network's."""
    params, stats = fresh()
    first = {"backbone": MODULES["backbone"]}
    outputs, after = chain.apply(first, params, stats, X, train=True)
    assert set(outputs) == set(after) == {"backbone"}
