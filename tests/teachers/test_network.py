"""A frozen network as a teacher: its last module's output, by running statistics."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rmdnet_jax.models import chain
from rmdnet_jax.models.resnet import batch_norm
from rmdnet_jax.teachers.network import NetworkTeacher


class Layer(nn.Module):
    """One layer and a batch norm."""

    features: int

    @nn.compact
    def __call__(self, x, train):
        return batch_norm(train, jnp.float32)(nn.Dense(self.features)(x.reshape(len(x), -1)))


MODULES = {"backbone": Layer(4), "projector": Layer(3)}
VIEW = jnp.asarray(np.random.default_rng(0).normal(size=(5, 4, 4, 3)), jnp.float32)


def teacher(*names):
    modules = {name: MODULES[name] for name in names}
    keys = jax.random.split(jax.random.key(0), len(names))
    weights = jax.device_get(chain.init(modules, keys, VIEW[:1]))
    return NetworkTeacher(modules, modules[names[-1]].features, *weights)


def test_the_embedding_is_the_last_modules_output():
    for names in (("backbone",), ("backbone", "projector")):
        one = teacher(*names)
        embedding = one.embed(one.frozen, VIEW, jnp.arange(5))
        out = VIEW
        for name in names:
            variables = {"params": one.params[name], "batch_stats": one.batch_stats[name]}
            out = MODULES[name].apply(variables, out, train=False)
        assert embedding.shape == (5, one.size)
        np.testing.assert_allclose(embedding, out, rtol=1e-6)


def test_an_image_is_embedded_the_same_whatever_else_is_in_the_batch():
    one = teacher("backbone", "projector")
    together = one.embed(one.frozen, VIEW, jnp.arange(5))
    alone = one.embed(one.frozen, VIEW[:1], jnp.arange(1))
    np.testing.assert_allclose(together[:1], alone, rtol=1e-5, atol=1e-6)


def test_what_is_frozen_is_what_it_reads():
    one = teacher("backbone")
    zeros = jax.tree.map(np.zeros_like, one.frozen)
    np.testing.assert_array_equal(one.embed(zeros, VIEW, jnp.arange(5)), np.zeros((5, 4)))


def test_it_reads_no_labels_and_is_the_same_for_any_images():
    one = teacher("backbone")
    assert not one.reads_labels
    assert one.of_images(np.array([3, 1])) is one
