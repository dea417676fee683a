"""Processes that cannot work together are told so, all of them; tests/system has real ones."""

import threading
import time

import jax
import numpy as np
import pytest
from jax.experimental import multihost_utils

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.machine import hosts

FACTS = {"config.seed": 0, "their pictures": ("abc", (3, 8, 8, 3)), "their labels": b"01"}


@pytest.fixture
def two(monkeypatch):
    """Two processes, of which the second finds what `others` say, or the same as the first."""
    others = []

    def gather(mine):
        return np.stack([mine, others.pop(0) if others else mine])

    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(multihost_utils, "process_allgather", gather)
    monkeypatch.setattr(multihost_utils, "broadcast_one_to_all", lambda x: x)
    return others


def digests(facts, monkeypatch):
    """What a process sends of its facts."""
    sent = []
    with monkeypatch.context() as patch:
        patch.setattr(
            multihost_utils, "process_allgather", lambda x: sent.append(x) or np.stack([x, x])
        )
        hosts.check_same(facts)
    return sent[0]


def test_the_same_facts_pass(two):
    hosts.check_same(FACTS)


@pytest.mark.parametrize(
    ("name", "value"),
    [("config.seed", 1), ("their pictures", ("abc", (3, 8, 9, 3))), ("their labels", b"00")],
)
def test_what_differs_is_named(two, monkeypatch, name, value):
    two.append(digests(FACTS | {name: value}, monkeypatch))
    with pytest.raises(InputError, match=f"the processes of this run differ in {name}; expected"):
        hosts.check_same(FACTS)


def test_a_shared_folder_passes_and_stays_as_it_was(two, tmp_path):
    hosts.check_shared(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stale", [False, True])
def test_what_comes_late_is_waited_for(two, tmp_path, monkeypatch, stale):
    """As on a disk that keeps what it knew of a file for a while."""
    monkeypatch.setattr(hosts, "is_writer", lambda: False)
    monkeypatch.setattr(hosts.secrets, "token_bytes", lambda n: bytes(range(n)))
    if stale:
        (tmp_path / ".shared").write_text("of another run")

    def write():
        time.sleep(0.3)
        (tmp_path / ".shared").write_text(bytes(range(16)).hex())

    writer = threading.Thread(target=write)
    writer.start()
    hosts.check_shared(tmp_path)
    writer.join()


@pytest.mark.parametrize("whose", ["mine", "another's"])
def test_a_folder_on_each_hosts_own_disk_is_refused_by_all(two, tmp_path, monkeypatch, whose):
    monkeypatch.setattr(hosts, "_DISK_SECONDS", 0)
    if whose == "mine":
        monkeypatch.setattr(hosts, "is_writer", lambda: False)
    else:
        two.append(np.array([False]))
    with pytest.raises(InputError, match="expected one --workdir, on a disk that all hosts share"):
        hosts.check_shared(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_one_process_asks_nobody(tmp_path):
    hosts.check_same(FACTS)
    hosts.check_shared(tmp_path / "missing")
