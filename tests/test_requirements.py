"""The package asks for what requirements.txt has, but for TensorFlow and what comes with it."""

import sys
import tomllib
from pathlib import Path

import pytest

from rmdnet_jax.data import sources
from rmdnet_jax.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
# What only stock sets of tensorflow-datasets and TensorBoard files need.
HEAVY = ("clu", "tensorflow", "tensorboard", "importlib_resources")


def test_the_package_needs_all_but_tensorflow():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    listed = {line.partition("#")[0].strip().replace('"', "'") for line in lines} - {""}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(project["dependencies"]) == {x for x in listed if not x.startswith(HEAVY)}


def test_without_tensorflow_datasets_its_sets_are_refused_in_a_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(InputError, match=r"pip install -r requirements\.txt, or"):
        sources.load("cifar10")
