"""Processes that cannot work together are told so, all of them; tests/system has real ones."""

import jax
import numpy as np
import pytest
from jax.experimental import multihost_utils

from rmdnet_jax.errors import InputError
from rmdnet_jax.training import hosts


@pytest.fixture
def two(monkeypatch):
    """Two processes; what the other one sends is what is given."""
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(hosts, "_DISK_SECONDS", 0)
    sent = []

    def check(facts, file, other):
        def gather(mine):
            sent.append(mine)
            return np.stack([mine, mine if other is None else other])

        monkeypatch.setattr(multihost_utils, "process_allgather", gather)
        hosts.check_same(facts, file)
        return sent[-1]

    return check


def test_the_same_run_on_one_disk_passes(two, tmp_path):
    (tmp_path / "file").write_text("")
    two(b"a", tmp_path / "file", None)


@pytest.mark.parametrize("there", ["copied", "missing"])
def test_a_workdir_on_each_hosts_own_disk_is_refused(two, tmp_path, there):
    (tmp_path / "file").write_text("")
    if there == "copied":
        (tmp_path / "other").write_text("")
    other = two(b"a", tmp_path / "other", None)
    with pytest.raises(InputError, match="file that process 0 has written; right is one --workdir"):
        two(b"a", tmp_path / "file", other)


def test_another_run_is_refused(two, tmp_path):
    (tmp_path / "file").write_text("")
    other = two(b"b", tmp_path / "file", None)
    with pytest.raises(InputError, match="have other configs, pictures or labels"):
        two(b"a", tmp_path / "file", other)


def test_one_process_asks_nobody(tmp_path):
    hosts.check_same(b"a", tmp_path / "missing")
