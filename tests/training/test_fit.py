"""The loop: every image, resuming bit for bit, stopping at the first loss that is not finite."""

import contextlib
import json
import os
import signal
import sys

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmdnet_jax.data.lazy_images import LazyImages
from rmdnet_jax.errors import DivergedError, StoppedError
from rmdnet_jax.methods.interface import State
from rmdnet_jax.training import chunks, progress, stopping
from rmdnet_jax.training.checkpoints import Checkpoints
from rmdnet_jax.training.fit import fit
from rmdnet_jax.training.logging import RunLog, StageLog

IMAGES = np.zeros((10, 8, 8, 3), np.uint8)
LABELS = np.arange(10, dtype=np.int32)


class Counter:
    """A method that remembers how often it saw each image, and a fingerprint of its keys."""

    def __init__(self, explode_at=None, overflow_at=None):
        self.explode_at, self.overflow_at = explode_at, overflow_at

    def init(self):
        zeros = {"seen": jnp.zeros(10), "keys": jnp.zeros(()), "step": jnp.zeros(())}
        return State({"net": zeros}, {"net": {"unused": jnp.zeros(1)}}, {"unused": jnp.zeros(1)})

    def step(self, state, batch, key):
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
        return State({"net": net}, state.batch_stats, state.opt_state), {"loss": loss}


def run(folder, epochs, method=None, evaluate=lambda state, epoch, _: {"epoch_seen": epoch},
        images=IMAGES, batch_size=4, **options):  # fmt: skip
    folder.mkdir(exist_ok=True)
    method = method or Counter()
    checkpoints = Checkpoints(folder / "stage")
    state = fit(
        method,
        method.init(),
        images,
        LABELS,
        epochs=epochs,
        batch_size=batch_size,
        key=jax.random.key(3),
        checkpoints=checkpoints,
        log=RunLog(folder, tensorboard=False).stage("stage"),
        evaluate=evaluate,
        learning_rate=lambda update: 0.5 / (update + 1),
        **options,
    )
    checkpoints.close()
    return jax.device_get(state.params["net"])


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_an_epoch_shows_no_image_twice_and_leaves_out_the_remainder(tmp_path):
    seen = run(tmp_path, 1)["seen"]
    assert seen.max() == 1
    assert seen.sum() == 8


def test_epochs_differ_in_order_so_that_in_time_all_are_seen(tmp_path):
    assert run(tmp_path, 12)["seen"].min() > 0


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


def test_a_checkpoint_that_knows_only_epochs_is_gone_on_from(tmp_path):
    whole = run(tmp_path / "whole", 3)
    run(tmp_path / "old", 2)
    files = list((tmp_path / "old" / "stage").glob("*/meta/metadata"))
    assert files
    for file in files:
        meta = json.loads(file.read_text())
        file.write_text(json.dumps({name: meta[name] for name in ("epoch", "seconds")}))
        (file.parents[1] / "sha256.txt").unlink()
    jax.tree.map(np.testing.assert_array_equal, whole, run(tmp_path / "old", 3))


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
        def step(self, state, batch, key):
            state, metrics = super().step(state, batch, key)
            return state, {"loss": batch.image.astype(jnp.float32).mean() + metrics["loss"]}

    on_disk = LazyImages(lambda rows: (images[row] for row in rows), np.arange(10), (8, 8, 3))
    memory = run(tmp_path / "memory", 2, Looker(), images=images)
    disk = run(tmp_path / "disk", 2, Looker(), images=on_disk, workers=0)
    jax.tree.map(np.testing.assert_array_equal, memory, disk)
    losses = [[line["loss"] for line in lines(tmp_path / part)] for part in ("memory", "disk")]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("moment", range(7))
def test_asked_to_stop_it_saves_and_goes_on_as_if_nothing_had_happened(tmp_path, moment):
    """Asked while the first, second, ... picture of 5 epochs of 2 steps is read, or none."""
    read = []

    def images(rows):
        for row in rows:
            if len(read) == 5 * moment:
                os.kill(os.getpid(), signal.SIGTERM)
            read.append(row)
            yield IMAGES[row]

    on_disk = LazyImages(images, np.arange(10), (8, 8, 3))
    whole = run(tmp_path / "whole", 5)
    rarely = {"workers": 0, "checkpoint_every": 100}
    with pytest.raises(StoppedError, match="in stage stage after"), stopping.on_signals():
        run(tmp_path / "cut", 5, images=on_disk, **rarely)
    assert len(read) < 40
    assert Checkpoints(tmp_path / "cut" / "stage").latest() >= 5 * moment // 4
    jax.tree.map(np.testing.assert_array_equal, whole, run(tmp_path / "cut", 5, **rarely))


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
        def step(self, state, batch, key):
            traced.append(isinstance(jax.tree.leaves(state)[0], jax.core.Tracer))
            return super().step(state, batch, key)

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
    assert all(traced)
    assert len(traced) <= 3  # the shapes of its metrics, the scan, the single step


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

        def step(self, state, batch, key):
            usual, metrics = super().step(state, batch, key)
            pool = {"sum": state.pool["sum"].at[batch.index].add(batch.label)}
            return state.replace(params=usual.params, pool=pool), metrics

    for epochs in (2, 4):  # the second run resumes the first
        method = Pooling()
        with Checkpoints(tmp_path / "stage") as saved:
            state = fit(
                method, method.init(), IMAGES, LABELS, epochs=epochs, batch_size=5,
                key=jax.random.key(0), checkpoints=saved, evaluate=lambda *_: {},
                learning_rate=lambda _: 0.1,
                log=RunLog(tmp_path, tensorboard=False).stage("stage"),
            )  # fmt: skip
        np.testing.assert_array_equal(state.pool["sum"], epochs * LABELS)


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
