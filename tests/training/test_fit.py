"""The loop: every image, resuming bit for bit, stopping at the first loss that is not finite."""

import contextlib
import json
import os
import signal
import sys
from typing import ClassVar

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmdnet_jax.base.errors import DivergedError, InputError, StoppedError
from rmdnet_jax.data import transition
from rmdnet_jax.data.lazy_images import LazyImages
from rmdnet_jax.methods import samples
from rmdnet_jax.methods.interface import Method, Prediction, State, Task, Weights
from rmdnet_jax.training import chunks, progress, stopping
from rmdnet_jax.training.checkpoints import Checkpoints, NoCheckpoints
from rmdnet_jax.training.fit import fit
from rmdnet_jax.training.logging import RunLog, StageLog

IMAGES = np.zeros((10, 8, 8, 3), np.uint8)
LABELS = np.arange(10, dtype=np.int32)


class Counter(Method):
    """A method that remembers how often it saw each image, and a fingerprint of its keys."""

    def __init__(self, explode_at=None, overflow_at=None):
        self.explode_at, self.overflow_at = explode_at, overflow_at

    def init(self):
        zeros = {"seen": jnp.zeros(10), "keys": jnp.zeros(()), "step": jnp.zeros(())}
        return State({"net": zeros}, {"net": {"unused": jnp.zeros(1)}}, {"unused": jnp.zeros(1)})

    def step(self, state, batch, key, frozen):
        net = state.params["net"]
        net = {
            "seen": net["seen"].at[batch.index].add(1),
            "keys": net["keys"] * 0.9 + jax.random.uniform(key),
            "step": net["step"] + 1,
        }
        loss = batch.label.astype(jnp.float32).mean()
        if self.explode_at is not None:
            loss = jnp.where(net["step"] == self.explode_at, jnp.nan, loss)
        if self.overflow_at is not None:
            net["keys"] = jnp.where(net["step"] == self.overflow_at, jnp.inf, net["keys"])
        return state.replace(params={"net": net}), {"loss": loss}, None


def fitted(folder, epochs, method=None, evaluate=lambda state, epoch, _: {"epoch_seen": epoch},
           images=IMAGES, batch_size=4, checkpoints=None, log=None, **options):  # fmt: skip
    """What `fit` leaves of a stage in the folder."""
    folder.mkdir(exist_ok=True)
    method = method or Counter()
    with checkpoints or Checkpoints(folder / "stage") as saved:
        return fit(
            method,
            method.init(),
            images,
            Task(LABELS, 10, batch_size, epochs),
            key=jax.random.key(3),
            checkpoints=saved,
            log=(log or RunLog(folder, tensorboard=False)).stage("stage"),
            evaluate=evaluate,
            learning_rate=lambda update: 0.5 / (update + 1),
            workers=0,
            **options,
        )


def on_disk(images):
    """The same, decoded when they are read."""
    return LazyImages(lambda rows: (images[row] for row in rows), np.arange(10), (8, 8, 3))


def run(folder, epochs, *arguments, **options):
    """What it has counted."""
    return jax.device_get(fitted(folder, epochs, *arguments, **options).state.params["net"])


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_an_epoch_shows_no_image_twice_and_leaves_out_the_remainder(tmp_path):
    seen = run(tmp_path, 1)["seen"]
    assert seen.max() == 1
    assert seen.sum() == 8


def test_epochs_differ_in_order_so_that_in_time_all_are_seen(tmp_path):
    assert run(tmp_path, 12, checkpoint_every=12)["seen"].min() > 0


def test_metrics_are_means_over_the_epoch_with_the_evaluation_beside_them(tmp_path):
    run(tmp_path, 3)
    assert [line["epoch"] for line in lines(tmp_path)] == [1, 2, 3]
    assert [line["epoch_seen"] for line in lines(tmp_path)] == [1, 2, 3]
    assert all(0 < line["loss"] < 9 for line in lines(tmp_path))
    assert all(line["images_per_second"] > 0 for line in lines(tmp_path))


def test_a_resumed_run_is_the_undisturbed_run(tmp_path):
    whole = run(tmp_path / "whole", 5)
    run(tmp_path / "parts", 2)
    parts = run(tmp_path / "parts", 5)
    jax.tree.map(np.testing.assert_array_equal, whole, parts)
    losses = [[line["loss"] for line in lines(tmp_path / part)] for part in ("whole", "parts")]
    assert losses[0] == losses[1]


def test_a_finished_run_is_not_trained_again(tmp_path):
    first = run(tmp_path, 2)
    jax.tree.map(np.testing.assert_array_equal, first, run(tmp_path, 2))
    assert len(lines(tmp_path)) == 2


def test_lines_past_the_last_checkpoint_and_torn_lines_are_dropped(tmp_path):
    run(tmp_path, 2)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"stage": "other", "epoch": 9}\n{"stage": "stage", "epoch": 3}\n{"stage": "st')
    run(tmp_path, 4)
    told = [(line["stage"], line["epoch"]) for line in lines(tmp_path)]
    assert told == [("stage", 1), ("stage", 2), ("other", 9), ("stage", 3), ("stage", 4)]


def test_a_loss_that_is_not_finite_names_its_step_and_keeps_the_checkpoint(tmp_path):
    where = "loss is not finite in stage stage, epoch 2, step 1, at a learning rate of 0.167;"
    with pytest.raises(DivergedError, match=where):
        run(tmp_path, 4, Counter(explode_at=3))
    assert Checkpoints(tmp_path / "stage").meta()["epoch"] == 1


@pytest.mark.parametrize("epochs", [2, 4])
def test_an_update_that_is_not_finite_is_never_saved(tmp_path, epochs):
    """The loss of its step was still fine, and so was the epoch's mean."""
    with pytest.raises(
        DivergedError, match="parameters are not finite in stage stage, epoch 2, step 2"
    ):
        run(tmp_path, epochs, Counter(overflow_at=4))
    assert Checkpoints(tmp_path / "stage").meta()["epoch"] == 1
    assert len(lines(tmp_path)) == 1


def test_a_run_that_stops_in_mid_epoch_goes_on_at_the_last_step_that_was_saved(tmp_path):
    whole = run(tmp_path / "whole", 3, checkpoint_every=0.5)
    with pytest.raises(DivergedError, match="epoch 2, step 2"):
        run(tmp_path / "parts", 3, Counter(explode_at=4), checkpoint_every=0.5)
    meta = Checkpoints(tmp_path / "parts" / "stage").meta()
    assert (meta["epoch"], meta["step"]) == (1, 1)
    parts = run(tmp_path / "parts", 3, checkpoint_every=0.5)
    jax.tree.map(np.testing.assert_array_equal, whole, parts)
    losses = [[line["loss"] for line in lines(tmp_path / part)] for part in ("whole", "parts")]
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    ("every", "epochs", "kept"), [(2, 5, [8, 10]), (3, 3, [6]), (0.5, 1, [1, 2])]
)
def test_checkpoints_are_as_far_apart_as_asked_and_the_end_is_saved(tmp_path, every, epochs, kept):
    run(tmp_path, epochs, checkpoint_every=every)
    assert sorted(int(path.name) for path in (tmp_path / "stage").iterdir()) == kept


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_the_loop_refuses_transfers_that_nobody_asked_for(tmp_path, monkeypatch, backend):
    """Its own are asked for: the other tests pass under the same guard."""
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.setattr(
        chunks, "CPU_PIXELS" if backend == "cpu" else "PIXELS", 1
    )  # so that the log hears of a step
    monkeypatch.setattr(StageLog, "step", lambda *_: jnp.zeros(2) + np.ones(2))
    with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
        run(tmp_path, 1)


def test_images_on_disk_train_as_in_memory(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, IMAGES.shape, np.uint8)

    class Looker(Counter):
        def step(self, state, batch, key, frozen):
            state, metrics, said = super().step(state, batch, key, frozen)
            return state, {"loss": batch.image.astype(jnp.float32).mean() + metrics["loss"]}, said

    memory = run(tmp_path / "memory", 2, Looker(), images=images)
    disk = run(tmp_path / "disk", 2, Looker(), images=on_disk(images))
    jax.tree.map(np.testing.assert_array_equal, memory, disk)
    losses = [[line["loss"] for line in lines(tmp_path / part)] for part in ("memory", "disk")]
    assert losses[0] == losses[1]


@pytest.fixture(scope="module")
def five_epochs(tmp_path_factory):
    """What a run has counted that nothing has disturbed."""
    return run(tmp_path_factory.mktemp("whole"), 5)


@pytest.mark.parametrize("moment", range(7))
def test_asked_to_stop_it_saves_and_goes_on_as_if_nothing_had_happened(
    tmp_path, five_epochs, moment
):
    """Asked while the first, second, ... picture of 5 epochs of 2 steps is read, or none."""
    read = []

    def images(rows):
        for row in rows:
            if len(read) == 5 * moment:
                os.kill(os.getpid(), signal.SIGTERM)
            read.append(row)
            yield IMAGES[row]

    stored = LazyImages(images, np.arange(10), (8, 8, 3))
    rarely = {"checkpoint_every": 100}
    with pytest.raises(StoppedError, match="in stage stage after"), stopping.on_signals():
        run(tmp_path / "cut", 5, images=stored, **rarely)
    assert len(read) < 40
    assert Checkpoints(tmp_path / "cut" / "stage").latest() >= 5 * moment // 4
    jax.tree.map(np.testing.assert_array_equal, five_epochs, run(tmp_path / "cut", 5, **rarely))


@pytest.mark.parametrize("every", [1, 0.5, 2.4])
def test_accelerators_scan_is_the_cpus_loop(tmp_path, monkeypatch, every):
    loop = run(tmp_path / "loop", 3)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    run(tmp_path / "scan", 1, checkpoint_every=every)
    scan = run(tmp_path / "scan", 3, checkpoint_every=every)  # resumed
    jax.tree.map(np.testing.assert_array_equal, loop, scan)
    losses = [[line["loss"] for line in lines(tmp_path / part)] for part in ("loop", "scan")]
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    ("every", "pixels", "lengths"),
    [
        (1, 1 << 30, [5, 5, 5]),  # an epoch a chunk
        (1, 4 * 2 * 64, [2, 2, 1] * 3),
        (0.4, 1 << 30, [2, 2, 1, 1, 2, 2, 2, 2, 1]),  # a checkpoint every two steps, of all
        (2, 3 * 2 * 64, [2, 2, 1] * 3),
    ],
)
def test_chunks_of_every_length_are_two_programs(tmp_path, monkeypatch, every, pixels, lengths):
    traced, told = [], []

    class Traced(Counter):
        def step(self, state, batch, key, frozen):
            traced.append(isinstance(jax.tree.leaves(state)[0], jax.core.Tracer))
            return super().step(state, batch, key, frozen)

    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(chunks, "PIXELS", pixels)
    prepare = chunks.prepare

    def watched(*arguments):
        begin = prepare(*arguments)

        @contextlib.contextmanager
        def epoch(*arguments):
            with begin(*arguments) as advance:
                yield (
                    lambda state, start, stop: (
                        told.append(stop - start) or advance(state, start, stop)
                    )
                )

        return epoch

    monkeypatch.setattr(chunks, "prepare", watched)
    run(tmp_path, 3, Traced(), batch_size=2, checkpoint_every=every)
    assert told == lengths
    # Once for the shapes of what it returns, the scan and the single step.
    assert traced == [True]


@given(st.integers(1, 5000), st.integers(1, 600))
def test_hardly_a_step_is_left_over_by_chunks(span, largest):
    size = chunks.size(span, 16, (chunks.CPU_PIXELS // largest, 1, 3))
    largest = chunks.CPU_PIXELS // (chunks.CPU_PIXELS // largest * 16) or 1
    assert 1 <= size <= min(span, largest)
    assert span % size < -(-span // largest)  # less than a step a chunk


@pytest.mark.parametrize(
    ("span", "batch", "side", "expected"),
    [
        (782, 64, 32, 46),  # CIFAR: 17 chunks of 46 steps, and no step more
        (390, 128, 32, 39),
        (97, 512, 32, 10),
        (1, 64, 32, 1),
        (312, 64, 224, 2),  # large images, few steps
        (10, 4096, 512, 1),
    ],
)
def test_an_accelerators_chunks(monkeypatch, span, batch, side, expected):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert chunks.size(span, batch, (side, side, 3)) == expected


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_a_checkpoint_inside_an_epoch_may_copy_from_the_device(tmp_path, monkeypatch, backend):
    """A CPU's arrays lie on the host, so that its guard would not notice."""
    guards = []
    save = ocp.CheckpointManager.save

    def watched(self, *arguments, **options):
        guards.append(jax.config.jax_transfer_guard)
        return save(self, *arguments, **options)

    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.setattr(ocp.CheckpointManager, "save", watched)
    run(tmp_path, 1, checkpoint_every=0.5)
    assert guards == ["allow", "allow"]


def test_the_scan_stops_at_a_loss_that_is_not_finite(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with pytest.raises(DivergedError, match="epoch 2, step 1"):
        run(tmp_path, 4, Counter(explode_at=3))


def test_a_method_may_carry_more_than_the_usual_state(tmp_path):
    """As a pool of labels, one a sample: trained, saved and resumed like the rest."""

    @flax.struct.dataclass
    class WithPool(State):
        pool: dict

    class Pooling(Counter):
        def init(self):
            usual = super().init()
            pool = {"sum": jnp.zeros(10, jnp.int32)}
            return WithPool(usual.params, usual.batch_stats, usual.opt_state, pool)

        def step(self, state, batch, key, frozen):
            state, metrics, said = super().step(state, batch, key, frozen)
            pool = {"sum": state.pool["sum"].at[batch.index].add(batch.label)}
            return state.replace(pool=pool), metrics, said

    for epochs in (2, 4):  # the second run resumes the first
        state, _ = fitted(tmp_path, epochs, Pooling(), batch_size=5)
        np.testing.assert_array_equal(state.pool["sum"], epochs * LABELS)


class Talker(Counter):
    """Says of an image, at its visit number n from 0, that it is its own class with 1 / (n + 2)."""

    def step(self, state, batch, key, frozen):
        share = 1 / (state.params["net"]["seen"][batch.index] + 2)
        own = jax.nn.one_hot(batch.index, 10) * share[:, None]
        state, metrics, _ = super().step(state, batch, key, frozen)
        return state, metrics, own + (1 - share[:, None]) / 10


def remembered_of(seen):
    """The mean of what Talker says, by how often each image was seen."""
    memory = np.zeros((10, 10))
    for image, times in enumerate(seen):
        n = np.arange(1, times + 1)
        if len(n):
            share = np.average(1 / (n + 1), weights=n * (n + 1) * (n + 2))
            memory[image] = (1 - share) / 10 + share * (np.arange(10) == image)
    return memory


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_the_loop_remembers_what_a_method_says_also_over_a_resume_inside_an_epoch(
    tmp_path, monkeypatch, backend
):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    whole = fitted(tmp_path / "whole", 3, Talker())
    seen = jax.device_get(whole.state.params["net"]["seen"])
    assert isinstance(whole.look.remembered(), np.ndarray)
    np.testing.assert_allclose(whole.look.remembered(), remembered_of(seen), rtol=1e-5, atol=1e-7)
    halves = {"checkpoint_every": 0.5}
    with pytest.raises(DivergedError, match="epoch 2, step 2"):
        fitted(tmp_path / "parts", 3, Talker(explode_at=4), **halves)
    parts = fitted(tmp_path / "parts", 3, Talker(), **halves)
    np.testing.assert_array_equal(parts.look.remembered(), whole.look.remembered())
    again = fitted(tmp_path / "parts", 3, Talker(), **halves)  # nothing is left to do
    np.testing.assert_array_equal(again.look.remembered(), whole.look.remembered())


def items(folder):
    """What the last checkpoint holds."""
    last = max((folder / "stage").iterdir(), key=lambda path: int(path.name))
    return {path.name for path in last.iterdir() if path.is_dir()}


def test_what_a_method_does_not_say_or_is_too_much_is_not_remembered(tmp_path, monkeypatch):
    assert not fitted(tmp_path / "silent", 1).look.is_remembered
    assert fitted(tmp_path / "talks", 1, Talker()).look.is_remembered
    monkeypatch.setattr(samples, "LARGEST", 4 * 10 * 11 - 1)
    assert not fitted(tmp_path / "large", 1, Talker()).look.is_remembered
    usual = {"params", "batch_stats", "opt_state", "meta"}
    assert items(tmp_path / "silent") == items(tmp_path / "large") == usual
    assert items(tmp_path / "talks") == usual | {"memory"}


@flax.struct.dataclass
class Decided(State):
    """With how often it was decided, and before which epochs."""

    decided: dict


class Brightness:
    """A network that says of an image how bright it is."""

    def predict(self, weights, images):
        bright = images.astype(jnp.float32).mean(axis=(1, 2, 3))[:, None]
        logits = bright * weights.params["scale"] * jnp.arange(10.0)[None] / 2000
        return Prediction(logits, bright)


class Decider(Talker):
    """Decides something before every epoch, and looks at what it may."""

    network = Brightness()

    def __init__(self, looks=False, talks=True, **options):
        super().__init__(**options)
        self.looks, self.talks, self.calls, self.seen = looks, talks, [], []

    def init(self):
        usual = super().init()
        params = usual.params | {"first": {"scale": jnp.ones((1, 1))}}
        params |= {"second": {"scale": jnp.full((1, 1), 3.0)}}
        decided = {"times": jnp.zeros((), jnp.int32), "keys": jnp.zeros(())}
        return Decided(params, usual.batch_stats, usual.opt_state, decided)

    def networks(self, state):
        return tuple(Weights(state.params[name], {}) for name in ("first", "second"))

    def step(self, state, batch, key, frozen):
        after, metrics, said = super().step(state, batch, key, frozen)
        metrics["loss"] += state.decided["times"].astype(jnp.float32)
        after = after.replace(params=state.params | after.params)
        return after, metrics, said if self.talks else None

    def between_epochs(self, state, epoch, look):
        self.calls.append(epoch)
        if self.looks:
            seen = np.asarray(state.params["net"]["seen"])
            self.seen.append((seen, look.given, look.predictions(), look.remembered()))
        keys = 0.5 * state.decided["keys"] + state.params["net"]["keys"]
        return state.replace(decided={"times": state.decided["times"] + 1, "keys": keys})


def test_a_method_decides_once_before_every_epoch_and_what_it_decides_is_in_the_state(tmp_path):
    whole, before, after = Decider(), Decider(explode_at=4), Decider()
    halves = {"checkpoint_every": 0.5}
    expected = fitted(tmp_path / "whole", 3, whole).state
    assert whole.calls == [0, 1, 2]
    assert [line["loss"] for line in lines(tmp_path / "whole")][2] > 3  # the step reads it
    with pytest.raises(DivergedError, match="epoch 2, step 2"):
        fitted(tmp_path / "parts", 3, before, **halves)
    state = fitted(tmp_path / "parts", 3, after, **halves).state
    assert (before.calls, after.calls) == ([0, 1], [2])
    jax.tree.map(np.testing.assert_array_equal, state, expected)
    losses = [[line["loss"] for line in lines(tmp_path / part)] for part in ("whole", "parts")]
    assert losses[0] == losses[1]


def test_a_run_that_stops_between_two_epochs_decides_when_it_goes_on(tmp_path):
    fitted(tmp_path, 1, first := Decider())
    fitted(tmp_path, 2, second := Decider())
    assert (first.calls, second.calls) == ([0], [1])


PICTURES = np.random.default_rng(0).integers(0, 256, IMAGES.shape, np.uint8)


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


@pytest.mark.parametrize("streamed", [False, True])
def test_what_a_method_finds_out_when_it_decides(tmp_path, streamed):
    method = Decider(looks=True)
    images = on_disk(PICTURES) if streamed else PICTURES
    end = fitted(tmp_path, 3, method, images=images)
    bright = PICTURES.mean(axis=(1, 2, 3))[:, None]
    assert len(method.seen) == 3
    for epoch, (seen, labels, predictions, remembered) in enumerate(method.seen):
        assert seen.sum() == 8 * epoch
        np.testing.assert_array_equal(labels, LABELS)
        for scale, one in zip((1, 3), predictions, strict=True):
            assert one.embedding is None
            expected = scale * bright * np.arange(10) / 2000
            np.testing.assert_allclose(one.logits, expected, rtol=1e-5)
        np.testing.assert_allclose(remembered, remembered_of(seen), rtol=1e-5, atol=1e-7)
    assert end.look.remembered().any(axis=1).sum() >= 8


def test_images_that_were_in_no_batch_say_nothing_of_the_noise(tmp_path):
    look = fitted(tmp_path, 1, Talker()).look
    remembered = look.remembered()
    known = remembered.any(axis=1)
    assert not known.all()
    expected = transition.estimate(remembered[known], look.given[known])
    assert look.noise().rate == expected.rate
    np.testing.assert_array_equal(look.noise().transition, expected.transition)


def test_where_nothing_is_remembered_it_is_what_the_networks_say_together(tmp_path):
    method = Decider(looks=True, talks=False)
    fitted(tmp_path, 1, method, images=PICTURES)
    ((_, _, predictions, remembered),) = method.seen
    mean = np.mean([one.logits for one in predictions], axis=0)
    np.testing.assert_allclose(remembered, softmax(mean), rtol=1e-5)


@pytest.mark.parametrize("talks", [True, False])
def test_before_the_first_epoch_the_noise_is_what_the_networks_say_now(tmp_path, talks):
    class Early(Decider):
        def between_epochs(self, state, epoch, look):
            self.seen.append((look.predictions(), look.noise()))
            return super().between_epochs(state, epoch, look)

    method = Early(talks=talks)
    fitted(tmp_path, 1, method, images=PICTURES)
    ((predictions, noise),) = method.seen
    said = softmax(np.mean([one.logits for one in predictions], axis=0))
    expected = transition.estimate(said, LABELS, learned=True)
    assert noise.range == pytest.approx(expected.range)
    np.testing.assert_allclose(noise.transition, expected.transition)


@pytest.mark.parametrize(
    ("decision", "found"),
    [
        (lambda state: None, "returned None"),
        (
            lambda state: state.replace(decided=state.decided | {"times": jnp.zeros(3, jnp.int32)}),
            r"returned decided\['times'\] as int32\[3\], which was int32\[\]",
        ),
    ],
)
def test_a_decision_of_another_shape_is_refused_before_the_first_step(tmp_path, decision, found):
    class Wrong(Decider):
        title = "Mine"

        def between_epochs(self, state, epoch, look):
            return decision(state)

    with pytest.raises(InputError, match=f"^between_epochs of Mine {found}; expected a state of"):
        fitted(tmp_path, 1, Wrong())
    assert not (tmp_path / "metrics.jsonl").exists()


@pytest.mark.parametrize("said", [lambda p: jnp.log(p) + 2, jnp.log, lambda p: p / 2])
def test_what_a_step_says_that_is_no_probability_is_refused_after_the_first_epoch(tmp_path, said):
    class Wrong(Talker):
        title = "Mine"

        def step(self, state, batch, key, frozen):
            state, metrics, p = super().step(state, batch, key, frozen)
            return state, metrics, said(p)

    with pytest.raises(InputError, match=r"^the probabilities that a step of Mine returns are"):
        fitted(tmp_path, 2, Wrong())
    with Checkpoints(tmp_path / "stage") as saved:
        assert saved.latest() is None


@pytest.mark.parametrize("bad", [jnp.inf, jnp.nan])
@pytest.mark.parametrize("epoch", [0, 1])
def test_a_field_of_the_state_that_is_not_finite_is_named_before_the_next_step(
    tmp_path, epoch, bad
):
    class Endless(Decider):
        def between_epochs(self, state, now, look):
            value = bad if now == epoch else 0.0
            return state.replace(decided=state.decided | {"keys": jnp.full((), value)})

    with pytest.raises(DivergedError) as refused:
        fitted(tmp_path, 3, Endless())
    what = "the field decided of Decided is not finite in stage stage"
    assert str(refused.value).startswith(f"{what}, epoch {epoch + 1}, step 1, at a learning rate")
    assert str(refused.value).endswith("kept: expected finite values in every field of the state")


def test_probabilities_that_are_not_finite_are_named(tmp_path):
    class Wrong(Talker):
        def step(self, state, batch, key, frozen):
            state, metrics, p = super().step(state, batch, key, frozen)
            return state, metrics, p * jnp.nan

    with pytest.raises(DivergedError, match=r"^the probabilities that a step returns are not fin"):
        fitted(tmp_path, 1, Wrong())


class Ordering(Talker):
    """Six images a step, where the batch size is four."""

    def order(self, state, key, task):
        keys = jax.random.split(key, task.steps)
        return jax.vmap(lambda key: jax.random.permutation(key, task.num_images)[:6])(keys)


@pytest.mark.parametrize("way", ["loop", "scan", "disk"])
def test_a_method_may_order_more_images_a_step_than_the_batch_size(tmp_path, monkeypatch, way):
    """Two steps of six an epoch, resumed inside the second, as without a break."""
    usual = {"checkpoint_every": 1 if way == "scan" else 0.5}
    loop = fitted(tmp_path / "loop", 3, Ordering(), **usual)
    assert loop.state.params["net"]["seen"].sum() == 3 * 2 * 6
    memory = remembered_of(jax.device_get(loop.state.params["net"]["seen"]))
    np.testing.assert_allclose(loop.look.remembered(), memory, rtol=1e-5, atol=1e-7)
    if way == "scan":
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    usual |= {"images": on_disk(IMAGES)} if way == "disk" else {}
    with pytest.raises(DivergedError, match="epoch 2, step 2"):
        fitted(tmp_path / "parts", 3, Ordering(explode_at=4), **usual)
    parts = fitted(tmp_path / "parts", 3, Ordering(), **usual)
    jax.tree.map(np.testing.assert_array_equal, parts.state, loop.state)
    np.testing.assert_array_equal(parts.look.remembered(), loop.look.remembered())
    losses = [[line["loss"] for line in lines(tmp_path / part)] for part in ("loop", "parts")]
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (lambda order: order + 3, r"order of Mine has positions from \d to 12; expected 0 to 9"),
        (lambda order: order.at[1, 2].set(order[1, 0]), "order of Mine has an image twice in step"),
    ],
)
def test_an_order_that_is_not_of_the_images_is_refused_before_its_first_step(
    tmp_path, change, refusal
):
    """Gathers clamp, and the memory of an image would lose one of its two visits."""

    class Wrong(Ordering):
        title = "Mine"

        def order(self, state, key, task):
            return change(super().order(state, key, task))

    with pytest.raises(InputError, match=f"^{refusal}"):
        fitted(tmp_path, 1, Wrong())


class Frozen(Counter):
    """Its loss is what it reads in arrays that nobody changes."""

    frozen: ClassVar = {"table": np.arange(10, dtype=np.float32) ** 2}

    def step(self, state, batch, key, frozen):
        state, _, said = super().step(state, batch, key, frozen)
        return state, {"loss": frozen["table"][batch.index].mean()}, said


@pytest.mark.parametrize("way", ["loop", "scan", "disk"])
def test_frozen_arrays_reach_every_step_and_no_checkpoint(tmp_path, monkeypatch, way):
    if way == "scan":
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    images = on_disk(IMAGES) if way == "disk" else IMAGES
    fitted(tmp_path, 2, Frozen(), images=images, batch_size=10)
    # All ten images in one step: the mean of 0, 1, 4, ..., 81.
    assert [line["loss"] for line in lines(tmp_path)] == [28.5, 28.5]
    assert items(tmp_path) == {"params", "batch_stats", "opt_state", "meta"}


def test_a_state_that_cannot_be_stored_is_refused_before_the_first_step(tmp_path):
    @flax.struct.dataclass
    class WithArray(State):
        average: jax.Array

    class Bare(Counter):
        def init(self):
            usual = super().init()
            average = jnp.zeros((10, 3))
            return WithArray(usual.params, usual.batch_stats, usual.opt_state, average)

    told = []
    with pytest.raises(InputError, match="the field average of WithArray is a bare array"):
        fitted(tmp_path, 2, Bare(), evaluate=lambda *_: told.append(1) or {})
    assert told == []
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_a_workdir_leaves_nothing_on_disk_and_is_the_same(tmp_path, monkeypatch):
    with_one = fitted(tmp_path / "workdir", 2, Talker())
    monkeypatch.chdir(tmp_path)
    log, before = RunLog(None), set(tmp_path.rglob("*"))
    without = fitted(tmp_path / "workdir", 2, Talker(), checkpoints=NoCheckpoints(), log=log)
    assert set(tmp_path.rglob("*")) == before
    jax.tree.map(np.testing.assert_array_equal, without.state, with_one.state)
    np.testing.assert_array_equal(without.look.remembered(), with_one.look.remembered())
    told = [line["loss"] for line in log.history("stage")]
    assert told == [line["loss"] for line in lines(tmp_path / "workdir")]


def test_a_batch_that_the_devices_do_not_hold_is_told_by_the_rows_of_a_step(tmp_path):
    class TooMuch(Ordering):
        def between_epochs(self, state, epoch, look):
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    with pytest.raises(InputError, match=r"a batch of 6 does not fit into .* memory; expected a"):
        fitted(tmp_path, 1, TooMuch())


def test_the_terminal_is_given_back_when_training_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    stopped = []
    monkeypatch.setattr(progress.Bar, "stop", lambda self: stopped.append(True))

    def broken(state, epoch, metrics):
        raise RuntimeError("evaluation failed")

    with pytest.raises(RuntimeError, match="evaluation failed"):
        run(tmp_path, 2, evaluate=broken)
    assert stopped
