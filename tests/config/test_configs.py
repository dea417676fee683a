"""The files of configs/: every one can be started, with every choice it offers, and says how."""

import importlib
from pathlib import Path

import jax
import numpy as np
import pytest

from rmdnet_jax import experiment
from rmdnet_jax.base.errors import InputError
from rmdnet_jax.config import automatic, checking
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.losses import robust
from rmdnet_jax.methods import registry as methods
from rmdnet_jax.runs import preparation
from rmdnet_jax.training import chunks

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted(path.stem for path in (ROOT / "configs").glob("[a-z]*.py"))
EXPERIMENTS = [name for name in CONFIGS if name != "paper_tables"]  # that is many


@pytest.fixture(autouse=True)
def configs_can_be_imported(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


def choices(module):
    """What may follow the colon; None is nothing."""
    if hasattr(module, "LOSSES"):
        return [None, *module.LOSSES]
    takes_method = "method" in module.get_config.__code__.co_varnames
    return [None, *(methods.names() if takes_method else ())]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_config_and_every_choice_of_it_can_be_started(name):
    module = importlib.import_module(f"configs.{name}")
    for choice in choices(module):
        config = module.get_config(*filter(None, [choice]))
        checking.check(config, automatic.FIELDS)
        config, _ = automatic.fill(config, 1000, 10, np.array([32]), "cpu")
        checking.check(config)
        robust.get(config.loss.name, **checking.loss_parameters(config))


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.usefixtures("lenient_promotion")
def test_every_config_is_prepared_and_takes_a_step_of_every_stage(name):
    """Traced, not computed; tests/system/test_runs.py runs each, where time is no matter."""
    config = importlib.import_module(f"configs.{name}").get_config()
    classes = 100 if "100" in name else 10  # its noise is made for those
    labels = np.arange(200, dtype=np.int32) % classes
    images = np.zeros((200, 8, 8, 3), np.uint8)
    fields = {config.noise.field: labels} if config.noise.field else {}
    names = tuple(map(str, range(classes)))
    data = Dataset("made", images, labels, images, labels, fields, names)
    config.model.width, config.model.blocks, config.dataset.cache = 1, (1,), ""
    config.rm.batch_size = config.train.batch_size = 8
    run = preparation.prepare(config, None, data)
    seen = run.split.data.train_images
    example = jax.ShapeDtypeStruct((1, *seen.shape[1:]), seen.dtype)
    key, task = jax.random.key(0), experiment.learners_task(run)
    taking = [experiment.build(run, stage, None) for stage in run.methods()]
    if run.source and not taking:
        taking = [run.source.method]
    assert taking
    for method in taking:
        state = jax.eval_shape(lambda key, x, of=method: of.init(key, x, task), key, example)
        rows = 8 * run.config.train.folds + 8 if run.config.train.folds > 1 else 8
        after, metrics, _ = chunks.first_step(method, state, seen.shape[1:], seen.dtype, rows)
        assert jax.tree.structure(after) == jax.tree.structure(state)
        assert metrics["loss"].shape == ()


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_says_what_it_does_and_how_it_is_started(name):
    text = importlib.import_module(f"configs.{name}").__doc__
    assert f"python launch.py --config=configs/{name}.py" in text


def test_an_unknown_choice_names_those_there_are():
    rgrl_cifar10 = importlib.import_module("configs.rgrl_cifar10")
    with pytest.raises(InputError, match="no recipe for the loss 'gec'"):
        rgrl_cifar10.get_config("gec")
    digits = importlib.import_module("configs.digits")
    with pytest.raises(InputError, match="unknown method 'erl'; did you mean 'elr'"):
        digits.get_config("erl")


@pytest.mark.parametrize("name", ["rgrl_cifar10", "rgrl_cifar100"])
def test_every_loss_has_a_recipe(name):
    assert importlib.import_module(f"configs.{name}").LOSSES.keys() == robust.LOSSES.keys()
