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
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from rmdnet_jax import config as configuration
from rmdnet_jax import recipes, teachers, workdirs
from rmdnet_jax.data import labels as label_source
from rmdnet_jax.data import lazy_images, memory, sources, validation
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.data.labels import Labels
from rmdnet_jax.data.lazy_images import Images
from rmdnet_jax.errors import InputError
from rmdnet_jax.evaluation import classification, inference, knn
from rmdnet_jax.losses import robust
from rmdnet_jax.methods.interface import State
from rmdnet_jax.report import console, results
from rmdnet_jax.training import hosts
from rmdnet_jax.training.checkpoints import Checkpoints
from rmdnet_jax.training.fit import fit
from rmdnet_jax.training.logging import RunLog


@dataclasses.dataclass(frozen=True)
class Run:
    """What every stage of a run needs."""

    config: ConfigDict
    data: Dataset
    images_fingerprint: str
    labels: Labels
    split: validation.Split  # what stage RGRL learns from, and what is held out of it
    loss: recipes.Loss
    workdir: Path
    log: RunLog

    def key(self, purpose: str) -> jax.Array:
        """The random key of a purpose: a function of the seed and the purpose's name."""
        return jax.random.fold_in(jax.random.key(self.config.seed), zlib.crc32(purpose.encode()))


def run(config: ConfigDict, workdir: Path, command: str, data: Dataset | None = None) -> dict:
    """Runs both stages, or what is left of them, and returns what results.json holds (of several
    processes the first; the others return nothing).

    Args:
      config: rmdnet_jax/config.py says what is in it.
      workdir: the folder of this experiment.
      command: how the user started it, for the report.
      data: what to run on instead of what config.dataset names.

    Raises:
      InputError: something given cannot be used; nothing was compiled, written or overwritten.
      DivergedError: a loss is not finite.
    """
    this = prepare(config, workdir, data)
    with hosts.by_writer(workdirs.claim(workdir, config.to_dict())), this.log:
        for stage in ("teacher", "baseline", "student"):  # all, before hours go into the first
            with checkpoints(this, stage) as saved:
                saved.check()
        dtype = recipes.convolution_dtype(config.model.precision)
        budget = memory.budget(config.dataset.memory_budget)
        if hosts.is_writer():
            print(console.opening(this.data, budget, this.labels, str(dtype), workdir), flush=True)
        teacher = relation_modelling(this) if recipes.wants_teacher(config) else None
        students = {}
        if config.rgrl.epochs:
            for stage in ("baseline", "student") if config.rgrl.baseline else ("student",):
                students[stage] = task_learning(this, stage, teacher)
        history = this.log.history("teacher")
        split, held_out = this.split, len(this.split.held_out_given)
        if teacher and held_out:
            teacher = teacher.take(split.index)
        outcome = results.Outcome(
            split.data, split.labels, teacher, history, students, split.index, held_out
        )
        if not hosts.is_writer():
            return {}
        written = results.write(workdir, outcome, config.to_dict(), command)
    print(console.closing(written, workdir, config.report.remark), flush=True)
    return written


def prepare(config: ConfigDict, workdir: Path, data: Dataset | None = None) -> Run:
    """Checks everything that was given; writes nothing."""
    configuration.check(config)
    loss = robust.get(config.rgrl.loss.name, **configuration.loss_parameters(config))
    if data:
        data.check()
    else:
        data = sources.load(**source(config))
    labels = label_source.give(data, **config.noise)
    split = validation.split(data, labels, config.dataset.validation, config.seed)
    check_sizes(config, data, split)
    check_report(config, data)
    check_loss(config, loss, data.num_classes)
    log = RunLog(workdir, config.tensorboard, writes=hosts.is_writer())
    this = Run(config, data, data.images_fingerprint(), labels, split, loss, workdir, log)
    if config.teacher.path:
        teachers.find(config.teacher.path, teacher_description(this)).close()
    return this


def source(config: ConfigDict) -> dict:
    """The fields of config.dataset that say what data is read: arguments of sources.load."""
    return {k: v for k, v in config.dataset.items() if k not in ("workers", "validation")}


def relation_modelling(run: Run) -> teachers.Judged:
    """Stage 1: the teacher, trained here, by an earlier run, or not at all (kind "random")."""
    config, data = run.config, run.data
    method = recipes.simsiam_method(config, data)
    predict = inference.predictor(method)
    untrained = jax.device_get(method.init(run.key("teacher"), jnp.asarray(data.train_images[:1])))

    def embed(state: State) -> tuple[np.ndarray, np.ndarray]:
        train, test = (predict(state, split) for split in (data.train_images, data.test_images))
        return train.embedding, test.embedding

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
            state = found.restore(untrained, ("params", "batch_stats"))
    else:
        state = fit(
            method, untrained, data.train_images, np.zeros(len(data.train_images), np.int32),
            epochs=config.rm.epochs, batch_size=config.rm.batch_size,
            key=run.key("teacher epochs"), checkpoints=checkpoints(run, "teacher"),
            log=run.log.stage("teacher"), evaluate=evaluate,
            checkpoint_every=config.checkpoint_every, workers=config.dataset.workers,
        )  # fmt: skip
    train_embedding, test_embedding = embed(state)
    judged = teachers.Judged(
        config.teacher.kind,
        recipes.frozen_teacher(config, method, state),
        train_embedding,
        knn_accuracy=probe(train_embedding, test_embedding),
        random_encoder_knn_accuracy=probe(*embed(untrained)),
        pixel_knn_accuracy=probe(*pixels(data)) if not data.is_on_disk else None,
        tested=len(data.test_images),
    )
    if hosts.is_writer() and (warning := judged.warning()):
        print(f"warning: {warning}", file=sys.stderr, flush=True)
    return judged


def task_learning(run: Run, stage: str, teacher: teachers.Judged | None) -> results.Student:
    """Stage 2: a student on the given labels; the baseline does not heed the teacher.

    Both start from the same weights and see the same batches.
    """
    config, data, split = run.config, run.data, run.split
    images = split.data.train_images
    guide = teacher if stage == "student" else None
    network = teacher.network if teacher else None
    guided = guide is not None
    method = recipes.rgrl_method(config, data, run.loss, network, guided, len(images))
    predict = inference.predictor(method)

    def evaluate(state: State, epoch: int) -> dict[str, float]:
        judged_on = {"test_accuracy": (data.test_images, data.test_labels)}
        if len(split.held_out_given):
            judged_on["validation_accuracy"] = split.held_out_images, split.held_out_given
        return {
            name: classification.accuracy(predict(state, images).logits, labels)
            for name, (images, labels) in judged_on.items()
        }

    state = fit(
        method, method.init(run.key("student"), jnp.asarray(images[:1])),
        images, split.labels.given, epochs=config.rgrl.epochs,
        batch_size=config.rgrl.batch_size, key=run.key("student epochs"),
        checkpoints=checkpoints(run, stage, guide), log=run.log.stage(stage), evaluate=evaluate,
        checkpoint_every=config.checkpoint_every, workers=config.dataset.workers,
    )  # fmt: skip
    return results.Student(
        predict(state, images),
        predict(state, data.test_images),
        run.log.history(stage),
    )


def checkpoints(run: Run, stage: str, teacher: teachers.Judged | None = None) -> Checkpoints:
    """The checkpoints of a stage of this run; a student's know the teacher that guided it."""
    if stage == "teacher":
        recipe = run.config.rm.to_dict() | {"flip": run.config.augment.flip}
        for probe in ("knn_every", "knn_k"):  # measures the teacher, does not change it
            del recipe[probe]
        description = teacher_description(run) | {"recipe": recipe, "seed": run.config.seed}
    else:
        labels = hashlib.sha256(run.split.labels.given.tobytes())
        if len(run.split.held_out_given):
            labels.update(run.split.index.tobytes())
        description = {"images": run.images_fingerprint, "labels": labels.hexdigest()}
        description |= {"teacher": teacher.fingerprint()} if teacher else {}
    return Checkpoints(run.workdir / stage, description)


def teacher_description(run: Run) -> dict:
    """What a teacher must have been trained on and be built like to serve this run."""
    return {
        "images": run.images_fingerprint,
        "width": recipes.teacher_width(run.config),
        "stem": run.config.model.stem,
    }


def check_sizes(config: ConfigDict, data: Dataset, split: validation.Split) -> None:
    """Raises InputError for a batch that the data or the devices cannot fill."""
    trains_teacher = recipes.wants_teacher(config) and config.teacher.kind == "simsiam"
    runs = {"rm": trains_teacher and not config.teacher.path, "rgrl": config.rgrl.epochs > 0}
    for field in (field for field, is_run in runs.items() if is_run):
        size = config[field].batch_size
        images = len((data if field == "rm" else split.data).train_images)
        if size > images:
            raise InputError(
                f"config.{field}.batch_size is {size} but {data.name} has only "
                f"{images} training images; give a smaller batch"
            )
        if size % jax.device_count():
            raise InputError(
                f"config.{field}.batch_size is {size}; right is a multiple of the "
                f"{jax.device_count()} devices"
            )


def check_report(config: ConfigDict, data: Dataset) -> None:
    """Raises InputError for classes to draw that the data does not have."""
    classes = config.report.tsne_classes
    if not all(-data.num_classes <= c < data.num_classes for c in classes):
        raise InputError(
            f"config.report.tsne_classes is {tuple(classes)} but {data.name} has "
            f"{data.num_classes} classes; right is 0 to {data.num_classes - 1}, or from the end -1"
        )


def check_loss(config: ConfigDict, loss: recipes.Loss, num_classes: int) -> None:
    """Raises InputError for a user's own loss that does not take logits [B, C] and labels [B]."""
    logits = jax.ShapeDtypeStruct((2, num_classes), jnp.float32)
    labels = jax.ShapeDtypeStruct((2,), jnp.int32)
    try:
        jax.eval_shape(loss, logits, labels)
    except InputError:
        raise
    except Exception as error:  # whatever somebody else's function may raise
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"config.rgrl.loss.name: {config.rgrl.loss.name} fails on logits [2, {num_classes}] "
            f"and labels [2] ({type(error).__name__}: {reason})"
        ) from error


def pixels(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Normalised pixels as embeddings of the training and the test images: float32 [N, H * W * 3].

    They take four times the memory of the images: not for a data set that stays on disk.
    """
    mean, std = data.mean_std()

    def normalised(images: Images) -> np.ndarray:
        x = lazy_images.decoded(images).astype(np.float32)
        x -= 255 * mean  # in place: there may be gigabytes of them
        x /= 255 * std
        return x.reshape(len(x), -1)

    return normalised(data.train_images), normalised(data.test_images)
