"""DivideMix: labels of small loss are kept, by the other network's word; the rest is guessed."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.methods import dividemix, select
from rmdnet_jax.methods.dividemix import DivideMix
from rmdnet_jax.methods.interface import Batch, Look, Prediction, Task, Weights
from rmdnet_jax.methods.mixup import mixup
from rmdnet_jax.models.mlp import MLP
from rmdnet_jax.training.checkpoints import Checkpoints

RNG = np.random.default_rng(0)
LABELS = np.arange(12, dtype=np.int32) % 3
IMAGES = RNG.integers(0, 256, (12, 8, 8, 3), np.uint8)
TASK = Task(LABELS, num_classes=3, batch_size=2, epochs=9)
RATE, KEY = 0.5, jax.random.key(1)
# Of two steps' worth of four parts: labelled and unlabelled of network 1, then of network 2.
ROWS = np.array([[0, 4, 2, 5], [1, 6, 3, 7]], np.int32)
INDEX = ROWS.ravel()
BATCH = Batch(jnp.asarray(IMAGES[INDEX]), jnp.asarray(LABELS[INDEX]), jnp.asarray(INDEX))


@pytest.fixture
def method(plain):
    return lambda **changes: DivideMix(plain, **{"warmup": 2} | changes)


@pytest.fixture
def fresh(method):
    return method().init(jax.random.key(0), jnp.asarray(IMAGES[:1]), TASK)


@pytest.fixture
def divided(fresh):
    """In epoch 6, with a division by chance."""
    clean = np.random.default_rng(1).random((2, 12)).astype(np.float32)
    return dataclasses.replace(
        fresh,
        division=fresh.division
        | {
            "clean": jnp.asarray(clean),
            "labelled": jnp.asarray(clean > 0.5),
            "epoch": jnp.full((), 6, jnp.int32),
        },
    )


def softmax(logits):
    return special.softmax(np.asarray(logits, np.float64), axis=1)


def look(*logits, given=LABELS):
    """What two networks say of all images."""
    said = tuple(Prediction(np.asarray(one, np.float32), None) for one in logits)
    return Look(given, tuple, lambda: said, tuple, tuple)


def sure_of(classes, sure=8.0):
    return sure * np.eye(3, dtype=np.float32)[classes]


def normalised(images):
    return (jnp.asarray(images).astype(jnp.float32) / 255 - 0.5) / 0.25


def test_labels_of_small_loss_are_surely_right():
    given = np.arange(200) % 3
    logits = sure_of(given) + RNG.normal(size=(200, 3))
    wrong = np.arange(0, 200, 5)
    given[wrong] = (given[wrong] + 1) % 3
    clean = dividemix.clean_shares(logits, given)
    assert clean.dtype == np.float64
    assert clean[wrong].max() < 0.01
    assert np.delete(clean, wrong).min() > 0.9


def test_equal_losses_leave_open_which_labels_are_right():
    clean = dividemix.clean_shares(np.zeros((6, 3)), np.arange(6) % 3)
    assert np.isfinite(clean).all()
    assert len(set(clean)) == 1


def test_the_surest_are_taken_and_of_equal_ones_the_first():
    chosen = select.surest(np.array([0.2, 0.9, 0.5, 0.5, 0.9]), 3)
    np.testing.assert_array_equal(chosen, [False, True, True, False, True])


@pytest.mark.parametrize("size", [3, 5, 14])
def test_members_come_in_turn_and_again(size):
    members = jnp.asarray(np.isin(np.arange(12), [1, 4, 5, 9, 11]))
    drawn = jax.jit(select.cycled, static_argnums=2)(KEY, members, size)
    assert drawn.dtype == jnp.int32
    turn = np.asarray(drawn)[:5]
    assert len(set(turn)) == min(size, 5)
    assert set(turn) <= {1, 4, 5, 9, 11}
    np.testing.assert_array_equal(drawn, np.resize(turn, size))
    assert (drawn != select.cycled(jax.random.key(5), members, size)).any()


def test_of_no_members_all_are_drawn():
    drawn = select.cycled(KEY, jnp.zeros(12, bool), 12)
    assert sorted(drawn.tolist()) == list(range(12))


def test_a_step_has_a_batch_of_each_part_of_each_network(method, divided):
    order = method().order(divided, KEY, TASK)
    assert order.shape == (TASK.steps, 8)
    parts = np.asarray(order).reshape(TASK.steps, 2, 4)
    labelled = np.asarray(divided.division["labelled"])
    for number in (0, 1):
        assert labelled[number][parts[:, :, 2 * number]].all()
        assert not labelled[number][parts[:, :, 2 * number + 1]].any()
    for step in parts:
        assert all(len(set(part)) == 2 for part in step.T)
    again = method().order(divided, KEY, TASK)
    np.testing.assert_array_equal(order, again)


def test_in_the_warm_up_each_part_is_a_permutation_of_all_images(method, fresh):
    parts = np.asarray(method().order(fresh, KEY, TASK)).reshape(-1, 4)
    for part in parts.T:
        assert sorted(part) == list(range(12))
    assert (parts[:, 0] != parts[:, 2]).any()


def test_a_step_of_the_warm_up_is_cross_entropy_of_all_given_labels(method, fresh, network):
    after, metrics, said = method(confidence=0.5).step(fresh, BATCH, KEY, ())
    assert said is None
    losses = []
    for number, name in enumerate(("1", "2")):
        part = [*ROWS[:, 2 * number]] * 2 + [*ROWS[:, 2 * number + 1]] * 2
        weights = Weights(fresh.params[name], fresh.batch_stats[name])
        p = softmax(network.train(weights, normalised(IMAGES[part]))[0].logits)
        minus_entropy = (p * np.log(p)).sum(axis=1, keepdims=True)
        losses.append((0.5 * minus_entropy[:, 0] - np.log(p[np.arange(8), LABELS[part]])).mean())
        of_logits = p - np.eye(3)[LABELS[part]] + 0.5 * p * (np.log(p) - minus_entropy)
        bias = [s.params[name]["classifier"]["Dense_0"]["bias"] for s in (fresh, after)]
        np.testing.assert_allclose((bias[0] - bias[1]) / RATE, of_logits.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(metrics["loss"], sum(losses), rtol=1e-5)
    assert metrics["labelled"] == 1


def test_a_step_of_the_division_by_hand(method, divided, network, monkeypatch):
    mixing = []

    def recorded(*arguments, **options):
        mixing.append(mixup(*arguments, **options))
        return mixing[-1]

    monkeypatch.setattr(dividemix, "mixup", recorded)
    one = method(lambda_u=10.0, ramp=8, temperature=0.5)  # in epoch 6 of 2 to 10: half of it
    after, metrics, _ = one.step(divided, BATCH, KEY, ())
    networks = one.networks(divided)
    totals = []
    for number, name in enumerate(("1", "2")):
        rows, others = ROWS[:, 2 * number], ROWS[:, 2 * number + 1]

        def said(network_number, images):
            of = networks[network_number]
            return softmax(network.predict(of, jnp.asarray(IMAGES[images])).logits)

        w = np.asarray(divided.division["clean"])[number][rows][:, None]
        refined = (w * np.eye(3)[LABELS[rows]] + (1 - w) * said(number, rows)) ** 2
        guessed = ((said(0, others) + said(1, others)) / 2) ** 2
        target = np.concatenate([refined, refined, guessed, guessed])
        target /= target.sum(axis=1, keepdims=True)
        x = np.asarray(normalised(IMAGES[[*rows, *rows, *others, *others]]))
        lam, partner = float(mixing[number].lam), np.asarray(mixing[number].partner)
        assert lam >= 0.5
        x, q = (lam * v + (1 - lam) * v[partner] for v in (x, target))
        weights = Weights(divided.params[name], divided.batch_stats[name])
        p = softmax(network.train(weights, jnp.asarray(x, jnp.float32))[0].logits)
        labelled = -(q * np.log(p))[:4].sum(axis=1).mean()
        unlabelled = ((p - q)[4:] ** 2).mean()
        prior = -np.log(3 * p.mean(axis=0)).mean()
        totals.append([labelled, unlabelled, prior])
        slope = np.zeros((8, 3))  # of the loss, by p
        slope[:4] -= q[:4] / p[:4] / 4
        slope[4:] += 5 * 2 * (p - q)[4:] / 12
        slope -= 1 / 3 / p.mean(axis=0) / 8
        of_logits = p * (slope - (p * slope).sum(axis=1, keepdims=True))
        bias = [s.params[name]["classifier"]["Dense_0"]["bias"] for s in (divided, after)]
        np.testing.assert_allclose((bias[0] - bias[1]) / RATE, of_logits.sum(axis=0), atol=1e-4)
    labelled, unlabelled, prior = np.sum(totals, axis=0)
    np.testing.assert_allclose(metrics["loss"], labelled + 5 * unlabelled + prior, rtol=1e-4)
    np.testing.assert_allclose(metrics["labelled_loss"], labelled / 2, rtol=1e-4)
    np.testing.assert_allclose(metrics["unlabelled_loss"], unlabelled / 2, rtol=1e-4)
    np.testing.assert_allclose(metrics["prior_penalty"], prior / 2, rtol=1e-3, atol=1e-6)
    kept = np.asarray(divided.division["labelled"]).mean()
    np.testing.assert_allclose(metrics["labelled"], kept, rtol=1e-6)


def test_each_network_learns_by_the_others_division(method, fresh, capsys):
    """Network 1 doubts the labels of images 0 to 3, network 2 those of 8 to 11."""
    doubts = [np.where(np.isin(np.arange(12), of), (LABELS + 1) % 3, LABELS)
              for of in (range(4), range(8, 12))]  # fmt: skip
    said = look(sure_of(doubts[0]), sure_of(doubts[1]))
    for epoch in (0, 1):
        warm = method().between_epochs(fresh, epoch, said)
        assert np.asarray(warm.division["labelled"]).all()
        assert warm.division["epoch"] == epoch
    division = method().between_epochs(fresh, 2, said).division
    assert division["epoch"] == 2
    assert np.flatnonzero(~np.asarray(division["labelled"][0])).tolist() == [8, 9, 10, 11]
    assert np.flatnonzero(~np.asarray(division["labelled"][1])).tolist() == [0, 1, 2, 3]
    assert division["clean"].dtype == jnp.float32
    assert division["clean"][0, 8] < 0.01 < 0.99 < division["clean"][0, 0]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_a_side_without_a_batch_gets_the_nearest_to_it_and_says_so_once(
    method, fresh, capsys, threshold
):
    """Above 0 are all labels, above 1 none."""
    one, said = method(threshold=threshold), look(*RNG.normal(size=(2, 12, 3)))
    after = one.between_epochs(fresh, 2, said)
    counts = 10 if threshold == 0 else 2
    labelled = np.asarray(after.division["labelled"])
    assert labelled.sum(axis=1).tolist() == [counts, counts]
    clean = np.asarray(after.division["clean"])
    for number in (0, 1):
        assert clean[number][labelled[number]].min() >= clean[number][~labelled[number]].max()
    (line,) = capsys.readouterr().err.splitlines()
    all_or_none = 12 if threshold == 0 else 0
    assert line.startswith(f"warning: DivideMix takes {all_or_none} and {all_or_none} of 12 labels")
    assert f"the most certain {counts} and {counts}" in line
    one.between_epochs(after, 3, said)
    assert capsys.readouterr().err == ""


def test_equal_losses_and_a_class_without_labels_do_no_harm(method, fresh):
    one = method(lambda_u=25.0)
    classless = np.where(LABELS == 2, 1, LABELS)  # the networks never say class 2
    for said in (look(*np.zeros((2, 12, 3))), look(sure_of(classless), sure_of(classless))):
        state = one.between_epochs(fresh, 5, said)
        order = one.order(state, KEY, TASK)
        for index in np.asarray(order[:2]):
            batch = Batch(
                jnp.asarray(IMAGES[index]), jnp.asarray(LABELS[index]), jnp.asarray(index)
            )
            state, metrics, _ = one.step(state, batch, KEY, ())
            assert np.isfinite(metrics["loss"])
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


def test_two_views_are_two(learner, divided, monkeypatch):
    seen = []
    one = DivideMix(learner(pad=2, optimizer=optax.sgd(RATE)), warmup=2)

    def recorded(key, x, *arguments, **options):
        seen.append(np.asarray(x))
        return mixup(key, x, *arguments, **options)

    monkeypatch.setattr(dividemix, "mixup", recorded)
    one.step(divided, BATCH, KEY, ())
    for x in seen:
        first, second, third, fourth = np.split(x, 4)
        assert (first != second).any()
        assert (third != fourth).any()


def test_of_feature_vectors_both_views_are_the_vector(learner, network, monkeypatch):
    vectors, seen = RNG.normal(size=(12, 5)).astype(np.float32), []
    features = dataclasses.replace(
        network, backbone=MLP((8,)), mean=np.zeros(5, np.float32), std=np.ones(5, np.float32)
    )
    one = DivideMix(dataclasses.replace(learner(), network=features), warmup=2)
    state = one.init(jax.random.key(0), jnp.asarray(vectors[:1]), TASK)
    state = dataclasses.replace(
        state, division=state.division | {"epoch": jnp.full((), 3, jnp.int32)}
    )

    def recorded(key, x, *arguments, **options):
        seen.append(np.asarray(x))
        return mixup(key, x, *arguments, **options)

    monkeypatch.setattr(dividemix, "mixup", recorded)
    _, metrics, _ = one.step(
        state, dataclasses.replace(BATCH, image=jnp.asarray(vectors[INDEX])), KEY, ()
    )
    assert np.isfinite(metrics["loss"])
    labelled, others = ROWS[:, 0], ROWS[:, 1]
    np.testing.assert_allclose(seen[0], vectors[[*labelled, *labelled, *others, *others]])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"epochs": 2}, r"in the first 2 of 2 epochs .* smaller dividemix\.warmup"),
        ({"batch_size": 7}, r"from 12 images and train\.batch_size is 7; expected at most half"),
    ],
)
def test_what_leaves_nothing_to_divide_is_refused(method, changes, says):
    with pytest.raises(InputError, match=says):
        method().check(dataclasses.replace(TASK, **changes))
    method().check(dataclasses.replace(TASK, epochs=3, batch_size=6))


# Easy pictures: a class is a pattern.
MANY = np.arange(120, dtype=np.int32) % 3
PATTERNS = RNG.integers(60, 190, (3, 8, 8, 3))
PICTURES = (PATTERNS[MANY] + RNG.integers(-60, 60, (120, 8, 8, 3))).astype(np.uint8)


@pytest.fixture(scope="module")
def fitted(learner, trained):
    """What 6 epochs of 10 steps leave, a checkpoint every 4 steps."""
    one = DivideMix(learner(optimizer=optax.sgd(0.02, 0.9), pad=0, flip=False), warmup=3)

    def fit_(folder, given, **options):
        return trained(folder, one, PICTURES, Task(given, 3, 12, 6), 0.02, 0.4, **options)

    return fit_


@pytest.fixture(scope="module")
def of_clean(fitted, tmp_path_factory):
    """The state after a training by true labels that nothing has disturbed."""
    return fitted(tmp_path_factory.mktemp("clean") / "w", MANY)


def test_clean_labels_are_nearly_all_kept():
    """By a network whose margins spread as they do: a few images are hard, and may lose theirs."""
    given = np.arange(3000) % 3
    clean = dividemix.clean_shares(sure_of(given) + 2 * RNG.normal(size=(3000, 3)), given)
    assert (clean > 0.5).mean() > 0.95


def test_in_a_training_most_clean_labels_are_kept_and_wrong_ones_are_not(
    fitted, of_clean, tmp_path
):
    """Losses that are all small are divided too: they are stretched from 0 to 1."""
    assert np.asarray(of_clean.division["labelled"]).mean() > 0.7
    wrong = np.arange(0, 120, 4)
    given = MANY.copy()
    given[wrong] = (given[wrong] + 1) % 3
    noisy = fitted(tmp_path / "noisy", given).division
    labelled = np.asarray(noisy["labelled"])
    assert labelled[:, wrong].mean() < 0.2
    assert np.delete(labelled, wrong, axis=1).mean() > 0.8


def test_a_training_that_is_killed_in_mid_epoch_goes_on_as_if_it_had_not_been(
    fitted, of_clean, tmp_path
):
    """A checkpoint every 4 steps: the 11th is of step 44, in the epoch of the second division."""
    with pytest.raises(RuntimeError, match="killed after checkpoint 11"):
        fitted(tmp_path / "parts", MANY, kill_at=11)
    with Checkpoints(tmp_path / "parts" / "stage") as saved:
        assert (saved.meta()["epoch"], saved.meta()["step"]) == (4, 4)
    parts = fitted(tmp_path / "parts", MANY)
    jax.tree.map(np.testing.assert_array_equal, of_clean, parts)
