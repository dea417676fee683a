"""The loop: every image, resuming bit for bit, stopping at the first loss that is not finite."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rmdnet_jax.errors import DivergedError, InputError
from rmdnet_jax.methods.interface import State
from rmdnet_jax.training.checkpoints import Checkpoints
from rmdnet_jax.training.fit import fit
from rmdnet_jax.training.logging import RunLog

IMAGES = np.zeros((10, 8, 8, 3), np.uint8)
LABELS = np.arange(10, dtype=np.int32)


class Counter:
    """A method that remembers how often it saw each image, and a fingerprint of its keys."""

    def __init__(self, explode_at=None):
        self.explode_at = explode_at

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
        return State({"net": net}, state.batch_stats, state.opt_state), {"loss": loss}


def run(folder, epochs, method=None, evaluate=lambda state, epoch: {"epoch_seen": epoch}):
    folder.mkdir(exist_ok=True)
    method = method or Counter()
    checkpoints = Checkpoints(folder / "stage")
    state = fit(
        method,
        method.init(),
        IMAGES,
        LABELS,
        epochs=epochs,
        batch_size=4,
        key=jax.random.key(3),
        checkpoints=checkpoints,
        log=RunLog(folder, tensorboard=False).stage("stage"),
        evaluate=evaluate,
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
    with pytest.raises(DivergedError, match="epoch 2, step 1"):
        run(tmp_path, 4, Counter(explode_at=3))
    assert Checkpoints(tmp_path / "stage").latest() == 1


def test_checkpoints_of_something_else_are_refused(tmp_path):
    folder = tmp_path / "stage"
    state = Counter().init()
    made = Checkpoints(folder, description={"images": "abc", "width": 16})
    made.save(1, state, {"epoch": 1, "seconds": 0.0}, 1)
    made.close()
    Checkpoints(folder, description={"width": 16}).check()
    with pytest.raises(InputError, match=r"other width \(16; here 32"):
        Checkpoints(folder, description={"width": 32}).check()


def test_networks_are_restored_without_the_optimiser(tmp_path):
    made = Checkpoints(tmp_path / "stage", every=5)
    state = Counter().init()
    for epoch in (1, 2, 3):
        made.save(epoch, state, {"epoch": epoch, "seconds": 0.0}, 3)
    made.close()
    again = Checkpoints(tmp_path / "stage")
    assert again.latest() == 3  # every fifth, and the last
    restored = again.restore_networks(state)
    assert restored.opt_state is None
    jax.tree.map(np.testing.assert_array_equal, restored.params, state.params)
