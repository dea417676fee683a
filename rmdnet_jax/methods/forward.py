"""Forward correction: the network predicts the true class, and is trained through the noise model,
P(given | x) = P(true | x) T (Patrini et al. 2017, arXiv 1609.03683, theorem 2).

A loss that is robust to uniform noise is not robust to classes that turn into one other class: of
40 % such labels, a network learns half. Under the loss of the corrected probabilities it gains
nothing by learning them.
"""

import dataclasses
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from rmdnet_jax.methods import learner as learners
from rmdnet_jax.methods.interface import Batch, Look, Metrics, State, Task
from rmdnet_jax.methods.learner import LearnerMethod

# T is estimated before these shares of the epochs: early, since wrong labels are learned late, and
# again, since a network that is less misled reveals more of them. Tuned on the features of Tiny
# ImageNet's classes (docs/encoders.md).
_ESTIMATED_AT = (0.2, 0.4, 0.6)

# Probabilities are kept above this before taking logarithms.
_LEAST = 1e-12


@flax.struct.dataclass
class ForwardState(State):
    """Adds `noise`: transition, float32 [C, C], the estimated P(given | true); is_known, bool,
    whether it is used; and epochs, int32, of the whole training."""

    noise: dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Forward(LearnerMethod[ForwardState]):
    """The learner's own loss on the network's probabilities multiplied by T.

    T is not given: it is estimated three times during training, and used once it shows systematic
    confusions of classes. Until then, or if there are none, this is the plain loss: robust losses
    handle uniform noise, and an estimated T adds its own error.
    """

    @property
    def title(self) -> str:
        """Includes the loss's name: "Forward GCE"."""
        return f"Forward {self.learner.loss_name.upper()}"

    def init(self, key: jax.Array, example: jax.Array, task: Task) -> ForwardState:
        """A fresh network, and no knowledge of the noise."""
        state = self.learner.init(key, example)
        noise = {
            "transition": jnp.eye(task.num_classes, dtype=jnp.float32),
            "is_known": jnp.zeros((), bool),
            "epochs": jnp.full((), task.epochs, jnp.int32),
        }
        return ForwardState(state.params, state.batch_stats, state.opt_state, noise)

    def step(
        self, state: ForwardState, batch: Batch, key: jax.Array, frozen: Any
    ) -> tuple[ForwardState, Metrics, jax.Array]:
        """One update. Metrics: robust_loss and the learner's."""

        def objective(logits):
            corrected = corrected_logits(logits[0], state.noise["transition"])
            said = jnp.where(state.noise["is_known"], corrected, logits[0])
            robust = self.learner.loss(said, batch.label).mean()
            return robust, {"robust_loss": robust}

        state, metrics, logits = self.learner.update(state, batch, key, frozen, objective)
        return state, metrics, learners.probabilities(logits)

    def between_epochs(self, state: ForwardState, epoch: int, look: Look) -> ForwardState:
        """Estimates T at its times."""
        epochs = int(state.noise["epochs"])
        if epoch not in {round(share * epochs) for share in _ESTIMATED_AT} - {0}:
            return state
        found = look.noise()
        known = {
            "transition": jnp.asarray(found.transition, jnp.float32),
            "is_known": jnp.asarray(found.habits is not None),
        }
        return dataclasses.replace(state, noise=state.noise | known)


def corrected_logits(logits: jax.Array, transition: jax.Array) -> jax.Array:
    """Logits float32 [B, C] whose softmax is softmax(logits) T, of [B, C] and [C, C]; a class that
    T leaves less than 1e-12 has that, and no gradient."""
    # Accelerators would otherwise multiply in tf32 or bfloat16.
    mixed = jnp.matmul(jax.nn.softmax(logits), transition, precision=jax.lax.Precision.HIGHEST)
    return jnp.log(jnp.maximum(mixed, _LEAST))


METHOD = Forward
