"""Configs: every field is read by something, every value is checked, every file can be started."""

import importlib
import json
import math
import pwd
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmdnet_jax import automatic
from rmdnet_jax import config as configuration
from rmdnet_jax.errors import InputError
from rmdnet_jax.losses import robust

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted(path.stem for path in (ROOT / "configs").glob("[a-z]*.py"))
EXPERIMENTS = [name for name in CONFIGS if name != "paper_tables"]  # that is many


@pytest.fixture(autouse=True)
def configs_can_be_imported(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


def with_value(field, value):
    config = configuration.default()
    with config.unlocked():
        *groups, leaf = field.split(".")
        group = config
        for name in groups:
            group = group[name]
        group.__dict__["_fields"][leaf] = value
    return config


def test_the_defaults_pass():
    configuration.check(configuration.default())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dataset.image_size", 7),
        ("dataset.held_out", 0.0),
        ("dataset.held_out", 1.0),
        ("dataset.max_broken", 1.0),
        ("dataset.max_broken", -0.1),
        ("dataset.validation", 1.0),
        ("dataset.memory_budget", -1.0),
        ("dataset.workers", -2),
        ("noise.rate", 1.01),
        ("noise.rate", math.nan),
        ("seed", -1),
        ("model.width", 0),
        ("model.stem", "vgg"),
        ("rm.batch_size", 1),
        ("rm.lr", 0.0),
        ("rm.lr", math.inf),
        ("rm.min_area", 0.0),
        ("rgrl.momentum", 1.0),
        ("rgrl.k", -1.0),
        ("rgrl.k", None),
        ("rgrl.loss.name", ""),
        ("rgrl.lr_drops", (0.5, 0.4)),
        ("rgrl.lr_drops", (0.5, 1.0)),
        ("rgrl.lr_drops", ("a", "b")),
        ("rm.epochs", "many"),
        ("rgrl.relation_norm", "l2"),
        ("teacher.kind", "moco"),
        ("report.tsne_classes", (1,)),
        ("report.tsne_classes", "ab"),
        ("rgrl.lr_drops", "ab"),
        ("rgrl.lr_drops", (0.5, math.nan)),
        ("rm.epochs", 1.5),
        ("rm.epochs", True),
        ("rm.epochs", 10**12),
        ("rgrl.k", 10**400),
        pytest.param("seed", 10**5000, id="more digits than Python writes"),
        ("rgrl.loss.q", 10**400),
        ("noise.exact", 1),
        ("augment.flip", "False"),
        ("dataset.path", 3),
        ("dataset.path", "a\0b"),
        ("dataset.path", None),
    ],
)
def test_a_value_that_cannot_be_right_is_named(field, value):
    with pytest.raises(InputError, match=re.escape(f"config.{field} is")):
        configuration.check(with_value(field, value))


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**400, -(10**5000), 2**31, 2**63, 1e300, np.int64(3), np.zeros(2)]),
    st.floats(),
    st.text(max_size=8),
    st.binary(max_size=3),
    st.complex_numbers(),
    st.lists(st.floats() | st.text(max_size=2), max_size=3),
    st.lists(st.floats() | st.integers(-3, 3), max_size=3).map(tuple),
    st.builds(object),
)


@settings(deadline=None, max_examples=400, derandomize=True)
@given(field=st.sampled_from(sorted(configuration.flat(configuration.default().to_dict()))),
       value=ANYTHING)  # fmt: skip
def test_whatever_a_field_is_it_passes_or_is_refused_in_one_line(field, value):
    config, refusal = with_value(field, value), ""
    try:
        configuration.check(config)
    except InputError as error:
        refusal = str(error)
    assert "\n" not in refusal
    assert len(refusal) < 500
    if not refusal:
        json.dumps(config.to_dict())  # as the workdir's config.json


def test_a_field_that_a_config_file_invents_or_takes_away_is_named():
    config = configuration.default()
    config.rgrl.epoch = 3
    with pytest.raises(InputError, match=r"config\.rgrl\.epoch: .* did you mean 'rgrl\.epochs'"):
        configuration.check(config)
    del config.rgrl.epoch, config.rm.lr
    with pytest.raises(InputError, match=r"no field rm\.lr; right is to start from"):
        configuration.check(config)
    for nothing in (None, 3, {}):
        with pytest.raises(InputError, match="the config has no field"):
            configuration.check(nothing)


def test_every_field_is_read_by_something():
    source = "".join(path.read_text() for path in (ROOT / "rmdnet_jax").rglob("*.py"))
    source = source.replace((ROOT / "rmdnet_jax/config.py").read_text(), "")
    config = configuration.default()
    whole = {"dataset", "noise"}  # handed over as keyword arguments
    for group, fields in config.items():
        names = fields if hasattr(fields, "keys") else [group]
        for name in names:
            read = rf"\b{name}\b(: |\W)" if group in whole else rf"""\.{name}\b|\["{name}"\]"""
            assert re.search(read, source), f"nobody reads {group}.{name}"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_config_and_every_loss_of_it_can_be_started(name):
    module = importlib.import_module(f"configs.{name}")
    for loss in getattr(module, "LOSSES", [None]):
        config = module.get_config(*filter(None, [loss]))
        configuration.check(config, automatic.FIELDS)
        config, _ = automatic.fill(config, 1000, 10, np.array([32]), "cpu")
        configuration.check(config)
        robust.get(config.rgrl.loss.name, **configuration.loss_parameters(config))


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_says_what_it_does_and_how_it_is_started(name):
    text = importlib.import_module(f"configs.{name}").__doc__
    assert f"python launch.py --config=configs/{name}.py" in text


def test_an_unknown_loss_names_those_there_are():
    rgrl_cifar10 = importlib.import_module("configs.rgrl_cifar10")
    with pytest.raises(InputError, match="no recipe for the loss 'gec'"):
        rgrl_cifar10.get_config("gec")


@pytest.mark.parametrize("field", ["model.width", "rgrl.k"])
def test_true_is_no_number(field):
    with pytest.raises(InputError, match=f"{field}: True does not fit; right is (int|float)"):
        configuration.with_values(configuration.default(), {field: True}, "fields: ")


def test_where_the_user_has_no_home_there_is_no_cache(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/there")
    assert configuration.default().dataset.cache == "/there/rmdnet_jax/pictures"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    assert configuration.default().dataset.cache == ""


def test_parameters_not_given_are_left_to_the_loss():
    config = configuration.default()
    assert configuration.loss_parameters(config) == {}
    config.rgrl.loss.t = 3
    assert configuration.loss_parameters(config) == {"t": 3}


@pytest.mark.parametrize("name", ["rgrl_cifar10", "rgrl_cifar100"])
def test_every_loss_has_a_recipe(name):
    assert importlib.import_module(f"configs.{name}").LOSSES.keys() == robust.LOSSES.keys()


def test_an_installed_package_has_its_page():
    """setuptools leaves out what is not Python unless it is told."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    package = ROOT / "rmdnet_jax"
    packed = {path for glob in told["package-data"]["rmdnet_jax"] for path in package.glob(glob)}
    others = {path for path in package.rglob("*") if path.is_file() and path.suffix != ".py"}
    assert {path for path in others if "__pycache__" not in path.parts} <= packed
