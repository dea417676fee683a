"""What one run hands to another: a finished teacher, and cached results about one."""

import contextlib
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rmdnet_jax.base.atomic import open_atomic
from rmdnet_jax.base.errors import InputError
from rmdnet_jax.machine import hosts
from rmdnet_jax.training.checkpoints import Checkpoints

# Results above this many bytes are not kept beside a teacher.
_LARGEST = 4 << 30


def folder_of(path: str) -> Path:
    """The folder of the teacher's checkpoints in the workdir, or teacher folder, `path`."""
    path = os.path.expanduser(path)
    inside = os.path.join(path, "teacher")
    # On Python 3.11, Path.is_dir raises if there is no permission to read the folder.
    return Path(inside if os.path.isdir(inside) else path)


def find(path: str, description: dict) -> Checkpoints:
    """The finished teacher in the workdir (or the teacher folder of a workdir) `path`.

    Args:
      path: the folder.
      description: the required training data and architecture of the teacher.

    Raises:
      InputError: there is none, it is not finished, or it does not match.
    """
    folder = folder_of(path)
    checkpoints = Checkpoints(folder, description=description)
    if checkpoints.latest() is None:
        raise InputError(
            f"no teacher in {path} (teacher.path); expected the workdir of a run that trained one"
        )
    checkpoints.check()
    meta = checkpoints.meta()
    try:
        epoch, epochs = int(meta["epoch"]), int(meta["recipe"]["epochs"])
    except (LookupError, TypeError, ValueError) as error:
        raise InputError(
            f"the checkpoints in {folder} (teacher.path) are not a teacher's; expected the workdir "
            "of a run that trained one"
        ) from error
    if epoch < epochs:
        raise InputError(
            f"the teacher in {path} (teacher.path) has done {epoch} of its {epochs} epochs; "
            "start its own run again to finish it"
        )
    return checkpoints


def kept(
    folder: Path | None, name: str, compute: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """The result of `compute`, or the stored one if it was computed before under this name.

    Args:
      folder: where it is stored, as NAME.npz; None: nowhere. A folder that cannot be written, such
        as another user's, is not an error.
      name: identifies everything that the result depends on.
      compute: returns arrays by name; called in all processes of a run, or in none.
    """
    if folder is None:
        return compute()
    file = folder / f"{name}.npz"
    found = _read(file)
    if hosts.is_so_everywhere(found is not None):
        assert found is not None
        return found
    found = compute()
    if hosts.is_writer() and sum(array.nbytes for array in found.values()) <= _LARGEST:
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            with open_atomic(file, "wb") as opened:
                np.savez(opened, **found)  # type: ignore[arg-type]
    return found


def _read(file: Path) -> dict[str, np.ndarray] | None:
    """The arrays of a file; None if there is none, or it is damaged."""
    try:
        # Opened here: NumPy does not close a damaged archive that it opened itself.
        with open(file, "rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, LookupError, EOFError, zipfile.BadZipFile):
        return None
