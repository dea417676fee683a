"""DFND: the surest half is learned, and a channel stands between the student and the teacher."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import log_softmax, softmax

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.methods import dfnd
from rmdnet_jax.methods.dfnd import DFND
from rmdnet_jax.methods.interface import Look, Task

# Optax's Adam takes a power of a float with an integer.
pytestmark = pytest.mark.usefixtures("lenient_promotion")

KEY = jax.random.key(1)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 8, 8, 3), np.uint8)
TASK = Task(np.arange(12, dtype=np.int32) % 3, 3, 4, 2)


@pytest.fixture
def method(learner, guide):
    def make(accuracy=0.9, **changes):
        known = guide(IMAGES, accuracy=accuracy)
        return DFND(learner(optimizer=optax.sgd(0.5), guide=known, pad=0, flip=False), **changes)

    return make


@pytest.fixture
def fresh(method):
    return method().init(jax.random.key(0), jnp.asarray(IMAGES[:1]), TASK)


def test_a_channel_has_the_accuracy_on_its_diagonal():
    even = np.exp(dfnd.log_channel(jnp.zeros((3, 3)), jnp.float32(0.9)))
    np.testing.assert_allclose(even, 0.05 + 0.85 * np.eye(3), rtol=1e-6)
    theta = RNG.normal(size=(4, 4)).astype(np.float32)
    found = np.exp(dfnd.log_channel(jnp.asarray(theta), jnp.float32(0.7)))
    for row, own in enumerate(theta.astype(np.float64)):
        expected = 0.3 * softmax(np.delete(own, row))
        np.testing.assert_allclose(np.delete(found[row], row), expected, rtol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)


def test_the_surest_half_is_learned_and_nothing_else(method, fresh):
    said = method().learner.guide.train.logits
    sure = softmax(said.astype(np.float64), axis=1).max(axis=1)
    look = Look(TASK.given, tuple, tuple, tuple, tuple)
    state = method().between_epochs(fresh, 0, look)
    kept = np.asarray(state.selection["kept"])
    assert kept.sum() == 6
    assert sure[kept].min() > sure[~kept].max()
    order = np.asarray(method().order(state, KEY, TASK))
    assert order.shape == (3, 4)
    assert set(order.ravel()) == set(np.flatnonzero(kept))
    assert method().between_epochs(state, 1, None) is state


def test_of_images_that_all_seem_certain_the_surest_are_kept(method, fresh):
    """Probabilities of more than 1 - 1e-16 differ only by their logits."""
    own = method(keep=0.5)
    gaps = np.arange(40, 100, 5, dtype=np.float32)  # of the 12 images
    logits = np.stack([gaps, np.zeros(12), np.zeros(12)], axis=1).astype(np.float32)
    guide = own.learner.guide
    guide = dataclasses.replace(guide, train=guide.train._replace(logits=logits))
    own = dataclasses.replace(own, learner=dataclasses.replace(own.learner, guide=guide))
    state = own.between_epochs(fresh, 0, Look(TASK.given, tuple, tuple, tuple, tuple))
    np.testing.assert_array_equal(np.flatnonzero(state.selection["kept"]), np.arange(6, 12))


def test_the_loss_of_a_step_by_hand(method, fresh, batch, logits_of):
    own = method(temperature=2.0)
    teacher = own.learner.guide.teacher
    view = own.learner.as_input(batch.image)
    said = np.asarray(teacher.classify(teacher.frozen, view, None).logits, np.float64)
    student = logits_of(fresh, batch.image)
    p, q = log_softmax(student / 2, axis=1), log_softmax(said / 2, axis=1)
    distilled = 4 * (np.exp(q) * (q - p)).sum(axis=1).mean()
    channel = softmax(student, axis=1) @ (0.05 + 0.85 * np.eye(3))
    unlikely = -np.log(channel[np.arange(8), said.argmax(axis=1)]).mean()
    after, metrics, none = own.step(fresh, batch, KEY, own.frozen)
    assert none is None
    assert metrics["loss"] == pytest.approx(distilled + unlikely, rel=1e-4)
    # Adam's first step is its learning rate, whatever the gradient; SGD's is not.
    moved = np.abs(np.asarray(after.params["1"]["channel"]["theta"]))
    np.testing.assert_allclose(moved[~np.eye(3, dtype=bool)], 1e-3, rtol=1e-3)
    assert (np.diagonal(moved) == 0).all()


def test_no_given_label_is_read(method, fresh, batch):
    other = batch.replace(label=(batch.label + 1) % 3)
    one, two = (method().step(fresh, b, KEY, method().frozen)[0] for b in (batch, other))
    jax.tree.map(np.testing.assert_array_equal, one.params, two.params)


def test_somebody_has_to_say_how_good_the_teacher_is(method, fresh):
    assert float(fresh.selection["accuracy"]) == pytest.approx(0.9)
    unknown = method(accuracy=None)
    with pytest.raises(InputError, match=r"--config\.dfnd\.accuracy"):
        unknown.check(TASK)
    told = dataclasses.replace(unknown, accuracy=0.8)
    told.check(TASK)
    state = told.init(jax.random.key(0), jnp.asarray(IMAGES[:1]), TASK)
    assert float(state.selection["accuracy"]) == pytest.approx(0.8)


def test_a_teacher_without_a_mistake_leaves_no_nan(method, batch):
    own = method(accuracy=1.0)
    state = own.init(jax.random.key(0), jnp.asarray(IMAGES[:1]), TASK)
    for _ in range(3):
        state, metrics, _ = own.step(state, batch, KEY, own.frozen)
        assert np.isfinite(metrics["loss"])
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state.params))
