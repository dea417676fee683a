"""ELR+: a step by hand; each network is held by the other's average, which follows it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special

from rmdnet_jax.methods.elr_plus import ELRPlus
from rmdnet_jax.methods.interface import Batch, Task, Weights
from rmdnet_jax.methods.mixup import mixup
from rmdnet_jax.models.mlp import MLP

LABELS = np.array([0, 1, 2, 0, 1, 2], np.int32)
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)
TASK = Task(LABELS, num_classes=3, batch_size=4, epochs=20)
INDEX = np.array([4, 1, 0, 5], np.int32)
BATCH = Batch(jnp.asarray(IMAGES[INDEX]), jnp.asarray(LABELS[INDEX]), jnp.asarray(INDEX))
VIEW = (BATCH.image.astype(jnp.float32) / 255 - 0.5) / 0.25
RATE, KEY = 0.5, jax.random.key(1)
OTHER = {"1": "2", "2": "1"}


@pytest.fixture
def method(plain):
    return lambda **changes: ELRPlus(plain, **changes)


@pytest.fixture
def fresh(method):
    """With averages of the networks that are not the networks, and averages t that are not 0."""
    state = method().init(jax.random.key(0), jnp.asarray(IMAGES[:1]), TASK)
    said = np.random.default_rng(1).dirichlet([1] * 3, (2, 6)).astype(np.float32)
    average = method().init(jax.random.key(7), jnp.asarray(IMAGES[:1]), TASK).average
    return dataclasses.replace(
        state, target={"1": jnp.asarray(said[0]), "2": jnp.asarray(said[1])}, average=average
    )


def softmax(logits):
    return special.softmax(np.asarray(logits, np.float64), axis=1)


@pytest.fixture
def mixing(method, monkeypatch):
    """The lam and the partners of each network, which the step draws."""
    drawn = []

    def recorded(*arguments, **options):
        drawn.append(mixup(*arguments, **options))
        return drawn[-1]

    monkeypatch.setattr("rmdnet_jax.methods.elr_plus.mixup", recorded)
    return drawn


def test_a_step_by_hand(method, fresh, network, mixing):
    beta, weight = 0.7, 3.0
    after, metrics, together = method(beta=beta, weight=weight).step(fresh, BATCH, KEY, ())
    said = {
        name: softmax(network.predict(fresh.average[name], BATCH.image).logits) for name in OTHER
    }
    losses, early = [], []
    for name, mix in zip(OTHER, mixing, strict=True):
        t = beta * np.asarray(fresh.target[name])[INDEX] + (1 - beta) * said[OTHER[name]]
        np.testing.assert_allclose(after.target[name][INDEX], t, rtol=1e-4)
        rest = np.array([2, 3])  # not in the batch
        np.testing.assert_array_equal(after.target[name][rest], fresh.target[name][rest])
        lam, partner = float(mix.lam), np.asarray(mix.partner)
        assert lam >= 0.5
        x = lam * VIEW + (1 - lam) * VIEW[partner]
        weights = Weights(fresh.params[name], fresh.batch_stats[name])
        p = softmax(network.train(weights, x)[0].logits)
        one_hot = np.eye(3)[LABELS[INDEX]]
        given, q = (lam * v + (1 - lam) * v[partner] for v in (one_hot, t))
        agreement = (q * p).sum(axis=1, keepdims=True)
        losses.append(-(given * np.log(p)).sum(axis=1).mean())
        early.append(np.log(1 - agreement).mean())
        of_logits = (p - given) - weight * p * (q - agreement) / (1 - agreement)
        bias = [s.params[name]["classifier"]["Dense_0"]["bias"] for s in (fresh, after)]
        np.testing.assert_allclose((bias[0] - bias[1]) / RATE, of_logits.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(metrics["robust_loss"], sum(losses) / 2, rtol=1e-5)
    np.testing.assert_allclose(metrics["early_learning"], sum(early) / 2, rtol=1e-4)
    np.testing.assert_allclose(metrics["loss"], sum(losses) + weight * sum(early), rtol=1e-4)
    np.testing.assert_allclose(together, (said["1"] + said["2"]) / 2, rtol=1e-4)
    agreed = (np.asarray(together).argmax(axis=1) == LABELS[INDEX]).mean()
    assert metrics["train_accuracy"] == pytest.approx(agreed)
    assert mixing[0].lam != mixing[1].lam


def test_without_weight_two_networks_are_trained_on_mixed_images(method, fresh, mixing, learner):
    after, _, _ = method(weight=0.0).step(fresh, BATCH, KEY, ())
    plain = learner(optimizer=optax.sgd(RATE), pad=0, flip=False)

    def objective(logits):
        loss = jnp.zeros(())
        for one, mix in zip(logits, mixing, strict=True):
            own, other = (plain.loss(one, y) for y in (BATCH.label, BATCH.label[mix.partner]))
            loss += (mix.lam * own + (1 - mix.lam) * other).mean()
        return loss, {}

    views = {name: mix.x for name, mix in zip(OTHER, mixing, strict=True)}
    alone, _, _ = plain.update_each(fresh, views, objective)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), after.params, alone.params
    )


@pytest.mark.parametrize(("updates", "share"), [(0, 0.1), (4, 0.5), (30, 1.0)])
def test_the_averages_follow_with_a_decay_that_rises(method, fresh, updates, share):
    """Of 20 epochs of one step, half are 10 updates."""
    start = dataclasses.replace(
        fresh, progress=fresh.progress | {"updates": jnp.full((), updates, jnp.int32)}
    )
    after, _, _ = method(decay=0.9, ramp=0.5).step(start, BATCH, KEY, ())
    decay = 0.9 * np.exp(-5 * (1 - share) ** 2)
    for name in OTHER:
        now = Weights(after.params[name], after.batch_stats[name])
        expected = jax.tree.map(lambda a, b: decay * a + (1 - decay) * b, start.average[name], now)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
            after.average[name],
            expected,
        )
    assert after.progress["updates"] == updates + 1


def test_it_starts_as_its_own_average_and_shares_no_memory_with_it(method):
    state = method().init(jax.random.key(0), jnp.asarray(IMAGES[:1]), TASK)
    for name in OTHER:
        jax.tree.map(np.testing.assert_array_equal, state.average[name].params, state.params[name])
        assert not np.asarray(state.target[name]).any()
    step = jax.jit(lambda s: method().step(s, BATCH, KEY, ()), donate_argnums=0)
    jax.block_until_ready(step(state))
    assert jax.tree.leaves(state)[0].is_deleted()


def test_networks_are_the_trained_ones_and_not_their_averages(method, fresh):
    first, _ = method().networks(fresh)
    jax.tree.map(np.testing.assert_array_equal, first.params, fresh.params["1"])


def test_feature_vectors_are_learned_too(learner, network):
    vectors = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    features = dataclasses.replace(
        network, backbone=MLP((8,)), mean=np.zeros(5, np.float32), std=np.ones(5, np.float32)
    )
    method = ELRPlus(dataclasses.replace(learner(), network=features))
    state = method.init(jax.random.key(0), jnp.asarray(vectors[:1]), TASK)
    batch = dataclasses.replace(BATCH, image=jnp.asarray(vectors[INDEX]))
    _, metrics, said = method.step(state, batch, KEY, ())
    assert np.isfinite(metrics["loss"])
    assert said.shape == (4, 3)
