"""How much of a data set may lie in memory, asked for or found out."""

import types

import pytest

from rmdnet_jax.data import memory


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
