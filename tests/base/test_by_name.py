"""One of ours by its name, or a user's own by its import path; else a line that says what there
is."""

import sys
import types

import pytest

from rmdnet_jax.base import by_name
from rmdnet_jax.base.errors import InputError


def test_a_name_that_is_none_is_told_with_all_and_the_nearest():
    error = by_name.unknown("loss", "gc", {"gce": 1, "mae": 2})
    assert isinstance(error, InputError)
    assert str(error) == (
        "unknown loss 'gc'; did you mean 'gce'? Expected one of gce, mae, or my_module:my_loss"
    )
    far = by_name.unknown("loss", "quite another", ["gce"])
    assert str(far) == "unknown loss 'quite another'; expected one of gce, or my_module:my_loss"


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """A folder of a user's modules."""
    (tmp_path / "my_things.py").write_text("one = 1\nclass Of:\n    two = 2\n")
    (tmp_path / "my_broken.py").write_text("raise RuntimeError('two\\nlines')\n")
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "inner.py").write_text("three = 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in ("my_things", "my_broken", "my_package", "my_package.inner"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize(("path", "value"), [("my_things:one", 1), ("my_package.inner:three", 3)])
def test_an_import_path_names_a_thing_of_a_module(path, value):
    assert by_name.imported("thing", path) == value


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("my_things:two", r"thing 'my_things:two': module my_things has no 'two'"),
        ("my_nothing:one", r"cannot be imported \(No module named 'my_nothing'\); my_nothing must"),
        ("my_broken:one", r"cannot be imported \(two lines\)"),
        ("my_things:", "is not an import path; expected my_module:my_thing"),
        (":one", "is not an import path"),
        ("my_things:one:two", "is not an import path"),
        ("my_things:Of.two", "is not an import path"),
        ("../my_things:one", "is not an import path"),
        ("my things:one", "is not an import path"),
    ],
)
def test_what_names_nothing_is_told_in_a_line(path, says):
    with pytest.raises(InputError, match=says) as told:
        by_name.imported("thing", path)
    assert "\n" not in str(told.value)


def test_a_packages_things_go_by_their_modules_names(tmp_path, monkeypatch):
    package = tmp_path / "my_kinds"
    package.mkdir()
    (package / "__init__.py").touch()
    for name, text in {"zebra": "KIND = 1", "ant": "KIND = 2", "other": "KINDS = 3"}.items():
        (package / f"{name}.py").write_text(text + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import my_kinds

    assert isinstance(my_kinds, types.ModuleType)
    try:
        found = by_name.of_package(my_kinds, "KIND")
        assert list(found.items()) == [("ant", 2), ("zebra", 1)]
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "my_kinds"]:
            del sys.modules[name]
