"""A run's folder: it belongs to one experiment, named by the config.json in it, and while it is
written to, to one process, which holds the lock on its .lock."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from rmdnet_jax.atomic import open_atomic
from rmdnet_jax.config import default
from rmdnet_jax.errors import InputError

# Fields that change what is told of an experiment and how often it is saved, not the experiment.
_FREE = (
    "report.",
    "tensorboard",
    "checkpoint_every",
    "dataset.workers",
    "dataset.memory_budget",
    "dataset.cache",
)


@contextlib.contextmanager
def claim(workdir: Path, config: dict) -> Iterator[None]:
    """Makes `workdir` this experiment's, or finds that it already is, and holds it for the block.

    Args:
      workdir: a folder that is missing, empty, or this experiment's from an earlier start.
      config: the resolved config, JSON-able.

    Raises:
      InputError: the folder holds another experiment or other files, is held by a process that
        still runs, or cannot be written.
    """
    config = json.loads(json.dumps(config))  # as it reads back: tuples are lists
    with contextlib.ExitStack() as held:
        try:
            _check_same(config, workdir)
            workdir.mkdir(parents=True, exist_ok=True)
            held.enter_context(_lock(workdir))
            with open_atomic(workdir / "config.json") as file:
                json.dump(config, file, indent=2)
        except OSError as error:
            raise InputError(
                f"cannot write the workdir {workdir} ({error.strerror}); "
                "give a folder that can be written with --workdir"
            ) from error
        yield


def _check_same(config: dict, workdir: Path) -> None:
    path = workdir / "config.json"
    if not path.exists():
        if workdir.exists() and any(map(_is_foreign, workdir.iterdir())):
            raise InputError(
                f"the workdir {workdir} holds files but no config.json; "
                "give an empty or new folder with --workdir"
            )
        return
    try:
        saved = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error}); give another --workdir") from error
    # A field that did not exist when the folder was claimed had no effect, as its default has none.
    base = _flat(json.loads(json.dumps(default().to_dict())))
    ours, theirs = base | _flat(config), base | _flat(saved)
    for field in sorted(ours.keys() | theirs.keys()):
        if ours.get(field) != theirs.get(field) and not field.startswith(_FREE):
            raise InputError(
                f"the workdir {workdir} holds another experiment ({field} is "
                f"{theirs.get(field)!r} there, {ours.get(field)!r} here); give another --workdir"
            )


def _is_foreign(path: Path) -> bool:
    """Whether a file is not what a kill left of claiming the folder."""
    return path.name != ".lock" and not path.name.startswith(".config.json.")


@contextlib.contextmanager
def _lock(workdir: Path) -> Iterator[IO[str]]:
    """Holds the folder's lock, which the kernel lets go of when this process ends, however."""
    with open(workdir / ".lock", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise InputError(
                f"the workdir {workdir} is in use by process {file.read().strip() or 'unknown'}; "
                "wait for it, stop it, or give another --workdir"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}")
        file.flush()
        yield file


def _flat(tree: dict, prefix: str = "") -> dict:
    leaves: dict = {}
    for name, value in tree.items():
        is_tree = isinstance(value, dict)
        leaves |= _flat(value, f"{prefix}{name}.") if is_tree else {prefix + name: value}
    return leaves
