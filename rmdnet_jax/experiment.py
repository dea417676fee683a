"""The program on one page: config -> data -> given labels -> teacher -> student -> results.

    images, given labels
        |            (labels are not read here)
    1 RM    SimSiam on the images alone                      workdir/teacher
        |
    2 RGRL  robust loss(student, given label) + K * relation loss(teacher, student)
        |                                                    workdir/student, workdir/baseline
    test accuracy, label issues, figures, report             workdir/*
"""

import dataclasses
import hashlib
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from rmdnet_jax import config as configuration
from rmdnet_jax import teachers, workdirs
from rmdnet_jax.data import labels as label_source
from rmdnet_jax.data import sources
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.data.labels import Labels
from rmdnet_jax.errors import InputError
from rmdnet_jax.evaluation import classification, inference, knn
from rmdnet_jax.losses import robust
from rmdnet_jax.methods.interface import State
from rmdnet_jax.methods.rgrl import RGRL, Teacher
from rmdnet_jax.methods.simsiam import SimSiam
from rmdnet_jax.models.heads import Linear, Predictor, Projector
from rmdnet_jax.models.resnet import ResNet
from rmdnet_jax.report import results
from rmdnet_jax.training import optimizers
from rmdnet_jax.training.checkpoints import Checkpoints
from rmdnet_jax.training.fit import fit
from rmdnet_jax.training.logging import RunLog


@dataclasses.dataclass(frozen=True)
class Run:
    """What every stage of a run needs."""

    config: ConfigDict
    data: Dataset
    labels: Labels
    loss: Callable[[jax.Array, jax.Array], jax.Array]
    workdir: Path
    log: RunLog

    def key(self, purpose: str) -> jax.Array:
        """The random key of a purpose: a function of the seed and the purpose's name."""
        return jax.random.fold_in(jax.random.key(self.config.seed), zlib.crc32(purpose.encode()))


def run(config: ConfigDict, workdir: Path, command: str) -> dict:
    """Runs both stages, or what is left of them, and returns what results.json holds.

    Args:
      config: rmdnet_jax/config.py says what is in it.
      workdir: the folder of this experiment.
      command: how the user started it, for the report.

    Raises:
      InputError: something given cannot be used; nothing was compiled, written or overwritten.
      DivergedError: a loss is not finite.
    """
    this = prepare(config, workdir)
    print(opening(this), flush=True)
    students = {}
    teacher = relation_modelling(this) if wants_teacher(config) else None
    if config.rgrl.epochs:
        if config.rgrl.baseline and teacher:
            students["baseline"] = task_learning(this, "baseline", teacher=None)
        students["student"] = task_learning(this, "student", teacher)
    this.log.close()
    outcome = results.Outcome(
        this.data, this.labels, teacher, this.log.history("teacher"), students
    )
    return results.write(workdir, outcome, config.to_dict(), command)


def prepare(config: ConfigDict, workdir: Path) -> Run:
    """Checks everything that was given, then claims the workdir."""
    configuration.check(config)
    loss = robust.get(config.rgrl.loss.name, **configuration.loss_parameters(config))
    data = sources.load(**config.dataset)
    labels = label_source.give(data, **config.noise)
    check_sizes(config, data)
    this = Run(config, data, labels, loss, workdir, RunLog(workdir, config.tensorboard))
    jax.eval_shape(loss, *loss_example(data.num_classes))
    for stage in ("teacher", "baseline", "student"):
        with checkpoints(this, stage) as saved:
            saved.check()
    if config.teacher.path:
        teachers.find(config.teacher.path, teacher_description(this)).close()
    workdirs.claim(workdir, config.to_dict())
    return this


def relation_modelling(run: Run) -> teachers.Judged:
    """Stage 1: the teacher, trained here, by an earlier run, or not at all (kind "random")."""
    config, data = run.config, run.data
    method = simsiam_method(config, data)
    predict = inference.predictor(method)
    untrained = jax.device_get(
        jax.jit(method.init)(run.key("teacher"), jnp.asarray(data.train_images[:1]))
    )

    def embed(state: State) -> tuple[np.ndarray, np.ndarray]:
        splits = data.train_images, data.test_images
        return tuple(predict(state, images).embedding for images in splits)

    def probe(bank: np.ndarray, queries: np.ndarray) -> float:
        bank_labels, k = run.labels.reference, config.rm.knn_k
        return knn.accuracy(bank, bank_labels, queries, data.test_labels, data.num_classes, k=k)

    def evaluate(state: State, epoch: int) -> dict[str, float]:
        every, last = config.rm.knn_every, epoch == config.rm.epochs
        due = every and (epoch % every == 0 or last)
        return {"knn_accuracy": probe(*embed(state))} if due else {}

    if config.teacher.kind == "random":
        state = untrained
    elif config.teacher.path:
        with teachers.find(config.teacher.path, teacher_description(run)) as found:
            state = found.restore_networks(untrained)
    else:
        state = fit(
            method, untrained, data.train_images, np.zeros(len(data.train_images), np.int32),
            epochs=config.rm.epochs, batch_size=config.rm.batch_size,
            key=run.key("teacher epochs"), checkpoints=checkpoints(run, "teacher"),
            log=run.log.stage("teacher"), evaluate=evaluate,
        )  # fmt: skip
    train_embedding, test_embedding = embed(state)
    judged = teachers.Judged(
        frozen_teacher(config, method, state),
        train_embedding,
        knn_accuracy=probe(train_embedding, test_embedding),
        random_encoder_knn_accuracy=probe(*embed(untrained)),
        pixel_knn_accuracy=probe(pixels(data, data.train_images), pixels(data, data.test_images)),
        tested=len(data.test_images),
    )
    if config.teacher.kind == "simsiam" and (warning := judged.warning()):
        print(f"warning: {warning}", file=sys.stderr, flush=True)
    return judged


def task_learning(run: Run, stage: str, teacher: teachers.Judged | None) -> results.Student:
    """Stage 2: a student on the given labels, under a teacher or (None) with the loss alone.

    Both start from the same weights and see the same batches.
    """
    config, data = run.config, run.data
    method = rgrl_method(run, teacher.network if teacher else None)
    predict = inference.predictor(method)

    def evaluate(state: State, epoch: int) -> dict[str, float]:
        logits = predict(state, data.test_images).logits
        return {"test_accuracy": classification.accuracy(logits, data.test_labels)}

    example = jnp.asarray(data.train_images[:1])
    state = fit(
        method, jax.jit(method.init)(run.key("student"), example), data.train_images,
        run.labels.given, epochs=config.rgrl.epochs, batch_size=config.rgrl.batch_size,
        key=run.key("student epochs"), checkpoints=checkpoints(run, stage),
        log=run.log.stage(stage), evaluate=evaluate,
    )  # fmt: skip
    return results.Student(
        predict(state, data.train_images),
        predict(state, data.test_images),
        run.log.history(stage),
    )


# What the config means


def wants_teacher(config: ConfigDict) -> bool:
    """Whether anything will read a teacher: K = 0 is the robust loss alone."""
    return config.teacher.kind != "none" and (config.rgrl.k > 0 or not config.rgrl.epochs)


def simsiam_method(config: ConfigDict, data: Dataset) -> SimSiam:
    """Stage RM as the config describes it."""
    dtype = convolution_dtype(config.model.precision)
    width = teacher_width(config)
    total = config.rm.epochs * (len(data.train_images) // config.rm.batch_size)
    constant, decayed = (
        optimizers.sgd(schedule, config.rm.momentum, config.rm.weight_decay)
        for schedule in (optimizers.constant(config.rm.lr), optimizers.cosine(config.rm.lr, total))
    )
    mean, std = data.mean_std()
    features = 2048 * width // 64
    return SimSiam(
        backbone=ResNet(width, config.model.stem, dtype),
        projector=Projector(features, dtype),
        predictor=Predictor(features // 4, features, dtype),
        optimizer=optimizers.with_constant_predictor(decayed, constant)
        if config.rm.predictor_constant_lr
        else decayed,
        mean=mean,
        std=std,
        min_area=config.rm.min_area,
        flip=config.augment.flip,
    )


def rgrl_method(run: Run, teacher: Teacher | None) -> RGRL:
    """Stage RGRL as the config describes it."""
    config, recipe = run.config, run.config.rgrl
    total = recipe.epochs * (len(run.data.train_images) // recipe.batch_size)
    schedule = optimizers.step_decay(recipe.lr, total, recipe.lr_drops)
    mean, std = run.data.mean_std()
    return RGRL(
        backbone=ResNet(
            config.model.width, config.model.stem, convolution_dtype(config.model.precision)
        ),
        classifier=Linear(run.data.num_classes),
        loss=run.loss,
        optimizer=optimizers.sgd(
            schedule, recipe.momentum, recipe.weight_decay, recipe.grad_clip
        ),
        mean=mean,
        std=std,
        teacher=teacher,
        k=recipe.k,
        alpha=recipe.alpha,
        beta=recipe.beta,
        relation_norm=recipe.relation_norm,
        teacher_view=recipe.teacher_view,
        init_from_teacher=recipe.init_from_teacher,
        pad=config.augment.pad,
        flip=config.augment.flip,
    )


def frozen_teacher(config: ConfigDict, method: SimSiam, state: State) -> Teacher:
    """The part of a SimSiam that stage 2 reads, on the host."""
    projector = method.projector if config.rgrl.teacher_embedding == "projector" else None
    networks = ("backbone", "projector") if projector else ("backbone",)
    params, batch_stats = (
        jax.device_get({name: tree[name] for name in networks})
        for tree in (state.params, state.batch_stats)
    )
    return Teacher(method.backbone, projector, params, batch_stats)


def checkpoints(run: Run, stage: str) -> Checkpoints:
    """The checkpoints of a stage of this run."""
    if stage == "teacher":
        recipe = {"recipe": run.config.rm.to_dict()}
        description = teacher_description(run) | recipe | {"seed": run.config.seed}
    else:
        labels = hashlib.sha256(run.labels.given.tobytes()).hexdigest()
        description = {"images": run.data.images_fingerprint(), "labels": labels}
    return Checkpoints(run.workdir / stage, run.config.checkpoint_every, description)


def teacher_description(run: Run) -> dict:
    """What a teacher must have been trained on and be built like to serve this run."""
    return {
        "images": run.data.images_fingerprint(),
        "width": teacher_width(run.config),
        "stem": run.config.model.stem,
    }


def teacher_width(config: ConfigDict) -> int:
    """Channels of the teacher's first stage."""
    return config.teacher.width or config.model.width


def convolution_dtype(precision: str) -> jnp.dtype:
    """bfloat16 or float32; "auto" is bfloat16 where it is fast."""
    auto = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    return jnp.dtype(auto if precision == "auto" else precision)


def check_sizes(config: ConfigDict, data: Dataset) -> None:
    """Raises InputError for a batch that the data or the devices cannot fill."""
    for field in ("rm", "rgrl"):
        size = config[field].batch_size
        if size > len(data.train_images):
            raise InputError(
                f"config.{field}.batch_size is {size} but {data.name} has only "
                f"{len(data.train_images)} training images; give a smaller batch"
            )
        if size % jax.device_count():
            raise InputError(
                f"config.{field}.batch_size is {size}; right is a multiple of the "
                f"{jax.device_count()} devices"
            )


def loss_example(num_classes: int) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    """Shapes of logits and labels, to find out whether a user's own loss takes them."""
    return (
        jax.ShapeDtypeStruct((2, num_classes), jnp.float32),
        jax.ShapeDtypeStruct((2,), jnp.int32),
    )


def pixels(data: Dataset, images: np.ndarray) -> np.ndarray:
    """Normalised pixels as an embedding: float32 [N, H * W * 3]."""
    mean, std = data.mean_std()
    return ((images.astype(np.float32) / 255 - mean) / std).reshape(len(images), -1)


def opening(run: Run) -> str:
    """What is about to run, in a few lines."""
    data, labels, config = run.data, run.labels, run.config
    height, width, _ = data.image_shape
    noise = f"noise    {labels.kind}"
    if labels.rate_asked is not None:
        noise += f", {labels.rate_asked:.1%} asked"
    if labels.rate_realised is not None:
        noise += f", {labels.rate_realised:.1%} of the labels are wrong"
    device = jax.devices()[0].device_kind
    return (
        f"data     {data.name}: {len(data.train_images):,} training and "
        f"{len(data.test_images):,} test images, {height}x{width}, {data.num_classes} classes\n"
        f"{noise}\n"
        f"device   {jax.device_count()} x {device}, {convolution_dtype(config.model.precision)}\n"
        f"workdir  {run.workdir}"
    )
