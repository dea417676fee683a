"""Several processes, one per host, as one program: which one writes, and what all must agree on.

Every process runs the same steps on its share of each batch. Only process 0 writes to the terminal
and to the workdir; checkpoints are written by all, through Orbax.
"""

import contextlib
import hashlib
import os
import secrets
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from rmdnet_jax.base.atomic import open_atomic
from rmdnet_jax.base.errors import InputError, LostProcessError
from rmdnet_jax.base.text import one_line

# A process that does not answer for so long counts as dead, and the others stop.
_HEARTBEAT_SECONDS = 30

# On a shared disk, other hosts may see a new file only after so long.
_DISK_SECONDS = 60

# At the end all wait for process 0, which judges labels and draws figures.
_SHUTDOWN_SECONDS = 24 * 60 * 60


def wanted() -> bool:
    """Whether the environment says that this is one process of several."""
    return "JAX_COORDINATOR_ADDRESS" in os.environ or "," in os.environ.get(
        "TPU_WORKER_HOSTNAMES", ""
    )


def join() -> None:
    """Connects to the other processes; to be called before JAX computes anything.

    JAX finds them itself: from JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, from
    the TPU's metadata, from Slurm or from Open MPI.

    Raises:
      InputError: they cannot be found, or did not connect.
    """
    try:
        jax.distributed.initialize(
            coordinator_address=os.environ.get("JAX_COORDINATOR_ADDRESS"),
            num_processes=_number("JAX_NUM_PROCESSES"),
            process_id=_number("JAX_PROCESS_ID"),
            heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=_SHUTDOWN_SECONDS,
        )
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"cannot connect to the other processes ({one_line(error)}); expected "
            "JAX_COORDINATOR_ADDRESS=HOST:PORT, JAX_NUM_PROCESSES and JAX_PROCESS_ID, or a "
            "cluster that JAX knows"
        ) from error


def _number(name: str) -> int | None:
    return int(os.environ[name]) if name in os.environ else None


def is_writer() -> bool:
    """Whether this process is the one that writes files and prints."""
    return jax.process_index() == 0


def warn(text: str) -> None:
    """Prints a warning to stderr, once, whatever the number of processes."""
    if is_writer():
        print(f"warning: {text}", file=sys.stderr, flush=True)


def meet(where: str) -> None:
    """Returns when all processes have reached this point, which `where` names."""
    multihost_utils.sync_global_devices(where)


@contextlib.contextmanager
def by_writer(context: contextlib.AbstractContextManager) -> Iterator[None]:
    """Enters `context` in process 0 only; the others wait for that, and stop if it fails.

    Raises:
      InputError: what `context` raises, in process 0; in the others, that it failed there.
    """
    with contextlib.ExitStack() as held:
        failure: InputError | None = None
        if is_writer():
            try:
                held.enter_context(context)
            except InputError as error:
                failure = error
        failed = multihost_utils.broadcast_one_to_all(failure is not None)
        if failure:
            raise failure
        if failed:
            raise InputError("process 0 has stopped; its own message says why")
        yield


def is_so_everywhere(value: bool) -> bool:
    """Whether `value` is true in all processes; the same answer in all of them."""
    if jax.process_count() == 1:
        return value
    return bool(multihost_utils.process_allgather(np.array([value])).all())


def check_same(facts: Mapping[str, object]) -> None:
    """Raises InputError, in all processes, if they differ in one of these facts, which it names:
    otherwise they would wait for one another forever.

    Args:
      facts: what this process runs, and on what; the same names in all processes.
    """
    if jax.process_count() == 1:
        return
    digests = [hashlib.sha256(repr(value).encode()).digest() for value in facts.values()]
    mine = np.array([list(digest) for digest in digests], np.uint8)
    differ = (multihost_utils.process_allgather(mine) != mine).any(axis=(0, 2))
    for name, differs in zip(facts, differ, strict=True):
        if differs:
            raise InputError(
                f"the processes of this run differ in {name}; expected the same command, with the "
                "same files, on every host"
            )


def check_shared(folder: Path) -> None:
    """Raises InputError, in all processes, if one of them does not see within a minute what process
    0 writes to `folder`."""
    if jax.process_count() == 1:
        return
    drawn = np.frombuffer(secrets.token_bytes(16), np.uint8)
    token = bytes(np.asarray(multihost_utils.broadcast_one_to_all(drawn))).hex()
    file = folder / ".shared"
    if is_writer():
        with open_atomic(file) as opened:
            opened.write(token)
    end = time.monotonic() + _DISK_SECONDS
    while not (found := file.is_file() and file.read_text() == token) and time.monotonic() < end:
        time.sleep(0.5)
    all_found = multihost_utils.process_allgather(np.array([found])).all()
    if is_writer():
        file.unlink()
    if not all_found:
        raise InputError(
            f"not every process sees what process 0 writes to {folder}; expected one --workdir, "
            "on a disk that all hosts share"
        )


def lost(error: Exception) -> LostProcessError:
    """The error to raise for one that says, in its own words, that another process is gone."""
    reason = str(error).partition("\n")[0][-200:] or type(error).__name__
    return LostProcessError(
        f"another process of this run has stopped ({reason}); start all of them again with the "
        "same command, and the run resumes from its last checkpoint"
    )


@contextlib.contextmanager
def noticing_losses() -> Iterator[None]:
    """Raises LostProcessError if a computation that several processes share fails: one of them is
    gone, or has stopped with an error of its own."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1:
            raise
        raise lost(error) from error
