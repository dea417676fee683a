"""The files of configs/: every one can be started, with every choice it offers, and says how."""

import importlib
import re
import shlex
from pathlib import Path

import jax
import numpy as np
import pytest

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.config import automatic, checking
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.losses import robust
from rmdnet_jax.methods import registry as methods
from rmdnet_jax.methods.network import Classifier
from rmdnet_jax.model import Model
from rmdnet_jax.models.heads import Linear
from rmdnet_jax.models.resnet import ResNet
from rmdnet_jax.runs import preparation
from rmdnet_jax.stages import learning, teaching
from rmdnet_jax.training import chunks

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted(path.stem for path in (ROOT / "configs").glob("[a-z]*.py"))
EXPERIMENTS = [name for name in CONFIGS if name != "paper_tables"]  # that is many
ANY_METHOD = ("digits", "cifar10", "cifar100", "clothing1m", "webvision")


@pytest.fixture(autouse=True)
def configs_can_be_imported(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


def choices(module):
    """What may follow the colon; None is nothing. What learns from a trained classifier is refused
    without one."""
    if hasattr(module, "LOSSES"):
        return [None, *module.LOSSES]
    takes_method = "method" in module.get_config.__code__.co_varnames
    own = getattr(module, "METHODS", {})
    alone = {name for name in methods.names() if not methods.get(name).needs_classifier}
    return [None, *sorted({*alone, *own} if takes_method else ())]


def made(name, classes, **label_sets):
    """A data set of 200 black images."""
    labels = np.arange(200, dtype=np.int32) % classes
    images = np.zeros((200, 8, 8, 3), np.uint8)
    names = tuple(map(str, range(classes)))
    return Dataset(name, images, labels, images, labels, label_sets, names)


def shrunk(config):
    """A config, cut down to what `made` images take."""
    config.model.width, config.model.blocks, config.dataset.cache = 1, (1,), ""
    config.augment.pad = min(config.augment.pad, 4)
    config.rm.batch_size = config.train.batch_size = 8
    return config


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_config_and_every_choice_of_it_can_be_started(name):
    module = importlib.import_module(f"configs.{name}")
    for choice in choices(module):
        config = module.get_config(*filter(None, [choice]))
        checking.check(config, automatic.FIELDS)
        config, _ = automatic.fill(config, 1000, 10, np.array([32]), "cpu")
        checking.check(config)
        robust.get(config.loss.name, **checking.loss_parameters(config))


def with_others(config, folder):
    """The config with what others have made, where it needs that: open-set pictures, and a trained
    classifier of the classes that are left."""
    if config.noise.kind != "universal":
        return config
    config.dataset.skip, config.noise.rho2 = 0, 0.25
    classes = 10 - len(config.dataset.open_classes)
    if not config.dataset.open_classes:
        np.save(folder / "open.npy", np.zeros((40, 8, 8, 3), np.uint8))
        config.noise.open_path = str(folder / "open.npy")
    half = np.full(3, 0.5, np.float32)
    network = Classifier(ResNet(1, blocks=(1,)), Linear(classes), half, half)
    weights = network.init(jax.random.key(0), np.zeros((1, 8, 8, 3), np.uint8))
    names = tuple(map(str, range(classes)))
    Model(network, (jax.device_get(weights),), (8, 8, 3), names).save(folder / "teacher")
    config.teacher.path = str(folder / "teacher")
    return config


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.usefixtures("lenient_promotion")
def test_every_config_is_prepared_and_takes_a_step_of_every_stage(name, tmp_path):
    """Traced, not computed; tests/system/test_runs.py runs each, where time is no matter."""
    config = shrunk(importlib.import_module(f"configs.{name}").get_config())
    config = with_others(config, tmp_path)
    classes = 100 if "100" in name else 10  # its noise is made for those
    labels = np.arange(200, dtype=np.int32) % classes
    data = made("made", classes, **({config.noise.field: labels} if config.noise.field else {}))
    run = preparation.prepare(config, None, data)
    seen = run.split.data.train_images
    example = jax.ShapeDtypeStruct((1, *seen.shape[1:]), seen.dtype)
    key, task = jax.random.key(0), learning.learners_task(run)
    teacher = teaching.teaching(run) if config.teacher.kind == "supervised" else None
    taking = [learning.build(run, stage, teacher) for stage in run.methods()]
    if run.source and not taking:
        taking = [run.source.method]
    assert taking
    for method in taking:
        state = jax.eval_shape(lambda key, x, of=method: of.init(key, x, task), key, example)
        order = jax.eval_shape(lambda key, s, of=method: of.order(s, key, task), key, state)
        rows = order.shape[1]
        of_images = seen.shape[1:], seen.dtype, rows
        after, metrics, _ = chunks.first_step(method.step, method.frozen, state, *of_images)
        assert jax.tree.structure(after) == jax.tree.structure(state)
        assert metrics["loss"].shape == ()


@pytest.mark.parametrize("name", ANY_METHOD)
def test_the_budget_fits_every_method(name):
    """No warm-up, say, lasts as long as the training."""
    module = importlib.import_module(f"configs.{name}")
    budgets = set()
    for choice in choices(module):
        config = module.get_config(*filter(None, [choice]))
        budgets.add(str((config.train, config.model, config.augment, config.noise)))
        preparation.prepare(shrunk(config), None, made("made", 10))
    assert len(budgets) == 1


def test_methods_have_their_authors_values_for_the_data():
    def own(name, choice):
        config = importlib.import_module(f"configs.{name}").get_config(choice)
        return config[config.method.name]

    elr = {name: own(name, "elr") for name in ANY_METHOD}
    assert {name: (one.beta, one.weight) for name, one in elr.items()} == {
        "digits": (0.7, 3.0), "cifar10": (0.7, 3.0), "cifar100": (0.9, 7.0),
        "clothing1m": (0.7, 3.0), "webvision": (0.7, 3.0),
    }  # fmt: skip
    assert own("cifar10", "jocor").weight == 0.9
    assert own("cifar100", "jocor").weight == 0.85
    for choice in ("dividemix", "gss_ssl"):
        found = {name: own(name, choice) for name in ANY_METHOD[1:]}
        assert {name: (one.warmup, one.lambda_u, one.alpha) for name, one in found.items()} == {
            "cifar10": (5, 25.0, 4.0), "cifar100": (15, 150.0, 4.0),
            "clothing1m": (1, 0.0, 0.5), "webvision": (1, 0.0, 0.5),
        }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "field", "classes"),
    [("cifar10", "worse_label", 10), ("cifar100", "noise_label", 100)],
)
def test_labels_that_people_gave_to_cifar_are_a_matter_of_three_fields(name, field, classes):
    right = np.arange(200, dtype=np.int32) % classes
    human = np.where(np.arange(200) < 100, right, right[::-1])
    module = importlib.import_module(f"configs.{name}")
    assert f"--config.noise.kind=human --config.noise.field={field}" in module.__doc__
    fields = {"dataset.name": f"{name}_n", "noise.kind": "human", "noise.field": field}
    config = checking.with_values(shrunk(module.get_config()), fields, "")
    run = preparation.prepare(config, None, made(f"{name}_n", classes, **{field: human}))
    np.testing.assert_array_equal(run.labels.given, human)
    assert run.labels.rate_realised == 0.5


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_says_what_it_does_and_how_it_is_started(name):
    text = importlib.import_module(f"configs.{name}").__doc__
    assert f"python launch.py --config=configs/{name}.py" in text
    for command in re.findall(r"python launch\.py (.*)", text):
        flags = [word.removeprefix("--").partition("=") for word in shlex.split(command)]
        file, _, choice = dict((flag, value) for flag, _, value in flags)["config"].partition(":")
        module = importlib.import_module(file[:-3].replace("/", "."))
        config = module.get_config(*filter(None, [choice]))
        for flag, _, _ in flags:
            if flag.startswith("config."):
                checking.get(config, flag.removeprefix("config."))


def test_an_unknown_choice_names_those_there_are():
    rgrl_cifar10 = importlib.import_module("configs.rgrl_cifar10")
    with pytest.raises(InputError, match="no recipe for the loss 'gec'"):
        rgrl_cifar10.get_config("gec")
    for name in ANY_METHOD:
        module = importlib.import_module(f"configs.{name}")
        with pytest.raises(InputError, match="unknown method 'erl'; did you mean 'elr'"):
            module.get_config("erl")


@pytest.mark.parametrize("name", ["rgrl_cifar10", "rgrl_cifar100"])
def test_every_loss_has_a_recipe(name):
    assert importlib.import_module(f"configs.{name}").LOSSES.keys() == robust.LOSSES.keys()
