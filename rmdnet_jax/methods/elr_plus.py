"""ELR+: early-learning regularisation of two networks, each by the early predictions of the other
one's weight average, trained on mixed images (Liu et al. 2020, arXiv 2007.00151, section 4.3)."""

import dataclasses
from typing import Annotated, Any, ClassVar

import flax.struct
import jax
import jax.numpy as jnp

from rmdnet_jax.base.ranges import BELOW_1, SHARE, number
from rmdnet_jax.machine import sharding
from rmdnet_jax.methods import averages, samples
from rmdnet_jax.methods.elr import early_learning
from rmdnet_jax.methods.interface import Batch, Metrics, State, Task, Weights
from rmdnet_jax.methods.learner import LearnerMethod
from rmdnet_jax.methods.mixup import mixup

_OTHER = {"1": "2", "2": "1"}

# Folded into a step's key to make the key of the mixing: "mix" in ASCII.
_MIX = 0x6D6978


@flax.struct.dataclass
class ELRPlusState(State):
    """Adds `target`, float32 [N, C] by network: the average t, for this network, of the predictions
    of the *other's* weight average for every image; `average`, Weights by network, averaged over
    its updates; and `progress`, int32 scalars: updates so far, and all updates of the training."""

    target: dict[str, jax.Array]
    average: dict[str, Weights]
    progress: dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class ELRPlus(LearnerMethod[ELRPlusState]):
    """Each network minimises, on a view of the batch mixed with itself by MixUp, its loss on the
    labels mixed likewise + weight * mean log(1 - <q, p>). q is the t of the images, mixed likewise;
    t averages the predictions for the unmixed view by the weight average of the other network.

    The decay of the weight averages rises over the first `ramp` of all updates.
    """

    beta: Annotated[float, BELOW_1, "share of the average kept at each update"] = 0.7
    weight: Annotated[float, number(0, 1000), "weight of the regulariser, the paper's lambda"] = 3.0
    alpha: Annotated[float, number(0.01, 1000), "parameter of MixUp's Beta(alpha, alpha)"] = 1.0
    decay: Annotated[float, BELOW_1, "final decay of the weight averages"] = 0.997
    ramp: Annotated[float, SHARE, "share of training over which the decay rises"] = 0.5

    title = "ELR+"
    learners: ClassVar[int] = 2

    def check(self, task: Task) -> None:
        """Raises InputError for averages that are too large."""
        samples.check(self.title, self.learners, task)

    def init(self, key: jax.Array, example: jax.Array, task: Task) -> ELRPlusState:
        """Two fresh networks, which start as their own averages, and averages t of zeros."""
        state = self.learner.init(key, example, networks=2)
        shape = task.num_images, task.num_classes
        target = {name: jnp.zeros(shape, jnp.float32) for name in _OTHER}
        # Copies: a step donates the whole state's buffers, and each of them only once.
        average = jax.tree.map(jnp.array, _networks(state))
        progress = {
            "updates": jnp.zeros((), jnp.int32),
            "all": jnp.full((), task.epochs * task.steps, jnp.int32),
        }
        trained = state.params, state.batch_stats, state.opt_state
        return ELRPlusState(*trained, target, average, progress)

    def step(
        self, state: ELRPlusState, batch: Batch, key: jax.Array, frozen: Any
    ) -> tuple[ELRPlusState, Metrics, jax.Array]:
        """One update of both. Metrics: robust_loss and early_learning, means of both networks;
        train_accuracy, of the weight averages. These together also give the probabilities for the
        memory."""
        view = self.learner.augmented(key, batch.image)
        said = {
            name: jax.nn.softmax(self.network.predict(weights, view).logits)
            for name, weights in state.average.items()
        }
        # Every device keeps all averages, and so needs the predictions of the whole batch.
        index, heard = sharding.whole((batch.index, {name: said[_OTHER[name]] for name in _OTHER}))
        averaged = {
            name: samples.average(state.target[name], index, heard[name], self.beta)
            for name in _OTHER
        }
        keys = jax.random.split(jax.random.fold_in(key, _MIX), len(_OTHER))
        x = self.learner.as_input(view)
        mixed = {
            name: mixup(one, x, averaged[name][1], self.alpha, at_least_half=True)
            for name, one in zip(_OTHER, keys, strict=True)
        }

        def objective(logits):
            losses, early = [], []
            for one, mix in zip(logits, mixed.values(), strict=True):
                given = self.learner.loss(one, batch.label)
                other = self.learner.loss(one, batch.label[mix.partner])
                losses.append((mix.lam * given + (1 - mix.lam) * other).mean())
                early.append(early_learning(mix.y, one))
            loss = sum(losses) + self.weight * sum(early)
            return loss, {"robust_loss": sum(losses) / 2, "early_learning": sum(early) / 2}

        views = {name: one.x for name, one in mixed.items()}
        after, metrics, _ = self.learner.update_each(state, views, objective)
        after = dataclasses.replace(
            after,
            target={name: mean for name, (mean, _) in averaged.items()},
            average=averages.average(state.average, _networks(after), self._decay(state.progress)),
            progress=state.progress | {"updates": state.progress["updates"] + 1},
        )
        together = (said["1"] + said["2"]) / 2
        agreement = (together.argmax(axis=1) == batch.label).astype(jnp.float32).mean()
        return after, metrics | {"train_accuracy": agreement}, together

    def _decay(self, progress: dict[str, jax.Array]) -> jax.Array:
        """The decay of the weight averages at this update, float32."""
        rising = self.ramp * progress["all"].astype(jnp.float32)
        share = (progress["updates"] + 1).astype(jnp.float32) / jnp.maximum(rising, 1)
        return self.decay * averages.sigmoid_ramp(share)


def _networks(state: State) -> dict[str, Weights]:
    return {name: Weights(state.params[name], state.batch_stats[name]) for name in _OTHER}


METHOD = ELRPlus
