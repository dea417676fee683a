"""The available methods: modules of this folder with a METHOD, by module name."""

import functools
from collections.abc import Mapping
from typing import Any

from rmdnet_jax import methods
from rmdnet_jax.base import by_name, ranges
from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.ranges import Field
from rmdnet_jax.methods.learner import Learner


@functools.cache
def _ours() -> dict[str, Any]:
    return by_name.of_package(methods, "METHOD")


def names() -> tuple[str, ...]:
    """The names of the methods in this folder, in alphabetical order."""
    return tuple(_ours())


def groups() -> dict[str, Mapping[str, Field]]:
    """The parameters of every method in this folder that has any, by method name."""
    return {name: fields for name in names() if (fields := ranges.declared(get(name)))}


def get(name: str) -> Any:
    """The class of that name, or of the import path `my_module:MyMethod`.

    Raises:
      InputError: there is none.
    """
    if ":" not in name:
        if name not in _ours():
            raise by_name.unknown("method", name, names())
        return _ours()[name]
    found = by_name.imported("method", name)
    missing = [
        part for part in ("init", "step", "networks", "learners") if not hasattr(found, part)
    ]
    if missing or not callable(found):
        raise InputError(
            f"method {name!r} has no {', '.join(missing)}; expected a class that derives from "
            "rmdnet_jax.methods.interface.Method"
        )
    return found


def build(name: str, learner: Learner | None, parameters: Mapping[str, Any]) -> Any:
    """The method of that name.

    Args:
      name: as `get` takes it.
      learner: what it trains; None if only its properties are read.
      parameters: values of its own fields; a user's own method keeps its defaults.

    Raises:
      InputError: there is no such method, or a value is invalid.
    """
    method = get(name)
    own = ranges.declared(method)
    given = {name: value for name, value in parameters.items() if value is not None}
    try:
        make = getattr(method, "of", method)
        return make(learner, **ranges.checked(f"method {name!r}", own, given))
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f"method {name!r} cannot be made ({error})") from error
