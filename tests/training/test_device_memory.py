"""Where a batch does not fit: what it needs, and what would fit."""

import re
import types

import jax
import jax.numpy as jnp
import pytest

from rmdnet_jax.errors import InputError
from rmdnet_jax.methods.interface import State
from rmdnet_jax.training import device_memory

SHAPE = (32, 32, 3)
STATE = State({"w": jnp.ones((3072, 500))}, {}, {})


class Wide:
    """A step whose temporaries grow with the batch: 2 kB an image and more."""

    def step(self, state, batch, key):
        flat = batch.image.reshape(len(batch.image), -1).astype(jnp.float32)
        loss, slope = jax.value_and_grad(lambda w: jnp.tanh(flat @ w).mean())(state.params["w"])
        return state.replace(params={"w": state.params["w"] - slope}), {"loss": loss}


def run_out(batch_size, resident=0, message="RESOURCE_EXHAUSTED: Out of memory"):
    with device_memory.telling(Wide(), STATE, SHAPE, batch_size, resident):
        raise jax.errors.JaxRuntimeError(message)


def limit(monkeypatch, limit):
    device = types.SimpleNamespace(memory_stats=lambda: limit and {"bytes_limit": limit})
    monkeypatch.setattr(jax, "local_devices", lambda: [device])


def test_the_largest_that_is_named_fits_and_not_many_more_would(monkeypatch):
    resident, budget = 1_000_000, 20_000_000
    limit(monkeypatch, budget)
    with pytest.raises(InputError, match="hold a batch of 4096: a step needs about") as told:
        run_out(4096, resident)
    largest = int(re.search(r"largest that fits is about (\d+)", str(told.value))[1])
    needed = [device_memory.assigned(Wide(), STATE, SHAPE, n) for n in (largest, largest * 5 // 4)]
    assert needed[0] + resident <= budget < needed[1] + resident


def test_where_none_fits_it_is_not_the_batch(monkeypatch):
    limit(monkeypatch, 1000)
    with pytest.raises(InputError, match="give a smaller network"):
        run_out(64)


def test_a_device_that_does_not_say_what_it_has(monkeypatch):
    limit(monkeypatch, None)
    with pytest.raises(InputError, match=r"of images; give a smaller one \(rm.batch_size"):
        run_out(64)


def test_other_errors_pass():
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        run_out(64, message="INTERNAL: something else")
