"""The program on one page: data -> given labels -> teacher -> each learner -> judged labels.

images, given labels
    |         what a pretrained encoder sees of the images, if there is one
    |            (labels are not read here)
1 teacher     trained here, by an earlier run or by somebody else; frozen        workdir/teacher
    |
2 learner     a method on the given labels, perhaps with the relation term
    |         K (alpha node + beta edge) of teacher and learner                  workdir/student
    |         and perhaps a baseline beside it                                   workdir/baseline
test accuracy, suspicious labels, a model

Which methods and teachers there are is not known here: methods/ and teachers/ have a file each.
"""

import dataclasses
import hashlib
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from rmdnet_jax.base.digest import fingerprint, text_digest
from rmdnet_jax.base.errors import InputError
from rmdnet_jax.config import checking
from rmdnet_jax.data import validation
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.data.label_kinds import Division
from rmdnet_jax.data.labels import Labels
from rmdnet_jax.encoders.interface import Encoder
from rmdnet_jax.evaluation import classification, worth
from rmdnet_jax.evaluation.suspicion import suspect
from rmdnet_jax.losses.robust import Loss
from rmdnet_jax.machine import devices, hosts
from rmdnet_jax.methods import inference, optimizers, samples
from rmdnet_jax.methods import registry as methods
from rmdnet_jax.methods.folds import Folded
from rmdnet_jax.methods.interface import (
    ClassifierTeacher,
    Guide,
    Method,
    Prediction,
    State,
    Task,
    Weights,
)
from rmdnet_jax.methods.learner import Learner
from rmdnet_jax.methods.network import Classifier
from rmdnet_jax.methods.rgrl import Relation
from rmdnet_jax.model import Model
from rmdnet_jax.models.heads import Linear
from rmdnet_jax.models.mlp import MLP
from rmdnet_jax.models.resnet import ResNet
from rmdnet_jax.report.outcome import Outcome, Student
from rmdnet_jax.teachers.judged import Judged, Verdict
from rmdnet_jax.teachers.source import Source
from rmdnet_jax.training import handover
from rmdnet_jax.training.checkpoints import Checkpoints, NoCheckpoints
from rmdnet_jax.training.fit import fit
from rmdnet_jax.training.logging import RunLog


@dataclasses.dataclass(frozen=True)
class Run:
    """What every stage of a run needs; runs/preparation.py makes it.

    Attributes:
      config: every field has its value.
      chosen: why fields that were left open have the values they have.
      data, labels: of all training images.
      seen: the data as learners see it: itself, or an encoder's features of its pictures.
      split: of what is seen: what learners learn from, and what is held out of it.
      loss: the config's.
      source: of the teacher; None if nothing reads one.
      encoder: of the config, if it names a network.
      encoder_story: a line on what an encoder's embeddings are; "" without one.
      workdir: where checkpoints are; None keeps none.
      log: of all stages.
      complete: makes the run that has the encoder's embeddings, where here zeros stand for them;
        None: they are here.
    """

    config: ConfigDict
    chosen: dict[str, str]
    data: Dataset
    labels: Labels
    seen: Dataset
    split: validation.Split
    loss: Loss
    source: Source | None
    encoder: Encoder | None
    encoder_story: str
    workdir: Path | None
    log: RunLog
    complete: Callable[[], "Run"] | None = None

    def key(self, purpose: str) -> jax.Array:
        """The random key of a purpose: a function of the seed and the purpose's name."""
        return jax.random.fold_in(jax.random.key(self.config.seed), zlib.crc32(purpose.encode()))

    def methods(self) -> dict[str, str]:
        """The method of every learner by its stage, in the order of training."""
        wanted = {"baseline": self.config.method.baseline, "student": self.config.method.name}
        return {stage: name for stage, name in wanted.items() if name and self.config.train.epochs}


class Trained(NamedTuple):
    """A learner at the end of its training: how it is told of, what can be used of it, and what it
    believes of the training images, float32 [N, C]; and how it divides their labels, if it does."""

    student: Student
    model: Model
    belief: np.ndarray
    division: Division | None


def run(this: Run) -> tuple[Outcome, Model | None]:
    """Teacher and learners, or what is left of them, and the trained model, if any.

    Raises:
      DivergedError: a loss is not finite.
      InputError: checkpoints are of something else, or cannot be written.
    """
    if this.complete:
        this = this.complete()
    stages = this.methods()
    for stage in ("teacher", *stages):  # all, before hours go into the first
        with checkpoints(this, stage) as saved:
            saved.check()
    teacher = teaching(this) if this.source else None
    learned = {stage: learning(this, stage, teacher) for stage in stages}
    students = {stage: trained.student for stage, trained in learned.items()}
    model = suspicion = belief = None
    if "student" in learned:
        student, model, belief, division = learned["student"]
        embeddings = teacher.embeddings if teacher else None
        suspicion = suspect(
            belief, student.test.logits, this.data, this.labels, embeddings,
            is_unseen=this.config.train.folds > 1, division=division,
            tells_open=teacher is not None and teacher.source.tells_open,
        )  # fmt: skip
    history, held_out = this.log.history("teacher"), len(this.split.held_out_given)
    outcome = Outcome(
        this.data, this.labels, teacher, history, students, suspicion, held_out, belief
    )
    return outcome, model


def teaching(this: Run) -> Judged:
    """The teacher, trained here, by an earlier run or not at all, and how good it is."""
    config, data, source = this.config, this.data, this.source
    assert source
    fresh = source.fresh(this.key("teacher"), jnp.asarray(data.train_images[:1]))
    labels, k = this.labels.reference, config.rm.knn_k

    def evaluate(state: State, epoch: int, metrics: dict[str, float]) -> dict[str, float]:
        source.watch(metrics, epoch, this.log.history("teacher"))
        every, last = config.rm.knn_every, epoch == config.rm.epochs
        if not every or (epoch % every and not last):
            return {}
        return {
            "knn_accuracy": worth.knn_accuracy(embeddings(source, state, data), labels, data, k)
        }

    state, folder = fresh, this.workdir and this.workdir / "teacher"
    if source.method and config.teacher.path:
        assert fresh
        folder = handover.folder_of(config.teacher.path)
        with handover.find(config.teacher.path, teacher_description(this)) as saved:
            trees = {"params": fresh.params, "batch_stats": fresh.batch_stats}
            state = dataclasses.replace(fresh, **saved.restore(trees))
    elif source.method:
        assert fresh
        unread = np.zeros(len(data.train_images), np.int32)
        task = Task(unread, data.num_classes, config.rm.batch_size, config.rm.epochs)
        state = fit(
            source.method, fresh, data.train_images, task, key=this.key("teacher epochs"),
            checkpoints=checkpoints(this, "teacher"), log=this.log.stage("teacher"),
            evaluate=evaluate, learning_rate=source.learning_rate,
            checkpoint_every=config.checkpoint_every, workers=config.dataset.workers,
        ).state  # fmt: skip
    return judging(this, state, fresh, folder)


def judging(this: Run, state: State | None, fresh: State | None, folder: Path | None) -> Judged:
    """The teacher of a trained state, frozen, and how good it is beside the `fresh` one: what it
    says of all images, and its verdict, are kept in `folder`, for all that read this teacher."""
    config, data, source = this.config, this.data, this.source
    assert source
    labels, k = this.labels.reference, config.rm.knn_k
    teacher = source.teacher(state)
    # Somebody else's table is not kept once more; and who keeps nothing writes nothing.
    keeps = source.is_network and this.workdir is not None
    dtype = str(convolution_dtype(config.model.precision))
    of_images = text_digest(fingerprint(teacher.frozen), data.fingerprint_of_all(), dtype)
    most = source.most_tested
    tested = None
    if most and most < len(data.test_images):
        tested = np.linspace(0, len(data.test_images) - 1, most).astype(int)
    asked = (
        fingerprint((labels, data.test_labels)),
        fingerprint(fresh),
        str(data.is_on_disk),
        str(k),
    )
    of_labels = text_digest(of_images, *asked)

    def ask() -> dict[str, np.ndarray]:
        train, test = source.predictions(state, data)
        asked = {"train": train.embedding, "test": test.embedding}
        asked |= {"train_logits": train.logits, "test_logits": test.logits}
        return {name: array for name, array in asked.items() if array is not None}

    def judge() -> dict[str, np.ndarray]:
        untrained = None if fresh is None else lambda: embeddings(source, fresh, data)
        verdict = worth.judge((train, test), untrained, labels, data, k, tested)
        told = dataclasses.asdict(verdict)
        return {name: np.asarray(x) for name, x in told.items() if x is not None}

    folder = folder if keeps else None
    seen = handover.kept(folder, f"embeddings-{of_images}", ask)
    train, test = (
        Prediction(seen.get(f"{part}_logits"), seen.get(part)) for part in ("train", "test")
    )
    found = handover.kept(folder, f"verdict-{of_labels}", judge)
    judged = Judged(
        config.teacher.kind, source, teacher, train.embedding, test.embedding,
        Verdict(**{name: float(accuracy) for name, accuracy in found.items()}),
        len(data.test_images) if tested is None else len(tested), train.logits, test.logits,
    )  # fmt: skip
    if hosts.is_writer() and (warning := judged.warning()):
        print(f"warning: {warning}", file=sys.stderr, flush=True)
    return judged


def embeddings(source: Source, state: State, data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Of the training and the test images, by a teacher that has them."""
    train, test = source.predictions(state, data)
    return train.embedding, test.embedding


def learning(this: Run, stage: str, teacher: Judged | None) -> Trained:
    """A method on the given labels; the baseline does not heed the teacher.

    Both get the same keys: what they have in common, a network say, or the order of the images, is
    the same in both.
    """
    config, data, split = this.config, this.seen, this.split
    images = split.data.train_images
    method = build(this, stage, teacher)
    is_related = teacher is not None and stage == "student" and config.rgrl.k > 0
    reads = is_related or needs_classifier(this, stage)
    network = method.network
    assert isinstance(network, Classifier)
    predict = inference.predictor(network)

    def evaluate(state: State, epoch: int, metrics: dict[str, float]) -> dict[str, float]:
        judged_on = {"test_accuracy": (data.test_images, data.test_labels)}
        if len(split.held_out_given):
            judged_on["validation_accuracy"] = split.held_out_images, split.held_out_given
        networks = method.networks(state)
        return {
            name: classification.accuracy(predict(networks, images).logits, labels)
            for name, (images, labels) in judged_on.items()
        }

    task = learners_task(this)
    state, look = fit(
        method, method.init(this.key("student"), jnp.asarray(images[:1]), task), images, task,
        key=this.key("student epochs"),
        checkpoints=checkpoints(this, stage, teacher if reads else None),
        log=this.log.stage(stage), evaluate=evaluate, learning_rate=learning_rate(this),
        checkpoint_every=config.checkpoint_every, workers=config.dataset.workers,
    )  # fmt: skip
    networks = method.networks(state)
    train, test = (predict(networks, part) for part in (data.train_images, data.test_images))
    belief = classification.softmax(train.logits).astype(np.float32)
    if (known := method.belief(state, look)) is not None:
        if known.shape != (task.num_images, task.num_classes):
            raise InputError(
                f"the belief of {method.title} has shape {known.shape}; right is a row of "
                f"probabilities an image, {(task.num_images, task.num_classes)}"
            )
        belief[split.index] = samples.known(known, otherwise=belief[split.index])
    said = teacher.train_logits if teacher else None
    division = method.divided(state, split.index, this.labels.given, said)
    title = method.title
    if teacher and is_related:
        title += f" + {teacher.source.term}"
    elif stage == "baseline" and config.method.baseline == config.method.name:
        title += " alone"
    alone = networks_alone(jax.device_get(networks), network)
    parameters = sum(leaf.size for one in alone for leaf in jax.tree.leaves(one.params))
    student = Student(title, train, test, this.log.history(stage), parameters)
    model = Model(
        network, alone,
        data.image_shape, data.class_numbers or data.class_names,
        encoder=this.encoder if config.model.kind == "mlp" else None,
    )  # fmt: skip
    return Trained(student, model, belief, division)


def build(this: Run, stage: str, teacher: Judged | None) -> Method:
    """The method of a stage as the config describes it; with its relation term, if it is the
    student and there is a teacher; and with the teacher itself, if it learns from a classifier."""
    config, data, split = this.config, this.seen, this.split
    below = backbone(config)
    linear = Linear(data.num_classes, alone=below is None)
    network = Classifier(below, linear, *data.mean_std())
    relation = start = guide = None
    rgrl, train = config.rgrl, config.train
    if teacher and stage == "student" and rgrl.k > 0:
        seen = teacher.teacher.of_images(split.index)
        relation = Relation(
            seen, network.embedding_size, rgrl.k, rgrl.alpha, rgrl.beta, rgrl.relation_norm,
            rgrl.teacher_view,
        )  # fmt: skip
    if teacher and needs_classifier(this, stage):
        guide = guiding(teacher, split.index)
    if teacher and rgrl.init_from_teacher:
        start = teacher.source.start(teacher.teacher)
    learner = Learner(
        network,
        optimizers.build(
            train.optimizer, learning_rate(this), train.momentum, train.weight_decay,
            train.grad_clip,
        ),
        this.loss, config.loss.name, relation, start, config.augment.pad, config.augment.flip,
        guide,
    )  # fmt: skip
    name = this.methods()[stage]
    method = methods.build(name, learner, checking.method_parameters(config, name))
    return Folded(method, train.folds) if train.folds > 1 else method


def needs_classifier(this: Run, stage: str) -> bool:
    """Whether the method of a stage learns from a trained classifier."""
    return checking.built_method(this.config, this.methods()[stage]).needs_classifier


def guiding(teacher: Judged, index: np.ndarray) -> Guide:
    """A teacher that is a classifier, as a learner of some of the training images, int [n], has
    it."""
    said = teacher.train_logits, teacher.train_embedding
    train = Prediction(*(None if part is None else part[index] for part in said))
    known = teacher.source.known
    of_images = cast(ClassifierTeacher, teacher.teacher.of_images(index))
    return Guide(of_images, train, known.accuracy if known else None)


def backbone(config: ConfigDict) -> ResNet | MLP | None:
    """What the config's model is below its classifier."""
    model = config.model
    if model.kind == "mlp":
        return MLP(tuple(model.hidden)) if model.hidden else None
    dtype = convolution_dtype(model.precision)
    return ResNet(model.width, model.stem, dtype, tuple(model.blocks), model.block)


def learners_task(this: Run) -> Task:
    """What learners learn from: the given labels but those held out."""
    return task_of(
        this.config, this.split.labels.given, this.data.num_classes, this.seen.image_shape
    )


def task_of(
    config: ConfigDict, given: np.ndarray, classes: int, image_shape: tuple[int, ...]
) -> Task:
    """That of learners of these labels, int32 [N]."""
    train = config.train
    return Task(given, classes, train.batch_size, train.epochs, train.folds, image_shape)


def learning_rate(this: Run) -> Any:
    """Of learners, by update."""
    train = this.config.train
    updates = train.epochs * learners_task(this).steps
    if train.lr_decay == "cosine":
        return optimizers.cosine(train.lr, updates)
    return optimizers.step_decay(train.lr, updates, train.lr_drops, train.lr_drop)


def networks_alone(networks: tuple[Weights, ...], network: Classifier) -> tuple[Weights, ...]:
    """Their weights without what serves training alone, an adapter say."""
    names = list(network.modules)
    return tuple(
        Weights({name: one.params[name] for name in names}, one.batch_stats) for one in networks
    )


def checkpoints(this: Run, stage: str, teacher: Judged | None = None) -> Checkpoints:
    """The checkpoints of a stage of this run; a student's know the teacher that guided it."""
    if this.workdir is None:
        return NoCheckpoints()
    if stage == "teacher":
        recipe = this.config.rm.to_dict() | {"flip": this.config.augment.flip}
        for probe in ("knn_every", "knn_k", "on_collapse"):  # watches it, does not change it
            del recipe[probe]
        description = teacher_description(this) | {"recipe": recipe, "seed": this.config.seed}
    else:
        labels = hashlib.sha256(this.split.labels.given.tobytes())
        if len(this.split.held_out_given):
            labels.update(this.split.index.tobytes())
        description = {"images": this.seen.images_fingerprint(), "labels": labels.hexdigest()}
        description |= {"teacher": fingerprint(teacher.teacher.frozen)} if teacher else {}
    return Checkpoints(this.workdir / stage, description)


def teacher_description(this: Run) -> dict:
    """What a teacher must have been trained on and be built like to serve this run."""
    model, teacher = this.config.model, this.config.teacher
    width = teacher.width or model.width
    network = {"width": width, "stem": model.stem, "blocks": list(model.blocks)}
    network |= {} if model.block == "basic" else {"block": model.block}
    return {"images": this.data.images_fingerprint()} | network


def convolution_dtype(precision: str) -> jnp.dtype:
    """bfloat16 or float32; "auto" is the faster one here."""
    return devices.fast_dtype() if precision == "auto" else jnp.dtype(precision)
