"""Co-teaching: each network learns what the other finds easy; how much of it, the rate says."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data.transition import Noise
from rmdnet_jax.methods.coteaching import CoTeaching
from rmdnet_jax.methods.interface import Batch, Look, Task

LABELS = np.arange(10, dtype=np.int32) % 3
IMAGES = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 3), np.uint8)
TASK = Task(LABELS, num_classes=3, batch_size=10, epochs=20)
BATCH = Batch(jnp.asarray(IMAGES), jnp.asarray(LABELS), jnp.arange(10))
RATE = 0.5  # of learning


@pytest.fixture
def method(plain):
    return lambda **changes: CoTeaching(plain, **changes)


@pytest.fixture
def start(method):
    image = jnp.asarray(IMAGES[:1])
    return lambda **changes: method(**changes).init(jax.random.key(0), image, TASK)


@pytest.fixture
def said(logits_of):
    """Logits of the batch in training mode, float64 [10, 3]."""

    return lambda state, name: logits_of(state, BATCH.image, name)


def test_two_networks_start_apart(method, start):
    known = start(rate=0.4)
    assert sorted(known.params) == ["1", "2"]
    kernels = [known.params[name]["classifier"]["Dense_0"]["kernel"] for name in ("1", "2")]
    assert (kernels[0] != kernels[1]).any()
    assert len(method().networks(known)) == 2


@pytest.mark.parametrize("epoch", [0, 4, 30])
def test_a_step_is_the_selection_and_the_gradient_by_hand(method, start, at_epoch, said, epoch):
    """Network 1 is updated on the smallest of network 2's losses, and the other way about."""
    state = at_epoch(start(rate=0.4), epoch)
    after, metrics, probabilities = method(rate=0.4, ramp=9).step(
        state, BATCH, jax.random.key(1), ()
    )
    keep = {0: 10, 4: 8, 30: 6}[epoch]  # 1 - 0.4 * min(epoch / 8, 1) of 10
    np.testing.assert_allclose(metrics["kept"], keep / 10, rtol=1e-6)
    logits = {name: said(state, name) for name in ("1", "2")}
    p = {name: softmax(x, axis=1) for name, x in logits.items()}
    loss = {name: -np.log(x[np.arange(10), LABELS]) for name, x in p.items()}
    easy = {name: np.argsort(x, kind="stable")[:keep] for name, x in loss.items()}
    mean = [loss["1"][easy["2"]].mean(), loss["2"][easy["1"]].mean()]
    np.testing.assert_allclose(metrics["loss"], sum(mean), rtol=1e-5)
    np.testing.assert_allclose(
        probabilities, softmax((logits["1"] + logits["2"]) / 2, axis=1), rtol=1e-5
    )
    for name, other in (("1", "2"), ("2", "1")):
        of_logits = (p[name] - np.eye(3)[LABELS])[easy[other]].mean(axis=0)
        bias = [s.params[name]["classifier"]["Dense_0"]["bias"] for s in (state, after)]
        np.testing.assert_allclose((bias[0] - bias[1]) / RATE, of_logits, atol=1e-5)
    assert after.selection["updates"] == epoch * TASK.steps + 1


@pytest.mark.parametrize(("rate", "size"), [(0.3, 10), (0.2, 10), (0.7, 100), (0.4, 64), (0.99, 8)])
def test_a_whole_number_of_images_is_not_lost_to_rounding(method, rate, size):
    """int((1 - R) B) in float32 would lose one where (1 - R) B is just below a whole number."""
    one = method(rate=rate, ramp=2)
    selection = {name: jnp.asarray(value) for name, value in (
        ("updates", jnp.int32(9)), ("steps_an_epoch", jnp.int32(1)),
        ("rate", jnp.float32(rate)), ("first", jnp.int32(0)),
    )}  # fmt: skip
    assert one._keep(selection, size) == max(1, int(round((1 - rate) * size, 6)))


@pytest.mark.parametrize(
    ("rate", "epochs", "says"),
    [(None, 11, "11 epochs, but train.epochs is 11"), (0.4, 1, "1 epochs, but train.epochs is 1")],
)
def test_a_training_in_which_nothing_would_be_left_out_is_refused(method, rate, epochs, says):
    with pytest.raises(InputError, match=says):
        method(rate=rate).check(dataclasses.replace(TASK, epochs=epochs))
    method(rate=rate).check(dataclasses.replace(TASK, epochs=epochs + 1))
    method(rate=0.0).check(dataclasses.replace(TASK, epochs=1))


def test_an_unknown_rate_is_estimated_once_at_the_end_of_the_warm_up(method, start, at_epoch):
    one, asked = method(ramp=4), []

    def noise():
        asked.append(True)
        return Noise(np.eye(4), 0.3, (0, 1), None)

    look = Look(LABELS, tuple, tuple, tuple, noise)
    state = start(ramp=4)
    for epoch in (0, 1, 3, 5):
        assert one.between_epochs(state, epoch, look) is state
    assert not asked
    decided = one.between_epochs(state, 4, look)
    assert asked == [True]
    assert decided.selection["rate"] == pytest.approx(0.3)
    keeps = [int(one._keep(at_epoch(decided, e).selection, 100)) for e in (0, 3, 4, 5, 7, 20)]
    assert keeps[:3] == [100, 100, 100]
    assert keeps[3] > keeps[4] == keeps[5]
    assert method(rate=0.2).between_epochs(state, 10, look) is state
