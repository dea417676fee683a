"""A run that is asked to stop (SIGTERM, or Ctrl-C) saves first, and resumes at its next start.

Training checks for the request between chunks of steps, and saves a checkpoint; elsewhere, where
nothing would be lost, the run ends at once. A process has one set of signals, and so this module
has one state.
"""

import contextlib
import itertools
import os
import signal
from collections.abc import Iterator
from types import FrameType

import jax
from jax.experimental import multihost_utils

from rmdnet_jax.base.errors import StoppedError

_HEARD = (signal.SIGTERM, signal.SIGINT)

_asked: int | None = None
_training = False
_turn = itertools.count()  # JAX stops all processes at the same count, and waits for it


@contextlib.contextmanager
def on_signals() -> Iterator[None]:
    """In the block, SIGTERM and SIGINT stop the run as above; a second one ends the process at
    once, even during compilation, when Python's handlers do not run.

    With several processes, JAX forwards a SIGTERM for one to all of them, which follow it during
    training; other signals have their usual effect.

    Raises:
      StoppedError: a signal came.
    """
    global _asked
    if jax.distributed.is_initialized():
        yield
        return
    before = {number: signal.signal(number, _hear) for number in _HEARD}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _asked = None


@contextlib.contextmanager
def between_steps() -> Iterator[None]:
    """In the block, signals raise nothing: the code in it calls `check` where it can be
    interrupted.

    Raises:
      StoppedError: at the end, if a signal came that was not checked for; or instead of an error
        after a signal, since helper processes may have received it, too.
    """
    global _training
    _training = True
    try:
        yield
    except Exception as error:
        if _asked is None:
            raise
        raise StoppedError(_asked) from error
    finally:
        _training = False
    check()


def is_asked() -> bool:
    """Whether the run has been asked to stop; the same answer in all of several processes, which
    must all call this after the same steps."""
    global _asked
    if jax.distributed.is_initialized() and multihost_utils.reached_preemption_sync_point(
        next(_turn)
    ):
        _asked = signal.SIGTERM
    return _asked is not None


def check(where: str = "") -> None:
    """Raises StoppedError, stating `where`, if the run has been asked to stop."""
    if _asked is not None:
        raise StoppedError(_asked, where)


def _hear(number: int, frame: FrameType | None) -> None:
    """The signal handler, in the main thread, between two Python instructions."""
    global _asked
    _asked = number
    for heard in _HEARD:
        signal.signal(heard, signal.SIG_DFL)
    name = signal.Signals(number).name
    # Not print: the handler may interrupt one.
    os.write(2, f"{name}: stopping; send it again to stop at once\n".encode())
    if not _training:
        raise StoppedError(number)
