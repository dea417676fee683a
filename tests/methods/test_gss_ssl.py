"""GSS with semi-supervision: a DivideMix whose labels are drawn from pools."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import augment
from rmdnet_jax.methods import dividemix, pool, registry, samples
from rmdnet_jax.methods.dividemix import DivideMix
from rmdnet_jax.methods.gss import GSS
from rmdnet_jax.methods.gss_ssl import DividedGSS
from rmdnet_jax.methods.interface import Batch, Task

LABELS = np.arange(12, dtype=np.int32) % 3
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)
TASK = Task(LABELS, num_classes=3, batch_size=2, epochs=8)
KEY = jax.random.key(1)
# Of two steps' worth of four parts: labelled and unlabelled of network 1, then of network 2.
ROWS = np.array([[0, 4, 2, 5], [1, 6, 3, 7]], np.int32)
INDEX = ROWS.ravel()
BATCH = Batch(jnp.asarray(IMAGES[INDEX]), jnp.asarray(LABELS[INDEX]), jnp.asarray(INDEX))
FIELDS = {"warmup": 2, "lambda_u": 5.0}


@pytest.fixture
def ssl(plain):
    return lambda **changes: GSS.of(plain, branches="ssl", **FIELDS | changes)


def fresh(method):
    return method.init(jax.random.key(0), jnp.asarray(IMAGES[:1]), TASK)


def at(state, epoch, pools=None):
    """The state in an epoch, with a division by chance and these pools float [2, 12, 3]."""
    clean = np.random.default_rng(1).random((2, 12)).astype(np.float32)
    division = {"clean": jnp.asarray(clean), "labelled": jnp.asarray(clean > 0.5)}
    if epoch < FIELDS["warmup"]:
        division = {}
    division |= {"epoch": jnp.full((), epoch, jnp.int32)}
    changed = dataclasses.replace(state, division=state.division | division)
    if pools is not None:
        own = {str(m + 1): jnp.asarray(one, jnp.float32) for m, one in enumerate(pools)}
        changed = dataclasses.replace(changed, pool=own)
    return changed


def test_the_branches_make_it_and_it_has_the_papers_weights(plain, ssl):
    made = registry.build("gss", plain, {"branches": "ssl"})
    assert isinstance(made, DividedGSS)
    assert (made.title, made.learners) == ("GSS-SSL", 2) == (GSS(plain, branches="ssl").title, 2)
    assert made.lambdas == ((0.1, 0.0), (0.2, 0.5))
    ours = ssl(labelled_lambda1=0.0, labelled_lambda2=3.0, unlabelled_lambda2=7.0)
    assert ours.lambdas == ((0, 3), (0.2, 7))
    assert (made.warmup, ssl().warmup) == (DivideMix(plain).warmup, 2)
    state = fresh(made)
    assert {name: one.shape for name, one in state.pool.items()} == {"1": (12, 3), "2": (12, 3)}
    assert not any(one.any() for one in state.pool.values())


@pytest.mark.parametrize("epoch", [0, 1, 2, 6])
def test_pools_grow_by_the_other_networks_word_and_the_lambdas_of_the_part(ssl, network, epoch):
    method = ssl()
    state = at(fresh(method), epoch)
    after, _, said = method.step(state, BATCH, KEY, ())
    assert said is None
    networks, s = method.networks(state), epoch / 8
    # Before the first division every image is in both parts.
    labelled = np.asarray(state.division["labelled"]).mean(axis=1)
    visits = [(0.5, 0.5) if epoch < 2 else (share, 1 - share) for share in labelled]
    for number, name in enumerate(("1", "2")):
        expected = np.zeros((12, 3))
        for part, (lambda1, lambda2) in enumerate(((0.1, 0.0), (0.2, 0.5))):
            if epoch < 2:
                lambda1, lambda2 = 0.1, 0.0
            for row in ROWS[:, 2 * number + part]:
                logits = network.predict(networks[1 - number], jnp.asarray(IMAGES[[row]])).logits
                p = softmax(np.asarray(logits, np.float64))[0]
                more = np.full(3, lambda2 * s / 3)
                more[LABELS[row]] += p[LABELS[row]] * (1 - s)
                more[p.argmax()] += p.max() * lambda1 * s
                expected[row] += visits[number][part] * more
        np.testing.assert_allclose(after.pool[name], expected, rtol=1e-5, atol=1e-7)


def test_without_lambdas_and_with_guesses_it_is_dividemix_bit_for_bit(plain, ssl):
    """The given label is all that pools hold, so every draw is the given label."""
    parts = "labelled_lambda1", "labelled_lambda2", "unlabelled_lambda1", "unlabelled_lambda2"
    zeros = dict.fromkeys(parts, 0.0)
    ours, theirs = ssl(ssl_target="guess", **zeros), DivideMix(plain, **FIELDS)
    own, other = fresh(ours), fresh(theirs)
    for epoch in (0, 1, 5, 6, 7):
        own, other = at(own, epoch), at(other, epoch)
        key = jax.random.fold_in(KEY, epoch)
        own, metrics, _ = ours.step(own, BATCH, key, ())
        other, expected, _ = theirs.step(other, BATCH, key, ())
        assert metrics.pop("pool_of_given") == 1
        jax.tree.map(np.testing.assert_array_equal, metrics, expected)
    for field in ("params", "batch_stats", "opt_state", "division"):
        jax.tree.map(np.testing.assert_array_equal, getattr(own, field), getattr(other, field))


# Pools that outweigh the given label: each image's holds one class alone, or two alike.
SURE = 1e9 * np.eye(3)[(LABELS + 1) % 3]
EVEN = SURE + 1e9 * np.eye(3)[(LABELS + 2) % 3]


@pytest.mark.parametrize("target", ["draw", "expected", "guess"])
def test_what_is_learned_by_hand(ssl, network, target):
    method = ssl(ssl_target=target, temperature=0.5)
    state = at(fresh(method), 6, np.stack([SURE, 1e9 * np.eye(3)[(LABELS + 2) % 3]]))
    networks = method.networks(state)
    for number in (0, 1):
        lesson = method._lesson(state, BATCH, number, networks, KEY)
        rows, others = ROWS[:, 2 * number], ROWS[:, 2 * number + 1]
        drawn = np.eye(3)[(LABELS + 1 + number) % 3]

        def said(of, images):
            return softmax(network.predict(networks[of], jnp.asarray(IMAGES[images])).logits, 1)

        w = np.asarray(state.division["clean"])[number][rows][:, None]
        refined = (w * drawn[rows] + (1 - w) * said(number, rows)) ** 2
        guessed = drawn[others]
        if target == "guess":
            guessed = (said(0, others) + said(1, others)) ** 2
        unmixed = np.concatenate([refined, refined, guessed, guessed])
        unmixed /= unmixed.sum(axis=1, keepdims=True)
        mixed = mixed_by(lesson, np.asarray(lesson.x))
        np.testing.assert_allclose(lesson.target, mixed @ unmixed, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(lesson.given, LABELS[[*rows, *rows, *others, *others]])


def mixed_by(lesson, x):
    """The shares [4B, 4B] in which the views were mixed, solved from what came out of them."""
    views = np.concatenate([np.asarray(view, np.float64) for view in lesson.views])
    views = ((views / 255 - 0.5) / 0.25).reshape(len(views), -1)
    half = len(views) // 2
    alone = np.concatenate([views[: half // 2], views[half : half + half // 2]])  # views are twins
    shares = np.linalg.lstsq(alone.T, x.reshape(len(x), -1).T, rcond=None)[0].T
    quarters = np.split(shares, 2, axis=1)
    return np.concatenate([quarters[0], 0 * quarters[0], quarters[1], 0 * quarters[1]], axis=1)


def test_draws_are_of_the_pool_and_anew_by_the_key_and_shares_are_not(ssl, plain):
    part = Batch(*(jnp.repeat(one[:1], 4000, axis=0) for one in (BATCH.image, BATCH.label, INDEX)))
    both = jnp.full((4000, 3), 1 / 3)
    for target in ("draw", "expected"):
        method = ssl(ssl_target=target)
        state = at(fresh(method), 6, np.stack([EVEN, SURE]))
        first, again = (
            np.asarray(method.guessed(state, 0, part, both, key))
            for key in (KEY, jax.random.key(2))
        )
        np.testing.assert_allclose(first.mean(axis=0), [0, 0.5, 0.5], atol=0.05)
        assert (first != again).any() == (target == "draw")
        labels = np.asarray(method.label(state, 0, part, both, KEY))
        np.testing.assert_allclose(labels.mean(axis=0), [0, 0.5, 0.5], atol=0.05)
        if target == "draw":  # the label of an image is not the one it would have without a label
            assert (first != labels).any(axis=1).mean() == pytest.approx(0.5, abs=0.05)


def test_draws_share_no_key_with_one_another_the_views_or_the_mixing(ssl, monkeypatch):
    keys = {"draw": [], "view": [], "mix": []}

    def watched(what, function):
        def watch(key, *arguments, **options):
            keys[what].append(tuple(np.asarray(jax.random.key_data(key)).tolist()))
            return function(key, *arguments, **options)

        return watch

    monkeypatch.setattr(pool, "draw", watched("draw", pool.draw))
    monkeypatch.setattr(dividemix, "mixup", watched("mix", dividemix.mixup))
    monkeypatch.setattr(augment, "crop_flip", watched("view", augment.crop_flip))
    method = ssl()
    method.step(at(fresh(method), 6), BATCH, KEY, ())
    assert {what: len(used) for what, used in keys.items()} == {"draw": 4, "view": 8, "mix": 2}
    everything = [key for used in keys.values() for key in used]
    assert len(set(everything)) == len(everything)


def test_a_resume_in_mid_epoch_repeats_pools_and_draws_bit_for_bit(tmp_path, plain, trained):
    method, task = GSS.of(plain, branches="ssl", warmup=1), Task(LABELS, 3, 4, 4)
    usual = method, IMAGES, task, 0.5, 1 / 3
    whole = trained(tmp_path / "whole", *usual)
    with pytest.raises(RuntimeError, match="killed after checkpoint 8"):  # the second of 3 an epoch
        trained(tmp_path / "parts", *usual, kill_at=8)
    jax.tree.map(np.testing.assert_array_equal, whole, trained(tmp_path / "parts", *usual))
    assert all(one.any() for one in whole.pool.values())


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"branches": "ssl", "draw": "expected"}, "expected 'sample', or --config.gss.branches=si"),
        ({"branches": "ssl", "lambda1": 1.0}, "config.gss.lambda1 is 1.0 with"),
        ({"warmup": 3}, "config.gss.warmup is 3 with config.gss.branches = 'single'"),
        ({"branches": "double", "ssl_target": "guess"}, "or --config.gss.branches=ssl"),
        ({"branches": "ssl", "warmup": 8}, "GSS-SSL divides no .* a smaller gss.warmup"),
    ],
)
def test_fields_that_nothing_would_read_are_refused(plain, fields, says):
    with pytest.raises(InputError, match=f"^[^(]*{says}"):
        registry.build("gss", plain, fields).check(TASK)


def test_only_the_class_itself_makes_the_one_with_semi_supervision(plain):
    with pytest.raises(InputError, match=r"expected GSS.of"):
        GSS(plain, branches="ssl").check(TASK)


def test_a_pool_that_is_too_large_is_refused(ssl, monkeypatch):
    monkeypatch.setattr(samples, "LARGEST", 100)
    with pytest.raises(InputError, match="GSS-SSL keeps 12 images times 3 classes 2 times"):
        ssl().check(TASK)
