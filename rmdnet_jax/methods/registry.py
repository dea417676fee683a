"""The methods there are: a module of this folder with a METHOD, by the module's name."""

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
    """Of the methods of this folder, in order of the alphabet."""
    return tuple(_ours())


def groups() -> dict[str, dict[str, Field]]:
    """The parameters of every method of this folder that has any, by its name."""
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
      learner: what it learns with; None for one that is only asked what it is.
      parameters: values of its own fields; those of a user's own method are its defaults.

    Raises:
      InputError: there is no such method, or a value cannot be right.
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
