"""Orbax checkpoints of a stage: its complete state, under the number of steps done.

The state's fields are separate items, so that a later stage can read a teacher's parameters without
its optimiser state.
"""

import contextlib
import dataclasses
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import apart, cut, one_line
from rmdnet_jax.machine import hosts, sharding
from rmdnet_jax.training import checksums

# Orbax warns of intended things, such as a read-only manager, and logs the errors that it raises.
logging.getLogger("absl").setLevel(logging.CRITICAL)


def _is_told_elsewhere(record: logging.LogRecord) -> bool:
    """Whether asyncio reports a TensorStore write that failed after another one whose error Orbax
    raises."""
    return bool(record.exc_info and _OF_A_DISK.search(str(record.exc_info[1])))


logging.getLogger("asyncio").addFilter(lambda record: not _is_told_elsewhere(record))

R = TypeVar("R")

# How TensorStore quotes an error of the operating system.
_OF_A_DISK = re.compile(r"os_error_code='(\d+)'")

# Orbax's files in a checkpoint that it writes last.
_LAST = ("_CHECKPOINT_METADATA", "commit_success.txt")

# In a checkpoint's meta: the version of the format. Checkpoints of 0.1.0 hold the teacher's weights
# among the student's.
_FORMAT, _NEWEST = "format", 2


class Checkpoints:
    """The checkpoints of one stage in one folder. Nothing in the folder changes before a save.

    A damaged checkpoint is skipped, with a warning, and the previous one is used; the next save
    renames it to damaged-NUMBER.

    Args:
      directory: the folder; made at the first save.
      description: JSON-able facts stored with every checkpoint (what was trained, on what).
    """

    def __init__(self, directory: Path, description: dict | None = None):
        self._directory = Path(directory).absolute()
        self._description = description or {}
        self._reader: ocp.CheckpointManager | None = None
        self._writer: ocp.CheckpointManager | None = None
        self._damaged: set[int] = set()
        self._checked: set[int] = set()  # read once, since this reads the whole checkpoint
        self._saving = 0

    def latest(self) -> int | None:
        """Number of the last checkpoint not known to be damaged; None if there is none.

        Raises:
          InputError: the folder cannot be read.
        """
        try:
            numbers = self._read().all_steps() if self._directory.is_dir() else []
        except Exception as error:  # whatever Orbax raises for a folder
            reason = _disk_error(error) or one_line(error)
            raise InputError(f"cannot read {self._directory} ({reason})") from error
        return max(set(numbers) - self._damaged, default=None)

    def check(self) -> None:
        """Raises InputError if the last checkpoint does not match the description, or if there are
        checkpoints and all are damaged."""
        if self.latest() is None:
            return
        saved = self.meta()
        for name, value in self._description.items():
            if saved.get(name) != value:
                what, there, here = _difference(name, saved.get(name), value)
                raise InputError(
                    f"the checkpoints in {cut(self._directory)} were made with different {what} "
                    f"({there}; here {here}); use another folder"
                )

    def meta(self) -> dict:
        """The metadata saved with the last intact checkpoint.

        Raises:
          InputError: there is none, or it is not from this program, or from a newer version.
        """
        return self._whole(self._meta)

    def save(self, number: int, trees: Mapping[str, Any], meta: dict) -> None:
        """Saves trees of arrays with JSON-able `meta`; copies them first, so they may be donated
        immediately. Written in the background, visible only when complete.

        Args:
          number: larger than previous ones, e.g. the number of steps done.
          trees: what to save, by name; `fields` of a state.
          meta: what to store beside it and the description.

        Raises:
          InputError: it, or the previous one, cannot be written.
        """
        items = {name: ocp.args.StandardSave(tree) for name, tree in trees.items()}
        items["meta"] = ocp.args.JsonSave(self._description | meta | {_FORMAT: _NEWEST})
        # Orbax copies from devices implicitly, which the training loop disallows.
        with self._writing(), jax.transfer_guard("allow"):
            manager = self._write()
            manager.wait_until_finished()  # so that the one being written is this one
            self._saving = number
            manager.save(number, args=ocp.args.Composite(**items))

    def restore(self, like: Mapping[str, Any]) -> dict[str, Any]:
        """These trees of the last intact checkpoint, on every device; afterwards `meta` returns the
        same one's metadata.

        Args:
          like: trees of the shapes and dtypes to read, by name; other trees are not read.

        Raises:
          InputError: there are checkpoints, but none is intact.
        """
        mesh = sharding.mesh()
        items = {
            name: ocp.args.StandardRestore(sharding.shapes(tree, mesh))
            for name, tree in like.items()
        }

        def read(number: int) -> dict:
            self._meta(number)
            restored = self._read().restore(number, args=ocp.args.Composite(**items))
            return {name: restored[name] for name in items}

        return self._whole(read)

    def close(self) -> None:
        """Returns when everything saved is on disk, and releases the folder.

        Raises:
          InputError: the last save could not be written.
        """
        managers, self._reader, self._writer = (self._reader, self._writer), None, None
        with self._writing():
            for manager in filter(None, managers):
                manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def _read(self) -> ocp.CheckpointManager:
        """A manager that does not touch what another process may be writing."""
        if self._writer:
            return self._writer
        if self._reader is None:
            options = ocp.CheckpointManagerOptions(
                read_only=True, create=False, save_interval_steps=0
            )
            self._reader = ocp.CheckpointManager(self._directory, options=options)
        return self._reader

    def _meta(self, number: int) -> dict:
        items = ocp.args.Composite(meta=ocp.args.JsonRestore())
        meta = self._read().restore(number, args=items)["meta"]
        if _FORMAT in meta and not (self._directory / str(number) / checksums.NAME).exists():
            raise checksums.DamagedError(f"{checksums.NAME} is missing")
        if (version := meta.get(_FORMAT, 0)) != _NEWEST:
            age = "a newer" if version > _NEWEST else "an older"
            raise InputError(
                f"{self._directory / str(number)} was written by {age} rmdnet_jax (format "
                f"{version}; here {_NEWEST}); expected that version, or another folder"
            )
        return meta

    def _whole(self, read: Callable[[int], R]) -> R:
        """The result of `read` for the last checkpoint that it can read."""
        reason = ""
        while (number := self.latest()) is not None:
            folder = self._directory / str(number)
            try:
                if number not in self._checked:
                    checksums.check(folder, without=_LAST)
                    self._checked.add(number)
                return read(number)
            except (InputError, jax.errors.JaxRuntimeError):  # the latter: another process has died
                raise
            except checksums.DamagedError as error:
                reason = reason or f"{number}: {error}"
            except Exception as error:  # whatever Orbax and its storage raise
                if (folder / checksums.NAME).exists():  # its files are unchanged
                    raise InputError(f"cannot read {folder} ({one_line(error)})") from error
                reason = reason or f"{number}: {one_line(error)}"
            self._damaged.add(number)
            if (before := self.latest()) is not None:
                hosts.warn(
                    f"the checkpoint {self._directory / str(number)} is damaged; {before}, the one "
                    "before, is used"
                )
        raise InputError(
            f"{self._directory} holds checkpoints, but none that is intact and from rmdnet_jax "
            f"({reason}); nothing was changed: use another folder, or remove this one"
        )

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Raises InputError, or LostProcessError, for failures in the block."""
        try:
            yield
        except Exception as error:  # whatever Orbax and its storage raise for a disk
            reason = _disk_error(error)
            several, waited = jax.process_count() > 1, (jax.errors.JaxRuntimeError, TimeoutError)
            # The network's own error has whatever type it was caught and re-raised with.
            is_lost = isinstance(error, waited) or "Gloo" in str(error)
            if reason is None and several and is_lost:
                raise hosts.lost(error) from error
            reason = reason or one_line(error)
            raise InputError(
                f"cannot write checkpoints to {self._directory} ({reason}); once this is fixed, "
                "the same command resumes from the last one"
            ) from error

    def _seal(self) -> None:
        """Adds checksums to what was written, before Orbax renames it; runs in Orbax's background
        thread."""
        if hosts.is_writer():
            (unnamed,) = self._directory.glob(f"{self._saving}.orbax-checkpoint-tmp*")
            checksums.write(unnamed, without=_LAST)

    def _put_damaged_aside(self) -> None:
        for number in self._damaged if hosts.is_writer() else ():
            aside = self._directory / f"damaged-{number}"
            while aside.exists():
                aside = aside.with_name(f"{aside.name}-again")
            (self._directory / str(number)).rename(aside)
        hosts.meet("put damaged checkpoints aside")
        self._damaged.clear()

    def _write(self) -> ocp.CheckpointManager:
        if self._writer is None:
            self._put_damaged_aside()
            options = ocp.CheckpointManagerOptions(
                max_to_keep=2,
                cleanup_tmp_directories=True,
                async_options=ocp.AsyncOptions(post_finalization_callback=self._seal),
            )
            self._writer = _Manager(self._directory, options=options)
        return self._writer


class NoCheckpoints(Checkpoints):
    """For a run that keeps nothing on disk."""

    def __init__(self) -> None:
        super().__init__(Path())

    def latest(self) -> None:
        """None."""

    def save(self, number: int, trees: Mapping[str, Any], meta: dict) -> None:
        """Nothing."""


class _Manager(ocp.CheckpointManager):
    """Orbax's manager, without asking JAX about preemption at every save: training/stopping.py
    does, and JAX counts the calls."""

    def reached_preemption(self, step: int) -> bool:
        """Never."""
        return False


def fields(state) -> dict[str, Any]:
    """The fields of a state that hold arrays, by name.

    Raises:
      InputError: one holds what Orbax cannot store as an item, a bare array or number, or an array
        without elements: raised before the first step, and not at the first save.
    """
    held = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    for name, value in held.items():
        where = f"the field {name} of {type(state).__name__}"
        if jax.tree_util.all_leaves([value]):
            raise InputError(
                f"{where} is a bare array or value, which checkpoints cannot store; expected a "
                'dict of arrays, {"NAME": array}'
            )
        if any(np.prod(np.shape(leaf)) == 0 for leaf in jax.tree.leaves(value)):
            raise InputError(
                f"{where} holds an array without elements, which checkpoints cannot store; "
                "leave it out"
            )
    return {name: value for name, value in held.items() if jax.tree.leaves(value)}


def _disk_error(error: BaseException | None) -> str | None:
    """The operating system's message, if it caused `error`; TensorStore quotes it."""
    while error:
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
        if quoted := _OF_A_DISK.search(str(error)):
            return os.strerror(int(quoted[1]))
        error = error.__cause__ or error.__context__
    return None


def _difference(what: str, there: Any, here: Any) -> tuple[str, str, str]:
    """Where two JSON values differ, e.g. "model.classes[2]", and the two values there."""
    if isinstance(there, dict) and isinstance(here, dict):
        key = next(key for key in (*here, *there) if there.get(key) != here.get(key))
        return _difference(f"{what}.{key}", there.get(key), here.get(key))
    if isinstance(there, list) and isinstance(here, list):
        for place, (one, other) in enumerate(zip(there, here, strict=False)):
            if one != other:
                return _difference(f"{what}[{place}]", one, other)
        return f"number of {what}", f"{len(there):,}", f"{len(here):,}"
    if _is_hash(there) and _is_hash(here):
        return what, there[:12], here[:12]  # the beginning is enough
    return what, *apart(there, here)


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None
