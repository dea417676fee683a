"""Tells a value of the wrong type in a config file by its place, field and allowed values."""

import re

from rmdnet_jax.base import ranges
from rmdnet_jax.base.errors import InputError
from rmdnet_jax.config.fields import all_fields

# ConfigDict's message, and a place in a traceback: file, line number and code.
_MISMATCH = re.compile(
    r"Could not override field '(\w+)'.*?\. (.*) is of original type <class '(.*)'> and cannot be "
    r"casted to type <class '(.*)'>",
    re.DOTALL,
)
_PLACE = re.compile(r'File "(.+)", line (\d+), in .*\n +(.*)')


def wrong_type(traceback: str) -> InputError | None:
    """The error for a value that ConfigDict refused for its type, from the traceback's text; None
    for another error. ConfigDict names a field without its group, which the line of code usually
    has."""
    found = _MISMATCH.search(traceback)
    places = [one for one in _PLACE.findall(traceback) if "ml_collections" not in one[0]]
    if not found or not places:
        return None
    name, value, given, wanted = found.groups()
    file, line, code = places[-1]
    fields = all_fields()
    known = [field for field in fields if field.rpartition(".")[2] == name]
    named = [field for field in known if re.search(rf"\b{field.partition('.')[0]}\b", code)]
    if len(named or known) == 1:
        (name,) = named or known
        expected = str(fields[name].rule)
    elif first := next((field for field in fields if field.startswith(f"{name}.")), None):
        expected = f"values of its fields, such as config.{first}"
    else:
        name = f"{known[0]}, or another field {name}," if known else name
        rules = {kind.__name__: str(rule) for kind, rule in ranges.OF_TYPE.items()}
        expected = rules.get(wanted, wanted)
    shown = ranges.told(value) if given == "str" else value[:100]
    return InputError(f"{file}, line {line}: config.{name} is {shown}; expected {expected}")
