"""Whether a run can work: a model, batches, a loss, a report and methods that fit its data and its
teacher. Checked before anything is compiled or written; every error is an InputError."""

import sys
import traceback
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import one_line
from rmdnet_jax.config import checking as configuration
from rmdnet_jax.data import validation
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.data.lazy_images import Images
from rmdnet_jax.losses import robust
from rmdnet_jax.methods.interface import Method, Task
from rmdnet_jax.methods.network import Classifier
from rmdnet_jax.models.torch_weights import Pretrained
from rmdnet_jax.runs.encoding import Encoded
from rmdnet_jax.stages import learning
from rmdnet_jax.stages.run import Run
from rmdnet_jax.teachers import registry as teachers
from rmdnet_jax.teachers.judged import Judged, Verdict
from rmdnet_jax.training import checkpoints, chunks, contract

# Random examples at which the gradient of an own loss is taken.
_PROBES = 64


def kinds(config: ConfigDict, data: Dataset, encoded: Encoded | None) -> None:
    """Raises InputError for a model or a teacher that does not fit the data."""
    kind, teacher = config.model.kind, config.teacher.kind
    if kind != "mlp" and not data.are_pictures:
        raise InputError(
            f"config.model.kind = {kind!r} on {data.name}, which has feature vectors; expected mlp"
        )
    if teacher == "encoder" and encoded is None:
        raise InputError(
            "config.teacher.kind = 'encoder' without config.encoder.path; expected an .onnx or "
            ".safetensors network, or a .npy or .npz of embeddings"
        )


def start(config: ConfigDict, pretrained: Pretrained | None) -> None:
    """Raises InputError for a learner that cannot start from the encoder's weights."""
    if pretrained is None:
        raise InputError(
            "config.rgrl.init_from_teacher with an encoder that is not a supported ResNet; "
            "expected False, or the .safetensors of a ResNet as config.encoder.path"
        )
    own = learning.backbone(config)
    fields = ("width", "stem", "block", "blocks")
    differing = {
        name: getattr(pretrained.backbone, name)
        for name in fields
        if getattr(own, name) != getattr(pretrained.backbone, name)
    }
    if differing:
        right = " ".join(f"--config.model.{name}={value}" for name, value in differing.items())
        raise InputError(
            f"config.rgrl.init_from_teacher: the model is not built like the encoder; expected "
            f"{right}"
        )


def sizes(config: ConfigDict, data: Dataset, split: validation.Split) -> None:
    """Raises InputError for a batch that the data or the devices cannot fill, or padding that is
    wider than the images."""
    wanted = configuration.wants_teacher(config)
    trains_teacher = wanted and teachers.get(config.teacher.kind).trains
    runs = {"rm": trains_teacher and not config.teacher.path, "train": config.train.epochs > 0}
    for field in (field for field, is_run in runs.items() if is_run):
        size = config[field].batch_size
        images = len(data.train_images)
        if field == "train":
            given = split.labels.given
            task = learning.task_of(config, given, data.num_classes, data.image_shape)
            images = task.learned_from
            if images < size <= task.num_images:
                raise InputError(
                    f"config.train.batch_size is {size} but each of {task.folds} folds learns from "
                    f"only {images} of {task.num_images} training images of {data.name}; expected "
                    "a smaller --config.train.batch_size, or --config.train.folds=1"
                )
            images = task.num_images
        if size > images:
            raise InputError(
                f"config.{field}.batch_size is {size} but {data.name} has only "
                f"{images} training images; give a smaller batch"
            )
        if size % jax.device_count():
            raise InputError(
                f"config.{field}.batch_size is {size}; expected a multiple of the "
                f"{jax.device_count()} devices"
            )
    if data.are_pictures and config.augment.pad >= min(data.image_shape[:2]):
        raise InputError(
            f"config.augment.pad is {config.augment.pad} but the images of {data.name} have "
            "{}x{} pixels; expected less than their shorter side".format(*data.image_shape)
        )


def report(config: ConfigDict, data: Dataset) -> None:
    """Raises InputError for classes to draw that are not in the data."""
    classes = config.report.tsne_classes
    if not all(-data.num_classes <= c < data.num_classes for c in classes):
        raise InputError(
            f"config.report.tsne_classes is {tuple(classes)} but {data.name} has "
            f"{data.num_classes} classes; expected 0 to {data.num_classes - 1}, or -1 for the last"
        )


def loss(config: ConfigDict, function: robust.Loss, num_classes: int) -> None:
    """Raises InputError for a user's own loss that does not take logits [B, C] and labels [B], or
    has no gradient."""
    name = config.loss.name
    if ":" not in name:
        return

    def total(logits: jax.Array, labels: jax.Array) -> jax.Array:
        return function(logits, labels).astype(jnp.float32).sum()  # of integers, too

    # Large and small logits, right and wrong labels: a loss may be flat for some of them.
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(_PROBES, num_classes)).astype(np.float32)
    logits[::2] *= 10
    labels = rng.integers(0, num_classes, _PROBES, np.int32)
    labels[: _PROBES // 2] = logits[: _PROBES // 2].argmax(axis=1)
    try:
        gradient = jax.jit(jax.grad(total))(logits, labels)
    except InputError:
        raise
    except Exception as error:  # a user's function may raise anything
        raise InputError(
            f"config.loss.name: {name} fails on logits [{_PROBES}, {num_classes}] and labels "
            f"[{_PROBES}] ({_raised(error, name)})"
        ) from error
    if not np.isfinite(gradient).all():
        raise InputError(
            f"config.loss.name: {name} has a gradient that is not finite at {_PROBES} random "
            "logits and labels; expected finite numbers"
        )
    if not np.asarray(gradient).any():
        raise InputError(
            f"config.loss.name: {name} has a gradient of zero at {_PROBES} random logits and "
            "labels; expected a loss that can be differentiated in the logits"
        )


def embeddings(this: Run) -> None:
    """Raises InputError for a classifier without embeddings if something uses them."""
    config, source = this.config, this.source
    if source is None or not source.has_classifier:
        return
    size, path = source.teacher(None).size, config.teacher.path
    right = "a teacher of one network, with its weights (a workdir, or a folder of Model.save)"
    if this.methods() and config.rgrl.k > 0 and not size:
        raise InputError(
            f"config.rgrl.k is {config.rgrl.k:g} and {path} (config.teacher.path) has logits and "
            f"no embeddings for the relation term; expected --config.rgrl.k=0, or {right}"
        )
    for name in this.methods().values():
        if configuration.built_method(config, name).needs_embedding and not (
            source.is_network and size
        ):
            raise InputError(
                f"method {name!r} uses the teacher's embeddings of the student's views, which "
                f"{path} (config.teacher.path) does not provide; expected {right}"
            )


def method(this: Run, stage: str, name: str) -> None:
    """Raises InputError for a method that cannot be built; a user's own is also traced, to check
    what its step returns and whether its state can be stored."""
    built = learning.build(this, stage, _unasked(this))
    built.check(learning.learners_task(this))
    if ":" not in name:
        return
    field = "baseline" if stage == "baseline" else "name"
    try:
        _trace(built, learning.learners_task(this), this.split.data.train_images)
    except InputError:
        raise
    except Exception as error:  # a user's method may raise anything
        raise InputError(
            f"config.method.{field}: {name} cannot take a step ({_raised(error, name)})"
        ) from error


def _raised(error: Exception, name: str) -> str:
    """What own code, `my_module:my_thing`, raised, and the last of its lines on the way there:
    "my_module.py, line 9: AttributeError: ..."."""
    file = getattr(sys.modules.get(name.partition(":")[0]), "__file__", None)
    frames = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in frames if frame.f_code.co_filename == file]
    place = f"{Path(file).name}, line {lines[-1]}: " if file and lines else ""
    return f"{place}{type(error).__name__}: {one_line(error)}"


def _trace(method: Method, task: Task, images: Images) -> None:
    """Raises ValueError if a method returns something invalid, and any error of its own; nothing is
    computed but an order of its own."""

    def wants(is_right: bool, right: str) -> None:
        if not is_right:
            raise ValueError(f"expected {right}")

    def shapes(tree: Any) -> Any:
        return jax.tree.map(lambda x: (x.shape, x.dtype), tree)

    wants(isinstance(method.title, str), "a title that is text")
    wants(isinstance(method.network, Classifier), "the learner's network")
    key, image = jax.random.key(0), jax.ShapeDtypeStruct((1, *images.shape[1:]), images.dtype)
    state = jax.eval_shape(lambda key, image: method.init(key, image, task), key, image)
    checkpoints.fields(state)
    order = jax.eval_shape(lambda state, key: method.order(state, key, task), state, key)
    wants(order.ndim == 2 and len(order) == task.steps, "an order [steps, rows]")
    wants(order.dtype == jnp.int32, "an order of int32")
    rows = order.shape[1]
    wants(rows % jax.device_count() == 0, f"rows that {jax.device_count()} devices divide")
    seen = images.shape[1:], images.dtype, rows
    after, metrics, said = chunks.first_step(method.step, method.frozen, state, *seen)
    wants(shapes(after) == shapes(state), "a state of the shapes and dtypes that step is given")
    wants("loss" in metrics, "metrics of which loss is one")
    wants(all(metric.shape == () for metric in metrics.values()), "metrics that are scalars")
    right = (rows, task.num_classes), jnp.float32
    wants(
        said is None or (said.shape, said.dtype) == right,
        "float32 probabilities [B, C] of the batch's images, or None",
    )
    networks = jax.eval_shape(method.networks, state)
    wants(len(networks) == method.learners, "as many networks as `learners`")
    for weights in networks:
        jax.eval_shape(method.network.predict, weights, image)
    kind = type(method)
    if kind.order is not Method.order and kind.between_epochs is Method.between_epochs:
        # A fresh state is the first epoch's. What between_epochs decides is known later, in fit.
        fresh = method.init(key, jnp.asarray(images[:1]), task)
        positions = jax.jit(lambda state, key: method.order(state, key, task))(fresh, key)
        contract.order(method.title, np.asarray(positions), task.num_images, said is not None)


def _unasked(this: Run) -> Judged | None:
    """A classifier before inference, with zeros as its predictions: a method may check what it is
    before anything is compiled."""
    source = this.source
    if source is None or not source.has_classifier:
        return None
    teacher, zero = source.teacher(None), np.float32(0)
    count = len(this.data.train_images)
    return Judged(
        this.config.teacher.kind, source, teacher,
        np.broadcast_to(zero, (count, teacher.size)) if teacher.size else None, None,
        Verdict(), 0, np.broadcast_to(zero, (count, this.data.num_classes)),
    )  # fmt: skip
