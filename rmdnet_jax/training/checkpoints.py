"""Orbax checkpoints of a stage: the state, whole, under the number of steps done.

The state's fields are separate items, so that a later stage reads a teacher's parameters without
its optimiser's state.
"""

import dataclasses
import hashlib
import logging
from pathlib import Path
from typing import TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp

from rmdnet_jax.errors import InputError
from rmdnet_jax.training import sharding

# Orbax warns of what is meant to be, such as a manager that only reads.
logging.getLogger("absl").setLevel(logging.ERROR)

# Any dataclass whose fields are pytrees of arrays: methods/interface.py's State, or a method's own.
S = TypeVar("S")


class Checkpoints:
    """The checkpoints of one stage in one folder. Nothing in the folder changes before a save.

    Args:
      directory: the folder; made at the first save.
      description: JSON-able facts kept with every checkpoint (what was trained, on what).
    """

    def __init__(self, directory: Path, description: dict | None = None):
        self._directory = Path(directory).absolute()
        self._description = description or {}
        self._reader: ocp.CheckpointManager | None = None
        self._writer: ocp.CheckpointManager | None = None

    def latest(self) -> int | None:
        """Number of the last whole checkpoint; None where there is none.

        Raises:
          InputError: the folder cannot be read.
        """
        try:
            return self._read().latest_step() if self._directory.is_dir() else None
        except OSError as error:
            raise InputError(f"cannot read {self._directory} ({error.strerror})") from error

    def check(self) -> None:
        """Raises InputError if the last checkpoint is of something else than the description."""
        if self.latest() is None:
            return
        saved = self.meta()
        for name, value in self._description.items():
            if saved.get(name) != value:
                raise InputError(
                    f"the checkpoints in {self._directory} were made with other {name} "
                    f"({_short(saved.get(name))}; here {_short(value)}); give another folder"
                )

    def meta(self) -> dict:
        """What was saved beside the last checkpoint's arrays.

        Raises:
          InputError: it is not a checkpoint of this program.
        """
        try:
            items = ocp.args.Composite(meta=ocp.args.JsonRestore())
            return self._read().restore(self.latest(), args=items)["meta"]
        except (KeyError, ValueError, FileNotFoundError) as error:
            raise InputError(
                f"{self._directory} holds checkpoints, but not of rmdnet_jax; give another folder"
            ) from error

    def save(self, number: int, state: S, meta: dict) -> None:
        """Saves `state` with JSON-able `meta`; copies it first, so the state may be donated at
        once. Written in the background, visible only when whole.

        Args:
          number: larger than those before, the number of steps done say.
          state: what to save.
          meta: what to keep beside it and the description.
        """
        items = {name: ocp.args.StandardSave(getattr(state, name)) for name in _fields(state)}
        items["meta"] = ocp.args.JsonSave(self._description | meta)
        self._write().save(number, args=ocp.args.Composite(**items))

    def restore(self, like: S, fields: tuple[str, ...] | None = None) -> S:
        """The last checkpoint's state, of the shapes and dtypes of `like`, on every device.

        Args:
          like: a state, fresh for example.
          fields: those to read; the others stay as they are in `like`. None is all.
        """
        everywhere = sharding.replicated(sharding.mesh())

        def shape(x):
            return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere)

        items = {
            name: ocp.args.StandardRestore(jax.tree.map(shape, getattr(like, name)))
            for name in fields or _fields(like)
        }
        restored = self._read().restore(self.latest(), args=ocp.args.Composite(**items))
        return dataclasses.replace(like, **{name: restored[name] for name in items})  # type: ignore[type-var]

    def holds(self, field: str) -> bool:
        """Whether the last checkpoint has this field of the state."""
        return (self._directory / str(self.latest()) / field).is_dir()

    def close(self) -> None:
        """Returns when everything saved is on disk, and lets go of the folder."""
        for manager in (self._reader, self._writer):
            if manager:
                manager.close()
        self._reader = self._writer = None

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def _read(self) -> ocp.CheckpointManager:
        """A manager that leaves alone what another process may be writing."""
        if self._writer:
            return self._writer
        if self._reader is None:
            options = ocp.CheckpointManagerOptions(
                read_only=True, create=False, save_interval_steps=0
            )
            self._reader = ocp.CheckpointManager(self._directory, options=options)
        return self._reader

    def _write(self) -> ocp.CheckpointManager:
        if self._writer is None:
            options = ocp.CheckpointManagerOptions(max_to_keep=2, cleanup_tmp_directories=True)
            self._writer = ocp.CheckpointManager(self._directory, options=options)
        return self._writer


def fingerprint(tree) -> str:
    """SHA-256 of a tree of arrays on the host: the same for the same weights."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()


def _fields(state) -> list[str]:
    """Those that hold arrays."""
    names = (field.name for field in dataclasses.fields(state))
    return [name for name in names if jax.tree.leaves(getattr(state, name))]


def _short(value) -> str:
    """A hash is told by its beginning, and so is a long list."""
    return value[:12] if isinstance(value, str) else str(value)[:60]
