"""The available kinds of teacher: modules of this folder with a KIND, by module name."""

import functools
from typing import Any

from rmdnet_jax import teachers
from rmdnet_jax.base import by_name


@functools.cache
def _ours() -> dict[str, Any]:
    return by_name.of_package(teachers, "KIND")


def kinds() -> tuple[str, ...]:
    """Their names, in alphabetical order."""
    return tuple(_ours())


def get(kind: str) -> Any:
    """The class of that name, one of `kinds`."""
    return _ours()[kind]
