"""The learner's loss on every given label; with ResNet and the relation term it is RMDNet."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rmdnet_jax.losses import robust
from rmdnet_jax.machine import cpu
from rmdnet_jax.methods.interface import Batch, Task, Weights
from rmdnet_jax.methods.learner import Learner
from rmdnet_jax.methods.network import Classifier
from rmdnet_jax.methods.rgrl import Relation
from rmdnet_jax.methods.robust import Robust
from rmdnet_jax.models import chain
from rmdnet_jax.models.heads import Linear, Projector
from rmdnet_jax.models.resnet import ResNet
from rmdnet_jax.teachers.encoder import TableTeacher
from rmdnet_jax.teachers.network import NetworkTeacher

TASK = Task(np.arange(8, dtype=np.int32) % 3, 3, 8, 1)
TABLE = TableTeacher(np.random.default_rng(1).normal(size=(8, 6)).astype(np.float32))


def start(method, batch):
    return method.init(jax.random.key(0), batch.image[:1], TASK)


def steps(method, batch, count=1):
    """The state, and the metrics and probabilities of every step."""
    step, state = cpu.jit_once(method.step), start(method, batch)
    told = []
    for i in range(count):
        state, metrics, said = step(state, batch, jax.random.key(i), method.frozen)
        told.append((metrics, said))
    return state, told


@pytest.mark.parametrize("name", ["ce", "mae"])
def test_the_loss_is_the_mean_of_the_learners_over_the_given_labels(learner, batch, name):
    method = Robust(learner(loss=robust.get(name), loss_name=name))
    _, [(metrics, said)] = steps(method, batch)
    given = np.asarray(said)[np.arange(8), batch.label]
    expected = {"ce": -np.log(given), "mae": 2 * (1 - given)}[name].mean()
    np.testing.assert_allclose(metrics["robust_loss"], expected, rtol=1e-5)
    assert metrics["loss"] == metrics["robust_loss"]
    assert set(metrics) == {"loss", "robust_loss", "train_accuracy"}
    assert method.title == name.upper()


def test_it_says_what_the_network_said_before_the_update(learner, batch):
    _, [(metrics, said)] = steps(Robust(learner()), batch)
    assert said.shape == (8, 3)
    np.testing.assert_allclose(said.sum(axis=1), 1, rtol=1e-5)
    assert metrics["train_accuracy"] == np.mean(said.argmax(axis=1) == batch.label)


def test_one_network_is_left_to_predict_with(network, learner, batch):
    method = Robust(learner())
    state, _ = steps(method, batch)
    (weights,) = method.networks(state)
    jax.tree.map(np.testing.assert_array_equal, weights, Weights(*(
        getattr(state, field)["1"] for field in ("params", "batch_stats"))))  # fmt: skip
    assert method.network is network
    assert method.network.predict(weights, batch.image).logits.shape == (8, 3)


def test_a_few_steps_learn_a_batch(network, learner, batch):
    term = Relation(TABLE, network.backbone.embedding_size, k=0.01)
    method = Robust(learner(relation=term, pad=0, flip=False))
    assert method.frozen == TABLE.frozen
    _, told = steps(method, batch, count=30)
    first, *_, last = (float(metrics["robust_loss"]) for metrics, _ in told)
    assert last < 0.1 * first  # over 30 seeds of images and weights at most 0.0004


def drawn(shapes):
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.random(leaf.shape).astype(np.float32) / 4, shapes)


def test_rmdnet_on_resnets_from_end_to_end():
    """Equation 11 for a step, under the projector of a teacher of another width."""
    modules = {"backbone": ResNet(3), "projector": Projector(12)}
    keys, image = jax.random.split(jax.random.key(0)), jnp.zeros((1, 8, 8, 3))
    weights = drawn(jax.eval_shape(lambda keys: chain.init(modules, keys, image), keys))
    teacher = NetworkTeacher(modules, 12, *weights)
    half = np.full(3, 0.5, np.float32)
    network = Classifier(ResNet(2), Linear(3), half, half)
    learner = Learner(
        network, optax.sgd(0.1, 0.9), robust.get("gce"), "gce", Relation(teacher, 16), pad=1
    )
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), np.uint8)
    label = jnp.arange(8, dtype=jnp.int32)
    batch = Batch(jnp.asarray(image), label % 3, label)
    method = Robust(learner)
    before = start(method, batch)
    step = cpu.jit_once(method.step)
    after, metrics, said = step(before, batch, jax.random.key(1), method.frozen)
    assert set(metrics) == {"loss", "robust_loss", "node_loss", "edge_loss", "train_accuracy"}
    term = 0.8 * metrics["node_loss"] + 0.35 * metrics["edge_loss"]
    np.testing.assert_allclose(metrics["loss"], metrics["robust_loss"] + term, rtol=1e-6)
    assert set(after.params["1"]) == {"backbone", "classifier", "adapter"}
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), before.params, after.params)
    for network in changed["1"].values():
        assert any(jax.tree.leaves(network))
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(after))
    assert said.shape == (8, 3)
