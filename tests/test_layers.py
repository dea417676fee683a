"""The rooms of the house: imports go down only, wherever in a module they stand."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "rmdnet_jax"

# From top to bottom; rooms in one row may import from one another, but not in a circle.
LAYERS = [
    {"api"},
    {"runs"},
    {"experiment"},
    {"stages"},
    {"model", "report"},
    {"training", "config", "export"},
    {"evaluation"},
    {"teachers"},
    {"methods", "encoders"},
    {"losses", "models", "data"},
    {"machine"},
    {"base"},
]
RANK = {room: len(LAYERS) - i for i, layer in enumerate(LAYERS) for room in layer}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


def name_of(path):
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


def imports(path):
    """The modules of the package that a file imports, at its head or in a function."""
    known = {name_of(module) for module in MODULES}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rmdnet_jax"):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in known else node.module
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.startswith("rmdnet_jax"))


def room(module):
    return module.split(".")[1] if "." in module else None


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_down_only(path):
    own = room(name_of(path))
    for module in imports(path):
        other = room(module)
        if other is None:
            continue
        assert other == own or RANK[other] <= RANK[own], f"{name_of(path)} imports {module}"


def test_no_room_needs_another_that_needs_it():
    needs = {}
    for path in MODULES:
        own = room(name_of(path))
        needs.setdefault(own, set()).update(filter(None, map(room, imports(path))))
    for own, others in needs.items():
        for other in others - {own}:
            assert own not in needs[other], f"{own} and {other} import from one another"


def test_every_room_has_its_place():
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name[0] != "_"}
    modules = {path.stem for path in PACKAGE.glob("*.py") if path.name != "__init__.py"}
    assert folders | modules == RANK.keys()
    assert modules == {"api", "experiment", "model"}


def test_nothing_below_the_config_takes_a_config_dict():
    """Plain arguments there: whoever calls a function sees what it needs."""
    for path in MODULES:
        if RANK[room(name_of(path))] < RANK["config"]:
            assert "ConfigDict" not in path.read_text(), name_of(path)
