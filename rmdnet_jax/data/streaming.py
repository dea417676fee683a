"""Batches of images that are on disk, prefetched by Grain: processes or threads decode and resize.

A batch is defined by its row of `order`, whichever worker decodes it: the number of workers and
hosts and the step at which reading starts change nothing. Augmentation is part of the compiled
step, on the device.
"""

import dataclasses
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grain
import numpy as np
from absl import flags

from rmdnet_jax.data.lazy_images import Images, LazyImages
from rmdnet_jax.machine.cpu import cores as _cores

# Decoded batches that are buffered per worker.
_AHEAD = 2

# More only wait for one another: for memory, for the disk, for the one process that takes batches.
_MOST_WORKERS = 16

# Arrays of this size or larger go from a worker through shared memory; smaller ones through its
# pipe.
_SHARED_FROM = 1 << 16
_SHARED_MEMORY = Path("/dev/shm")


@dataclasses.dataclass(frozen=True)
class HostBatch:
    """A batch in the host's memory, field for field a `methods.interface.Batch`.

    Attributes:
      image: uint8 [B, H, W, 3].
      label: int32 [B].
      index: int32 [B], positions in the training set.
    """

    image: np.ndarray
    label: np.ndarray
    index: np.ndarray


class Batches(Iterator[HostBatch]):
    """The batches of an epoch, which are being read from now on; `close` ends that.

    Also a context manager. Closed at the latest when it is garbage-collected.
    """

    def __init__(self, dataset: grain.IterDataset | None, length: int):
        # None: no batch at all, which Grain's processes would not accept.
        self._iterator = iter(dataset) if dataset else None
        self._left = length
        if self._iterator:
            # Also when this is collected, or the interpreter ends: workers would remain otherwise.
            self._end = weakref.finalize(self, self._iterator.close)
            # The thread, and the processes that it starts, inherit the blocked signals: only the
            # main process handles SIGTERM, and Ctrl-C, which a terminal sends to all.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
            try:
                self._iterator.start_prefetch()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def __next__(self) -> HostBatch:
        if self._iterator is None:
            raise StopIteration
        try:
            batch = next(self._iterator)
        except BaseException:
            self.close()
            raise
        self._left -= 1
        if not self._left:  # ending processes takes a second: do not wait
            self._iterator = None
            threading.Thread(target=self._end).start()
        return HostBatch(*batch)

    def close(self) -> None:
        """Ends the processes and threads that prefetch; there are no more batches."""
        if self._iterator is not None:
            self._iterator = None
            self._end()

    def __enter__(self) -> "Batches":
        return self

    def __exit__(self, *_) -> None:
        self.close()


def batches(
    images: Images,
    labels: np.ndarray,
    order: np.ndarray | list[np.ndarray],
    *,
    start: int = 0,
    workers: int = -1,
) -> Batches:
    """Reads an epoch's batches in order; the first are being read when this returns.

    With processes, a script needs `if __name__ == "__main__":`, like any that starts some.

    Args:
      images: [N, H, W, 3], on disk or in memory; for processes preferably on disk, as each gets
        its own copy of images in memory.
      labels: int32 [N].
      order: int32 [steps, B], the images of each batch; one of several hosts passes its columns. A
        list of rows may have rows of different lengths.
      start: the step to start at; nothing before it is read.
      workers: number of processes that decode; 0 means threads of this process, -1 means
        `worker_count`, or 0 for images that are decoded already.

    Returns:
      The batches from `start` on: image uint8 [B, H, W, 3], label and index int32 [B].

    Raises:
      InputError: from the iterator, at the batch that holds an image that cannot be decoded.
    """
    # Must not be an array on a device: workers could not read it.
    rows = order[start:] if isinstance(order, list) else np.asarray(order)[start:]
    if not len(rows):
        return Batches(None, 0)
    if workers < 0:
        workers = 0 if isinstance(images, LazyImages) and images.is_decoded else worker_count()
    workers = min(workers, len(rows))
    source = grain.MapDataset.source(_Gather(images, labels, rows))
    # One thread of a worker waits for the disk while the other decodes.
    threads = 2 if workers else max(1, min(_cores(), _MOST_WORKERS))
    dataset = source.to_iter_dataset(
        grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
    )
    if workers:
        if not flags.FLAGS.is_parsed():  # Grain reads some of its own; launch.py parses them
            flags.FLAGS.mark_as_parsed()
        batch_bytes = max(map(len, rows)) * int(np.prod(images.shape[1:]))
        # Workers x (waiting batches, one being filled, one being copied).
        fits = workers * (_AHEAD + 2) * batch_bytes < _shared_memory_bytes()
        options = grain.experimental.DatasetOptions(
            min_shm_size=_SHARED_FROM if fits else sys.maxsize
        )
        dataset = grain.experimental.WithOptionsIterDataset(dataset, options).mp_prefetch(
            grain.MultiprocessingOptions(workers, per_worker_buffer_size=_AHEAD), _start_worker
        )
        # By default the processes would start when the first batch is requested.
        dataset = grain.experimental.ThreadPrefetchIterDataset(
            dataset.map(_own), prefetch_buffer_size=1
        )
    return Batches(dataset, len(rows))


def worker_count() -> int:
    """Number of worker processes for this machine: none with few cores, else one per core minus
    one."""
    cores = _cores()
    return 0 if cores < 4 else min(cores - 1, _MOST_WORKERS)


class _Gather:
    """The batches as a random-access source of Grain."""

    def __init__(self, images: Images, labels: np.ndarray, rows: np.ndarray | list[np.ndarray]):
        self._images, self._labels, self._rows = images, labels, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        index = np.asarray(self._rows[step], np.int32)
        return self._images[index], np.asarray(self._labels[index], np.int32), index


def _own(batch: tuple[Any, ...]) -> tuple[np.ndarray, ...]:
    """A batch in this process's memory; its shared memory is freed at once.

    Grain frees it when the array is collected, which may never happen when the interpreter ends.
    """
    owned = tuple(np.array(array) for array in batch)
    for array in batch:
        if shared := getattr(array, "shm", None):
            shared.unlink()
            array._unlink_on_del = False
    return owned


def _shared_memory_bytes() -> int:
    """Free shared memory. A container often has 64 MB, and a process that exceeds it is killed."""
    if not _SHARED_MEMORY.is_dir():
        return sys.maxsize
    free = os.statvfs(_SHARED_MEMORY)
    return free.f_bavail * free.f_frsize


def _start_worker(worker: int, workers: int) -> None:
    """Runs first in every worker."""
    # Grain imports JAX, which must not take a device (or its memory) from the one that trains.
    os.environ["JAX_PLATFORMS"] = "cpu"
    if "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_platforms", "cpu")
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this worker when the main process has ended in any way: nothing else would."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
