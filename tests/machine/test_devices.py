"""Devices that are not there are named before anything else, and no others taken in their place."""

import types

import jax
import pytest

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.machine import devices


@pytest.fixture
def asked():
    """What JAX_PLATFORMS says, to be changed; backends are found anew before and after."""
    before = jax.config.values["jax_platforms"]
    jax.extend.backend.clear_backends()
    yield lambda platforms: jax.config.update("jax_platforms", platforms)
    jax.config.update("jax_platforms", before)
    jax.extend.backend.clear_backends()


@pytest.mark.parametrize("platform", ["cuda", "tpu", "abacus"])
def test_what_is_not_there_is_named_with_what_is(asked, platform):
    asked(platform)
    says = (
        f"JAX_PLATFORMS is {platform} and JAX finds no such devices here .*; expected one of .*cpu"
    )
    for _ in range(2):  # who tries again gets no others
        with pytest.raises(InputError, match=says):
            devices.check()


def test_the_first_that_is_there_will_do(asked):
    asked("cpu")
    devices.check()
    assert jax.default_backend() == "cpu"


def test_a_device_that_does_not_start_is_named_with_what_does_without(asked, monkeypatch):
    def fails():
        raise RuntimeError("Unable to initialize backend 'cuda': driver too old")

    asked("")
    monkeypatch.setattr(jax, "devices", fails)
    with pytest.raises(InputError, match=r"\(Unable .* old\); .*JAX_PLATFORMS=cpu to run without"):
        devices.check()


def test_one_host_of_several_does_not_go_alone(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    with pytest.raises(InputError, match=r"one of 4 hosts; .* --distributed"):
        devices.check()


@pytest.mark.parametrize(
    ("device", "dtype"),
    [
        ({"platform": "cpu"}, "float32"),
        ({"platform": "gpu", "compute_capability": "7.5"}, "float32"),  # T4
        ({"platform": "gpu", "compute_capability": "8.0"}, "bfloat16"),  # A100
        ({"platform": "gpu", "compute_capability": "12.0"}, "bfloat16"),
        ({"platform": "gpu", "compute_capability": "gfx942"}, "bfloat16"),  # AMD's
        ({"platform": "tpu"}, "bfloat16"),
    ],
)
def test_bfloat16_is_for_devices_that_have_it(monkeypatch, device, dtype):
    monkeypatch.setattr(jax, "local_devices", lambda: [types.SimpleNamespace(**device)])
    assert devices.fast_dtype() == dtype
