"""A robust loss on all given labels: with the relation term, this is RMDNet."""

import dataclasses
from typing import Any

import jax

from rmdnet_jax.methods import learner as learners
from rmdnet_jax.methods.interface import Batch, Metrics, State, Task
from rmdnet_jax.methods.learner import LearnerMethod


@dataclasses.dataclass(frozen=True)
class Robust(LearnerMethod[State]):
    """The learner's own loss, one of losses/robust.py or a user's (RMDNet, equation 11)."""

    @property
    def title(self) -> str:
        """The loss's name: "CE"."""
        return self.learner.loss_name.upper()

    def init(self, key: jax.Array, example: jax.Array, task: Task) -> State:
        """A fresh network."""
        return self.learner.init(key, example)

    def step(
        self, state: State, batch: Batch, key: jax.Array, frozen: Any
    ) -> tuple[State, Metrics, jax.Array]:
        """One update. Metrics: robust_loss and the learner's."""

        def objective(logits):
            robust = self.learner.loss(logits[0], batch.label).mean()
            return robust, {"robust_loss": robust}

        state, metrics, logits = self.learner.update(state, batch, key, frozen, objective)
        return state, metrics, learners.probabilities(logits)


METHOD = Robust
