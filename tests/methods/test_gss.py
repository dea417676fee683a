"""GSS: a label is drawn at every visit from a pool, which the network's word goes into."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.methods import samples
from rmdnet_jax.methods.gss import GSS
from rmdnet_jax.methods.interface import Batch, Look, Task
from rmdnet_jax.methods.robust import Robust
from rmdnet_jax.training.checkpoints import Checkpoints
from rmdnet_jax.training.fit import fit
from rmdnet_jax.training.logging import RunLog

LABELS = np.array([0, 1, 2, 0, 1, 2, 1, 0], np.int32)
IMAGES = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), np.uint8)
TASK = Task(LABELS, num_classes=3, batch_size=4, epochs=4)  # of two steps each
INDEX = np.array([4, 1, 0, 5], np.int32)
OTHERS = np.array([2, 3, 6, 7])
RATE = 0.5


def batch_of(index):
    return Batch(jnp.asarray(IMAGES[index]), jnp.asarray(LABELS[index]), jnp.asarray(index))


BATCH = batch_of(INDEX)


@pytest.fixture
def gss(plain):
    return lambda **changes: GSS(plain, **changes)


@pytest.fixture
def start(gss):
    image = jnp.asarray(IMAGES[:1])
    return lambda **changes: gss(**changes).init(jax.random.key(0), image, TASK)


@pytest.fixture
def said(logits_of):
    """Probabilities of the batch in training mode, as the step sees them: float64 [4, 3]."""

    return lambda state, name="1": softmax(logits_of(state, BATCH.image, name), axis=1)


def step(method, state, batch=BATCH, key=1):
    return method.step(state, batch, jax.random.key(key), ())


def at(state, updates, **pool):
    """The state after so many updates, with these pools in the place of its own."""
    progress = state.progress | {"updates": jnp.full((), updates, jnp.int32)}
    pool = {name: jnp.asarray(one, jnp.float32) for name, one in pool.items()}
    return dataclasses.replace(state, pool=state.pool | pool, progress=progress)


def bias(state, name="1"):
    return np.asarray(state.params[name]["classifier"]["Dense_0"]["bias"])


def increment_by_hand(p, given, s, lambda1=2.0, lambda2=1.0):
    """Equations 6 to 9, with the predicted label's own probability: float64 [B, C]."""
    rows, added = np.arange(len(p)), np.full(p.shape, lambda2 * s / p.shape[1])
    added[rows, given] += p[rows, given] * (1 - s)
    added[rows, p.argmax(axis=1)] += p.max(axis=1) * lambda1 * s
    return added


def sure(labels, rows=8):
    """A pool from which nothing but these labels is drawn: [rows, 3]."""
    pool = np.zeros((rows, 3), np.float32)
    pool[INDEX, labels] = 1e30
    return pool


@pytest.mark.parametrize(("branches", "networks"), [("single", 1), ("double", 2)])
def test_it_starts_with_a_pool_a_network_to_which_nothing_is_added(gss, start, branches, networks):
    method, fresh = gss(branches=branches), start(branches=branches)
    assert method.learners == len(method.networks(fresh)) == networks
    assert method.title == {1: "GSS-SB", 2: "GSS-DB"}[networks]
    assert sorted(fresh.pool) == sorted(fresh.params)
    for one in fresh.pool.values():
        assert one.shape == (8, 3)
        assert not np.asarray(one).any()


@pytest.mark.parametrize("updates", [0, 1, 2, 5, 7])
def test_the_pool_grows_by_the_increment_by_hand_and_only_in_the_batchs_rows(
    gss, start, said, updates
):
    before = at(start(), updates, **{"1": np.random.default_rng(1).random((8, 3))})
    after, _, probabilities = step(gss(), before)
    p = said(before)
    np.testing.assert_allclose(probabilities, p, rtol=1e-5)
    grown = np.asarray(after.pool["1"] - before.pool["1"])
    s = updates // 2 / 4  # whole epochs done, of all: it never reaches 1
    np.testing.assert_allclose(grown[INDEX], increment_by_hand(p, LABELS[INDEX], s), atol=1e-5)
    assert (grown[INDEX] >= 0).all()
    assert not grown[OTHERS].any()
    assert after.progress["updates"] == updates + 1


def test_the_order_of_a_batch_does_not_matter_to_the_pool(gss, start):
    before = at(start(), 5)
    after, _, _ = step(gss(), before)
    turned, _, _ = step(gss(), before, batch_of(INDEX[[2, 0, 3, 1]]))
    np.testing.assert_allclose(turned.pool["1"], after.pool["1"], atol=1e-6)


def test_lambdas_reach_the_pool_and_the_print_of_equation_7_can_be_had(gss, start, said):
    before = at(start(), 4)
    p, s, rows = said(before), 0.5, np.arange(4)
    after, _, _ = step(gss(lambda1=3.0, lambda2=0.25), before)
    expected = increment_by_hand(p, LABELS[INDEX], s, 3.0, 0.25)
    np.testing.assert_allclose(after.pool["1"][INDEX], expected, atol=1e-5)
    after, _, _ = step(gss(lambda2=0.0, weight_by="given"), before)
    expected = np.zeros((4, 3))
    expected[rows, LABELS[INDEX]] = p[rows, LABELS[INDEX]] * (1 - s)
    expected[rows, p.argmax(axis=1)] += p[rows, LABELS[INDEX]] * 2.0 * s
    np.testing.assert_allclose(after.pool["1"][INDEX], expected, atol=1e-5)


@pytest.mark.parametrize("labels", [(0, 1, 2, 0), (2, 2, 1, 1)])
def test_the_gradient_is_that_of_the_loss_at_the_drawn_labels(gss, start, said, labels):
    """None goes through what the network adds to the pool, in whatever epoch."""
    before = at(start(), 6, **{"1": sure(labels)})
    after, metrics, _ = step(gss(), before)
    p, drawn = said(before), np.eye(3)[list(labels)]
    np.testing.assert_allclose(metrics["loss"], -np.log((p * drawn).sum(axis=1)).mean(), rtol=1e-5)
    assert metrics["robust_loss"] == metrics["loss"]
    is_given = np.mean(np.array(labels) == LABELS[INDEX])
    np.testing.assert_allclose(metrics["drawn_is_given"], is_given)
    np.testing.assert_allclose(metrics["pool_of_given"], is_given, atol=1e-6)
    np.testing.assert_allclose((bias(before) - bias(after)) / RATE, (p - drawn).mean(axis=0),
                               atol=1e-5)  # fmt: skip


def test_labels_are_drawn_anew_by_the_steps_key(gss, start):
    before = at(start(), 6, **{"1": np.ones((8, 3))})
    found = {round(float(step(gss(), before, key=key)[1]["loss"]), 5) for key in range(8)}
    assert len(found) > 4
    assert step(gss(), before)[1]["loss"] == step(gss(), before)[1]["loss"]


def test_the_draw_does_not_share_a_key_with_the_views(monkeypatch, gss, start):
    """JAX's fold_in(key, 1) is its split(key)[1], which the relation term's view has."""
    keys = []

    def watched(key, weights):
        keys.append(np.asarray(jax.random.key_data(key)))
        return jnp.zeros(len(weights), jnp.int32)

    monkeypatch.setattr("rmdnet_jax.methods.pool.draw", watched)
    step(gss(branches="double"), start(branches="double"))
    parts = jax.random.split(jax.random.key(1), 16)
    of_parts = jax.vmap(lambda key: jax.random.split(key, 4))(parts).reshape(-1)
    taken = [np.asarray(jax.random.key_data(some)) for some in (parts, of_parts)]
    assert len(np.unique(np.concatenate([*taken, keys]), axis=0)) == 16 + 64 + 2


@pytest.mark.parametrize("branches", ["single", "double"])
def test_in_the_first_two_epochs_every_draw_is_the_given_label(gss, start, branches):
    method, state = gss(branches=branches), start(branches=branches)
    shares = []
    for number in range(6):
        index = np.random.default_rng(number // 2).permutation(8)[number % 2 * 4 :][:4]
        state, metrics, _ = step(method, state, batch_of(index.astype(np.int32)), key=number)
        shares.append(float(metrics["pool_of_given"]))
        assert metrics["drawn_is_given"] == 1 or number >= 4
    assert shares[:4] == [1, 1, 1, 1]
    assert max(shares[4:]) < 1


def test_without_lambdas_it_is_the_loss_alone_bit_for_bit(gss, start):
    method = gss(lambda1=0.0, lambda2=0.0)
    ours, theirs, alone = start(), start(), Robust(method.learner)
    for number in range(8):
        index = np.random.default_rng(number).permutation(8)[:4].astype(np.int32)
        ours, metrics, _ = step(method, ours, batch_of(index), key=number)
        theirs, _, _ = step(alone, theirs, batch_of(index), key=number)
        assert metrics["drawn_is_given"] == 1
    jax.tree.map(np.testing.assert_array_equal, ours.params, theirs.params)
    jax.tree.map(np.testing.assert_array_equal, ours.batch_stats, theirs.batch_stats)


def test_the_expected_loss_takes_the_shares_of_the_pool_for_the_label(gss, start, said):
    pool = np.random.default_rng(3).gamma(1, 2, (8, 3)).astype(np.float32)
    before = at(start(), 6, **{"1": pool})
    after, metrics, _ = step(gss(draw="expected"), before)
    weights = pool[INDEX] + np.eye(3)[LABELS[INDEX]]
    shares, p = weights / weights.sum(axis=1, keepdims=True), said(before)
    np.testing.assert_allclose(metrics["loss"], -(shares * np.log(p)).sum(axis=1).mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["pool_of_given"], shares[range(4), LABELS[INDEX]].mean(),
                               rtol=1e-5)  # fmt: skip
    assert "drawn_is_given" not in metrics
    np.testing.assert_allclose((bias(before) - bias(after)) / RATE, (p - shares).mean(axis=0),
                               atol=1e-5)  # fmt: skip
    increment = increment_by_hand(p, LABELS[INDEX], 0.75)
    np.testing.assert_allclose((after.pool["1"] - before.pool["1"])[INDEX], increment, atol=1e-5)


class TestDouble:
    def test_each_network_learns_from_its_own_pool_and_fills_the_others(self, gss, start, said):
        labels = {"1": (0, 1, 2, 0), "2": (2, 2, 1, 1)}
        pools = {name: sure(own) for name, own in labels.items()}
        before = at(start(branches="double"), 6, **pools)
        after, metrics, probabilities = step(gss(branches="double"), before)
        p = {name: said(before, name) for name in labels}
        losses = [-np.log(p[name][np.arange(4), list(own)]).mean() for name, own in labels.items()]
        np.testing.assert_allclose(metrics["loss"], sum(losses), rtol=1e-5)
        np.testing.assert_allclose(metrics["robust_loss"], np.mean(losses), rtol=1e-5)
        together = np.sqrt(p["1"] * p["2"])  # of the mean logits
        np.testing.assert_allclose(probabilities, together / together.sum(axis=1, keepdims=True),
                                   rtol=1e-4)  # fmt: skip
        for name, own in labels.items():
            moved = (bias(before, name) - bias(after, name)) / RATE
            expected = (p[name] - np.eye(3)[list(own)]).mean(axis=0)
            np.testing.assert_allclose(moved, expected, atol=1e-5)
        after, _, _ = step(gss(branches="double"), at(start(branches="double"), 6))
        for name, other in (("1", "2"), ("2", "1")):
            expected = increment_by_hand(p[other], LABELS[INDEX], 0.75)
            np.testing.assert_allclose(after.pool[name][INDEX], expected, atol=1e-5)
            assert not np.asarray(after.pool[name])[OTHERS].any()

    @pytest.mark.parametrize(("changed", "stays", "moves"), [("1", "1", "2"), ("2", "2", "1")])
    def test_a_pool_does_not_heed_its_own_network(self, gss, start, changed, stays, moves):
        before = at(start(branches="double"), 6)
        params = jax.tree.map(lambda x: x, before.params)
        params[changed]["classifier"]["Dense_0"]["bias"] += jnp.array([0.5, -0.5, 1.0])
        usual, _, _ = step(gss(branches="double"), before)
        other, _, _ = step(gss(branches="double"), dataclasses.replace(before, params=params))
        np.testing.assert_array_equal(usual.pool[stays], other.pool[stays])
        assert (np.asarray(usual.pool[moves]) != np.asarray(other.pool[moves])).any()

    def test_swapped_networks_have_swapped_pools(self, gss, start):
        pools = np.random.default_rng(4).random((2, 8, 3))
        before = at(start(branches="double"), 6, **{"1": pools[0], "2": pools[1]})

        def swap(tree):
            return {"1": tree["2"], "2": tree["1"]}

        swapped = dataclasses.replace(
            before,
            params=swap(before.params),
            batch_stats=swap(before.batch_stats),
            pool=swap(before.pool),
        )
        after, _, _ = step(gss(branches="double"), before)
        turned, _, _ = step(gss(branches="double"), swapped)
        jax.tree.map(np.testing.assert_array_equal, swap(after.pool), turned.pool)

    def test_the_two_draw_for_themselves(self, gss, start):
        before = at(start(branches="double"), 6, **{name: np.ones((8, 3)) for name in "12"})
        found = [float(step(gss(branches="double"), before, key=key)[1]["drawn_is_given"])
                 for key in range(16)]  # fmt: skip
        assert any(round(share * 8) % 2 for share in found)  # of 2 times 4 draws


def fitted(method, folder, **options):
    """What four epochs of two steps leave, saved after every step: state, memory and log."""
    folder.mkdir(exist_ok=True)
    log = RunLog(folder, tensorboard=False)
    with Checkpoints(folder / "stage") as saved:
        fresh = method.init(jax.random.key(0), jnp.asarray(IMAGES[:1]), TASK)
        usual = {"evaluate": lambda *_: {}, "learning_rate": lambda _: RATE, "workers": 0}
        state, look = fit(
            method, fresh, IMAGES, TASK, key=jax.random.key(3), checkpoints=saved,
            log=log.stage("stage"), checkpoint_every=0.5, **usual | options,
        )  # fmt: skip
    return jax.device_get(state), look.remembered(), log.history("stage")


@pytest.mark.parametrize("branches", [pytest.param("single", marks=pytest.mark.slow), "double"])
def test_a_resume_in_mid_epoch_repeats_pools_and_draws_bit_for_bit(tmp_path, gss, branches):
    method = gss(branches=branches)
    whole, remembered, told = fitted(method, tmp_path / "whole")
    assert told[-1]["drawn_is_given"] < 1
    assert whole.progress["updates"] == 8

    def broken(state, epoch, metrics):
        if epoch == 4:
            raise RuntimeError("in the last epoch")
        return {}

    with pytest.raises(RuntimeError, match="in the last epoch"):
        fitted(method, tmp_path / "parts", evaluate=broken)
    meta = Checkpoints(tmp_path / "parts" / "stage").meta()
    assert (meta["epoch"], meta["step"]) == (3, 1)
    parts, again, retold = fitted(method, tmp_path / "parts")
    jax.tree.map(np.testing.assert_array_equal, whole, parts)
    np.testing.assert_array_equal(remembered, again)
    for name in ("loss", "drawn_is_given", "pool_of_given"):
        assert [line[name] for line in told] == [line[name] for line in retold]


@pytest.mark.parametrize("branches", ["single", "double"])
def test_its_belief_is_what_it_said_and_the_pool_where_that_is_not_kept(gss, start, branches):
    method, fresh = gss(branches=branches), start(branches=branches)
    after, _, _ = step(method, at(fresh, 6))
    remembered = np.full((8, 3), 1 / 3, np.float32)
    look = Look(LABELS, tuple, tuple, lambda: remembered, tuple)
    np.testing.assert_array_equal(method.belief(after, look), remembered)
    belief = method.belief(after, dataclasses.replace(look, is_remembered=False))
    assert belief.dtype == np.float32
    weights = np.mean([np.asarray(one)[INDEX] for one in after.pool.values()], axis=0)
    weights += np.eye(3)[LABELS[INDEX]]
    np.testing.assert_allclose(belief[INDEX], weights / weights.sum(axis=1, keepdims=True),
                               rtol=1e-5)  # fmt: skip
    assert not belief[OTHERS].any()  # nothing is known of what was in no batch


def test_a_pool_that_is_too_large_is_refused_in_a_line(monkeypatch, gss):
    monkeypatch.setattr(samples, "LARGEST", 4 * 8 * 3)
    gss().check(TASK)
    monkeypatch.setattr(samples, "LARGEST", 4 * 8 * 3 - 1)
    with pytest.raises(InputError, match=r"GSS-SB keeps 8 images times 3 classes 1 times, .* GiB"):
        gss().check(TASK)


def test_a_million_images_of_a_thousand_classes_are_too_many(gss):
    task = dataclasses.replace(TASK, given=np.zeros(1_000_000, np.int32), num_classes=1000)
    with pytest.raises(InputError, match=r"7\.45 GiB on every device; expected at most 1 GiB, or"):
        gss(branches="double").check(task)
