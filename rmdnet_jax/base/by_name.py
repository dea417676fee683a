"""Finds what a config names: one of ours, or `my_module:my_thing` of the user's own."""

import difflib
import hashlib
import importlib
import pkgutil
import sys
import weakref
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import one_line

# A user's own class is written differently from a function.
_CLASSES = {"method": "my_module:MyMethod"}

# SHA-256 of users' files: one may change while a run goes on with what it has imported.
_CODE: weakref.WeakKeyDictionary[ModuleType, str] = weakref.WeakKeyDictionary()


def unknown(what: str, name: str, known: Iterable[str]) -> InputError:
    """The error for a name that is not among `known`; `what` is "loss", for example."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    guess = f"did you mean {near[0]!r}? Expected" if near else "expected"
    return InputError(
        f"unknown {what} {name!r}; {guess} one of {', '.join(known)}, or {_example(what)}"
    )


def imported(what: str, path: str) -> Any:
    """The object that `my_module:my_thing` names.

    Raises:
      InputError: it is not such a path, or cannot be imported.
    """
    module_name, _, attribute = path.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), attribute)):
        raise InputError(f"{what} {path!r} is not an import path; expected {_example(what)}")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's module may raise
        raise InputError(
            f"{what} {path!r} cannot be imported ({one_line(error)}); {module_name} must be "
            "installed, or be in the folder you start from"
        ) from error
    if not hasattr(module, attribute):
        raise InputError(f"{what} {path!r}: module {module_name} has no {attribute!r}")
    found = getattr(module, attribute)
    for name in _written_in(module_name, found):
        if file := getattr(sys.modules[name], "__file__", None):
            _CODE.setdefault(sys.modules[name], hashlib.sha256(Path(file).read_bytes()).hexdigest())
    return found


def code_of(path: str) -> dict[str, str]:
    """SHA-256 of the files that an `imported` path's object is written in, by module, as they were
    when it was imported."""
    module_name, _, attribute = path.partition(":")
    names = _written_in(module_name, getattr(sys.modules[module_name], attribute))
    return {name: _CODE[sys.modules[name]] for name in names if sys.modules[name] in _CODE}


def _written_in(module_name: str, found: Any) -> list[str]:
    """The named module, and those of the same package that define the object and its bases."""
    package = module_name.partition(".")[0]
    bases = found.__mro__ if isinstance(found, type) else (found,)
    others = {getattr(base, "__module__", None) or module_name for base in bases}
    ours = {name for name in others if name.partition(".")[0] == package and name in sys.modules}
    return sorted({module_name} | ours)


def of_package(package: ModuleType, attribute: str) -> dict[str, Any]:
    """The `attribute` of each module of a package, by module name in alphabetical order; modules
    without it are left out. So a new one takes one file, and there is no list to edit."""
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    modules = {name: importlib.import_module(f"{package.__name__}.{name}") for name in names}
    return {
        name: getattr(module, attribute)
        for name, module in modules.items()
        if hasattr(module, attribute)
    }


def _example(what: str) -> str:
    return _CLASSES.get(what, f"my_module:my_{what}")
