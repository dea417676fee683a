"""How much of a data set may lie in memory, and a hint where a batch is too much."""

import re
import types

import jax
import pytest

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.config import checking, default
from rmdnet_jax.machine import memory


def test_what_is_asked_for_counts():
    assert memory.budget(2.5) == 2_500_000_000


@pytest.mark.parametrize(
    ("device", "host", "expected"),
    [(None, 64, 16), (80, 1000, 40), (80, 64, 16)],
)
def test_automatic_is_half_the_device_and_at_most_a_quarter_of_the_host(
    device, host, expected, monkeypatch
):
    stats = None if device is None else {"bytes_limit": device}
    device = types.SimpleNamespace(memory_stats=lambda: stats)
    monkeypatch.setattr(memory.jax, "local_devices", lambda: [device])
    monkeypatch.setattr(memory, "host_bytes", lambda: host)
    assert memory.budget() == expected


def test_a_containers_limit_counts(tmp_path, monkeypatch):
    for name, text in (("max", "max"), ("limit", "12345")):
        (tmp_path / name).write_text(text + "\n")
    machine = memory.host_bytes()
    paths = (str(tmp_path / "nowhere"), str(tmp_path / "max"))
    monkeypatch.setattr(memory, "_CGROUP_LIMITS", paths)
    assert memory.host_bytes() >= machine > 12345
    monkeypatch.setattr(memory, "_CGROUP_LIMITS", (*paths, str(tmp_path / "limit")))
    assert memory.host_bytes() == 12345


def run_out(message="RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes."):
    with memory.hinting(64):
        raise jax.errors.JaxRuntimeError(message)


def test_a_batch_that_is_too_much_for_a_device_is_told_with_what_can_be_smaller():
    says = r"batch of 64 does not fit into .*memory; .*rm.batch_size, train.batch_size.*model.width"
    with pytest.raises(InputError, match=says) as told:
        run_out()
    assert "dataset.memory_budget" in str(told.value)
    assert isinstance(told.value.__cause__, jax.errors.JaxRuntimeError)


def test_the_fields_that_it_names_are_there():
    with pytest.raises(InputError) as told:
        run_out()
    named = set(re.findall(r"\w+\.\w+", str(told.value)))
    assert named == {"rm.batch_size", "train.batch_size", "model.width", "dataset.memory_budget"}
    assert named <= set(checking.flat(default().to_dict()))


def test_other_errors_pass():
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        run_out("INTERNAL: something else")
    with pytest.raises(KeyError), memory.hinting(64):
        raise KeyError("RESOURCE_EXHAUSTED")
    with memory.hinting(64):
        pass
