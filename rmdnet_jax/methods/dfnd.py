"""DFND: a network learns a trained classifier's predictions on the images that the classifier is
most confident about (Chen et al., CVPR 2021, "Learning Student Networks in the Wild"). Given labels
are not read."""

import dataclasses
from typing import Annotated, Any, ClassVar

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.special import log_softmax

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.ranges import BELOW_1, number
from rmdnet_jax.losses import soft
from rmdnet_jax.machine import cpu
from rmdnet_jax.methods import learner as learners
from rmdnet_jax.methods.division import doubt
from rmdnet_jax.methods.interface import Batch, Look, Metrics, State, Task, Weights
from rmdnet_jax.methods.learner import Learner, LearnerMethod
from rmdnet_jax.methods.select import cycled, surest

# The channel's parameters, and their learning rate under Adam (the authors' code).
_CHANNEL, _CHANNEL_LR = "channel", 1e-3


@flax.struct.dataclass
class DFNDState(State):
    """Adds `selection`: kept, bool [N], the images to learn from, and accuracy, float32, of the
    teacher."""

    selection: dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class DFND(LearnerMethod[DFNDState]):
    """T^2 KL(teacher || student) plus the negative log likelihood of the teacher's class under
    softmax(student) A, on the share of the images that the teacher is most confident about.

    Row c of A [C, C] is the teacher's distribution of predictions for true class c: the diagonal is
    the teacher's accuracy, the rest of each row is learned.
    """

    keep: Annotated[float, number(0, 1, open_low=True), "share of the images to learn from"] = 0.5
    temperature: Annotated[float, number(0.01, 100), "distillation temperature T"] = 4.0
    accuracy: Annotated[
        float, BELOW_1, "of the teacher; 0: as its own run measured on its test images"
    ] = 0.0

    needs_classifier: ClassVar[bool] = True
    takes_relation: ClassVar[bool] = False

    @property
    def title(self) -> str:
        """The paper's name."""
        return "DFND"

    def check(self, task: Task) -> None:
        """Raises InputError if the teacher's accuracy is unknown."""
        if not (self.accuracy or self.guide.accuracy):
            raise InputError(
                "DFND needs the teacher's accuracy, which is not stored with the teacher; expected "
                "e.g. --config.dfnd.accuracy=0.9"
            )

    def init(self, key: jax.Array, example: jax.Array, task: Task) -> DFNDState:
        """A fresh network, and a channel with uniform errors."""
        accuracy = self.accuracy or self.guide.accuracy or 0.0
        state = self.learner.init(key, example)
        channel = {_CHANNEL: {"theta": jnp.zeros((task.num_classes,) * 2, jnp.float32)}}
        params = {"1": state.params["1"] | channel}
        opt_state = cpu.jit_once(self._with_channel.optimizer.init)(params)
        selection = {
            "kept": jnp.ones(task.num_images, bool),
            "accuracy": jnp.full((), accuracy, jnp.float32),
        }
        return DFNDState(params, state.batch_stats, opt_state, selection)

    def between_epochs(self, state: DFNDState, epoch: int, look: Look) -> DFNDState:
        """Before the first epoch, selects the images to keep."""
        if epoch:
            return state
        log_p = log_softmax(np.asarray(self.guide.train.logits, np.float64), axis=1)
        kept = surest(-doubt(log_p), max(1, round(self.keep * len(log_p))))
        return dataclasses.replace(state, selection=state.selection | {"kept": jnp.asarray(kept)})

    def order(self, state: DFNDState, key: jax.Array, task: Task) -> jax.Array:
        """int32 [task.steps, batch size], of the kept images, repeated as needed."""
        drawn = cycled(key, state.selection["kept"], task.steps * task.batch_size)
        return drawn.reshape(task.steps, -1)

    def step(
        self, state: DFNDState, batch: Batch, key: jax.Array, frozen: Any
    ) -> tuple[DFNDState, Metrics, None]:
        """One update. Metrics: distilled_loss, channel_loss; train_accuracy, agreement with the
        given labels, and teacher_agreement. Returns no probabilities for the memory: most images
        are never used."""
        view_key, _ = jax.random.split(key)
        view = self.learner.view(view_key, batch.image)
        said = self.guide.teacher.classify(frozen, view, batch.index).logits
        label = said.argmax(axis=1)

        def loss(params: dict) -> tuple[jax.Array, tuple[dict, Metrics, None]]:
            own = params["1"]
            student, stats = self.learner.network.train(Weights(own, state.batch_stats["1"]), view)
            log_a = log_channel(own[_CHANNEL]["theta"], state.selection["accuracy"])
            log_p = jax.nn.log_softmax(student.logits)
            of_label = jax.nn.logsumexp(log_p + log_a.T[label], axis=1)
            distilled = soft.distillation(student.logits, said, self.temperature).mean()
            unlikely = -of_label.mean()
            agreement = {"train_accuracy": batch.label, "teacher_agreement": label}
            metrics = {"distilled_loss": distilled, "channel_loss": unlikely}
            metrics |= {
                name: learners.agreement(student.logits, wanted)
                for name, wanted in agreement.items()
            }
            return distilled + unlikely, ({"1": stats}, metrics, None)

        return self._with_channel.minimised(state, loss)

    @property
    def _with_channel(self) -> Learner:
        """The learner, with an optimiser that trains the channel by Adam."""
        optimizer = _and_channel(self.learner.optimizer)
        return dataclasses.replace(self.learner, optimizer=optimizer)


def log_channel(theta: jax.Array, accuracy: jax.Array) -> jax.Array:
    """log A, float32 [C, C], where rows of A sum to 1: the accuracy is on the diagonal, the rest is
    split by the softmax over the other entries of the row of theta, float32 [C, C]."""
    is_own = jnp.eye(len(theta), dtype=bool)
    # Small enough to exclude the diagonal, yet finite, so that an accuracy of 1 gives no NaN.
    others = jax.nn.log_softmax(jnp.where(is_own, -1e30, theta))
    rest = jnp.log(jnp.maximum(1 - accuracy, jnp.finfo(jnp.float32).tiny))
    return jnp.where(is_own, jnp.log(accuracy), rest + others)


def _and_channel(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """The optimiser, with Adam for the channel."""

    def is_channel(params: dict) -> dict:
        return {
            network: {
                name: jax.tree.map(lambda _, n=name: n == _CHANNEL, tree)
                for name, tree in modules.items()
            }
            for network, modules in params.items()
        }

    return optax.partition({True: optax.adam(_CHANNEL_LR), False: optimizer}, is_channel)


METHOD = DFND
