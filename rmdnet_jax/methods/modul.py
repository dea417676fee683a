"""MODUL: a trained classifier's knowledge moved into a smaller network, on pictures whose labels
may be of another class or of none (Tang et al., IEEE TIP 2024)."""

import dataclasses
import functools
import sys
from typing import Annotated, Any, ClassVar

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.ranges import OF_TYPE, SHARE, Rule, number, one_of
from rmdnet_jax.losses import contrastive
from rmdnet_jax.machine import cpu, hosts, sharding
from rmdnet_jax.methods import division as divisions
from rmdnet_jax.methods import rotations
from rmdnet_jax.methods.dividemix import cycled
from rmdnet_jax.methods.division import CLOSED, OPEN, Division
from rmdnet_jax.methods.interface import Batch, Guide, Look, Metrics, State, Task, Weights
from rmdnet_jax.methods.learner import LearnerMethod
from rmdnet_jax.methods.mixup import mixup
from rmdnet_jax.models import chain
from rmdnet_jax.models.heads import Linear

# A row of `order` holds, one after the other, a labelled image and an open one.
_PARTS = 2

# Features of the space that student and teacher are compared in (the authors' code).
_PROJECTED = 128

_INFONCE_TEMPERATURE = 0.3  # the authors' code

_ROTATIONS = Rule("4 or 1", (rotations.TURNS, 1).__contains__)

# Among the parameters; inference reads none of them.
_OF_STUDENT, _OF_TEACHER, _ROTATION, _ADAPTER = (
    "projection", "teacher_projection", "rotation", "distilled",
)  # fmt: skip


@flax.struct.dataclass
class ModulState(State):
    """With `division`, decided before the first epoch: part int8 [N], label int32 [N] and clean
    float32 [N] as methods/division.py has them, and prototypes, float32 [K, 128]."""

    division: dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Modul(LearnerMethod[ModulState]):
    """The teacher divides the pictures once. On those with a label, its own or the teacher's, the
    student learns alpha L_label + (1 - alpha) L_distilled + beta (L_category + L_instance); on the
    others by how much they are turned, gamma L_rotation (equation 21).

    L_label is the learner's loss, cross entropy in the paper. Feature vectors cannot be turned:
    of them there is no L_rotation.
    """

    division: Annotated[
        str, one_of(*divisions.DIVISIONS), "sl: the paper's, for logits near 10; teacher: any scale"
    ] = "sl"
    refine: Annotated[
        str, one_of("once", "view"), "when the teacher labels what is of another class"
    ] = "once"
    alpha: Annotated[float, SHARE, "weight of the labels' loss; the rest is distillation's"] = 0.1
    beta: Annotated[float, number(0, 1000), "weight of the category and the instance loss"] = 0.1
    gamma: Annotated[float, number(0, 1000), "weight of the rotations of open-set pictures"] = 0.01
    temperature: Annotated[float, number(0.001, 1000), "t of the category loss"] = 0.3
    delta: Annotated[
        float, number(0, 1000), "of MixUp's Beta(delta, delta); 0 is no MixUp"
    ] = 8.0  # fmt: skip
    category: Annotated[bool, OF_TYPE[bool], "the category loss"] = True
    instance: Annotated[
        str,
        one_of("npair", "infonce", "off"),
        "the instance loss: the paper's, its code's, or none",
    ] = "npair"
    rotations: Annotated[int, _ROTATIONS, "turns of a picture: all, or one that is drawn"] = 4
    stats: Annotated[
        str, one_of("labelled", "all"), "passes that the running batch statistics come from"
    ] = "labelled"

    needs_classifier: ClassVar[bool] = True
    needs_embedding: ClassVar[bool] = True
    takes_relation: ClassVar[bool] = False

    @property
    def title(self) -> str:
        """The paper's; with the loss, where it is another than the paper's."""
        loss = self.learner.loss_name
        return "MODUL" + ("" if loss == "ce" else f", {loss.upper()}")

    def check(self, task: Task) -> None:
        """Raises InputError for too few images."""
        if task.num_images < _PARTS * task.batch_size:
            raise InputError(
                f"{self.title} takes a batch of labelled and one of open-set images of "
                f"{task.num_images} and train.batch_size is {task.batch_size}; right is at most "
                "half of the images"
            )

    def init(self, key: jax.Array, example: jax.Array, task: Task) -> ModulState:
        """A fresh network, the same as other methods', with heads of its own.

        Raises:
          InputError: the pictures are not square, and cannot be turned.
        """
        if self._turns(example) and example.shape[1] != example.shape[2]:
            raise InputError(
                f"{self.title} turns pictures by quarters and these are {example.shape[1]}x"
                f"{example.shape[2]}; right are squares (dataset.image_size), or modul.gamma=0"
            )
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
        """Before the first, the division and the prototypes."""
        if epoch:
            return state
        said = self._guide.train
        found = divisions.DIVISIONS[self.division](said.logits, look.given)
        divisions.warn(found)
        embedding = jnp.asarray(said.embedding, jnp.float32)
        projected = self._projected(state.params["1"], _OF_TEACHER, embedding)
        prototypes = _prototypes(np.asarray(projected), found, said.logits.shape[1])
        arrays = found._asdict() | {"prototypes": prototypes}
        division = {name: jnp.asarray(array) for name, array in arrays.items()}
        return dataclasses.replace(state, division=division)

    def order(self, state: ModulState, key: jax.Array, task: Task) -> jax.Array:
        """int32 [task.steps, 2 * batch size], a labelled and an open image in turn; a part with
        fewer images than an epoch takes of it starts again from its first."""
        is_open = state.division["part"] == OPEN
        size = task.steps * task.batch_size
        keys = jax.random.split(key)
        drawn = [cycled(*pair, size) for pair in zip(keys, (~is_open, is_open), strict=True)]
        return jnp.stack(drawn, axis=1).reshape(task.steps, -1)

    def step(
        self, state: ModulState, batch: Batch, key: jax.Array, frozen: Any
    ) -> tuple[ModulState, Metrics, None]:
        """One update. Metrics: label_loss, distilled_loss, category_loss, instance_loss and
        rotation_loss, without their weights, those that have one; train_accuracy, agreement with
        the labels that are learned. Nothing is said for the memory: the teacher's division judges
        the labels."""
        parts = jax.tree.map(lambda x: x.reshape(-1, _PARTS, *x.shape[1:]), batch)
        labelled, opened = (jax.tree.map(lambda x, n=n: x[:, n], parts) for n in range(_PARTS))
        view_key, rest = jax.random.split(key)
        mix_key, open_key, turn_key = jax.random.split(rest, 3)
        division, teacher = state.division, self._guide.teacher
        view = self.learner.view(view_key, labelled.image)
        said = teacher.classify(frozen, view, labelled.index)
        label = division["label"][labelled.index]
        if self.refine == "view":
            is_closed = division["part"][labelled.index] == CLOSED
            label = jnp.where(is_closed, said.logits.argmax(axis=1).astype(label.dtype), label)
        target = jax.nn.one_hot(label, said.logits.shape[1], dtype=jnp.float32)
        has_category = self.beta > 0 and self.category
        mixed, of_teacher = None, said.embedding
        if has_category and self.delta:
            mixed = mixup(mix_key, view, target, self.delta)
            of_teacher = teacher.classify(frozen, mixed.x, labelled.index).embedding
            target = mixed.y
        turned = None
        if self._turns(opened.image):
            seen = self.learner.view(open_key, opened.image)
            drawn = (
                rotations.of_each(seen) if self.rotations > 1 else rotations.drawn(turn_key, seen)
            )
            turned = *drawn, (division["part"] == OPEN).any().astype(jnp.float32)

        def loss(params: dict) -> tuple[jax.Array, tuple[dict, Metrics, None]]:
            own, stats = params["1"], state.batch_stats["1"]

            def run(x: jax.Array, stats: dict) -> tuple[Any, dict]:
                return self.network.train(Weights(own, stats), x)

            student, stats = run(view, stats)
            after = stats
            labels = self.learner.loss(student.logits, label).mean()
            terms: dict[str, tuple[Any, jax.Array]] = {"label_loss": (self.alpha, labels)}
            if self.alpha < 1:
                adapted = self._adapted(own, student.embedding)
                distilled = jnp.mean((adapted - said.embedding) ** 2)
                terms["distilled_loss"] = 1 - self.alpha, distilled
            if has_category:
                of_student = student
                if mixed:
                    of_student, after = run(mixed.x, after)
                both = (_OF_STUDENT, of_student.embedding), (_OF_TEACHER, of_teacher)
                drawn_to = [
                    contrastive.prototype(
                        self._projected(own, *one), division["prototypes"], target,
                        self.temperature,
                    ).mean()
                    for one in both
                ]  # fmt: skip
                terms["category_loss"] = self.beta, functools.reduce(jnp.add, drawn_to)
            if self.beta and self.instance != "off":
                pair = (
                    self._projected(own, _OF_STUDENT, student.embedding),
                    self._projected(own, _OF_TEACHER, said.embedding),
                )
                terms["instance_loss"] = self.beta, self._instance(*sharding.whole(pair)).mean()
            if turned:
                x, turn, is_any = turned
                of_open, after = run(x, after)
                logits = _applied(_ROTATION, self._modules[_ROTATION], own, of_open.embedding)
                recognised = optax.softmax_cross_entropy_with_integer_labels(logits, turn).mean()
                terms["rotation_loss"] = self.gamma * is_any, recognised
            total = functools.reduce(jnp.add, [_weighted(*term) for term in terms.values()])
            agreement = (student.logits.argmax(axis=1) == label).astype(jnp.float32).mean()
            metrics = {name: value for name, (_, value) in terms.items()}
            kept = after if self.stats == "all" else stats
            return total, ({"1": kept}, metrics | {"train_accuracy": agreement}, None)

        return self.learner.minimised(state, loss)

    def divided(self, state: ModulState) -> Division:
        """The teacher's division, which is what it says of the labels."""
        return Division(*(np.asarray(state.division[name]) for name in Division._fields))

    @property
    def _guide(self) -> Guide:
        guide = self.learner.guide
        assert guide  # a run without a classifier as its teacher is refused before
        return guide

    @property
    def _modules(self) -> dict[str, Linear]:
        """The heads by name."""
        teacher, student = self._guide.teacher.size, self.network.embedding_size
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
            size = self._guide.teacher.size if of_teacher else self.network.embedding_size
            params |= chain.init({name: module}, [one], jnp.zeros((1, size), jnp.float32))[0]
        return params

    def _adapted(self, params: dict, embedding: jax.Array) -> jax.Array:
        """The student's embedding in the teacher's size."""
        if _ADAPTER not in self._modules:
            return embedding
        return _applied(_ADAPTER, self._modules[_ADAPTER], params, embedding)

    def _projected(self, params: dict, name: str, embedding: jax.Array) -> jax.Array:
        """float32 [B, 128] of norm 1."""
        return contrastive.unit(_applied(name, self._modules[name], params, embedding))

    def _instance(self, student: jax.Array, teacher: jax.Array) -> jax.Array:
        if self.instance == "npair":
            return contrastive.npair(student, teacher)
        return contrastive.infonce(student, teacher, _INFONCE_TEMPERATURE)

    def _turns(self, images: jax.Array) -> bool:
        """Whether there is a rotation loss of such images."""
        return self.gamma > 0 and images.ndim == 4


def _applied(name: str, module: Linear, params: dict, x: jax.Array) -> jax.Array:
    return chain.apply({name: module}, params, {}, x, train=False)[0][name]


def _weighted(weight: Any, loss: jax.Array) -> jax.Array:
    is_whole = isinstance(weight, float | int) and weight == 1
    return loss if is_whole else weight * loss


def _prototypes(projected: np.ndarray, division: Division, classes: int) -> np.ndarray:
    """The mean of each class over its clean and closed pictures, float32 [K, D] of norm 1; zeros
    and a warning for a class without a picture (equations 8 and 9)."""
    used = division.part != OPEN
    empty = classes - len(np.unique(division.label[used]))
    if empty and hosts.is_writer():
        print(
            f"warning: {empty:,} of {classes:,} classes have no picture by the teacher's division; "
            "the category loss does not know them",
            file=sys.stderr,
            flush=True,
        )
    sums = np.zeros((classes, projected.shape[1]))
    np.add.at(sums, division.label[used], projected[used].astype(np.float64))
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.divide(sums, norms, out=np.zeros_like(sums), where=norms > 0).astype(np.float32)


METHOD = Modul
