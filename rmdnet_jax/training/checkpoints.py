"""Orbax checkpoints of a stage: the state, whole, under the number of epochs done.

The state's fields are separate items, so that a later stage reads a teacher's parameters without
its optimiser's state.
"""

import logging
from pathlib import Path

import jax
import orbax.checkpoint as ocp

from rmdnet_jax.errors import InputError
from rmdnet_jax.methods.interface import State

logging.getLogger("absl").setLevel(logging.WARNING)

_FIELDS = ("params", "batch_stats", "opt_state")


class Checkpoints:
    """The checkpoints of one stage in one folder.

    Args:
      directory: the folder; made at the first save.
      every: epochs between two checkpoints; the last epoch is always saved.
      description: JSON-able facts kept with every checkpoint (what was trained, on what).
    """

    def __init__(self, directory: Path, every: int = 1, description: dict | None = None):
        self._directory = Path(directory).absolute()
        self._every = every
        self._description = description or {}
        self._manager: ocp.CheckpointManager | None = None

    def latest(self) -> int | None:
        """Epochs done in the last whole checkpoint; None where there is none."""
        return self._open().latest_step() if self._directory.is_dir() else None

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
        """What was saved beside the last checkpoint's arrays."""
        restored = self._open().restore(
            self.latest(), args=ocp.args.Composite(meta=ocp.args.JsonRestore())
        )
        return restored["meta"]

    def save(self, epoch: int, state: State, meta: dict, last: int) -> None:
        """Saves `state` after `epoch` of `last` epochs, if it is due; copies it first, so the
        state may be donated at once. Written in the background, visible only when whole."""
        if epoch % self._every and epoch != last:
            return
        items = {field: ocp.args.StandardSave(getattr(state, field)) for field in _FIELDS}
        items["meta"] = ocp.args.JsonSave(self._description | meta)
        self._open().save(epoch, args=ocp.args.Composite(**items))

    def restore(self, like: State) -> tuple[State, dict]:
        """The last checkpoint's state, of the shapes and dtypes of `like`, and its meta."""
        return State(**self._restore_fields(like, _FIELDS)), self.meta()

    def restore_networks(self, like: State) -> State:
        """The last checkpoint's params and batch_stats; its optimiser's state is not read."""
        return State(**self._restore_fields(like, ("params", "batch_stats")), opt_state=None)

    def close(self) -> None:
        """Returns when everything saved is on disk, and lets go of the folder."""
        if self._manager:
            self._manager.close()
            self._manager = None

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def _restore_fields(self, like: State, fields: tuple[str, ...]) -> dict:
        sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])

        def shape(x):
            return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

        items = {
            field: ocp.args.StandardRestore(jax.tree.map(shape, getattr(like, field)))
            for field in fields
        }
        restored = self._open().restore(self.latest(), args=ocp.args.Composite(**items))
        return {field: restored[field] for field in fields}

    def _open(self) -> ocp.CheckpointManager:
        if self._manager is None:
            options = ocp.CheckpointManagerOptions(max_to_keep=2, cleanup_tmp_directories=True)
            self._manager = ocp.CheckpointManager(self._directory, options=options)
        return self._manager


def _short(value) -> str:
    """A hash is told by its beginning."""
    return value[:12] if isinstance(value, str) else str(value)
