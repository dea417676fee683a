"""One step is one update of all the learner's networks, and of nothing else, on one view."""

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rmdnet_jax.data import augment
from rmdnet_jax.losses import relation
from rmdnet_jax.machine import cpu
from rmdnet_jax.methods import learner as learners
from rmdnet_jax.methods.interface import Prediction, State, Weights
from rmdnet_jax.methods.rgrl import ADAPTER, Relation
from rmdnet_jax.teachers.encoder import TableTeacher
from rmdnet_jax.teachers.network import NetworkTeacher

TABLE = np.random.default_rng(1).normal(size=(8, 6)).astype(np.float32)
KEY = jax.random.key(1)


def cross_entropy(learner, batch):
    """The usual objective."""

    def objective(logits):
        robust = learner.loss(logits[0], batch.label).mean()
        return robust, {"robust_loss": robust}

    return objective


def start(learner, batch, networks=1):
    return learner.init(jax.random.key(0), batch.image[:1], networks)


def update(learner, batch, objective=cross_entropy, networks=1, state=None):
    """One update from the start: state, metrics and logits."""
    state = state or start(learner, batch, networks)
    run = cpu.jit_once(
        lambda state, batch, frozen: learner.update(
            state, batch, KEY, frozen, objective(learner, batch)
        )
    )
    return run(state, batch, learner.frozen)


def guided(network, teacher=None, **options):
    return Relation(teacher or TableTeacher(TABLE), network.backbone.embedding_size, **options)


@pytest.fixture(scope="module")
def teacher(network, batch):
    """The network with fresh weights, as a teacher."""
    weights = jax.device_get(cpu.jit_once(network.init)(jax.random.key(7), batch.image[:1]))
    params, stats = ({"backbone": t["backbone"]} for t in (weights.params, weights.batch_stats))
    size = network.backbone.embedding_size
    return NetworkTeacher({"backbone": network.backbone}, size, params, stats)


def changed(before, after):
    """Whether any leaf is another."""
    return any(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a != b).any()), before, after)))


def test_an_update_changes_the_network_and_the_teacher_is_no_part_of_it(
    network, teacher, learner, batch
):
    one = learner(relation=guided(network, teacher))
    kept = jax.tree.map(np.copy, teacher.frozen)
    before = start(one, batch)
    after, metrics, _ = update(one, batch, state=before)
    for field in ("params", "batch_stats"):
        old, new = getattr(before, field), getattr(after, field)
        assert set(old) == set(new) == {"1"}
        assert changed(old, new)
    jax.tree.map(np.testing.assert_array_equal, teacher.frozen, kept)
    jax.tree.map(np.testing.assert_array_equal, one.frozen, kept)
    assert set(metrics) == {"loss", "robust_loss", "node_loss", "edge_loss", "train_accuracy"}


def test_the_loss_is_the_objective_and_the_term(network, learner, batch):
    one = learner(relation=guided(network, k=0.7, alpha=0.5, beta=0.25))
    _, metrics, _ = update(one, batch)
    expected = metrics["robust_loss"] + 0.7 * (
        0.5 * metrics["node_loss"] + 0.25 * metrics["edge_loss"]
    )
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-6)


def test_a_tables_rows_are_those_of_the_batchs_images(network, learner, batch):
    one = learner(relation=guided(network), pad=0, flip=False)
    before = start(one, batch)
    _, metrics, _ = update(one, batch, state=before)
    view = augment.normalise(augment.to_float(batch.image), network.mean, network.std)
    said, _ = network.train(Weights(before.params["1"], before.batch_stats["1"]), view)
    target = TABLE[np.asarray(batch.index)]
    for name in ("node_loss", "edge_loss"):
        expected = getattr(relation, name)(target, said.embedding)
        np.testing.assert_allclose(metrics[name], expected, rtol=1e-4)


def test_without_a_teacher_it_is_the_objective_alone(learner, batch):
    _, metrics, _ = update(learner(), batch)
    assert set(metrics) == {"loss", "robust_loss", "train_accuracy"}
    assert metrics["loss"] == metrics["robust_loss"]
    assert learner().frozen == ()


def test_the_update_is_gradient_descent_on_the_loss_of_the_batchs_view(network, learner, batch):
    """With SGD of rate 1 the parameters move by minus the gradient, worked out from the network."""
    one = learner(optimizer=optax.sgd(1.0), pad=0, flip=False)
    before = start(one, batch)
    after, metrics, (logits,) = update(one, batch, state=before)
    view = augment.normalise(augment.to_float(batch.image), network.mean, network.std)
    weights = Weights(before.params["1"], before.batch_stats["1"])

    def loss(params):
        said, stats = network.train(Weights(params, weights.batch_stats), view)
        return one.loss(said.logits, batch.label).mean(), (said.logits, stats)

    gradient, (said, stats) = jax.grad(loss, has_aux=True)(weights.params)
    moved = jax.tree.map(jnp.subtract, before.params["1"], after.params["1"])
    same = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)  # noqa: E731
    jax.tree.map(same, moved, gradient)
    jax.tree.map(same, after.batch_stats["1"], stats)
    same(logits, said)
    assert metrics["train_accuracy"] == np.mean(said.argmax(axis=1) == batch.label)


def test_it_starts_alike_with_and_without_a_teacher(network, learner, batch):
    with_teacher, alone = start(learner(relation=guided(network)), batch), start(learner(), batch)
    jax.tree.map(np.testing.assert_array_equal, with_teacher.params, alone.params)
    wide = TableTeacher(np.ones((8, 9), np.float32))
    with_adapter = start(learner(relation=guided(network, wide)), batch)
    own = dict(with_adapter.params["1"])
    assert own.pop(ADAPTER)
    jax.tree.map(np.testing.assert_array_equal, own, alone.params["1"])


def test_k_of_zero_updates_as_the_objective_alone_does(network, learner, batch):
    (zero, _, _), (alone, _, _) = (
        update(one, batch) for one in (learner(relation=guided(network, k=0.0)), learner())
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), zero.params, alone.params
    )


@pytest.mark.parametrize("relation", [True, False])
def test_it_starts_from_weights_that_are_given_and_leaves_them_alone(
    network, teacher, learner, batch, relation
):
    given = Weights(teacher.params, teacher.batch_stats)
    term = guided(network, teacher) if relation else None
    state = start(learner(start=given, relation=term), batch, networks=1 if relation else 2)
    for number in state.params:
        for theirs, own in (
            (given.params, state.params[number]),
            (given.batch_stats, state.batch_stats[number]),
        ):
            jax.tree.map(np.testing.assert_array_equal, theirs["backbone"], own["backbone"])
            # The state is given away to the step; the weights must outlive that.
            jax.tree.map(lambda leaf: leaf.delete(), own)
    jax.tree.map(np.asarray, given)


def test_the_relation_losses_see_the_same_view_on_both_sides(network, teacher, learner, batch):
    """A learner that is the teacher, in inference mode, has an edge loss of 0."""
    given = Weights(teacher.params, teacher.batch_stats)
    one = learner(relation=guided(network, teacher), start=given, pad=0, flip=False)
    state = start(one, batch)
    weights = Weights(state.params["1"], state.batch_stats["1"])
    student = network.predict(weights, batch.image).embedding
    view = augment.normalise(augment.to_float(batch.image), network.mean, network.std)
    target = teacher.embed(teacher.frozen, view, batch.index)
    np.testing.assert_allclose(student, target, rtol=1e-5, atol=1e-6)
    # Two rounded graphs of 8 x 8 correlations, each entry some 1e-7 from the other's.
    assert relation.edge_loss(target, student) < 1e-4


class Eyes:
    """A network and a teacher in one, that remembers what each was shown."""

    mean, std = np.zeros(3, np.float32), np.ones(3, np.float32)
    size, frozen = 6, TABLE

    def __init__(self):
        self.seen = {}

    def train(self, weights, view):
        self.seen["network"] = np.asarray(view)
        said = view.reshape(len(view), -1)[:, :6] * weights.params["w"]
        return Prediction(said[:, :3], said), {}

    def embed(self, frozen, view, index):
        self.seen["teacher"], self.seen["index"] = np.asarray(view), np.asarray(index)
        return frozen


@pytest.mark.parametrize("view", ["same", "own"])
def test_the_teacher_sees_the_networks_view_or_one_of_its_own(learner, batch, view):
    eyes = Eyes()
    one = learner(relation=Relation(eyes, 6, view=view))
    one = dataclasses.replace(one, network=eyes)
    params = {"1": {"w": jnp.ones((1, 1))}}
    state = State(params, {"1": {}}, one.optimizer.init(params))
    one.update(state, batch, KEY, eyes.frozen, cross_entropy(one, batch))
    assert eyes.seen["teacher"].shape == eyes.seen["network"].shape == (8, 8, 8, 3)
    assert (eyes.seen["teacher"] == eyes.seen["network"]).all() == (view == "same")
    np.testing.assert_array_equal(eyes.seen["index"], batch.index)
    alone = Eyes()
    plain = dataclasses.replace(learner(), network=alone)
    plain.update(state, batch, KEY, (), cross_entropy(plain, batch))
    np.testing.assert_array_equal(eyes.seen["network"], alone.seen["network"])


@pytest.mark.parametrize("pad", [0, 2])
@pytest.mark.parametrize("flip", [True, False])
def test_views_are_crops_of_the_border_asked_for_and_mirrored_if_asked(learner, batch, pad, flip):
    eyes = Eyes()
    one = dataclasses.replace(learner(pad=pad, flip=flip), network=eyes)
    params = {"1": {"w": jnp.ones((1, 1))}}
    state = State(params, {"1": {}}, one.optimizer.init(params))
    one.update(state, batch, KEY, (), cross_entropy(one, batch))
    images = np.asarray(batch.image, np.float32) / 255
    padded = np.pad(images, [(0, 0), (pad, pad), (pad, pad), (0, 0)])
    mirrored = 0
    for view, image in zip(eyes.seen["network"], padded, strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(image, (8, 8), axis=(0, 1))
        crops = np.moveaxis(windows, 2, -1).reshape(-1, 8, 8, 3)
        plain, turned = (
            np.isclose(crops, shown, atol=1e-6).all(axis=(1, 2, 3)).any()
            for shown in (view, view[:, ::-1])
        )
        assert plain or turned
        mirrored += not plain
    assert bool(mirrored) == flip


def test_networks_of_unequal_width_meet_through_an_adapter_that_learns(network, learner, batch):
    wide = TableTeacher(np.random.default_rng(2).normal(size=(8, 9)).astype(np.float32))
    one = learner(relation=guided(network, wide))
    before = start(one, batch)
    after, metrics, _ = update(one, batch, state=before)
    kernels = [state.params["1"][ADAPTER]["Dense_0"]["kernel"] for state in (before, after)]
    assert kernels[0].shape == (6, 9)
    assert (kernels[0] != kernels[1]).any()
    assert np.isfinite(metrics["node_loss"])
    weights = Weights(after.params["1"], after.batch_stats["1"])
    assert network.predict(weights, batch.image).embedding.shape == (8, 6)


def test_several_networks_start_apart_and_the_first_as_if_alone(learner, batch):
    two, alone = start(learner(), batch, networks=2), start(learner(), batch)
    assert set(two.params) == set(two.batch_stats) == {"1", "2"}
    jax.tree.map(np.testing.assert_array_equal, two.params["1"], alone.params["1"])
    assert changed(two.params["1"], two.params["2"])


def test_several_networks_learn_at_once_each_by_its_own_logits(learner, batch):
    """The second is told nothing: only the first moves, and as it does alone."""

    def first_alone(learner, batch):
        return lambda logits: (learner.loss(logits[0], batch.label).mean(), {})

    one = learner()
    before = start(one, batch, networks=2)
    after, _, logits = update(one, batch, first_alone, state=before)
    jax.tree.map(np.testing.assert_array_equal, before.params["2"], after.params["2"])
    assert changed(before.batch_stats["2"], after.batch_stats["2"])
    alone, _, (said,) = update(one, batch, first_alone)
    same = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)  # noqa: E731
    jax.tree.map(same, after.params["1"], alone.params["1"])
    same(logits[0], said)

    def both(learner, batch):
        return lambda logits: (sum(learner.loss(x, batch.label).mean() for x in logits), {})

    after, metrics, logits = update(one, batch, both, state=before)
    for name in ("1", "2"):
        assert changed(before.params[name], after.params[name])
    jax.tree.map(same, after.params["1"], alone.params["1"])
    agreed = np.mean(sum(logits).argmax(axis=1) == batch.label)
    assert metrics["train_accuracy"] == pytest.approx(agreed)


def test_networks_may_each_be_given_a_view_of_their_own(learner, batch):
    """As `update` does it, where all are given what that makes; and by their own, where not."""
    one = learner(pad=0, flip=False)
    before = start(one, batch, networks=2)
    view = one.as_input(one.augmented(KEY, batch.image))

    def each(views):
        def objective(logits):
            return sum(one.loss(x, batch.label).mean() for x in logits), {}

        return one.update_each(before, views, objective)

    def both(learner, batch):
        return lambda logits: (sum(learner.loss(x, batch.label).mean() for x in logits), {})

    usual, metrics, _ = update(one, batch, both, state=before)
    same, told, logits = each({"1": view, "2": view})
    near = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)  # noqa: E731
    jax.tree.map(near, usual.params, same.params)
    jax.tree.map(near, told, {"loss": metrics["loss"]})
    apart, _, others = each({"1": view, "2": view[::-1]})
    jax.tree.map(near, same.params["1"], apart.params["1"])
    assert changed(same.params["2"], apart.params["2"])
    near(others[1], logits[1][::-1])


def test_feature_vectors_are_their_own_views(learner):
    vectors = jnp.asarray(np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32))
    assert learner(pad=2, flip=True).augmented(KEY, vectors) is vectors


def test_what_a_method_carries_beside_the_networks_stays(learner, batch):
    @flax.struct.dataclass
    class WithPool(State):
        pool: dict

    usual, one = start(learner(), batch), learner()
    pool = {"kept": jnp.arange(3)}
    state = WithPool(usual.params, usual.batch_stats, usual.opt_state, pool)
    after, _, _ = update(one, batch, state=state)
    assert isinstance(after, WithPool)
    np.testing.assert_array_equal(after.pool["kept"], [0, 1, 2])


def test_probabilities_are_those_of_the_mean_logits():
    first, second = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    mean = np.exp((first + second) / 2)
    expected = mean / mean.sum(axis=1, keepdims=True)
    logits = [jnp.asarray(first), jnp.asarray(second)]
    np.testing.assert_allclose(learners.probabilities(logits), expected, rtol=1e-5)
    alone = np.exp(first) / np.exp(first).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(learners.probabilities(logits[:1]), alone, rtol=1e-5)


def test_learners_are_values(learner):
    assert dataclasses.replace(learner(), pad=3).pad == 3
    assert dataclasses.replace(Relation(TableTeacher(TABLE), 6), k=2.0).k == 2.0
