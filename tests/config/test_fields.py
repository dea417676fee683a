"""Every field is stated once: what it is, may be and is for; and something reads it."""

import pwd
import re
import tomllib
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from rmdnet_jax.base import ranges
from rmdnet_jax.base.errors import InputError
from rmdnet_jax.config import checking, default, fields
from rmdnet_jax.losses import robust
from rmdnet_jax.methods import registry as methods

ROOT = Path(__file__).resolve().parents[2]
FIELDS = fields.all_fields()


def test_a_config_has_every_field_and_no_other():
    assert checking.flat(default().to_dict()).keys() == FIELDS.keys()


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_says_what_it_is_for_and_its_default_is_right(name):
    field = FIELDS[name]
    assert field.does.strip()
    assert str(field.rule).strip()
    assert "\n" not in f"{field.does}{field.rule}"
    given = checking.get(default(), name)
    assert given == field.default
    if given is None:  # not given: a loss or a method has its own, or does without
        assert name.partition(".")[0] in {"loss", "encoder", *methods.names()}
    else:
        assert ranges.is_of(given, field.kind)
        assert field.wrong(name, given) is None


@pytest.mark.parametrize("name", methods.names())
def test_what_a_method_declares_is_a_group_of_its_name(name):
    declared = ranges.declared(methods.get(name))
    assert fields.groups().get(name, {}) == declared
    assert all(field.does for field in declared.values())


def test_every_parameter_of_a_loss_is_a_field_that_names_its_losses():
    declared = {name for loss in robust.LOSSES for name in robust.fields(loss)}
    assert fields.groups()["loss"].keys() == {"name", *declared}
    assert FIELDS["loss.t"].does == "parameter of taylor_ce; None: the loss's default"


def test_a_parameter_of_a_loss_has_the_ranges_of_its_losses():
    assert str(FIELDS["loss.t"].rule) == "a whole number from 1 to 10,000"
    assert str(FIELDS["loss.q"].rule).startswith("a number in (0, 1] for gce; a number in (0, 10] ")
    assert FIELDS["loss.t"].wrong("t", 2.5) == "t is 2.5; expected a whole number from 1 to 10,000"
    assert FIELDS["loss.q"].wrong("q", 99.0) is None  # a user's own loss may have another range


def test_every_field_is_read_by_something():
    package = ROOT / "rmdnet_jax"
    source = "".join(
        path.read_text() for path in package.rglob("*.py") if path.parent.name != "config"
    )
    source += (package / "config/automatic.py").read_text()
    source += (package / "config/checking.py").read_text()
    whole = {"noise", "rm", *methods.names()}  # handed over as keyword arguments, or a mapping
    for field in FIELDS:
        group, _, name = field.rpartition(".")
        if group == "loss" and name != "name":
            continue  # test_every_parameter_of_a_loss_is_a_field_that_names_its_losses
        read = rf"\b{name}\b(: |\W)" if group in whole else rf"""\.{name}\b|\["{name}"\]"""
        assert re.search(read, source), f"nobody reads {field}"


def test_a_loss_is_set_with_its_k_and_its_parameters():
    config, recipes = default(), {"gce": {"k": 0.2, "q": 0.7}}
    fields.set_loss(config, "gce", recipes)
    assert (config.loss.name, config.loss.q, config.rgrl.k) == ("gce", 0.7, 0.2)
    assert recipes == {"gce": {"k": 0.2, "q": 0.7}}


def test_a_loss_in_place_of_a_method_is_told():
    with pytest.raises(InputError, match=r"'ce' is a loss, .* :robust --config\.loss\.name=ce"):
        fields.set_method(default(), "ce", {})


def test_defaults_are_new_ones_at_every_call():
    changed = default()
    changed.rgrl.k = 7.0
    assert isinstance(changed, ConfigDict)
    assert default().rgrl.k == 1.0


def test_where_the_user_has_no_home_there_is_no_cache(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/there")
    assert default().dataset.cache == "/there/rmdnet_jax/pictures"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    assert default().dataset.cache == ""


def test_an_installed_package_has_its_page():
    """setuptools leaves out what is not Python unless it is told."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    package = ROOT / "rmdnet_jax"
    packed = {path for glob in told["package-data"]["rmdnet_jax"] for path in package.glob(glob)}
    others = {path for path in package.rglob("*") if path.is_file() and path.suffix != ".py"}
    assert {path for path in others if "__pycache__" not in path.parts} <= packed
