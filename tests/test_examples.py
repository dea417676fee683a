"""What docs/api.md names has examples in its docstring, and they do what they show."""

import doctest
import functools
import importlib
import inspect
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[1] / "docs" / "api.md"
# Long output, of which the first line is shown; and layout that may change with a line's width.
SHOWN = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def names_of(page):
    """Functions, classes, and the members that are named of a class, in the page's order."""
    found = []
    for name, members in re.findall(
        r"^\.\. auto(?:function|class):: ([\w.]+)(?:\(\))?(?:\n +:members:(.*))?$", page, re.M
    ):
        found.append(name)
        found += [f"{name}.{member.strip()}" for member in members.split(",") if member.strip()]
    return found


@functools.cache
def named(name):
    """What a whole name stands for: the longest part of it that is a module, and what is in it."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        return functools.reduce(getattr, parts[cut:], found)
    raise AssertionError(f"{name} is not there")


def is_runnable(name):
    """Not a property, and not a class that is an interface: extending.md has complete ones."""
    found = named(name)
    return not (isinstance(found, property) or getattr(found, "_is_protocol", False))


NAMES = [name for name in names_of(PAGE.read_text()) if is_runnable(name)]
METHODS = [name for name in NAMES if inspect.isclass(named(name.rpartition(".")[0]))]


def examples_of(name):
    return doctest.DocTestParser().get_examples(inspect.getdoc(named(name)) or "", name)


def run(name, scope):
    """Runs the examples of a name after what is in `scope`; what there is then."""
    examples = examples_of(name)
    assert examples, f"{name} has no examples"
    test = doctest.DocTest(examples, scope, name, None, None, None)
    told = []
    runner = doctest.DocTestRunner(optionflags=SHOWN)
    runner.run(test, out=told.append, clear_globs=False)
    assert not runner.failures, "".join(told)
    return test.globs


@pytest.fixture(scope="module")
def scopes():
    """By class, what its own examples leave: those of its methods go on from there."""
    return {}


def test_the_page_names_what_users_are_promised():
    promised = {"fit", "Model", "Model.predict", "Model.load", "losses.robust.get"}
    promised |= {"losses.relation.rmd_loss", "data.noise.corrupt", "config.default"}
    assert {f"rmdnet_jax.{name}" for name in promised} <= set(NAMES)


@pytest.mark.usefixtures("lenient_promotion")
@pytest.mark.parametrize("name", NAMES)
def test_examples_run_as_they_stand(name, scopes):
    if name not in METHODS:
        scopes[name] = run(name, {})
        return
    owner = name.rpartition(".")[0]
    if owner not in scopes:
        scopes[owner] = run(owner, {})
    run(name, dict(scopes[owner]))


def test_a_wrong_example_fails(monkeypatch):
    monkeypatch.setattr(inspect, "getdoc", lambda _: ">>> 1 + 1\n3")
    with pytest.raises(AssertionError, match=r"Expected:\n +3\n +Got:\n +2"):
        run(NAMES[0], {})
