"""A batch is a row of the order: whoever decodes it, wherever reading starts, however it ends."""

import dataclasses
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import streaming
from rmdnet_jax.data.lazy_images import LazyImages

ROOT = Path(__file__).resolve().parents[2]
SIZE = 64
SHAPE = (100, 110, 3)  # a batch of two goes through shared memory
LABELS = np.arange(SIZE, dtype=np.int32) % 5
ORDER = np.random.default_rng(0).permutation(SIZE)[:60].reshape(15, 4).astype(np.int32)


def image(row):
    """The image of a row: any function of it that can be found in another process."""
    return np.full(SHAPE, row, np.uint8) ^ np.arange(SHAPE[1], dtype=np.uint8)[:, None]


class Reader:
    """Makes images up; writes a file for each, so that another process's work can be counted."""

    def __init__(self, folder=None, broken=()):
        self.folder, self.broken = folder, broken

    def __call__(self, rows):
        for row in rows:
            if row in self.broken:
                raise InputError(f"picture {row} is broken")
            if self.folder:
                (self.folder / str(row)).touch()
            yield image(row)


def images(*args):
    return LazyImages(Reader(*args), np.arange(SIZE), SHAPE)


def read(order=ORDER, reader=(), **options):
    with streaming.batches(images(*reader), LABELS, order, **options) as batches:
        return list(batches)


def check(batches, order=ORDER):
    assert len(batches) == len(order)
    for batch, row in zip(batches, order, strict=True):
        assert [array.dtype for array in (batch.image, batch.label, batch.index)] == [
            np.uint8,
            np.int32,
            np.int32,
        ]
        np.testing.assert_array_equal(batch.index, row)
        np.testing.assert_array_equal(batch.label, LABELS[row])
        np.testing.assert_array_equal(batch.image, np.stack([image(i) for i in row]))


def nobody_is_left():
    """No worker remains; those of a stream that is over take a moment to end."""
    until = time.monotonic() + 30
    while multiprocessing.active_children():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_rows_of_the_order_whatever_the_workers(workers):
    check(read(workers=workers))


def test_where_shared_memory_is_small_batches_come_through_pipes(monkeypatch):
    monkeypatch.setattr(streaming, "_shared_memory_bytes", lambda: 1000)
    check(read(workers=1))


def test_batches_of_arrays_in_memory():
    whole = np.stack([image(row) for row in range(SIZE)])
    with streaming.batches(whole, LABELS, ORDER, workers=0) as batches:
        check(list(batches))


def test_two_hosts_read_the_halves_of_one():
    left, right = read(ORDER[:, :2], workers=0), read(ORDER[:, 2:], workers=0)
    for whole, *halves in zip(read(workers=0), left, right, strict=True):
        for name in ("image", "label", "index"):
            both = np.concatenate([getattr(half, name) for half in halves])
            np.testing.assert_array_equal(both, getattr(whole, name))


@pytest.mark.parametrize(("start", "workers"), [(0, 0), (6, 0), (13, 2)])
def test_nothing_before_the_start_is_read(start, workers, tmp_path):
    check(read(reader=(tmp_path,), start=start, workers=workers), ORDER[start:])
    assert {int(name) for name in os.listdir(tmp_path)} == set(ORDER[start:].ravel().tolist())


@pytest.mark.parametrize("workers", [0, 2])
def test_at_the_end_there_is_nothing_to_read(workers):
    assert read(start=len(ORDER), workers=workers) == []


@given(
    lengths=st.lists(st.integers(1, 5), max_size=6),
    seed=st.integers(0, 99),
    start=st.integers(0, 6),
)
def test_rows_may_have_any_length(lengths, seed, start):
    rng = np.random.default_rng(seed)
    order = [rng.integers(0, SIZE, length).astype(np.int32) for length in lengths]
    check(read(order, start=start, workers=0), order[start:])


def test_only_a_little_is_read_ahead(tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "_cores", lambda: 2)
    with streaming.batches(images(tmp_path), LABELS, ORDER, workers=0) as batches:
        next(batches)
        time.sleep(0.3)
        assert len(os.listdir(tmp_path)) <= 4 * 4  # one taken, two waiting, one on its way


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_picture_is_one_input_error(workers):
    broken = int(ORDER[5, 1])
    with streaming.batches(images(None, (broken,)), LABELS, ORDER, workers=workers) as batches:
        check([next(batches) for _ in range(5)], ORDER[:5])
        with pytest.raises(InputError) as caught:
            next(batches)
    assert str(caught.value) == f"picture {broken} is broken"
    nobody_is_left()


def test_closing_ends_the_batches():
    batches = streaming.batches(images(), LABELS, ORDER, workers=0)
    next(batches)
    batches.close()
    batches.close()  # twice does no harm
    assert list(batches) == []


def test_workers_end_when_the_batches_are_collected():
    batches = streaming.batches(images(), LABELS, ORDER, workers=1)
    kept = next(batches)
    assert multiprocessing.active_children()
    del batches
    nobody_is_left()
    check([kept], ORDER[:1])


def test_workers_end_after_the_last_batch():
    batches = streaming.batches(images(), LABELS, ORDER[:2], workers=1)
    check(list(batches), ORDER[:2])
    nobody_is_left()


def test_workers_leave_signals_to_the_process_that_started_them():
    """A terminal, or a scheduler, sends them to all."""
    with streaming.batches(images(), LABELS, ORDER, workers=1) as batches:
        first = next(batches)
        workers = multiprocessing.active_children()
        assert workers
        for worker in workers:
            for number in (signal.SIGTERM, signal.SIGINT):
                os.kill(worker.pid, number)
        time.sleep(0.2)
        check([first, *batches])
    nobody_is_left()


def test_workers_are_as_many_as_pay(monkeypatch):
    for cores, workers in ((1, 0), (2, 0), (8, 7), (64, 16)):
        monkeypatch.setattr(streaming, "_cores", lambda cores=cores: cores)
        assert streaming.worker_count() == workers


def test_what_is_decoded_already_is_read_without_processes(monkeypatch):
    monkeypatch.setattr(streaming, "worker_count", lambda: 2)
    ready = dataclasses.replace(images(), is_decoded=True)
    with streaming.batches(ready, LABELS, ORDER) as batches:
        check(list(batches))
        assert not multiprocessing.active_children()


# A script of its own, as a user writes one: absl's flags are not parsed.
SCRIPT = """
import os, sys
import numpy as np
from rmdnet_jax.data import streaming
from rmdnet_jax.data.lazy_images import LazyImages

def read(rows):
    import jax
    assert "tensorflow" not in sys.modules
    assert jax.config.jax_platforms == "cpu"
    for row in rows:
        yield np.full((80, 80, 3), row, np.uint8)

def main():
    images = LazyImages(read, np.arange(400), (80, 80, 3))
    order = np.arange(400, dtype=np.int32).reshape(100, 4)
    batches = streaming.batches(images, np.zeros(400, np.int32), order, workers=1)
    print(next(batches).image[3, 0, 0, 0], flush=True)
    if sys.argv[1] == "wait":
        import multiprocessing
        print(multiprocessing.active_children()[0].pid, flush=True)
        sys.stdin.read()

if __name__ == "__main__":
    main()
"""


@pytest.fixture
def script(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    return [sys.executable, str(tmp_path / "script.py")]


ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cuda"}


def test_a_script_that_forgets_to_close_ends_quietly(script):
    done = subprocess.run(
        [*script, "end"], env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("3\n", "", 0)


def test_workers_do_not_outlive_a_killed_process(script):
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(
        [*script, "wait"], env=ENVIRONMENT, stdin=pipe, stdout=pipe, stderr=nowhere, text=True
    ) as process:
        assert process.stdout.readline() == "3\n"
        worker = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    for _ in range(100):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{worker}/stat").read_text().split()[2] == "Z":
            return  # ended; whoever adopted it has not asked yet
        time.sleep(0.1)
    pytest.fail("the worker is still there")
