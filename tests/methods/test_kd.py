"""Distillation: what the teacher says of the student's view, with and without the given labels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from rmdnet_jax.methods.interface import Task
from rmdnet_jax.methods.kd import Distillation
from rmdnet_jax.methods.robust import Robust

KEY = jax.random.key(1)


@pytest.fixture
def start(learner, guide, batch):
    """Makes a method with a teacher, and its fresh state."""

    def make(**changes):
        own = {name: changes.pop(name) for name in ("pad", "flip") if name in changes}
        known = guide(np.asarray(batch.image))
        method = Distillation(learner(guide=known, pad=0, flip=False, **own), **changes)
        task = Task(np.asarray(batch.label), 3, 8, 1)
        return method, method.init(jax.random.key(0), batch.image[:1], task)

    return make


@pytest.mark.parametrize("weight", [0.0, 0.1])
def test_the_loss_of_a_step_by_hand(start, batch, logits_of, weight):
    method, state = start(weight=weight)
    own = logits_of(state, batch.image)
    teacher = np.asarray(method.learner.guide.train.logits, np.float64)
    _, metrics, said = method.step(state, batch, KEY, method.frozen)
    p, q = log_softmax(own / 4, axis=1), log_softmax(teacher / 4, axis=1)
    distilled = 16 * (np.exp(q) * (q - p)).sum(axis=1).mean()
    label = -log_softmax(own, axis=1)[np.arange(8), np.asarray(batch.label)].mean()
    assert metrics["distilled_loss"] == pytest.approx(distilled, rel=1e-4)
    assert metrics["loss"] == pytest.approx(weight * label + (1 - weight) * distilled, rel=1e-4)
    np.testing.assert_allclose(said, softmax(own, axis=1), rtol=1e-4)


def test_alone_it_reads_no_label(start, batch):
    method, state = start()
    assert method.title == "KD"
    other = batch.replace(label=(batch.label + 1) % 3)
    one, two = (method.step(state, b, KEY, method.frozen)[0] for b in (batch, other))
    jax.tree.map(np.testing.assert_array_equal, one.params, two.params)


def test_the_given_labels_alone_are_the_loss_alone(start, batch):
    method, state = start(weight=1.0)
    assert method.title == "VKD"
    own, _, _ = method.step(state, batch, KEY, method.frozen)
    other, _, _ = Robust(method.learner).step(state, batch, KEY, method.frozen)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7),
        own.params, other.params,
    )  # fmt: skip


def test_the_teacher_sees_the_students_view(start, batch):
    """A teacher of the clean images would say the same of every crop."""
    method, state = start()
    crops = Distillation(
        method.learner.__class__(**{**vars(method.learner), "pad": 2, "flip": True})
    )
    teacher = crops.learner.guide.teacher
    view = crops.learner.view(jax.random.split(KEY)[0], batch.image)
    said = np.asarray(teacher.classify(teacher.frozen, view, batch.index).logits, np.float64)
    student, _ = crops.network.train(crops.networks(state)[0], view)
    p, q = log_softmax(np.asarray(student.logits, np.float64) / 4, axis=1), log_softmax(said / 4, 1)
    _, metrics, _ = crops.step(state, batch, KEY, crops.frozen)
    distilled = 16 * (np.exp(q) * (q - p)).sum(axis=1).mean()
    assert metrics["loss"] == pytest.approx(distilled, rel=1e-4)
    assert jnp.abs(view - crops.learner.as_input(batch.image)).max() > 0.1
