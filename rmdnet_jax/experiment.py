"""The program on one page: config -> data -> given labels -> teacher -> student -> results.

images, given labels
    |            (labels are not read here)
1 RM    SimSiam on the images alone                      workdir/teacher
    |
2 RGRL  robust loss(student, given label) + K * relation loss(teacher, student)
    |                                                    workdir/student, workdir/baseline
test accuracy, label issues, figures, report             workdir/*
"""

import hashlib
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from rmdnet_jax import recipes, teachers, workdirs
from rmdnet_jax.data import lazy_images, picture_files
from rmdnet_jax.data import memory as host_memory
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.data.lazy_images import Images
from rmdnet_jax.evaluation import classification, inference, knn
from rmdnet_jax.losses.simsiam import COLLAPSED
from rmdnet_jax.methods import memory
from rmdnet_jax.methods.interface import State
from rmdnet_jax.methods.rgrl import RGRL, Classifier, StudentState, Weights
from rmdnet_jax.model import Model
from rmdnet_jax.preparation import Run, prepare, teacher_description
from rmdnet_jax.report import console, results
from rmdnet_jax.report.outcome import Outcome, Student
from rmdnet_jax.training import hosts
from rmdnet_jax.training.checkpoints import Checkpoints
from rmdnet_jax.training.fit import fit

# In the workdir: the files of the data set that could not be used.
SKIPPED_FILES = "skipped_files.csv"


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
    config = this.config
    hosts.check_same(this.facts())
    claim = hosts.by_writer(workdirs.claim(workdir, config.to_dict()))
    with workdirs.writable(workdir), claim, this.log:
        hosts.check_shared(workdir)
        for stage in ("teacher", "baseline", "student"):  # all, before hours go into the first
            with checkpoints(this, stage) as saved:
                saved.check()
        dtype = recipes.convolution_dtype(config.model.precision)
        budget = host_memory.budget(config.dataset.memory_budget)
        if hosts.is_writer():
            picture_files.write_skipped(workdir / SKIPPED_FILES, this.data.skipped_files)
            lines = console.opening(this.data, budget, this.labels, str(dtype), workdir)
            print(lines, *console.choices(config, this.chosen), sep="\n", flush=True)
        teacher = relation_modelling(this) if recipes.wants_teacher(config) else None
        students = {}
        if config.rgrl.epochs:
            for stage in ("baseline", "student") if config.rgrl.baseline else ("student",):
                students[stage] = task_learning(this, stage, teacher)
        history = this.log.history("teacher")
        held_out = len(this.split.held_out_given)
        outcome = Outcome(this.data, this.labels, teacher, history, students, held_out)
        if not hosts.is_writer():
            return {}
        written = results.write(workdir, outcome, config.to_dict(), command)
    print(console.closing(written, workdir, config.report.remark), flush=True)
    return written


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

    def evaluate(state: State, epoch: int, metrics: dict[str, float]) -> dict[str, float]:
        if metrics["spread"] < COLLAPSED:
            teachers.tell_collapse(
                metrics["spread"], epoch, run.log.history("teacher"), config.rm.on_collapse
            )
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
            learning_rate=recipes.simsiam_schedule(config, len(data.train_images)),
            checkpoint_every=config.checkpoint_every, workers=config.dataset.workers,
        )  # fmt: skip
    train_embedding, test_embedding = embed(state)
    judged = teachers.Judged(
        config.teacher.kind,
        recipes.frozen_teacher(config, method, state),
        train_embedding,
        test_embedding,
        knn_accuracy=probe(train_embedding, test_embedding),
        random_encoder_knn_accuracy=probe(*embed(untrained)),
        pixel_knn_accuracy=probe(*pixels(data)) if not data.is_on_disk else None,
        tested=len(data.test_images),
    )
    if hosts.is_writer() and (warning := judged.warning()):
        print(f"warning: {warning}", file=sys.stderr, flush=True)
    return judged


def task_learning(run: Run, stage: str, teacher: teachers.Judged | None) -> Student:
    """Stage 2: a student on the given labels; the baseline does not heed the teacher.

    Both start from the same weights and see the same batches.
    """
    config, data, split = run.config, run.data, run.split
    images = split.data.train_images
    guide = teacher if stage == "student" else None
    network = teacher.network if teacher else None
    guided = guide is not None
    with checkpoints(run, stage, guide) as saved:  # one from before students remembered may go on
        remembers = stage == "student" and (saved.latest() is None or saved.holds("memory"))
    method = recipes.rgrl_method(config, data, run.loss, network, guided, len(images), remembers)
    predict = inference.predictor(method)

    def evaluate(state: StudentState, epoch: int, metrics: dict[str, float]) -> dict[str, float]:
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
        learning_rate=recipes.rgrl_schedule(config, len(images)),
    )  # fmt: skip
    if stage == "student":
        trained_model(run, method, state).save(run.workdir)
    train = predict(state, data.train_images)
    said = classification.softmax(train.logits).astype(np.float32)
    if method.remembers:
        said[split.index] = memory.recalled(state.memory, otherwise=said[split.index])
    return Student(train, predict(state, data.test_images), run.log.history(stage), said)


def trained_model(run: Run, method: RGRL, state: StudentState) -> Model:
    """What remains of a student for those who use it."""
    params, batch_stats = jax.device_get((state.params["student"], state.batch_stats["student"]))
    networks = {name: params[name] for name in ("backbone", "classifier")}
    network = Classifier(method.backbone, method.classifier, method.mean, method.std)
    weights = Weights(networks, batch_stats)
    data = run.data
    return Model(network, weights, data.image_shape, data.class_numbers or data.class_names)


def checkpoints(run: Run, stage: str, teacher: teachers.Judged | None = None) -> Checkpoints:
    """The checkpoints of a stage of this run; a student's know the teacher that guided it."""
    if stage == "teacher":
        recipe = run.config.rm.to_dict() | {"flip": run.config.augment.flip}
        for probe in ("knn_every", "knn_k", "on_collapse"):  # watches it, does not change it
            del recipe[probe]
        description = teacher_description(run) | {"recipe": recipe, "seed": run.config.seed}
    else:
        labels = hashlib.sha256(run.split.labels.given.tobytes())
        if len(run.split.held_out_given):
            labels.update(run.split.index.tobytes())
        description = {"images": run.images_fingerprint, "labels": labels.hexdigest()}
        description |= {"teacher": teacher.fingerprint()} if teacher else {}
    return Checkpoints(run.workdir / stage, description)


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
