"""requirements.txt and pyproject.toml ask for the same; the package's core needs no TensorFlow."""

import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import sources

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
CORE, EXTRAS = set(PROJECT["dependencies"]), PROJECT["optional-dependencies"]


def test_the_requirements_are_the_core_and_every_extra():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    listed = {line.partition("#")[0].strip().replace('"', "'") for line in lines} - {""}
    others = [set(needs) for name, needs in EXTRAS.items() if name != "all"]
    assert listed == CORE.union(*others)
    assert not any(CORE & needs for needs in others)


def test_all_is_every_extra():
    (everything,) = EXTRAS["all"]
    name, extras = re.fullmatch(r"(\w+)\[(.*)\]", everything).groups()
    assert name == PROJECT["name"]
    assert {*extras.split(","), "all"} == EXTRAS.keys()


def test_the_core_needs_no_tensorflow():
    assert not [one for one in CORE if one.startswith(("tensor", "clu", "array_record"))]


def test_the_makefile_installs_the_core_for_the_demo_and_everything_for_the_tests():
    makefile = (ROOT / "Makefile").read_text()
    rule = r"^\$\((?:VENV\)/)?(\w+)\)?:.*(?:\n\t.*)*? -r (\S+)$"
    installed = dict(re.findall(rule, makefile, re.M))
    assert installed == {
        "user": "pyproject.toml",
        "DEVELOPER": "$(REQUIREMENTS)",
        "docs": "requirements-docs.txt",
    }
    assert "\nREQUIREMENTS ?= requirements-dev.txt\n" in makefile
    for name in ("requirements-dev.txt", "requirements-docs.txt"):
        assert "-r requirements.txt" in (ROOT / name).read_text().splitlines()


def test_the_lock_has_a_version_in_the_range_of_every_requirement():
    lines = [
        line.partition("#")[0].strip()
        for name in ("requirements-dev.txt", "requirements.txt")
        for line in (ROOT / name).read_text().splitlines()
        if not line.startswith("-r")
    ]
    asked = [Requirement(line) for line in filter(None, lines)]
    text = (ROOT / "requirements-dev.lock").read_text().splitlines()
    locked = [Requirement(line) for line in text if not line.startswith("#")]
    for python in ("3.11", "3.12", "3.13"):
        machine = {"python_version": python, "python_full_version": f"{python}.0"}
        chosen = {
            canonicalize_name(one.name): one.specifier
            for one in locked
            if one.marker is None or one.marker.evaluate(machine)
        }
        for one in asked:
            if one.marker is None or one.marker.evaluate(machine):
                (version,) = chosen[canonicalize_name(one.name)]
                assert version.operator == "=="
                assert one.specifier.contains(version.version), (python, str(one))


def test_the_package_brings_its_files_that_are_no_python():
    package = ROOT / "rmdnet_jax"
    globs = PYPROJECT["tool"]["setuptools"]["package-data"]["rmdnet_jax"]
    found = {path for glob in globs for path in package.glob(glob)}
    others = {path for path in package.rglob("*.*") if path.suffix not in (".py", ".pyc")}
    assert found == others
    # setuptools finds packages, and leaves out a folder without this file.
    for folder in {path.parent for path in package.rglob("*.py")}:
        assert (folder / "__init__.py").is_file(), folder


def test_without_tensorflow_datasets_its_sets_are_refused_in_a_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(InputError, match=r"pip install -r requirements\.txt, or"):
        sources.load("cifar10")
