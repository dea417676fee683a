"""Schedules, momentum and weight decay against PyTorch's SGD worked by hand."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rmdnet_jax.methods import optimizers

pytestmark = pytest.mark.usefixtures("lenient_promotion")


def pytorch_sgd(p, gradients, lrs, momentum, weight_decay):
    """torch.optim.SGD's documented update: d = g + wd p; v = m v + d; p = p - lr v."""
    velocity, path = np.zeros_like(p), []
    for gradient, lr in zip(gradients, lrs, strict=True):
        velocity = momentum * velocity + gradient + weight_decay * p
        p = p - lr * velocity
        path.append(p)
    return path


def follow(optimizer, p, gradients):
    params, path = jnp.asarray(p), []
    state = optimizer.init(params)
    for gradient in gradients:
        updates, state = optimizer.update(jnp.asarray(gradient), state, params)
        params = optax.apply_updates(params, updates)
        path.append(params)
    return path


GRADIENTS = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
START = np.array([1.0, -2.0, 0.5], np.float32)


def test_sgd_by_hand():
    """One parameter of 1, gradient 1, lr 0.1, momentum 0.5, decay 0.1: v = 1.1, p = 0.89;
    v = 0.55 + 1.089 = 1.639, p = 0.7261."""
    optimizer = optimizers.sgd(optax.constant_schedule(0.1), 0.5, 0.1)
    path = follow(optimizer, np.float32([1]), np.float32([[1], [1]]))
    np.testing.assert_allclose(np.ravel(path), [0.89, 0.7261], rtol=1e-6)


def test_sgd_follows_pytorch_over_a_schedule():
    lrs = [0.1] * 3 + [0.01] * 2 + [0.001]
    optimizer = optimizers.sgd(optimizers.step_decay(0.1, 6, (0.5, 5 / 6)), 0.9, 5e-4)
    expected = pytorch_sgd(START, GRADIENTS, lrs, 0.9, 5e-4)
    np.testing.assert_allclose(follow(optimizer, START, GRADIENTS), expected, rtol=1e-5)


def test_clipping_comes_before_the_decay():
    optimizer = optimizers.sgd(optax.constant_schedule(0.1), 0.0, 0.5, grad_clip=1.0)
    gradient = np.float32([3, 4, 0])
    expected = START - 0.1 * (gradient / 5 + 0.5 * START)
    np.testing.assert_allclose(follow(optimizer, START, [gradient])[0], expected, rtol=1e-6)


def test_the_papers_drops_fall_on_epochs_150_180_and_210():
    steps_per_epoch = 781
    schedule = optimizers.step_decay(0.01, 240 * steps_per_epoch, (0.625, 0.75, 0.875))
    for epoch, lr in ((0, 1e-2), (149, 1e-2), (150, 1e-3), (179, 1e-3), (180, 1e-4), (210, 1e-5)):
        np.testing.assert_allclose(schedule(epoch * steps_per_epoch), lr, rtol=1e-5)
        np.testing.assert_allclose(schedule((epoch + 1) * steps_per_epoch - 1), lr, rtol=1e-5)


def test_drops_that_fall_on_one_update_are_all_made():
    schedule = optimizers.step_decay(1.0, 3, (0.625, 0.75, 0.875))  # after 2, 2 and 3 updates
    np.testing.assert_allclose([schedule(n) for n in range(4)], [1, 1, 0.01, 0.001], rtol=1e-5)


def test_constant_predictor_alone_keeps_its_rate():
    params = {name: {"w": jnp.ones(2)} for name in ("backbone", "predictor")}
    decayed, constant = (
        optimizers.sgd(schedule, 0.0, 0.0)
        for schedule in (optimizers.step_decay(1.0, 2, (0.5,)), optax.constant_schedule(1.0))
    )
    optimizer = optimizers.with_constant_predictor(decayed, constant)
    state = optimizer.init(params)
    for _ in range(2):
        updates, state = optimizer.update(params, state, params)
    np.testing.assert_allclose(updates["backbone"]["w"], -0.1, rtol=1e-6)
    np.testing.assert_allclose(updates["predictor"]["w"], -1.0)
