"""The ways a run ends early on purpose; launch.py makes each one line and an exit status."""

import signal

from rmdnet_jax.base.text import fitted, shown


class InputError(ValueError):
    """What the user gave cannot be run; nothing was written (exit status 2).

    The message is one line: what is wrong, where; what would be right. Names in it may be anything
    a file can be called: it is shown, not printed raw, and what is long of them is cut.
    """

    def __init__(self, message: str):
        super().__init__(fitted(shown(message)))


class WorkdirInUseError(InputError):
    """The workdir is held by a process that still runs."""


class DivergedError(RuntimeError):
    """Training has failed, with a loss that is not finite say; the last good checkpoint stays (exit
    status 3)."""


class CollapsedError(DivergedError):
    """SimSiam's embeddings have become all the same, and rm.on_collapse is "stop"."""


class LostProcessError(RuntimeError):
    """Another process of a run of several has stopped (exit status 4)."""


class StoppedError(BaseException):
    """The run was asked to stop by a signal (exit status 128 + its number: 143 for SIGTERM, 130 for
    Ctrl-C). No Exception, so that nobody handles it on the way.

    Args:
      number: of the signal.
      where: in the run, if that is known.
    """

    def __init__(self, number: int, where: str = ""):
        self.status = 128 + number
        name = signal.Signals(number).name
        place = f" {where}" if where else ""
        super().__init__(
            f"stopped by {name}{place}; start it again with the same command, and it goes on"
        )
