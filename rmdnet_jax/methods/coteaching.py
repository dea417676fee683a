"""Co-teaching: two networks, each trained on the images of a batch whose labels the other finds
easy (Han et al. 2018, arXiv 1804.06872)."""

import dataclasses
from typing import Annotated, Any, ClassVar

import flax.struct
import jax
import jax.numpy as jnp

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.ranges import BELOW_1, whole
from rmdnet_jax.methods import learner as learners
from rmdnet_jax.methods import select
from rmdnet_jax.methods.interface import Batch, Look, Metrics, State, Task
from rmdnet_jax.methods.learner import LearnerMethod

# A share of a batch that is a whole number but for float32's rounding is that number.
_ROUNDING = 1e-4


@flax.struct.dataclass
class CoTeachingState(State):
    """With `selection`, scalars by name.

    updates and steps_an_epoch, int32, count the epochs; rate, float32, is the share of every batch
    that is left out in the end, and first, int32, the epoch in which the first are left out.
    """

    selection: dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class CoTeaching(LearnerMethod[CoTeachingState]):
    """Each network is updated on the `keep` smallest of the *other's* losses of the batch. `keep`
    falls from all in the first epoch to a share 1 - rate in epoch number `ramp`.

    The rate of wrong labels is assumed to be known, as in the paper; where it is not given, all are
    kept for `ramp` epochs, and it is estimated at their end from what was said of the images
    meanwhile.
    """

    rate: Annotated[float | None, BELOW_1, "share of wrong labels; None is estimated"] = None
    ramp: Annotated[int, whole(1, 10**6), "epochs in which the share left out rises"] = 10

    title = "Co-teaching"
    learners: ClassVar[int] = 2

    def check(self, task: Task) -> None:
        """Raises InputError for a training that ends before anything is left out."""
        starts = 1 + (0 if self.rate is not None else self.ramp)
        if self.rate != 0 and task.epochs <= starts:
            raise InputError(
                f"Co-teaching leaves nothing out in the first {starts} of {task.epochs} epochs "
                "(train.epochs); right is more, a smaller coteaching.ramp, or a coteaching.rate"
            )

    def init(self, key: jax.Array, example: jax.Array, task: Task) -> CoTeachingState:
        """Two fresh networks, from keys of their own."""
        state = self.learner.init(key, example, networks=2)
        is_known = self.rate is not None
        selection = {
            "updates": jnp.zeros((), jnp.int32),
            "steps_an_epoch": jnp.full((), task.steps, jnp.int32),
            "rate": jnp.full((), self.rate or 0, jnp.float32),
            "first": jnp.full((), 0 if is_known else self.ramp, jnp.int32),
        }
        return CoTeachingState(state.params, state.batch_stats, state.opt_state, selection)

    def step(
        self, state: CoTeachingState, batch: Batch, key: jax.Array, frozen: Any
    ) -> tuple[CoTeachingState, Metrics, jax.Array]:
        """One update of both. Metrics: robust_loss (the mean of both, on what they are updated on),
        kept (the share of the batch) and the learner's."""
        size = len(batch.label)
        keep = self._keep(state.selection, size)

        def objective(logits):
            losses = [self.learner.loss(one, batch.label) for one in logits]
            chosen = [select.smallest(one, keep) for one in losses]
            count = keep.astype(jnp.float32)
            own, other = ((losses[i] * chosen[1 - i]).sum() / count for i in (0, 1))
            kept = keep.astype(jnp.float32) / size
            return own + other, {"robust_loss": (own + other) / 2, "kept": kept}

        after, metrics, logits = self.learner.update(state, batch, key, frozen, objective)
        selection = state.selection | {"updates": state.selection["updates"] + 1}
        after = dataclasses.replace(after, selection=selection)
        return after, metrics, learners.probabilities(logits)

    def between_epochs(self, state: CoTeachingState, epoch: int, look: Look) -> CoTeachingState:
        """At the end of the warm-up the rate, where it is not known."""
        if self.rate is not None or epoch != self.ramp:
            return state
        # What cannot be told of leaves nothing out.
        selection = state.selection | {"rate": jnp.full((), look.noise().rate or 0, jnp.float32)}
        return dataclasses.replace(state, selection=selection)

    def _keep(self, selection: dict[str, jax.Array], size: int) -> jax.Array:
        """How many of a batch of `size` are kept in this step, int32: floor((1 - R) size) or 1."""
        epoch = selection["updates"] // selection["steps_an_epoch"] - selection["first"]
        rising = epoch.astype(jnp.float32) / max(self.ramp - 1, 1)
        left_out = selection["rate"] * jnp.clip(rising, 0, 1)
        kept = jnp.floor((1 - left_out) * size + _ROUNDING).astype(jnp.int32)
        return jnp.maximum(kept, 1)


METHOD = CoTeaching
