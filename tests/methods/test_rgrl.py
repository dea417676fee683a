"""Stage RGRL: one step is one SGD update of the student alone, on equation 11."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rmdnet_jax.losses import relation, robust
from rmdnet_jax.methods.interface import Batch
from rmdnet_jax.methods.rgrl import RGRL, Teacher
from rmdnet_jax.models.heads import Linear, Projector
from rmdnet_jax.models.resnet import ResNet

MEAN, STD = np.full(3, 0.5, np.float32), np.full(3, 0.25, np.float32)


def images(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 16, 16, 3), np.uint8)


def batch(count=8):
    labels = np.arange(count, dtype=np.int32) % 3
    return Batch(jnp.asarray(images(count)), jnp.asarray(labels), jnp.arange(count))


def random_teacher(width=2, projected=False):
    backbone = ResNet(width)
    variables = backbone.init(jax.random.key(7), jnp.zeros((1, 16, 16, 3)), train=False)
    networks = {"backbone": variables}
    projector = Projector(24) if projected else None
    if projector:
        networks["projector"] = projector.init(
            jax.random.key(8), jnp.zeros((1, 8 * width)), train=False
        )
    params, stats = (
        jax.device_get({name: v[kind] for name, v in networks.items()})
        for kind in ("params", "batch_stats")
    )
    return Teacher(backbone, projector, params, stats)


def method(**changes):
    defaults = {
        "backbone": ResNet(2),
        "classifier": Linear(3),
        "loss": robust.get("ce"),
        "optimizer": optax.sgd(0.1, 0.9),
        "mean": MEAN,
        "std": STD,
        "teacher": random_teacher(),
    }
    return RGRL(**defaults | changes)


def start(rgrl):
    with jax.disable_jit():  # a program for every variant would take longer than all the rest
        return rgrl.init(jax.random.key(0), jnp.asarray(images(1)))


def test_step_changes_the_student_and_leaves_the_teacher():
    rgrl = method()
    before = start(rgrl)
    after, metrics = jax.jit(rgrl.step)(before, batch(), jax.random.key(1))
    for field in ("params", "batch_stats"):
        old, new = getattr(before, field), getattr(after, field)
        jax.tree.map(np.testing.assert_array_equal, old["teacher"], new["teacher"])
        changed = jax.tree.map(lambda a, b: bool((a != b).any()), old["student"], new["student"])
        assert any(jax.tree.leaves(changed))
    assert set(metrics) == {"loss", "robust_loss", "node_loss", "edge_loss", "train_accuracy"}


def test_loss_is_equation_11():
    rgrl = method(k=0.7, alpha=0.5, beta=0.25)
    _, metrics = rgrl.step(start(rgrl), batch(), jax.random.key(1))
    expected = metrics["robust_loss"] + 0.7 * (
        0.5 * metrics["node_loss"] + 0.25 * metrics["edge_loss"]
    )
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-6)


def test_per_sample_norm_divides_the_regulariser_by_the_batch():
    whole, per_sample = (
        method(relation_norm=norm).step(start(method()), batch(), jax.random.key(1))[1]
        for norm in ("frobenius", "frobenius_per_sample")
    )
    np.testing.assert_allclose(whole["node_loss"], per_sample["node_loss"], rtol=1e-6)
    regularisers = [m["loss"] - m["robust_loss"] for m in (whole, per_sample)]
    np.testing.assert_allclose(regularisers[0] / 8, regularisers[1], rtol=1e-4)


def test_without_a_teacher_it_is_the_robust_loss_alone():
    rgrl = method(teacher=None)
    _, metrics = rgrl.step(start(rgrl), batch(), jax.random.key(1))
    assert set(metrics) == {"loss", "robust_loss", "train_accuracy"}
    assert metrics["loss"] == metrics["robust_loss"]


def test_student_starts_alike_with_and_without_a_teacher():
    with_teacher, alone = start(method()), start(method(teacher=None))
    jax.tree.map(
        np.testing.assert_array_equal,
        with_teacher.params["student"],
        alone.params["student"],
    )


def test_k_of_zero_updates_the_student_as_the_loss_alone_does():
    (zero, _), (alone, _) = (
        rgrl.step(start(rgrl), batch(), jax.random.key(1))
        for rgrl in (method(k=0.0), method(teacher=None))
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
        zero.params["student"],
        alone.params["student"],
    )


def test_relation_losses_see_the_same_view_on_both_sides():
    """A student that is the teacher, in inference mode, has an edge loss of 0."""
    teacher = method().teacher
    same = {name: getattr(teacher, name)["backbone"] for name in ("params", "batch_stats")}
    rgrl = method(teacher=teacher, start=same, pad=0, flip=False)
    state = start(rgrl)
    x = jnp.asarray(images(8))
    student = rgrl.predict(state, x).embedding
    normalised = (x.astype(jnp.float32) / 255 - MEAN[None, None, None]) / STD[None, None, None]
    teacher = rgrl.teacher.embed(state.params["teacher"], state.batch_stats["teacher"], normalised)
    np.testing.assert_allclose(student, teacher, rtol=1e-5)
    assert relation.edge_loss(teacher, student) < 1e-4


def test_own_teacher_view_differs_from_the_same():
    same, own = (
        method(teacher_view=view).step(start(method()), batch(), jax.random.key(1))[1]
        for view in ("same", "own")
    )
    assert same["robust_loss"] == own["robust_loss"]
    assert same["node_loss"] != own["node_loss"]


@pytest.mark.parametrize("teacher", [random_teacher(width=3), random_teacher(projected=True)])
def test_unequal_embeddings_meet_through_a_learned_adapter(teacher):
    rgrl = method(teacher=teacher)
    before = start(rgrl)
    after, metrics = rgrl.step(before, batch(), jax.random.key(1))
    kernels = [s.params["student"]["adapter"]["Dense_0"]["kernel"] for s in (before, after)]
    assert kernels[0].shape == (16, teacher.embedding_size)
    assert (kernels[0] != kernels[1]).any()
    assert np.isfinite(metrics["node_loss"])
    assert rgrl.predict(after, batch().image).embedding.shape == (8, 16)


def test_prediction_ignores_the_rest_of_the_batch():
    rgrl = method()
    state = start(rgrl)
    together = rgrl.predict(state, jnp.asarray(images(4)))
    alone = rgrl.predict(state, jnp.asarray(images(4)[:1]))
    assert together.logits.shape == (4, 3)
    np.testing.assert_allclose(together.logits[:1], alone.logits, atol=1e-5)


def test_a_few_steps_learn_a_batch():
    rgrl = method(k=0.01, pad=0, flip=False)
    step, state = jax.jit(rgrl.step), start(rgrl)
    losses = []
    for i in range(30):
        state, metrics = step(state, batch(), jax.random.key(i))
        losses.append(float(metrics["robust_loss"]))
    assert losses[-1] < 0.5 * losses[0]


def test_methods_are_values():
    assert dataclasses.replace(method(), k=2.0).k == 2.0


def test_what_it_remembers_changes_nothing_and_is_what_it_said():
    plain, remembering = method(), method(remembers=8)
    states = []
    for rgrl in (plain, remembering):
        state = start(rgrl)
        for i in range(2):
            state, _ = jax.jit(rgrl.step)(state, batch(), jax.random.key(i))
        states.append(state)
    jax.tree.map(np.testing.assert_array_equal, states[0].params, states[1].params)
    assert states[0].memory == {}
    assert states[1].memory["visits"].tolist() == [2] * 8
    np.testing.assert_allclose(states[1].memory["probabilities"].sum(axis=1), 1, rtol=1e-5)
