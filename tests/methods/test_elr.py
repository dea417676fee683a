"""ELR: a step is its loss and gradient by hand; the average of predictions has no gradient."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import softmax

from rmdnet_jax.methods.elr import ELR
from rmdnet_jax.methods.interface import Batch, Look, Task
from rmdnet_jax.methods.robust import Robust

LABELS = np.array([0, 1, 2, 0, 1, 2], np.int32)
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)
TASK = Task(LABELS, num_classes=3, batch_size=4, epochs=2)
INDEX = np.array([4, 1, 0, 5], np.int32)
BATCH = Batch(jnp.asarray(IMAGES[INDEX]), jnp.asarray(LABELS[INDEX]), jnp.asarray(INDEX))
RATE = 0.5


@pytest.fixture
def elr(learner):
    """Without augmentation, so that the view is the image; plain steps, so that gradients show."""
    return lambda **changes: ELR(learner(optimizer=optax.sgd(RATE), pad=0, flip=False), **changes)


@pytest.fixture
def fresh(elr):
    return elr().init(jax.random.key(0), jnp.asarray(IMAGES[:1]), TASK)


@pytest.fixture
def said(logits_of):
    """Probabilities of the batch in training mode, as the step sees them: float64 [4, 3]."""

    return lambda state: softmax(logits_of(state, BATCH.image), axis=1)


def step(method, state):
    return method.step(state, BATCH, jax.random.key(1), ())


def test_the_average_starts_at_zero_and_moves_by_its_share(elr, fresh, said):
    assert not np.asarray(fresh.target["mean"]).any()
    after, _, probabilities = step(elr(beta=0.9), fresh)
    p = said(fresh)
    np.testing.assert_allclose(probabilities, p, rtol=1e-5)
    mean = np.asarray(after.target["mean"])
    np.testing.assert_allclose(mean[INDEX], 0.1 * p, rtol=1e-4)
    assert not mean[[2, 3]].any()  # the images that were not in the batch
    twice, _, _ = step(elr(beta=0.9), after)
    expected = 0.9 * mean[INDEX] + 0.1 * said(after)
    np.testing.assert_allclose(twice.target["mean"][INDEX], expected, rtol=1e-4)


def test_a_step_is_the_loss_and_the_gradient_by_hand(elr, fresh, said):
    """t = beta t + (1 - beta) p is the new one; the gradient goes through p of <t, p> alone."""
    beta, weight = 0.7, 3.0
    start = dataclasses.replace(
        fresh, target={"mean": jnp.asarray(np.random.default_rng(1).dirichlet([1] * 3, 6)
                                           .astype(np.float32))}
    )  # fmt: skip
    after, metrics, _ = step(elr(beta=beta, weight=weight), start)
    p, given = said(start), np.eye(3)[LABELS[INDEX]]
    t = beta * np.asarray(start.target["mean"], np.float64)[INDEX] + (1 - beta) * p
    agreement = (t * p).sum(axis=1, keepdims=True)
    ce, early = -np.log((p * given).sum(axis=1)).mean(), np.log(1 - agreement).mean()
    np.testing.assert_allclose(metrics["robust_loss"], ce, rtol=1e-5)
    np.testing.assert_allclose(metrics["early_learning"], early, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"], ce + weight * early, rtol=1e-5)
    of_logits = (p - given) - weight * p * (t - agreement) / (1 - agreement)
    bias = [state.params["1"]["classifier"]["Dense_0"]["bias"] for state in (start, after)]
    np.testing.assert_allclose((bias[0] - bias[1]) / RATE, of_logits.mean(axis=0), atol=1e-5)


def test_without_weight_it_trains_as_the_loss_alone(elr, fresh):
    alone = Robust(elr().learner)
    ours, _, _ = step(elr(weight=0.0), fresh)
    theirs, _, _ = step(alone, fresh)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), ours.params, theirs.params
    )


def test_a_sure_prediction_is_clipped_and_the_loss_stays_finite(elr, fresh):
    """At p = 1 for a class that is t's, the second part would be log 0."""
    params = jax.tree.map(lambda x: x, fresh.params)
    head = params["1"]["classifier"]["Dense_0"]
    head["kernel"], head["bias"] = jnp.zeros_like(head["kernel"]), jnp.array([1e4, -1e4, -1e4])
    sure = jnp.zeros((6, 3), jnp.float32).at[:, 0].set(0.9998)  # as large as it becomes
    start = dataclasses.replace(fresh, params=params, target={"mean": sure})
    after, metrics, _ = step(elr(beta=0.7), start)
    assert metrics["early_learning"] >= np.log(2e-4) - 1e-3
    assert metrics["early_learning"] < np.log(1e-3)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after))


def test_its_belief_is_what_it_said_and_the_average_where_that_is_not_kept(elr, fresh, said):
    after, _, _ = step(elr(), fresh)
    remembered = np.full((6, 3), 1 / 3, np.float32)
    look = Look(LABELS, tuple, tuple, lambda: remembered, tuple)
    np.testing.assert_array_equal(elr().belief(after, look), remembered)
    belief = elr().belief(after, dataclasses.replace(look, is_remembered=False))
    np.testing.assert_allclose(belief[INDEX], said(fresh), rtol=1e-3)
    assert not belief[[2, 3]].any()
