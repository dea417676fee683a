"""The common part of two-network methods that learn only from small-loss images: how many images of
a batch are kept, over the course of training."""

import abc
import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import flax.struct
import jax
import jax.numpy as jnp

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.ranges import BELOW_1, whole
from rmdnet_jax.methods import learner as learners
from rmdnet_jax.methods.interface import Batch, Look, Metrics, State, Task
from rmdnet_jax.methods.learner import LearnerMethod

# A number of images within float32 rounding of a whole number counts as that number.
_ROUNDING = 1e-4


@flax.struct.dataclass
class SmallLossState(State):
    """Adds `selection`, scalars by name.

    updates and steps_an_epoch, int32, count the epochs; rate, float32, is the final share of every
    batch that is left out; first, int32, is the epoch in which the first images are left out.
    """

    selection: dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class SmallLoss(LearnerMethod[SmallLossState], abc.ABC):
    """Two networks are updated on `keep` images of a batch: all in the first epoch, and a share
    1 - rate in epoch number `ramp`. Which ones are kept, and how, is up to the method.

    The rate of wrong labels is assumed to be known, as in the papers. If it is not given, all
    images are kept for `ramp` epochs, and then it is estimated from the predictions made in them;
    if these are not informative, the middle of its possible range is used.
    """

    rate: Annotated[float | None, BELOW_1, "share of wrong labels; None: estimated"] = None
    ramp: Annotated[int, whole(1, 10**6), "epochs over which the share left out rises"] = 10

    learners: ClassVar[int] = 2
    # The name of its group of fields.
    name: ClassVar[str]

    @abc.abstractmethod
    def objective(
        self, logits: Sequence[jax.Array], label: jax.Array, keep: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        """The loss to minimise, and metrics to log, including robust_loss.

        Args:
          logits: float32 [B, C], of both networks.
          label: int32 [B], given.
          keep: int32 scalar in [1, B].
        """

    def check(self, task: Task) -> None:
        """Raises InputError if training ends before anything is left out."""
        starts = 1 + (0 if self.rate is not None else self.ramp)
        if self.rate != 0 and task.epochs <= starts:
            raise InputError(
                f"{self.title} keeps all images for {starts} epochs, but train.epochs is "
                f"{task.epochs}; expected more, a smaller {self.name}.ramp, or a {self.name}.rate"
            )

    def init(self, key: jax.Array, example: jax.Array, task: Task) -> SmallLossState:
        """Two fresh networks, each from its own key."""
        state = self.learner.init(key, example, networks=2)
        is_known = self.rate is not None
        selection = {
            "updates": jnp.zeros((), jnp.int32),
            "steps_an_epoch": jnp.full((), task.steps, jnp.int32),
            "rate": jnp.full((), self.rate or 0, jnp.float32),
            "first": jnp.full((), 0 if is_known else self.ramp, jnp.int32),
        }
        return SmallLossState(state.params, state.batch_stats, state.opt_state, selection)

    def step(
        self, state: SmallLossState, batch: Batch, key: jax.Array, frozen: Any
    ) -> tuple[SmallLossState, Metrics, jax.Array]:
        """One update of both. Metrics: the objective's, kept (the share of the batch) and the
        learner's."""
        size = len(batch.label)
        keep = self._keep(state.selection, size)

        def objective(logits):
            loss, metrics = self.objective(logits, batch.label, keep)
            return loss, metrics | {"kept": keep.astype(jnp.float32) / size}

        after, metrics, logits = self.learner.update(state, batch, key, frozen, objective)
        selection = state.selection | {"updates": state.selection["updates"] + 1}
        after = dataclasses.replace(after, selection=selection)
        return after, metrics, learners.probabilities(logits)

    def between_epochs(self, state: SmallLossState, epoch: int, look: Look) -> SmallLossState:
        """Estimates the rate at the end of the warm-up, if it is not known."""
        if self.rate is not None or epoch != self.ramp:
            return state
        selection = state.selection | {"rate": jnp.full((), look.noise().guess, jnp.float32)}
        return dataclasses.replace(state, selection=selection)

    def _keep(self, selection: dict[str, jax.Array], size: int) -> jax.Array:
        """How many of a batch of `size` are kept in this step, int32: floor((1 - R) size) or 1."""
        epoch = selection["updates"] // selection["steps_an_epoch"] - selection["first"]
        rising = epoch.astype(jnp.float32) / max(self.ramp - 1, 1)
        left_out = selection["rate"] * jnp.clip(rising, 0, 1)
        kept = jnp.floor((1 - left_out) * size + _ROUNDING).astype(jnp.int32)
        return jnp.maximum(kept, 1)
