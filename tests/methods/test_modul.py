"""MODUL's step, term by term, and its division as the state carries it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import log_softmax

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data.label_kinds import CLEAN, CLOSED, OPEN, Division
from rmdnet_jax.methods import division, rotations
from rmdnet_jax.methods.interface import Batch, Look, Prediction, Task, Weights
from rmdnet_jax.methods.mixup import mixup
from rmdnet_jax.methods.modul import Modul
from rmdnet_jax.methods.robust import Robust

RNG = np.random.default_rng(0)
SIZE, KEY = 16, jax.random.key(1)
IMAGES = RNG.integers(0, 256, (SIZE, 8, 8, 3), np.uint8)
GIVEN = np.arange(SIZE, dtype=np.int32) % 3
TASK = Task(GIVEN, num_classes=3, batch_size=4, epochs=2)
PART = np.array([CLEAN, CLOSED, OPEN, CLEAN] * 4, np.int8)
LABEL = np.where(PART == CLEAN, GIVEN, (GIVEN + 1) % 3).astype(np.int32)
# Of a step: labelled and open images in turn.
ROWS = np.array([0, 2, 1, 6, 4, 10, 15, 14], np.int32)
LABELLED, OPENED = ROWS[::2], ROWS[1::2]
BATCH = Batch(jnp.asarray(IMAGES[ROWS]), jnp.asarray(GIVEN[ROWS]), jnp.asarray(ROWS))
# The same where no image is turned.
OF_LABELLED = jax.tree.map(lambda x: x[::2], BATCH)


@pytest.fixture
def method(learner, guide):
    """Makes MODUL on views that are the images, with a teacher of five features, or six, as the
    student has."""

    def make(size=5, pad=0, flip=False, **changes):
        known = guide(IMAGES, size)
        own = learner(optimizer=optax.sgd(0.5), guide=known, pad=pad, flip=flip)
        return Modul(own, **changes)

    return make


def started(method):
    """Its state with the division and prototypes of chance."""
    state = method.init(jax.random.key(0), jnp.asarray(IMAGES[:1]), TASK)
    prototypes = np.random.default_rng(5).normal(size=(3, 128))
    prototypes /= np.linalg.norm(prototypes, axis=1, keepdims=True)
    arrays = {"part": PART, "label": LABEL, "prototypes": prototypes.astype(np.float32)}
    division = state.division | {name: jnp.asarray(x) for name, x in arrays.items()}
    return dataclasses.replace(state, division=division)


def normalised(images):
    return (jnp.asarray(images).astype(jnp.float32) / 255 - 0.5) / 0.25


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def of_head(state, name, x):
    head = state.params["1"][name]["Dense_0"]
    return np.asarray(x, np.float64) @ np.asarray(head["kernel"], np.float64) + np.asarray(
        head["bias"], np.float64
    )


def student(method, state, view):
    weights = Weights(state.params["1"], state.batch_stats["1"])
    said, stats = method.network.train(weights, view)
    return np.asarray(said.logits, np.float64), np.asarray(said.embedding, np.float64), stats


def teacher(method, view):
    known = method.learner.guide.teacher
    said = known.classify(known.frozen, view, None)
    return np.asarray(said.logits, np.float64), np.asarray(said.embedding, np.float64)


def of_labels(logits, labels):
    return -log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean()


@pytest.mark.parametrize("size", [5, 6])
def test_every_term_of_a_step_by_hand(method, size):
    """With an adapter where the teacher's embedding has another size, and without."""
    own = method(size)
    state = started(own)
    _, metrics, none = own.step(state, BATCH, KEY, own.frozen)
    assert none is None
    view, labels = normalised(IMAGES[LABELLED]), LABEL[LABELLED]
    logits, embedding, _ = student(own, state, view)
    _, known = teacher(own, view)
    expected = {"label_loss": of_labels(logits, labels)}
    adapted = of_head(state, "distilled", embedding) if size == 5 else embedding
    assert ("distilled" in state.params["1"]) == (size == 5)
    expected["distilled_loss"] = ((adapted - known) ** 2).mean()

    z_student = unit(of_head(state, "projection", embedding))
    z_teacher = unit(of_head(state, "teacher_projection", known))
    similar = z_student @ z_teacher.T
    expected["instance_loss"] = of_labels(similar, np.arange(4))

    mix_key, _, _ = jax.random.split(jax.random.split(KEY)[1], 3)
    mixed = mixup(mix_key, view, jax.nn.one_hot(labels, 3, dtype=jnp.float32), 8.0)
    lam, partner = float(mixed.lam), np.asarray(mixed.partner)
    prototypes = np.asarray(state.division["prototypes"], np.float64)
    category = 0
    for name, seen in (
        ("projection", student(own, state, mixed.x)[1]),
        ("teacher_projection", teacher(own, mixed.x)[1]),
    ):
        z = unit(of_head(state, name, seen))
        log_p = log_softmax(z @ prototypes.T / 0.3, axis=1)
        first, second = (-log_p[np.arange(4), of] for of in (labels, labels[partner]))
        category += (lam * first + (1 - lam) * second).mean()
    expected["category_loss"] = category

    opened = normalised(IMAGES[OPENED])
    turned = jnp.concatenate([jnp.rot90(opened, turn, axes=(1, 2)) for turn in range(4)])
    recognised = of_head(state, "rotation", student(own, state, turned)[1])
    expected["rotation_loss"] = of_labels(recognised, np.repeat(np.arange(4), 4))

    for name, value in expected.items():
        assert metrics[name] == pytest.approx(value, rel=1e-4), name
    total = (
        0.1 * expected["label_loss"] + 0.9 * expected["distilled_loss"]
        + 0.1 * (expected["category_loss"] + expected["instance_loss"])
        + 0.01 * expected["rotation_loss"]
    )  # fmt: skip
    assert metrics["loss"] == pytest.approx(total, rel=1e-4)


def test_the_labels_alone_are_cross_entropy_bit_for_bit(method):
    own = method(pad=1, flip=True, alpha=1.0, beta=0.0, gamma=0.0)
    state = started(own)
    after, metrics, _ = own.step(state, OF_LABELLED, KEY, own.frozen)
    refined = Batch(
        jnp.asarray(IMAGES[LABELLED]), jnp.asarray(LABEL[LABELLED]), jnp.asarray(LABELLED)
    )
    plain = Robust(dataclasses.replace(own.learner, guide=None))
    fresh = plain.init(jax.random.key(0), jnp.asarray(IMAGES[:1]), TASK)
    other, expected, _ = plain.step(fresh, refined, KEY, ())
    for name in ("backbone", "classifier"):
        jax.tree.map(
            np.testing.assert_array_equal, after.params["1"][name], other.params["1"][name]
        )
    jax.tree.map(np.testing.assert_array_equal, after.batch_stats, other.batch_stats)
    assert metrics["loss"] == expected["loss"]


def test_given_labels_are_never_read(method):
    own = method()
    state = started(own)
    other = BATCH.replace(label=(BATCH.label + 1) % 3)
    one, two = (own.step(state, batch, KEY, own.frozen)[0] for batch in (BATCH, other))
    jax.tree.map(np.testing.assert_array_equal, one.params, two.params)


@pytest.mark.parametrize(
    ("changes", "gone", "still"),
    [
        ({"beta": 0.0}, ("category_loss", "instance_loss"), ("projection", "teacher_projection")),
        ({"gamma": 0.0}, ("rotation_loss",), ("rotation",)),
        ({"category": False}, ("category_loss",), ()),
        ({"instance": "off"}, ("instance_loss",), ()),
    ],
)
def test_a_term_that_is_off_is_not_computed_and_moves_nothing(method, changes, gone, still):
    """The switches of Table 5."""
    own = method(**changes)
    state = started(own)
    batch = BATCH if own.gamma else OF_LABELLED
    after, metrics, _ = own.step(state, batch, KEY, own.frozen)
    for name in gone:
        assert name not in metrics
    for name in still:
        jax.tree.map(
            np.testing.assert_array_equal, after.params["1"][name], state.params["1"][name]
        )
    whole = method()
    moved, _, _ = whole.step(started(whole), BATCH, KEY, whole.frozen)
    for name in ("projection", "teacher_projection", "rotation", "distilled", "classifier"):
        kernel, before = (one.params["1"][name]["Dense_0"]["kernel"] for one in (moved, state))
        assert np.abs(kernel - before).max() > 0, name


def test_no_open_picture_is_the_step_without_rotations(method):
    with_term, without = method(), method(gamma=0.0)
    state = started(with_term)
    none_open = dataclasses.replace(
        state, division=state.division | {"part": jnp.asarray(np.minimum(PART, CLOSED))}
    )
    one, _, _ = with_term.step(none_open, BATCH, KEY, with_term.frozen)
    two, _, _ = without.step(none_open, OF_LABELLED, KEY, without.frozen)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), one.params, two.params
    )


def test_running_statistics_are_of_the_labelled_pass_unless_of_all(method):
    state = started(method())
    _, _, expected = student(method(), state, normalised(IMAGES[LABELLED]))
    after = {
        stats: method(stats=stats).step(state, BATCH, KEY, method().frozen)[0].batch_stats["1"]
        for stats in ("labelled", "all")
    }
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), after["labelled"], expected
    )
    differ = jax.tree.map(lambda a, b: np.abs(a - b).max(), after["all"], expected)
    assert max(jax.tree.leaves(differ)) > 1e-3


def test_without_an_open_image_turned_ones_stay_out_of_the_statistics(method):
    after = {}
    for gamma in (0.0, 0.5):
        own = method(stats="all", gamma=gamma, delta=0.0)
        state = started(own)
        part = jnp.asarray(np.minimum(PART, CLOSED))
        state = dataclasses.replace(state, division=state.division | {"part": part})
        batch = BATCH if gamma else OF_LABELLED
        after[gamma] = own.step(state, batch, KEY, own.frozen)[0].batch_stats["1"]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), after[0.0], after[0.5])


def test_without_mixup_the_category_loss_is_of_the_view(method):
    own = method(delta=0.0)
    state = started(own)
    _, metrics, _ = own.step(state, BATCH, KEY, own.frozen)
    view, labels = normalised(IMAGES[LABELLED]), LABEL[LABELLED]
    prototypes = np.asarray(state.division["prototypes"], np.float64)
    seen = student(own, state, view)[1], teacher(own, view)[1]
    expected = sum(
        of_labels(unit(of_head(state, name, x)) @ prototypes.T / 0.3, labels)
        for name, x in zip(("projection", "teacher_projection"), seen, strict=True)
    )
    assert metrics["category_loss"] == pytest.approx(expected, rel=1e-4)


def test_the_teacher_can_label_the_view(method):
    once, view = method(alpha=1.0, beta=0.0, gamma=0.0), method(
        alpha=1.0, beta=0.0, gamma=0.0, refine="view"
    )  # fmt: skip
    state = started(once)
    said = teacher(once, normalised(IMAGES[LABELLED]))[0].argmax(axis=1)
    labels = np.where(PART[LABELLED] == CLOSED, said, LABEL[LABELLED])
    logits, _, _ = student(once, state, normalised(IMAGES[LABELLED]))
    _, metrics, _ = view.step(state, OF_LABELLED, KEY, view.frozen)
    assert metrics["loss"] == pytest.approx(of_labels(logits, labels), rel=1e-4)


def test_a_step_has_a_batch_of_each_part(method):
    order = np.asarray(method().order(started(method()), KEY, TASK))
    assert order.shape == (TASK.steps, 8)
    assert (PART[order[:, ::2]] != OPEN).all()
    assert (PART[order[:, 1::2]] == OPEN).all()
    assert set(order[:, 1::2].ravel()) == set(np.flatnonzero(PART == OPEN))  # all four, in turn


def test_the_division_is_made_once_with_prototypes_of_the_fresh_projection(method):
    own = method()
    fresh = own.init(jax.random.key(0), jnp.asarray(IMAGES[:1]), TASK)
    look = Look(GIVEN, tuple, tuple, tuple, tuple)
    state = own.between_epochs(fresh, 0, look)
    said = own.learner.guide.train
    found = own.divided(state, np.arange(SIZE), GIVEN, said.logits)
    assert isinstance(found, Division)
    assert [x.dtype for x in found] == [np.int8, np.int32, np.float32]
    used = found.part != OPEN
    z = unit(of_head(fresh, "teacher_projection", said.embedding))
    for label, row in enumerate(np.asarray(state.division["prototypes"], np.float64)):
        mean = z[used & (found.label == label)].sum(axis=0)
        np.testing.assert_allclose(row, mean / np.linalg.norm(mean), atol=1e-5)
    assert own.between_epochs(state, 1, look) is state


def test_a_class_without_a_picture_has_no_prototype_and_no_nan(method, capsys):
    own = method(division="teacher")
    guide = own.learner.guide
    logits = np.tile(np.float32([9, 0, 0]), (SIZE, 1))  # one class of all
    learner = dataclasses.replace(
        own.learner,
        guide=dataclasses.replace(guide, train=guide.train._replace(logits=logits)),
    )
    own = dataclasses.replace(own, learner=learner)
    fresh = own.init(jax.random.key(0), jnp.asarray(IMAGES[:1]), TASK)
    state = own.between_epochs(fresh, 0, Look(np.zeros_like(GIVEN), tuple, tuple, tuple, tuple))
    assert "2 of 3 classes have no images" in capsys.readouterr().err
    assert (np.asarray(state.division["prototypes"])[1:] == 0).all()
    after, metrics, _ = own.step(state, BATCH, KEY, own.frozen)
    assert np.isfinite(metrics["loss"])
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(after.params))


def test_pictures_that_are_turned_must_be_square_and_enough(method):
    oblong = Task(GIVEN, 3, 4, 1, image_shape=(8, 6, 3))
    with pytest.raises(InputError, match=r"8x6.*modul\.gamma=0"):
        method().check(oblong)
    few = Task(GIVEN, 3, 9, 1, image_shape=(8, 8, 3))
    with pytest.raises(InputError, match="at most half of the images"):
        method().check(few)
    for task in (oblong, few):
        method(gamma=0.0).check(task)


def test_where_nothing_is_turned_a_step_is_of_labelled_images_alone(method):
    own = method(gamma=0.0)
    state = started(own)
    order = np.asarray(own.order(state, KEY, TASK))
    assert order.shape == (TASK.steps, TASK.batch_size)
    assert (PART[order] != OPEN).all()
    _, alone, _ = own.step(state, OF_LABELLED, KEY, own.frozen)
    both = method()
    _, metrics, _ = both.step(started(both), BATCH, KEY, both.frozen)
    for name in ("label_loss", "distilled_loss", "instance_loss"):
        np.testing.assert_allclose(alone[name], metrics[name], rtol=1e-5)


def test_logits_alone_are_enough_for_the_labels_alone(method):
    """A table of logits, or an ONNX classifier, has no embedding of a view."""
    assert method().needs_embedding
    own = method(alpha=1.0, beta=0.0)
    assert not own.needs_embedding
    guide = own.learner.guide
    known = guide.train._replace(embedding=None)
    learner = dataclasses.replace(own.learner, guide=dataclasses.replace(guide, train=known))
    own = dataclasses.replace(own, learner=learner)
    fresh = own.init(jax.random.key(0), jnp.asarray(IMAGES[:1]), TASK)
    assert set(fresh.params["1"]) == {"backbone", "classifier", "rotation"}
    state = own.between_epochs(fresh, 0, Look(GIVEN, tuple, tuple, tuple, tuple))
    _, metrics, _ = own.step(state, BATCH, KEY, own.frozen)
    assert np.isfinite(metrics["loss"])


def test_other_forms_of_the_instance_and_the_rotation_loss(method):
    own = method(instance="infonce", rotations=1)
    state = started(own)
    _, metrics, _ = own.step(state, BATCH, KEY, own.frozen)
    view = normalised(IMAGES[LABELLED])
    s = unit(of_head(state, "projection", student(own, state, view)[1]))
    t = unit(of_head(state, "teacher_projection", teacher(own, view)[1]))
    across, within = np.exp(s @ t.T / 0.3), np.exp(s @ s.T / 0.3)
    np.fill_diagonal(within, 0)
    expected = -np.log(np.diagonal(across) / (across.sum(axis=1) + within.sum(axis=1)))
    assert metrics["instance_loss"] == pytest.approx(expected.mean(), rel=1e-4)
    _, _, turn_key = jax.random.split(jax.random.split(KEY)[1], 3)
    turned, turn = rotations.drawn(turn_key, normalised(IMAGES[OPENED]))
    recognised = of_head(state, "rotation", student(own, state, turned)[1])
    assert metrics["rotation_loss"] == pytest.approx(of_labels(recognised, turn), rel=1e-4)


def test_the_log_tells_given_from_refined_labels(method):
    own = method()
    state = started(own)
    said = student(own, state, normalised(IMAGES[LABELLED]))[0].argmax(axis=1)
    _, metrics, _ = own.step(state, BATCH, KEY, own.frozen)
    assert metrics["train_accuracy"] == (said == GIVEN[LABELLED]).mean()
    assert metrics["refined_accuracy"] == (said == LABEL[LABELLED]).mean()


def test_images_that_were_held_out_are_divided_by_the_same_teacher(method):
    own = method()
    index = np.arange(0, SIZE, 2)
    logits = np.asarray(own.learner.guide.train.logits)
    learned = Task(GIVEN[index], 3, 4, 2)
    learner = dataclasses.replace(
        own.learner,
        guide=dataclasses.replace(own.learner.guide, train=Prediction(logits[index], None)),
    )
    part = Modul(learner, alpha=1.0, beta=0.0)
    fresh = part.init(jax.random.key(0), jnp.asarray(IMAGES[:1]), learned)
    look = Look(GIVEN[index], tuple, tuple, tuple, tuple)
    state = part.between_epochs(fresh, 0, look)
    found = part.divided(state, index, GIVEN, logits)
    whole = division.by_evidence(logits, GIVEN)
    for every, by_all, learned_by in zip(
        found, whole, division.by_evidence(logits[index], GIVEN[index]), strict=True
    ):
        np.testing.assert_array_equal(every[1::2], by_all[1::2])
        np.testing.assert_array_equal(every[index], learned_by)


def test_a_killed_run_goes_on_and_does_not_divide_again(method, trained, tmp_path, monkeypatch):
    own = method(pad=1, flip=True)
    whole = trained(tmp_path / "whole", own, IMAGES, TASK, 0.5, 0.5)
    with pytest.raises(RuntimeError, match="killed"):
        trained(tmp_path / "cut", own, IMAGES, TASK, 0.5, 0.5, kill_at=1)
    monkeypatch.setattr(Modul, "between_epochs", lambda self, state, epoch, look: state)
    resumed = trained(tmp_path / "cut", own, IMAGES, TASK, 0.5, 0.5)
    jax.tree.map(np.testing.assert_array_equal, resumed, whole)
