"""Early-learning regularisation (ELR): a network's early predictions, from before it memorises
wrong labels, regularise its later ones (Liu et al. 2020, arXiv 2007.00151)."""

import dataclasses
from typing import Annotated, Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from rmdnet_jax.base.ranges import BELOW_1, number
from rmdnet_jax.machine import sharding
from rmdnet_jax.methods import learner as learners
from rmdnet_jax.methods import samples
from rmdnet_jax.methods.interface import Batch, Look, Metrics, State, Task
from rmdnet_jax.methods.learner import LearnerMethod

# Probabilities are kept away from 0 and 1, as in the authors' code: the regulariser is unbounded
# below in form, and so stays above weight * log(2e-4).
_CLIP = 1e-4


@flax.struct.dataclass
class ELRState(State):
    """Adds `target`, {"mean": float32 [N, C]}: the average t of every image's predictions."""

    target: dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class ELR(LearnerMethod[ELRState]):
    """The learner's loss + weight * mean log(1 - <t, p>), where t is an average over the epochs of
    the network's own predictions p for the image, without a gradient (equations 6 and 9).

    The loss may be negative, since the second part is at most 0.
    """

    beta: Annotated[float, BELOW_1, "share of the average kept at each update"] = 0.7
    weight: Annotated[float, number(0, 1000), "weight of the regulariser, the paper's lambda"] = 3.0

    title = "ELR"

    def check(self, task: Task) -> None:
        """Raises InputError for an average that is too large."""
        samples.check(self.title, 1, task)

    def init(self, key: jax.Array, example: jax.Array, task: Task) -> ELRState:
        """A fresh network, and an average of zeros."""
        state = self.learner.init(key, example)
        mean = jnp.zeros((task.num_images, task.num_classes), jnp.float32)
        return ELRState(state.params, state.batch_stats, state.opt_state, {"mean": mean})

    def step(
        self, state: ELRState, batch: Batch, key: jax.Array, frozen: Any
    ) -> tuple[ELRState, Metrics, jax.Array]:
        """One update. Metrics: robust_loss, early_learning (the second part unweighted, at most 0)
        and the learner's."""

        def averaged(logits):
            p = _clipped(jax.lax.stop_gradient(logits))
            # Every device keeps the whole average, and so needs the predictions of the whole batch.
            index, p = sharding.whole((batch.index, p / p.sum(axis=1, keepdims=True)))
            return samples.average(state.target["mean"], index, p, self.beta)

        def objective(logits):
            _, target = averaged(logits[0])
            robust = self.learner.loss(logits[0], batch.label).mean()
            early = early_learning(target, logits[0])
            return robust + self.weight * early, {"robust_loss": robust, "early_learning": early}

        after, metrics, logits = self.learner.update(state, batch, key, frozen, objective)
        mean, _ = averaged(logits[0])
        after = dataclasses.replace(after, target={"mean": mean})
        return after, metrics, learners.probabilities(logits)

    def belief(self, state: ELRState, look: Look) -> np.ndarray:
        """The memory of all epochs, or the average if there is no memory."""
        if look.is_remembered:
            return look.remembered()
        mean = np.asarray(jax.device_get(state.target["mean"]))
        return mean / np.maximum(mean.sum(axis=1, keepdims=True), 1e-12)


def early_learning(target: jax.Array, logits: jax.Array) -> jax.Array:
    """mean log(1 - <t, p>), float32 scalar, at most 0 (equation 6).

    Args:
      target: float32 [B, C], t; rows sum to at most 1.
      logits: float32 [B, C], of p.
    """
    agreement = jnp.sum(target * _clipped(logits), axis=1)
    return jnp.log(1 - agreement).mean()


def _clipped(logits: jax.Array) -> jax.Array:
    return jnp.clip(jax.nn.softmax(logits), _CLIP, 1 - _CLIP)


METHOD = ELR
