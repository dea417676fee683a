"""A run that is asked to stop (SIGTERM, or Ctrl-C) saves first, and goes on at its next start.

Training looks between two chunks of steps whether it is asked, and leaves a checkpoint; everywhere
else, where nothing would be lost, the run ends at once. A process has one set of signals: so has
this module one state.
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
_turn = itertools.count()  # JAX has them all stop at one turn, and waits for that number


@contextlib.contextmanager
def on_signals() -> Iterator[None]:
    """In the block SIGTERM and SIGINT stop the run as above; a second one ends the process at once,
    also in a compiler, which hears no handler of Python's.

    Of several processes JAX tells all of a SIGTERM to one, which they heed while they train; other
    signals do there what they always do.

    Raises:
      StoppedError: one came.
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
    """In the block nothing is raised: who is in it calls `check` where it can be interrupted.

    Raises:
      StoppedError: at the end, if a signal came that was not checked for; or for an error after
        one, as who helps may have heard it too.
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
    """Whether the run has been asked to stop; of several processes the same answer in all, which
    must all ask after the same steps."""
    global _asked
    if jax.distributed.is_initialized() and multihost_utils.reached_preemption_sync_point(
        next(_turn)
    ):
        _asked = signal.SIGTERM
    return _asked is not None


def check(where: str = "") -> None:
    """Raises StoppedError, with `where` it was, if the run has been asked to stop."""
    if _asked is not None:
        raise StoppedError(_asked, where)


def _hear(number: int, frame: FrameType | None) -> None:
    """The signals' handler, in the main thread, between two instructions of Python."""
    global _asked
    _asked = number
    for heard in _HEARD:
        signal.signal(heard, signal.SIG_DFL)
    name = signal.Signals(number).name
    # Not print: the handler may have come in the middle of one.
    os.write(2, f"{name}: stopping; once more to stop at once\n".encode())
    if not _training:
        raise StoppedError(number)
