"""JoCoR: both networks learn what they together find easy, and to agree on it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import softmax

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data.transition import Noise
from rmdnet_jax.methods.interface import Batch, Look, Task
from rmdnet_jax.methods.jocor import JoCoR

LABELS = np.arange(10, dtype=np.int32) % 3
IMAGES = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 3), np.uint8)
TASK = Task(LABELS, num_classes=3, batch_size=10, epochs=20)
BATCH = Batch(jnp.asarray(IMAGES), jnp.asarray(LABELS), jnp.arange(10))
RATE = 0.5  # of learning


@pytest.fixture
def method(plain):
    return lambda **changes: JoCoR(plain, **changes)


@pytest.fixture
def start(method):
    image = jnp.asarray(IMAGES[:1])
    return lambda **changes: method(**changes).init(jax.random.key(0), image, TASK)


@pytest.fixture
def said(logits_of):
    """Probabilities of the batch in training mode, by network: float64 [10, 3]."""

    return lambda state, name: softmax(logits_of(state, BATCH.image, name), axis=1)


def bias(state, name):
    return np.asarray(state.params[name]["classifier"]["Dense_0"]["bias"], np.float64)


@pytest.mark.parametrize("epoch", [0, 4, 30])
@pytest.mark.parametrize("weight", [0.0, 0.65])
def test_a_step_is_the_selection_and_the_gradient_by_hand(
    method, start, at_epoch, said, epoch, weight
):
    """One loss an image chooses and is minimised; its gradient goes through both sides of both
    divergences: with r = log p1 - log p2, d/dz1 of KL(p1||p2) + KL(p2||p1) is
    p1 (r - <p1, r>) + p1 - p2."""
    state = at_epoch(start(rate=0.4), epoch)
    one = method(rate=0.4, ramp=9, weight=weight)
    after, metrics, _ = one.step(state, BATCH, jax.random.key(1), ())
    keep = {0: 10, 4: 8, 30: 6}[epoch]  # 1 - 0.4 * min(epoch / 8, 1) of 10
    p1, p2 = said(state, "1"), said(state, "2")
    rows, given = np.arange(10), np.eye(3)[LABELS]
    ce = -np.log(p1[rows, LABELS]) - np.log(p2[rows, LABELS])
    apart = ((p1 - p2) * (np.log(p1) - np.log(p2))).sum(axis=1)
    joint = (1 - weight) * ce + weight * apart
    easy = np.argsort(joint, kind="stable")[:keep]
    np.testing.assert_allclose(metrics["kept"], keep / 10, rtol=1e-6)
    np.testing.assert_allclose(metrics["loss"], joint[easy].mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["robust_loss"], ce[easy].mean() / 2, rtol=1e-5)
    np.testing.assert_allclose(metrics["disagreement"], apart[easy].mean(), rtol=1e-4)
    for name, own, other in (("1", p1, p2), ("2", p2, p1)):
        r = np.log(own) - np.log(other)
        towards = own * (r - (own * r).sum(axis=1, keepdims=True)) + own - other
        of_logits = ((1 - weight) * (own - given) + weight * towards)[easy].mean(axis=0)
        moved = (bias(state, name) - bias(after, name)) / RATE
        np.testing.assert_allclose(moved, of_logits, atol=1e-5)


def test_without_its_term_and_with_all_kept_two_networks_are_trained_side_by_side(
    method, start, learner
):
    """Each moves as it does alone on the mean loss of the batch."""
    state = start(rate=0.0)
    after, _, _ = method(rate=0.0, weight=0.0).step(state, BATCH, jax.random.key(1), ())
    alone = learner(optimizer=optax.sgd(RATE), pad=0, flip=False)

    def objective(logits):
        return alone.loss(logits[0], BATCH.label).mean(), {}

    for name in ("1", "2"):
        one = dataclasses.replace(
            alone.init(jax.random.key(0), jnp.asarray(IMAGES[:1])),
            params={"1": state.params[name]},
            batch_stats={"1": state.batch_stats[name]},
        )
        moved, _, _ = alone.update(one, BATCH, jax.random.key(1), (), objective)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
            after.params[name],
            moved.params["1"],
        )


def test_the_rate_is_known_or_estimated_as_co_teachings_is(method, start):
    assert len(method().networks(start())) == 2
    state = start(ramp=4)
    look = Look(LABELS, tuple, tuple, tuple, lambda: Noise(np.eye(4), 0.3, (0, 1), None))
    assert method(ramp=4).between_epochs(state, 3, look) is state
    decided = method(ramp=4).between_epochs(state, 4, look)
    assert decided.selection["rate"] == pytest.approx(0.3)
    assert method(rate=0.2).between_epochs(state, 10, look) is state


def test_a_training_in_which_nothing_would_be_left_out_is_refused(method):
    short = dataclasses.replace(TASK, epochs=11)
    with pytest.raises(
        InputError, match=r"JoCoR keeps all images for 11 epochs, .* smaller jocor\.ramp"
    ):
        method().check(short)
    method().check(TASK)
