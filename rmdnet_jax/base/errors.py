"""The ways a run ends early on purpose; launch.py turns each into one line and an exit status."""

import signal

from rmdnet_jax.base.text import fitted, shown


class InputError(ValueError):
    """What the user gave cannot be run; nothing was written (exit status 2).

    The message is one line: what is wrong, where; expected what would be right. Names in it may be
    anything a file can be called: special characters are escaped, and long names are cut.
    """

    def __init__(self, message: str):
        super().__init__(fitted(shown(message)))


class WorkdirInUseError(InputError):
    """The workdir is in use by a process that is still running."""


class DivergedError(RuntimeError):
    """Training has failed, for example with a loss that is not finite; the last good checkpoint is
    kept (exit status 3)."""


class CollapsedError(DivergedError):
    """SimSiam's embeddings have become identical, and rm.on_collapse is "stop"."""


class LostProcessError(RuntimeError):
    """Another process of a multi-process run has stopped (exit status 4)."""


class StoppedError(BaseException):
    """The run was asked to stop by a signal (exit status 128 + its number: 143 for SIGTERM, 130 for
    Ctrl-C). Not an Exception, so that no handler catches it on the way.

    Args:
      number: the signal's number.
      where: how far the run was, if that is known.
    """

    def __init__(self, number: int, where: str = ""):
        self.status = 128 + number
        name = signal.Signals(number).name
        place = f" {where}" if where else ""
        super().__init__(
            f"stopped by {name}{place}; to resume, start it again with the same command"
        )
