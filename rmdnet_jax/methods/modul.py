"""MODUL: distils a trained classifier into a smaller network, on images whose labels may be of
another class or of none (Tang et al., IEEE TIP 2024)."""

import dataclasses
import functools
from typing import Annotated, Any, ClassVar, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.ranges import OF_TYPE, SHARE, Rule, number, one_of
from rmdnet_jax.data.label_kinds import CLOSED, OPEN, Division
from rmdnet_jax.losses import contrastive
from rmdnet_jax.losses.relation import unit_rows
from rmdnet_jax.machine import cpu, hosts, sharding
from rmdnet_jax.methods import division as divisions
from rmdnet_jax.methods import learner as learners
from rmdnet_jax.methods import rotations, select
from rmdnet_jax.methods.interface import (
    Batch,
    Look,
    Metrics,
    Prediction,
    State,
    Task,
    Weights,
)
from rmdnet_jax.methods.learner import LearnerMethod
from rmdnet_jax.methods.mixup import mixup
from rmdnet_jax.methods.network import Classifier
from rmdnet_jax.models import chain
from rmdnet_jax.models.heads import Linear

# Dimensions of the space in which student and teacher are compared (the authors' code).
_PROJECTED = 128

_INFONCE_TEMPERATURE = 0.3  # the authors' code

_ROTATIONS = Rule("4 or 1", (rotations.TURNS, 1).__contains__)

# Names among the parameters; inference reads none of them.
_OF_STUDENT, _OF_TEACHER, _ROTATION, _ADAPTER = (
    "projection", "teacher_projection", "rotation", "distilled",
)  # fmt: skip


@flax.struct.dataclass
class ModulState(State):
    """Adds `division`, decided before the first epoch: part int8 [N], label int32 [N] and clean
    float32 [N] as in data/label_kinds.py, and prototypes, float32 [K, 128]."""

    division: dict[str, jax.Array]


class _Mixed(NamedTuple):
    """Input of the category loss: x, mixed views float32 [B, ...], or None for the views
    themselves; target float32 [B, C]; and known, the teacher's embeddings of x, float32 [B, D]."""

    x: jax.Array | None
    target: jax.Array
    known: jax.Array


class _Turned(NamedTuple):
    """Input of the rotation loss: views x, their quarter turns, and whether any image is open."""

    x: jax.Array
    turn: jax.Array
    is_any: jax.Array


class _Lesson(NamedTuple):
    """What a step learns.

    Attributes:
      view: float32 [B, ...] of the labelled images.
      said: the teacher's outputs for it.
      given, label: int32 [B], the given and the refined labels.
      mixed, turned: input of the category and of the rotation loss; None without that loss.
    """

    view: jax.Array
    said: Prediction
    given: jax.Array
    label: jax.Array
    mixed: _Mixed | None
    turned: _Turned | None


class _Passes:
    """Forward passes of one network, each updating the running statistics of the previous one."""

    def __init__(self, network: Classifier, params: dict, stats: dict):
        self.params, self.stats = params, stats
        self._network = network

    def run(self, x: jax.Array) -> Prediction:
        said, self.stats = self._network.train(Weights(self.params, self.stats), x)
        return said


# A weight and a loss.
_Term = tuple[Any, jax.Array]


@dataclasses.dataclass(frozen=True)
class Modul(LearnerMethod[ModulState]):
    """The teacher divides the images once. On those with a usable label, given or the teacher's,
    the student learns alpha L_label + (1 - alpha) L_distilled + beta (L_category + L_instance); on
    the others it learns to predict their rotation, gamma L_rotation (equation 21).

    L_label is the learner's loss, cross entropy in the paper. Feature vectors cannot be rotated, so
    there is no L_rotation for them.
    """

    division: Annotated[
        str, one_of(*divisions.DIVISIONS), "sl: the paper's, for logits near 10; teacher: any scale"
    ] = "sl"
    refine: Annotated[
        str, one_of("once", "view"), "when the teacher relabels images of another class"
    ] = "once"
    alpha: Annotated[float, SHARE, "weight of the label loss; the rest is distillation's"] = 0.1
    beta: Annotated[float, number(0, 1000), "weight of the category and instance losses"] = 0.1
    gamma: Annotated[float, number(0, 1000), "weight of the rotation loss, open-set images"] = 0.01
    temperature: Annotated[float, number(0.001, 1000), "temperature t of the category loss"] = 0.3
    delta: Annotated[
        float, number(0, 1000), "parameter of MixUp's Beta(delta, delta); 0: no MixUp"
    ] = 8.0  # fmt: skip
    category: Annotated[bool, OF_TYPE[bool], "use the category loss"] = True
    instance: Annotated[
        str,
        one_of("npair", "infonce", "off"),
        "the instance loss: the paper's, its code's, or none",
    ] = "npair"
    rotations: Annotated[int, _ROTATIONS, "rotations per image: all, or one at random"] = 4
    stats: Annotated[
        str, one_of("labelled", "all"), "passes that update the running batch statistics"
    ] = "labelled"

    needs_classifier: ClassVar[bool] = True
    takes_relation: ClassVar[bool] = False

    @property
    def needs_embedding(self) -> bool:  # type: ignore[override]
        """Whether more than the division and the labels is learned from the teacher."""
        return self.alpha < 1 or self.beta > 0

    @property
    def title(self) -> str:
        """The paper's name; with the loss, if it is not the paper's."""
        loss = self.learner.loss_name
        return "MODUL" + ("" if loss == "ce" else f", {loss.upper()}")

    def check(self, task: Task) -> None:
        """Raises InputError for too few images, or non-square images to be rotated."""
        if not self._turns(task.image_shape):
            return
        if task.num_images < 2 * task.batch_size:
            raise InputError(
                f"{self.title} draws a labelled and an open-set batch from {task.num_images} "
                f"images and train.batch_size is {task.batch_size}; expected at most half of the "
                "images, or modul.gamma=0"
            )
        height, width, _ = task.image_shape
        if height != width:
            raise InputError(
                f"{self.title} rotates images by quarter turns and these are {height}x{width}; "
                "expected square images (dataset.image_size), or modul.gamma=0"
            )

    def init(self, key: jax.Array, example: jax.Array, task: Task) -> ModulState:
        """A fresh network, the same as other methods', with additional heads."""
        state = self.learner.init(key, example)
        heads = cpu.jit_once(self._heads)(jax.random.fold_in(key, 1))
        params = {"1": state.params["1"] | heads}
        size = task.num_images
        division = {
            "part": jnp.zeros(size, jnp.int8),
            "label": jnp.asarray(task.given, jnp.int32),
            "clean": jnp.ones(size, jnp.float32),
            "prototypes": jnp.zeros((task.num_classes, _PROJECTED), jnp.float32),
        }
        opt_state = cpu.jit_once(self.learner.optimizer.init)(params)
        return ModulState(params, state.batch_stats, opt_state, division)

    def between_epochs(self, state: ModulState, epoch: int, look: Look) -> ModulState:
        """Before the first epoch, computes the division and the prototypes."""
        if epoch:
            return state
        said = self.guide.train
        found = divisions.DIVISIONS[self.division](said.logits, look.given)
        divisions.warn(found)
        division = state.division | {name: jnp.asarray(x) for name, x in found._asdict().items()}
        if self.beta:
            embedding = jnp.asarray(said.embedding, jnp.float32)
            projected = self._projected(state.params["1"], _OF_TEACHER, embedding)
            prototypes = _prototypes(np.asarray(projected), found, said.logits.shape[1])
            division["prototypes"] = jnp.asarray(prototypes)
        return dataclasses.replace(state, division=division)

    def order(self, state: ModulState, key: jax.Array, task: Task) -> jax.Array:
        """int32 [task.steps, 2 * batch size], a labelled and an open image in turn, or only
        labelled ones if none is rotated; a part with fewer images than an epoch needs is repeated
        from its start."""
        is_open = state.division["part"] == OPEN
        parts = (~is_open, is_open) if self._turns(task.image_shape) else (~is_open,)
        keys = jax.random.split(key)
        size = task.steps * task.batch_size
        drawn = [select.cycled(*pair, size) for pair in zip(keys, parts, strict=False)]
        return jnp.stack(drawn, axis=1).reshape(task.steps, -1)

    def step(
        self, state: ModulState, batch: Batch, key: jax.Array, frozen: Any
    ) -> tuple[ModulState, Metrics, None]:
        """One update. Metrics: label_loss, distilled_loss, category_loss, instance_loss and
        rotation_loss, unweighted, those in use; train_accuracy, agreement with the given labels
        of clean and closed images, and refined_accuracy, with their refined labels. Returns no
        probabilities for the memory: the teacher's division judges the labels."""
        lesson = self._lesson(state, batch, key, frozen)

        def loss(params: dict) -> tuple[jax.Array, tuple[dict, Metrics, None]]:
            passes = _Passes(self.network, params["1"], state.batch_stats["1"])
            student = passes.run(lesson.view)
            stats = passes.stats
            terms = {"label_loss": self._label(lesson, student)}
            if self.alpha < 1:
                terms["distilled_loss"] = self._distilled(params["1"], lesson, student)
            if lesson.mixed:
                terms["category_loss"] = self._category(state, lesson.mixed, passes, student)
            if self.beta and self.instance != "off":
                terms["instance_loss"] = self._instance(params["1"], lesson, student)
            if lesson.turned:
                terms["rotation_loss"] = self._rotation(lesson.turned, passes)
            total = functools.reduce(jnp.add, [weight * value for weight, value in terms.values()])
            metrics = {name: value for name, (_, value) in terms.items()}
            agreement = {"train_accuracy": lesson.given, "refined_accuracy": lesson.label}
            metrics |= {
                name: learners.agreement(student.logits, label) for name, label in agreement.items()
            }
            kept = passes.stats if self.stats == "all" else stats
            return total, ({"1": kept}, metrics, None)

        return self.learner.minimised(state, loss)

    def divided(
        self, state: ModulState, index: np.ndarray, given: np.ndarray, said: np.ndarray | None
    ) -> Division | None:
        """The teacher's division: for training images, the one used in training."""
        own = Division(*(np.asarray(state.division[name]) for name in Division._fields))
        if len(index) == len(given):
            return own
        assert said is not None  # there is a guide
        whole = divisions.DIVISIONS[self.division](said, given)
        for every, some in zip(whole, own, strict=True):
            every[index] = some
        return whole

    @property
    def _modules(self) -> dict[str, Linear]:
        """The heads by name."""
        if not self.needs_embedding:
            return {_ROTATION: Linear(rotations.TURNS)}
        teacher, student = self.guide.teacher.size, self.network.embedding_size
        heads = {
            _OF_STUDENT: Linear(_PROJECTED),
            _OF_TEACHER: Linear(_PROJECTED),
            _ROTATION: Linear(rotations.TURNS),
        }
        return heads | ({} if teacher == student else {_ADAPTER: Linear(teacher)})

    def _heads(self, key: jax.Array) -> dict:
        keys = jax.random.split(key, len(self._modules))
        params: dict = {}
        for one, (name, module) in zip(keys, self._modules.items(), strict=True):
            of_teacher = name == _OF_TEACHER
            size = self.guide.teacher.size if of_teacher else self.network.embedding_size
            params |= chain.init({name: module}, [one], jnp.zeros((1, size), jnp.float32))[0]
        return params

    def _lesson(self, state: ModulState, batch: Batch, key: jax.Array, frozen: Any) -> _Lesson:
        """What a step learns, from the teacher and the key."""
        turns = self._turns(batch.image.shape[1:])
        parts = jax.tree.map(lambda x: x.reshape(-1, 1 + turns, *x.shape[1:]), batch)
        labelled = jax.tree.map(lambda x: x[:, 0], parts)
        view_key, rest = jax.random.split(key)
        mix_key, open_key, turn_key = jax.random.split(rest, 3)
        division, teacher = state.division, self.guide.teacher
        view = self.learner.view(view_key, labelled.image)
        said = teacher.classify(frozen, view, labelled.index)
        label = division["label"][labelled.index]
        if self.refine == "view":
            is_closed = division["part"][labelled.index] == CLOSED
            label = jnp.where(is_closed, said.logits.argmax(axis=1).astype(label.dtype), label)
        mixed = turned = None
        if self.beta and self.category:
            target = jax.nn.one_hot(label, said.logits.shape[1], dtype=jnp.float32)
            mixed = _Mixed(None, target, said.embedding)
            if self.delta:
                x = mixup(mix_key, view, target, self.delta)
                known = teacher.classify(frozen, x.x, labelled.index).embedding
                mixed = _Mixed(x.x, x.y, known)
        if turns:
            seen = self.learner.view(open_key, parts.image[:, 1])
            of_all = self.rotations == rotations.TURNS
            drawn = rotations.of_each(seen) if of_all else rotations.drawn(turn_key, seen)
            turned = _Turned(*drawn, (division["part"] == OPEN).any().astype(jnp.float32))
        return _Lesson(view, said, labelled.label, label, mixed, turned)

    def _label(self, lesson: _Lesson, student: Prediction) -> _Term:
        return self.alpha, self.learner.loss(student.logits, lesson.label).mean()

    def _distilled(self, params: dict, lesson: _Lesson, student: Prediction) -> _Term:
        """Equation 20, through a linear layer if the embeddings differ in size."""
        embedding = student.embedding
        if _ADAPTER in self._modules:
            embedding = _applied(_ADAPTER, self._modules[_ADAPTER], params, embedding)
        return 1 - self.alpha, jnp.mean((embedding - lesson.said.embedding) ** 2)

    def _category(
        self, state: ModulState, mixed: _Mixed, passes: _Passes, student: Prediction
    ) -> _Term:
        """Equations 15 and 16, for student and teacher."""
        of_student = student if mixed.x is None else passes.run(mixed.x)
        both = (_OF_STUDENT, of_student.embedding), (_OF_TEACHER, mixed.known)
        drawn_to = [
            contrastive.prototype(
                self._projected(passes.params, *one), state.division["prototypes"], mixed.target,
                self.temperature,
            ).mean()
            for one in both
        ]  # fmt: skip
        return self.beta, functools.reduce(jnp.add, drawn_to)

    def _instance(self, params: dict, lesson: _Lesson, student: Prediction) -> _Term:
        """Equation 13, over the whole batch of all devices."""
        own = self._projected(params, _OF_STUDENT, student.embedding)
        known = self._projected(params, _OF_TEACHER, lesson.said.embedding)
        own, known = sharding.whole((own, known))
        if self.instance == "npair":
            return self.beta, contrastive.npair(own, known).mean()
        return self.beta, contrastive.infonce(own, known, _INFONCE_TEMPERATURE).mean()

    def _rotation(self, turned: _Turned, passes: _Passes) -> _Term:
        """Equations 17 and 18; without an open image the weight is 0, and the statistics stay."""
        before = passes.stats
        embedding = passes.run(turned.x).embedding
        is_any = turned.is_any > 0
        passes.stats = jax.tree.map(
            lambda new, old: jnp.where(is_any, new, old), passes.stats, before
        )
        logits = _applied(_ROTATION, self._modules[_ROTATION], passes.params, embedding)
        recognised = optax.softmax_cross_entropy_with_integer_labels(logits, turned.turn)
        return self.gamma * turned.is_any, recognised.mean()

    def _projected(self, params: dict, name: str, embedding: jax.Array) -> jax.Array:
        """float32 [B, 128] of norm 1."""
        return unit_rows(_applied(name, self._modules[name], params, embedding))

    def _turns(self, image_shape: tuple[int, ...]) -> bool:
        """Whether images of this shape are rotated."""
        return self.gamma > 0 and len(image_shape) == 3


def _applied(name: str, module: Linear, params: dict, x: jax.Array) -> jax.Array:
    return chain.apply({name: module}, params, {}, x, train=False)[0][name]


def _prototypes(projected: np.ndarray, division: Division, classes: int) -> np.ndarray:
    """The mean of each class over its clean and closed images, float32 [K, D] of norm 1; zeros and
    a warning for a class without images (equations 8 and 9)."""
    used = division.part != OPEN
    empty = classes - len(np.unique(division.label[used]))
    if empty:
        hosts.warn(
            f"{empty:,} of {classes:,} classes have no images in the teacher's division; the "
            "category loss ignores them"
        )
    sums = np.zeros((classes, projected.shape[1]))
    np.add.at(sums, division.label[used], projected[used].astype(np.float64))
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.divide(sums, norms, out=np.zeros_like(sums), where=norms > 0).astype(np.float32)


METHOD = Modul
