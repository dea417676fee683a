"""The stage of a learner: trains a method on the given labels and collects its results."""

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.config import checking
from rmdnet_jax.data.label_kinds import Division
from rmdnet_jax.evaluation import classification
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
from rmdnet_jax.report.outcome import Student
from rmdnet_jax.stages.run import Run, checkpoints, convolution_dtype
from rmdnet_jax.teachers.judged import Judged
from rmdnet_jax.training import contract
from rmdnet_jax.training.fit import fit


class Trained(NamedTuple):
    """A trained learner: its record for the report, the model, its belief about the training
    images, float32 [N, C], and its division of their labels, if it makes one."""

    student: Student
    model: Model
    belief: np.ndarray
    division: Division | None


def learning(this: Run, stage: str, teacher: Judged | None) -> Trained:
    """Trains a method on the given labels; the baseline does without the relation term.

    Both get the same keys: what they share, such as the network or the order of the images, is the
    same in both.
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
        known = np.asarray(known)
        if known.shape != (task.num_images, task.num_classes):
            raise InputError(
                f"the belief of {method.title} has shape {known.shape}; expected a row of "
                f"probabilities per image, {(task.num_images, task.num_classes)}"
            )
        contract.probabilities(f"the beliefs of {method.title}", known)
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
    """The method of a stage according to the config; with the relation term, if it is the student
    and there is a teacher; and with the teacher itself, if it learns from a classifier."""
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
    """The guide that a classifier teacher is for a learner of these training images, int [n]."""
    said = teacher.train_logits, teacher.train_embedding
    train = Prediction(*(None if part is None else part[index] for part in said))
    known = teacher.source.known
    of_images = cast(ClassifierTeacher, teacher.teacher.of_images(index))
    return Guide(of_images, train, known.accuracy if known else None)


def backbone(config: ConfigDict) -> ResNet | MLP | None:
    """The backbone of the config's model, below the classifier."""
    model = config.model
    if model.kind == "mlp":
        return MLP(tuple(model.hidden)) if model.hidden else None
    dtype = convolution_dtype(model.precision)
    return ResNet(model.width, model.stem, dtype, tuple(model.blocks), model.block)


def learners_task(this: Run) -> Task:
    """The task of learners: the given labels except those held out."""
    return task_of(
        this.config, this.split.labels.given, this.data.num_classes, this.seen.image_shape
    )


def task_of(
    config: ConfigDict, given: np.ndarray, classes: int, image_shape: tuple[int, ...]
) -> Task:
    """The task of learners of these labels, int32 [N]."""
    train = config.train
    return Task(given, classes, train.batch_size, train.epochs, train.folds, image_shape)


def learning_rate(this: Run) -> Any:
    """The learners' learning rate, by update."""
    train = this.config.train
    updates = train.epochs * learners_task(this).steps
    if train.lr_decay == "cosine":
        return optax.cosine_decay_schedule(train.lr, updates)
    return optimizers.step_decay(train.lr, updates, train.lr_drops, train.lr_drop)


def networks_alone(networks: tuple[Weights, ...], network: Classifier) -> tuple[Weights, ...]:
    """Their weights without what only training needs, such as an adapter."""
    names = list(network.modules)
    return tuple(
        Weights({name: one.params[name] for name in names}, one.batch_stats) for one in networks
    )
