"""Stage RM: SimSiam as a method, and what its stop-gradient is for."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rmdnet_jax.data import augment
from rmdnet_jax.losses import simsiam as losses
from rmdnet_jax.methods.interface import Batch
from rmdnet_jax.methods.simsiam import SimSiam
from rmdnet_jax.models.heads import Predictor, Projector
from rmdnet_jax.models.resnet import ResNet
from rmdnet_jax.training import cpu

MEAN, STD = np.full(3, 0.5, np.float32), np.full(3, 0.25, np.float32)


def method(lr=0.05):
    return SimSiam(
        backbone=ResNet(4),
        projector=Projector(32),
        predictor=Predictor(8, 32),
        optimizer=optax.sgd(lr, 0.9),
        mean=MEAN,
        std=STD,
    )


@functools.cache  # the same for all: neither the optimiser's state nor a parameter knows the rate
def start():
    return method().init(jax.random.key(0), batch().image[:1])


def batch(count=32, labels=0):
    rng = np.random.default_rng(0)
    # Smooth pictures: noise alone has no two views in common.
    coarse = rng.integers(0, 256, (count, 4, 4, 3))
    image = np.repeat(np.repeat(coarse, 4, axis=1), 4, axis=2).astype(np.uint8)
    label = np.full(count, labels, np.int32)
    return Batch(jnp.asarray(image), jnp.asarray(label), jnp.arange(count))


# Compiled quickly, and fast enough for so few steps.
step = cpu.jit_once(method().step)


def train(simsiam, steps):
    state, step = start(), cpu.jit_once(simsiam.step)
    for i in range(steps):
        state, metrics = step(state, batch(), jax.random.key(i))
    return state, metrics


def test_step_trains_all_three_networks():
    before = start()
    after, metrics = step(before, batch(), jax.random.key(1))
    assert set(before.params) == {"backbone", "projector", "predictor"}
    for network in before.params:
        params = jax.device_get((before.params[network], after.params[network]))
        changed = jax.tree.map(lambda a, b: bool((a != b).any()), *params)
        assert any(jax.tree.leaves(changed))
    assert -1 <= metrics["loss"] <= 1


def test_labels_are_not_read():
    state = start()
    one, other = (step(state, batch(labels=n), jax.random.key(1))[0] for n in (0, 5))
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_batch_statistics_are_updated_once_a_view():
    """Momentum 0.9 twice: what is left of the start is 0.81."""
    before = start()
    after, _ = step(before, batch(), jax.random.key(1))
    stem = before.params["backbone"]["Conv_0"]["kernel"]
    views = augment.two_views(jax.random.key(1), batch().image)
    expected = np.zeros(4)
    for view in views:
        x = (np.asarray(view) - MEAN) / STD
        y = jax.lax.conv_general_dilated(
            jnp.asarray(x), stem, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        expected = 0.9 * expected + 0.1 * np.asarray(y).mean(axis=(0, 1, 2))
    actual = after.batch_stats["backbone"]["BatchNorm_0"]["mean"]
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_predict_gives_the_backbones_embedding():
    state = start()
    prediction = method().predict(state, batch(5).image)
    assert prediction.logits is None
    assert prediction.embedding.shape == (5, 32)
    assert prediction.embedding.dtype == jnp.float32


def test_without_stop_gradient_it_collapses_and_with_it_not(monkeypatch):
    """Chen and He 2021, figure 2: the monitor tells the two apart."""
    _, healthy = train(method(lr=0.3), 110)

    def without_stop_gradient(q1, q2, y1, y2):
        return losses.negative_cosine(q1, y2) / 2 + losses.negative_cosine(q2, y1) / 2

    monkeypatch.setattr(losses, "symmetric_loss", without_stop_gradient)
    _, collapsed = train(method(lr=0.3), 110)
    assert collapsed["loss"] < -0.95
    assert collapsed["spread"] < 0.25
    assert healthy["spread"] > 2 * collapsed["spread"]
    assert healthy["spread"] > 0.4
