"""A run's folder: it belongs to one experiment, identified by its config.json, and while it is
written, to one process, which holds the lock on its .lock."""

import contextlib
import fcntl
import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from rmdnet_jax.base.atomic import open_atomic
from rmdnet_jax.base.errors import InputError, WorkdirInUseError
from rmdnet_jax.base.text import apart, cut
from rmdnet_jax.config import checking as configuration
from rmdnet_jax.config.fields import default

# Fields whose values may differ between hosts of one run.
OF_THE_HOST = (
    "report.",
    "tensorboard",
    "dataset.workers",
    "dataset.memory_budget",
    "dataset.cache",
    "encoder.cache",
)

# Fields that affect reporting, saving or speed, but not the experiment.
_FREE = (*OF_THE_HOST, "checkpoint_every", "rm.on_collapse")

# Seconds after which a process that only checks whether a folder is held is done. Waits are random,
# up to this: two processes that claim a folder at once also check each other.
_ASKING = 0.02


@contextlib.contextmanager
def claim(workdir: Path, config: dict) -> Iterator[None]:
    """Claims `workdir` for this experiment, unless it has it already, and holds it in the block.

    Args:
      workdir: a folder that is missing, empty, or from an earlier start of this experiment.
      config: the resolved config, JSON-able.

    Raises:
      InputError: the folder holds another experiment or other files, or cannot be written.
      WorkdirInUseError: a running process holds it.
    """
    with contextlib.ExitStack() as held:
        with writable(workdir):
            check_same(workdir, config)
            workdir.mkdir(parents=True, exist_ok=True)
            held.enter_context(_lock(workdir))
            _write_config(workdir, config)
        yield


def share(workdir: Path, config: dict) -> None:
    """Claims `workdir` for `config`, unless it already is; for a folder of many experiments, which
    several processes may write to.

    Raises:
      InputError: as `claim`.
    """
    with writable(workdir):
        check_same(workdir, config)
        workdir.mkdir(parents=True, exist_ok=True)
        _write_config(workdir, config)


def is_held(workdir: Path) -> bool:
    """Whether a running process has claimed `workdir`."""
    if not (workdir / ".lock").exists():
        return False
    with open(workdir / ".lock") as file:
        return not _try_lock(file, fcntl.LOCK_SH)  # others may check at the same time


def identity(config: dict) -> dict:
    """What identifies an experiment: the fields, flat, that are not at their defaults and not free
    to change."""
    base = configuration.flat(json.loads(json.dumps(default().to_dict())))
    fields = configuration.flat(json.loads(json.dumps(config)))
    return {
        field: value
        for field, value in fields.items()
        if value != base.get(field) and not field.startswith(_FREE)
    }


def check_same(workdir: Path, config: dict) -> None:
    """Raises InputError if `workdir` holds anything other than this experiment."""
    path = workdir / "config.json"
    if not path.exists():
        holds_files = workdir.exists() and any(map(_is_foreign, workdir.iterdir()))
        if holds_files and not path.exists():  # another process may have begun in between
            raise InputError(
                f"the workdir {workdir} holds files but no config.json; "
                "give an empty or new folder with --workdir"
            )
        return
    try:
        saved = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({error}); give another --workdir") from error
    if not isinstance(saved, dict):
        raise InputError(f"{path} is not a config; give another --workdir")
    if old := next(filter(_is_old, configuration.flat(saved)), None):
        raise InputError(
            f"the workdir {workdir} was made by an older rmdnet_jax (its config.json has {old}); "
            "expected that version, or another --workdir"
        )
    # A field that did not exist when the folder was claimed counts as its default, without effect.
    ours, theirs = identity(config), identity(saved)
    base = configuration.flat(default().to_dict())
    for field in sorted(ours.keys() | theirs.keys()):
        if ours.get(field) != theirs.get(field):
            # A table's "cifar10.FIELD" has the default of FIELD.
            usual = base.get(field, base.get(field.partition(".")[2]))
            there, here = (side.get(field, usual) for side in (theirs, ours))
            there, here = apart(there, here)
            raise InputError(
                f"the workdir {cut(workdir)} holds another experiment ({cut(field, 40)} is {there} "
                f"there, {here} here); give another --workdir"
            )


@contextlib.contextmanager
def writable(workdir: Path) -> Iterator[None]:
    """Raises InputError if the block cannot write a file, usually in `workdir`."""
    try:
        yield
    except BrokenPipeError:  # the reader of the printed output has gone
        raise
    except OSError as error:
        file = f"{error.filename}: " if error.filename else ""
        raise InputError(
            f"cannot write the workdir {workdir} ({file}{error.strerror or error}); fix that and "
            "run the same command to resume, or give another folder with --workdir"
        ) from error


def _write_config(workdir: Path, config: dict) -> None:
    with open_atomic(workdir / "config.json") as file:
        json.dump(config, file, indent=2)


def _is_old(field: str) -> bool:
    """Whether a field, or one of a table's "cifar10.FIELD", has a new name."""
    return bool({field, field.partition(".")[2]} & configuration.RENAMED.keys())


def _is_foreign(path: Path) -> bool:
    """Whether a file is not left over from a claim of the folder that was killed."""
    return path.name != ".lock" and not path.name.startswith(".config.json.")


def _try_lock(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _lock(workdir: Path) -> Iterator[IO[str]]:
    """Holds the folder's lock, which the kernel releases when this process ends for any reason."""
    with open(workdir / ".lock", "a+") as file:
        while not _try_lock(file, fcntl.LOCK_EX):
            if not _try_lock(file, fcntl.LOCK_SH):
                file.seek(0)
                raise WorkdirInUseError(
                    f"the workdir {workdir} is in use by process "
                    f"{file.read().strip() or 'unknown'}; "
                    "wait for it, stop it, or give another --workdir"
                )
            # Only another process that checks the lock (is_held) had it, for an instant.
            fcntl.flock(file, fcntl.LOCK_UN)
            time.sleep(random.uniform(0, _ASKING))
        file.truncate(0)
        file.write(f"{os.getpid()}")
        file.flush()
        yield file
