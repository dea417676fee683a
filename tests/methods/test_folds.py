"""Trained once on all images and once without each part: no label is judged by who has seen it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.losses import robust
from rmdnet_jax.methods.folds import Folded, parts
from rmdnet_jax.methods.interface import Batch, Look, Prediction, Task
from rmdnet_jax.methods.learner import Learner
from rmdnet_jax.methods.network import Classifier
from rmdnet_jax.methods.robust import Robust
from rmdnet_jax.models.heads import Linear

RNG = np.random.default_rng(0)
LABELS = (np.arange(30) % 3).astype(np.int32)
FEATURES = (np.eye(3)[LABELS] + RNG.normal(0, 0.1, (30, 3))).astype(np.float32)
TASK = Task(LABELS, 3, 4, 2, folds=5)


@pytest.fixture
def alone():
    network = Classifier(None, Linear(3), np.zeros(3, np.float32), np.ones(3, np.float32))
    return Robust(Learner(network, optax.sgd(0.5), robust.get("ce")))


@pytest.fixture
def folded(alone):
    return Folded(alone, 5)


def fresh(method, seed=0):
    return method.init(jax.random.key(seed), jnp.asarray(FEATURES[:1]), TASK)


def row(state, number):
    return jax.tree.map(lambda x: x[number], state)


def batch_of(index):
    index = jnp.asarray(index)
    return Batch(jnp.asarray(FEATURES)[index], jnp.asarray(LABELS)[index], index)


@pytest.mark.parametrize(("size", "folds"), [(30, 5), (31, 5), (7, 3), (100, 10)])
def test_every_class_is_spread_over_parts_of_one_size(size, folds):
    given = np.sort(np.arange(size) % 3)
    part = parts(given, folds)
    assert set(part) == set(range(folds))
    assert np.ptp(np.bincount(part)) <= 1
    for label in range(3):
        assert np.ptp(np.bincount(part[given == label], minlength=folds)) <= 1
    np.testing.assert_array_equal(part, parts(given, folds))


def test_no_training_sees_its_own_part_and_the_first_sees_all(folded):
    part, seen = parts(LABELS, 5), [set() for _ in range(6)]
    for seed in range(20):
        order = np.asarray(folded.order(None, jax.random.key(seed), TASK))
        assert order.shape == (TASK.steps, 6 * 4)
        for number, columns in enumerate(np.split(order, 6, axis=1)):
            assert len(set(columns.ravel())) == columns.size  # none twice in an epoch
            seen[number] |= set(columns.ravel().tolist())
    assert seen[0] == set(range(30))
    for number in range(5):
        assert seen[1 + number] == set(np.flatnonzero(part != number).tolist())


def test_a_step_is_that_of_each_training_alone(alone, folded):
    state = fresh(folded)
    order = folded.order(state, jax.random.key(1), TASK)[0]
    key = jax.random.key(2)
    after, metrics, said = jax.jit(folded.step)(state, batch_of(order), key, ())
    assert said is None
    losses = []
    for number, one_key in enumerate(jax.random.split(key, 6)):
        own = batch_of(order[4 * number : 4 * number + 4])
        one, told, _ = alone.step(row(state, number), own, one_key, ())
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6),
            row(after, number), one,
        )  # fmt: skip
        losses.append(float(told["loss"]))
    assert float(metrics["loss"]) == pytest.approx(np.mean(losses), rel=1e-5)


def test_it_starts_and_predicts_as_the_method_alone(alone, folded):
    state, single = fresh(folded), fresh(alone)
    jax.tree.map(np.testing.assert_array_equal, row(state, 0), single)
    (network,) = folded.networks(state)
    jax.tree.map(np.testing.assert_array_equal, network, alone.networks(single)[0])
    assert folded.learners == 1
    assert folded.title == alone.title


def test_a_label_is_judged_by_the_training_that_has_not_seen_it(folded):
    state = fresh(folded)
    asked = []

    def predict(networks):
        """Number n says class n of everything."""
        asked.append(networks)
        logits = np.full((30, 6), -50.0)
        logits[:, len(asked) - 1] = 0
        return (Prediction(logits, None),)

    belief = folded.belief(state, Look(LABELS, predict, tuple, tuple, tuple))
    np.testing.assert_array_equal(belief.argmax(axis=1), 1 + parts(LABELS, 5))
    for number, (network,) in enumerate(asked):
        jax.tree.map(np.testing.assert_array_equal, network.params, row(state, number).params["1"])


def test_of_a_class_of_a_few_the_training_on_all_is_the_witness(folded):
    given = np.where(np.arange(30) < 4, 2, np.arange(30) % 2).astype(np.int32)
    numbers = iter(range(6))

    def predict(networks):
        logits = np.full((30, 6), -50.0)
        logits[:, next(numbers)] = 0
        return (Prediction(logits, None),)

    said = folded.belief(fresh(folded), Look(given, predict, tuple, tuple, tuple)).argmax(axis=1)
    assert (said[:4] == 0).all()
    assert (said[4:] > 0).all()


def test_what_the_method_decides_is_decided_for_each(alone):
    class Counting(Robust):
        def between_epochs(self, state, epoch, look):
            seen = look.predictions()
            params = jax.tree.map(lambda x: x + epoch + seen[0], state.params)
            return type(state)(params, state.batch_stats, state.opt_state)

    folded = Folded(Counting(alone.learner), 5)
    state = fresh(folded)
    bias = lambda networks: (float(networks[0].params["classifier"]["Dense_0"]["bias"][0]),)  # noqa: E731
    after = folded.between_epochs(state, 3, Look(LABELS, bias, tuple, tuple, tuple))
    before = state.params["1"]["classifier"]["Dense_0"]["bias"]
    np.testing.assert_allclose(
        after.params["1"]["classifier"]["Dense_0"]["bias"], before + 3 + before[:, :1], rtol=1e-6
    )


def test_without_anything_to_decide_the_state_stays(folded):
    state = fresh(folded)
    assert folded.between_epochs(state, 1, None) is state


def test_a_method_with_an_order_of_its_own_is_refused(alone):
    class Ordered(Robust):
        def order(self, state, key, task):
            return jnp.zeros((task.steps, 4), jnp.int32)

    with pytest.raises(InputError, match=r"train\.folds is 5 with CE, which sets its own order"):
        Folded(Ordered(alone.learner), 5).check(TASK)


@pytest.mark.parametrize(
    ("size", "folds", "steps"), [(30, 1, 7), (30, 5, 6), (31, 5, 6), (8, 2, 1)]
)
def test_an_epoch_has_the_steps_that_every_training_can_fill(size, folds, steps):
    assert Task(np.zeros(size, np.int32), 3, 4, 2, folds).steps == steps
