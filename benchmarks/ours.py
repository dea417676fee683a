"""Our side of the comparisons: both stages at any width, run as in training.

The methods are built directly: JAX, Flax, Optax, ml_collections and Pillow are needed.
"""

import ast
import contextlib
import dataclasses
import importlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import augment
from rmdnet_jax.losses import robust
from rmdnet_jax.machine import cpu, devices, sharding
from rmdnet_jax.methods import optimizers, samples
from rmdnet_jax.methods.interface import Guide, Method, Task, Weights
from rmdnet_jax.methods.learner import Learner
from rmdnet_jax.methods.network import Classifier
from rmdnet_jax.methods.rgrl import Relation
from rmdnet_jax.methods.robust import Robust
from rmdnet_jax.methods.simsiam import SimSiam
from rmdnet_jax.models.heads import Linear, Predictor, Projector
from rmdnet_jax.models.resnet import ResNet
from rmdnet_jax.teachers.classifier import ClassifierNetwork
from rmdnet_jax.teachers.network import NetworkTeacher
from rmdnet_jax.training import chunks

LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 0.01, 0.9, 5e-4
HALF = np.full(3, 0.5, np.float32)
STAGES = ("loss alone", "RGRL", "SimSiam")


def set_up() -> None:
    """Sets up a CPU as launch.py does, for batch sizes that are multiples of 64; leaves half of a
    GPU's memory to PyTorch. Call this first: it may restart the command."""
    cpu.use_large_pages()
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.5")
    cpu.use_cores([64])


def run(main: Callable[[], None]) -> None:
    """Runs a script; invalid input ends it in one line, as it ends launch.py."""
    try:
        main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def method(stage: str, width: int, *, stem: str = "cifar", classes: int = 10) -> Method:
    """The method of a stage, its teacher untrained (which costs as much as a trained one)."""
    dtype = devices.fast_dtype()
    optimizer = optimizers.sgd(optax.constant_schedule(LEARNING_RATE), MOMENTUM, WEIGHT_DECAY)
    backbone, features = ResNet(width, stem, dtype), 32 * width
    if stage == "SimSiam":
        heads = Projector(features, dtype), Predictor(features // 4, features, dtype)
        return SimSiam(backbone, *heads, optimizer, HALF, HALF)
    relation = None
    if stage == "RGRL":
        example = jnp.zeros((1, 32, 32, 3), jnp.float32)
        variables = jax.jit(lambda key: backbone.init(key, example, train=False))(jax.random.key(7))
        trees = ({"backbone": variables[part]} for part in ("params", "batch_stats"))
        size = backbone.embedding_size
        weights = jax.device_get(tuple(trees))
        relation = Relation(NetworkTeacher({"backbone": backbone}, size, *weights), size)
    network = Classifier(backbone, Linear(classes), HALF, HALF)
    return Robust(Learner(network, optimizer, robust.get("ce"), relation=relation))


def learner(width: int, classes: int = 10) -> Learner:
    """A network on images with cross entropy and no teacher, for any method on given labels."""
    learned = method("loss alone", width, classes=classes)
    assert isinstance(learned, Robust)
    return learned.learner


def config(text: str) -> ConfigDict:
    """The config of FILE.py or FILE.py:ARGUMENT, a file in configs/."""
    file, _, argument = text.partition(":")
    module = importlib.import_module(f"configs.{Path(file).stem}")
    return module.get_config(*filter(None, [argument]))


def flags(given: Iterable[str]) -> dict[str, Any]:
    """Config fields by name, from FIELD=VALUE: values that are not Python literals are text."""
    values: dict[str, Any] = {}
    for flag in given:
        field, _, text = flag.partition("=")
        try:
            values[field] = ast.literal_eval(text)
        except (SyntaxError, ValueError):
            values[field] = text
    return values


def taught(learner: Learner, images: np.ndarray) -> Learner:
    """The learner with a classifier like itself as teacher, untrained (which costs as much)."""
    network = learner.network
    weights = jax.device_get(jax.jit(network.init)(jax.random.key(7), jnp.asarray(images[:1])))
    teacher = ClassifierNetwork(network, (weights,), images.shape[1:], network.mean, network.std)
    (said,) = teacher.asked(images)
    return dataclasses.replace(learner, guide=Guide(teacher, said))


def task(method: Method, labels: np.ndarray, batch_size: int, epochs: int = 1) -> Task:
    """The description of the data that a method gets."""
    classifier = getattr(method.network, "classifier", None)
    classes = classifier.features if classifier else int(labels.max()) + 1
    return Task(labels, classes, batch_size, epochs)


def made_data(
    count: int, size: int = 32, classes: int = 10, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Random images uint8 [count, size, size, 3] and labels int32 [count]."""
    rng = np.random.default_rng(seed)
    images = np.frombuffer(rng.bytes(count * size * size * 3), np.uint8)
    labels = np.arange(count, dtype=np.int32) % classes
    return images.reshape(count, size, size, 3), labels


class Training:
    """Steps on data in device memory, in the compiled chunks of training/chunks.py.

    A turn is one pass over the images.

    Args:
      method: what to train.
      images: uint8 [N, H, W, 3].
      labels: int32 [N].
      batch_size: images per step.
    """

    def __init__(self, method: Method, images: np.ndarray, labels: np.ndarray, batch_size: int):
        self._method, self._mesh = method, sharding.mesh()
        mesh = self._mesh
        work = task(method, labels, batch_size)
        self.steps = work.steps
        state = method.init(jax.random.key(0), jnp.asarray(images[:1]), work)
        self._order = method.order(state, jax.random.key(1), work)
        of_images = images.shape[1:], images.dtype, self._order.shape[1]
        step = chunks.traced(method)
        _, metrics, said = chunks.first_step(step, method.frozen, state, *of_images)
        memory = {} if said is None else samples.empty(work.num_images, work.num_classes)
        carried = chunks.Carried(state, memory)
        self._begin = chunks.prepare(
            step,
            method.frozen,
            tuple(metrics),
            images,
            labels,
            mesh,
            usual=self.steps,
            workers=0,
        )
        self._carried = sharding.replicate(carried, mesh)

    def networks(self) -> tuple[Weights, ...]:
        """The networks in their current state."""
        return self._method.networks(self._carried.state)

    def __call__(self) -> None:
        """Runs one pass; returns when the parameters are updated."""
        with jax.set_mesh(self._mesh), self._begin(self._order, jax.random.key(2), 0) as advance:
            self._carried, _ = jax.block_until_ready(advance(self._carried, 0, self.steps))


@contextlib.contextmanager
def without_augmentation() -> Iterator[None]:
    """What is compiled in here sees images as they lie in memory."""

    def plain_views(key, images, **options):
        view = augment.to_float(images)
        return view, view[:, :, ::-1]  # two equal views would be computed as one

    plain_crop = mock.patch.object(augment, "crop_flip", lambda key, images, **options: images)
    with plain_crop, mock.patch.object(augment, "two_views", plain_views):
        yield
