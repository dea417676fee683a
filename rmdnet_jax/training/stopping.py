"""A run that is asked to stop (SIGTERM, or Ctrl-C) saves first, and goes on at its next start.

Training looks between two chunks of steps whether it is asked, and leaves a checkpoint; everywhere
else, where nothing would be lost, the run ends at once. A process has one set of signals: so has
this module one state.
"""

import contextlib
import itertools
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

import jax
from jax.experimental import multihost_utils

from rmdnet_jax.errors import StoppedError

# Seconds after which a run that has not found the time to save ends as it is: most schedulers kill
# it after 30. A compiler at work hears no signal, and a long evaluation is not interrupted.
_GRACE = 25.0

_HEARD = (signal.SIGTERM, signal.SIGINT)

_asked: int | None = None
_training = False
_answered = threading.Event()  # training knows, and is saving
_turn = itertools.count()  # JAX has them all stop at one turn, and waits for that number


@contextlib.contextmanager
def on_signals() -> Iterator[None]:
    """In the block SIGTERM and SIGINT stop the run as above; a second one stops it at once.

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
    heard, hear = os.pipe2(os.O_NONBLOCK)
    os.set_blocking(heard, True)
    woken = signal.set_wakeup_fd(hear)
    threading.Thread(target=_watch, args=(heard,), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(woken)
        os.close(hear)  # the thread reads its end, and ends
        for number, handler in before.items():
            signal.signal(number, handler)
        _asked = None
        _answered.clear()


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
    if _asked is not None:
        _answered.set()
    return _asked is not None


def check(where: str = "") -> None:
    """Raises StoppedError, with `where` it was, if the run has been asked to stop."""
    if _asked is not None:
        raise StoppedError(_asked, where)


def _hear(number: int, frame: FrameType | None) -> None:
    """The signals' handler, in the main thread, between two instructions of Python."""
    global _asked
    if _asked is None:
        _asked = number
        if not _training:
            raise StoppedError(number)


def _watch(heard: int) -> None:
    """Ends the process at a second signal, or if the first was not heeded in time. In a thread of
    its own: the main one may be in a compiler for minutes, and hears nothing there."""
    with open(heard, "rb", buffering=0) as signals:

        def next_one() -> bytes:
            """Nothing when the block has ended."""
            while (came := signals.read(1)) and came[0] not in _HEARD:
                pass
            return came

        first = next_one()
        if not first:
            return
        name = signal.Signals(first[0]).name
        print(f"{name}: stopping; once more to stop at once", file=sys.stderr, flush=True)
        came, _, _ = select.select([signals], [], [], _GRACE)
        if (came or _answered.is_set()) and not next_one():
            return
        print(
            f"error: {name}, with no checkpoint of this moment; start it again with the same "
            "command, and it goes on from the last one",
            file=sys.stderr,
            flush=True,
        )
        os._exit(128 + first[0])
