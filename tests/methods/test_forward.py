"""Forward correction: the loss of what T makes of the network's word, once habits are known."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rmdnet_jax.data import noise as made
from rmdnet_jax.data.transition import Noise
from rmdnet_jax.losses import robust
from rmdnet_jax.methods.folds import Folded
from rmdnet_jax.methods.forward import Forward, corrected_logits
from rmdnet_jax.methods.interface import Batch, Look, Task
from rmdnet_jax.methods.learner import Learner
from rmdnet_jax.methods.network import Classifier
from rmdnet_jax.methods.robust import Robust
from rmdnet_jax.models.heads import Linear

RNG = np.random.default_rng(0)
LABELS = (np.arange(12) % 3).astype(np.int32)
FEATURES = RNG.normal(0, 1, (12, 4)).astype(np.float32)
TASK = Task(LABELS, 3, 12, 10)
BATCH = Batch(jnp.asarray(FEATURES), jnp.asarray(LABELS), jnp.arange(12))
HABIT = made.transition_matrix("pairflip", 0.3, 3)


def learner(loss="gce", rate=0.5):
    network = Classifier(None, Linear(3), np.zeros(4, np.float32), np.ones(4, np.float32))
    return Learner(network, optax.sgd(rate), robust.get(loss), loss)


def fresh(method):
    return method.init(jax.random.key(0), jnp.asarray(FEATURES[:1]), TASK)


def look(noise):
    return Look(LABELS, tuple, tuple, tuple, lambda: noise)


def knowing(method, noise, epoch=2):
    return method.between_epochs(fresh(method), epoch, look(noise))


def test_corrected_logits_are_those_of_the_probabilities_times_t():
    """By hand: the softmax of (ln 6, ln 3, 0) is (.6, .3, .1)."""
    logits = jnp.log(jnp.array([[6.0, 3.0, 1.0]]))
    said = jax.nn.softmax(corrected_logits(logits, jnp.asarray(HABIT)))
    by_hand = [[0.6 * 0.7 + 0.1 * 0.3, 0.6 * 0.3 + 0.3 * 0.7, 0.3 * 0.3 + 0.1 * 0.7]]
    np.testing.assert_allclose(said, by_hand, rtol=1e-6)


@pytest.mark.parametrize("loss", ["ce", "gce"])
def test_until_habits_are_known_it_is_the_loss_itself(loss):
    forward, alone = Forward(learner(loss)), Robust(learner(loss))
    states = [fresh(forward), fresh(alone)]
    for noise in (None, Noise(HABIT, 0.3, (0, 1), None)):
        if noise:
            states[0] = forward.between_epochs(states[0], 2, look(noise))
        for number in range(3):
            key = jax.random.key(number)
            (states[0], told, _), (states[1], expected, _) = (
                method.step(state, BATCH, key, ())
                for method, state in zip((forward, alone), states, strict=True)
            )
            jax.tree.map(np.testing.assert_array_equal, told, expected)
        jax.tree.map(np.testing.assert_array_equal, states[0].params, states[1].params)


@pytest.mark.parametrize("loss", ["ce", "gce"])
def test_a_step_is_the_gradient_of_the_corrected_loss(loss):
    """Against central differences in float64."""
    forward = Forward(learner(loss))
    state = knowing(forward, Noise(HABIT, 0.3, (0, 1), HABIT))
    dense = jax.tree.map(np.asarray, state.params["1"]["classifier"]["Dense_0"])
    after, told, _ = forward.step(state, BATCH, jax.random.key(0), ())

    def objective(kernel):
        logits = FEATURES.astype(np.float64) @ kernel + dense["bias"]
        said = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) @ HABIT
        p = said[np.arange(12), LABELS]
        return (-np.log(p) if loss == "ce" else (1 - p**0.7) / 0.7).mean()

    kernel = dense["kernel"].astype(np.float64)
    assert told["loss"] == pytest.approx(objective(kernel), rel=1e-5)
    gradient = np.zeros_like(kernel)
    for place in np.ndindex(kernel.shape):
        step = np.zeros_like(kernel)
        step[place] = 1e-5
        gradient[place] = (objective(kernel + step) - objective(kernel - step)) / 2e-5
    moved = np.asarray(after.params["1"]["classifier"]["Dense_0"]["kernel"])
    np.testing.assert_allclose(moved, kernel - 0.5 * gradient, atol=1e-6)


def test_it_is_estimated_before_a_few_epochs_and_the_last_word_counts():
    forward = Forward(learner())
    state = fresh(forward)
    for epoch in (0, 1, 3, 5, 7, 9):
        assert forward.between_epochs(state, epoch, look(None)) is state
    for epoch in (2, 4, 6):
        known = knowing(forward, Noise(HABIT, 0.3, (0, 1), HABIT), epoch)
        assert known.noise["is_known"]
        np.testing.assert_allclose(known.noise["transition"], HABIT, rtol=1e-6)
        again = forward.between_epochs(known, 6, look(Noise(HABIT, 0.1, (0, 1), None)))
        assert not again.noise["is_known"]
    # A training that is too short for an estimate is one of the loss.
    short = forward.init(jax.random.key(0), jnp.asarray(FEATURES[:1]), Task(LABELS, 3, 12, 1))
    assert forward.between_epochs(short, 0, look(None)) is short


def test_folds_ask_those_that_have_not_seen_the_labels_and_once_for_all(monkeypatch):
    from rmdnet_jax.data import unseen

    asked = []

    def noise(belief, given):
        asked.append(belief)
        return Noise(HABIT, 0.3, (0, 1), HABIT)

    monkeypatch.setattr(unseen, "noise", noise)
    folded = Folded(Forward(learner()), 3)
    task = Task(LABELS, 3, 4, 10, folds=3)
    state = folded.init(jax.random.key(0), jnp.asarray(FEATURES[:1]), task)
    monkeypatch.setattr(Folded, "belief", lambda self, state, look: "unseen")
    decided = folded.between_epochs(state, 2, look(None))
    assert asked == ["unseen"]
    assert decided.noise["is_known"].all()
    assert decided.noise["transition"].shape == (4, 3, 3)


def test_a_network_that_would_learn_the_habit_learns_the_class():
    """Linear heads on two well-told classes of which 45 % of one are called the other, and as many
    images as make that the majority where they lie: CE follows the labels, the correction does
    not. Exact: the minimum is reached by 500 steps of the whole batch."""
    true = np.repeat([0, 1], 600)
    x = np.where(true == 0, -1.0, 1.0)[:, None] * np.array([[1.0, 0, 0, 0]])
    given = true.copy()
    given[:360] = 1  # 60 % of class 0
    task = Task(given.astype(np.int32), 2, 1200, 10)
    network = Classifier(None, Linear(2), np.zeros(4, np.float32), np.ones(4, np.float32))
    one = Learner(network, optax.sgd(1.0), robust.get("ce"), "ce")
    batch = Batch(jnp.asarray(x, jnp.float32), jnp.asarray(given, jnp.int32), jnp.arange(1200))
    matrix = np.array([[0.4, 0.6], [0.0, 1.0]])
    said = {}
    for method in (Robust(one), Forward(one)):
        state = method.init(jax.random.key(0), batch.image[:1], task)
        if isinstance(method, Forward):
            state = method.between_epochs(state, 2, look(Noise(matrix, 0.3, (0, 1), matrix)))
        step = jax.jit(method.step)
        for number in range(500):
            state, _, _ = step(state, batch, jax.random.key(number), ())
        (weights,) = method.networks(state)
        said[type(method)] = network.predict(weights, batch.image).logits.argmax(axis=1)
    assert (said[Robust] == 1).all()
    assert (said[Forward] == true).all()
