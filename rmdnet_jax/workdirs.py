"""A run's folder: it belongs to one experiment, named by the config.json in it."""

import json
from pathlib import Path

from rmdnet_jax.atomic import open_atomic
from rmdnet_jax.errors import InputError


def claim(workdir: Path, config: dict) -> None:
    """Makes `workdir` this experiment's, or finds that it already is.

    Args:
      workdir: a folder that is missing, empty, or this experiment's from an earlier start.
      config: the resolved config, JSON-able.

    Raises:
      InputError: the folder holds another experiment or other files, or cannot be written.
    """
    config = json.loads(json.dumps(config))  # as it reads back: tuples are lists
    path = workdir / "config.json"
    try:
        if path.exists():
            _check_same(config, json.loads(path.read_text()), workdir)
        elif workdir.exists() and any(map(_is_foreign, workdir.iterdir())):
            raise InputError(
                f"the workdir {workdir} holds files but no config.json; "
                "give an empty or new folder with --workdir"
            )
        workdir.mkdir(parents=True, exist_ok=True)
        with open_atomic(path) as file:
            json.dump(config, file, indent=2)
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is not JSON ({error}); give another --workdir") from error
    except OSError as error:
        raise InputError(
            f"cannot write the workdir {workdir} ({error.strerror}); "
            "give a folder that can be written with --workdir"
        ) from error


def _is_foreign(path: Path) -> bool:
    """Whether a file is not what a kill left of writing config.json."""
    return not path.name.startswith(".config.json.")


def _check_same(config: dict, other: dict, workdir: Path) -> None:
    ours, theirs = _flat(config), _flat(other)
    for field in sorted(ours.keys() | theirs.keys()):
        if ours.get(field) != theirs.get(field):
            raise InputError(
                f"the workdir {workdir} holds another experiment ({field} is "
                f"{theirs.get(field)!r} there, {ours.get(field)!r} here); give another --workdir"
            )


def _flat(tree: dict, prefix: str = "") -> dict:
    leaves: dict = {}
    for name, value in tree.items():
        is_tree = isinstance(value, dict)
        leaves |= _flat(value, f"{prefix}{name}.") if is_tree else {prefix + name: value}
    return leaves
