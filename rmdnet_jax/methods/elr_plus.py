"""ELR+: early-learning regularisation of two networks, each held by what an average of the other
one said early, and trained on mixed images (Liu et al. 2020, arXiv 2007.00151, section 4.3)."""

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

# Makes the key of the mixing of a step's key: "mix" in ASCII.
_MIX = 0x6D6978


@flax.struct.dataclass
class ELRPlusState(State):
    """With `target`, float32 [N, C] by network: the average t, for this network, of what the
    *other's* average said of every image; `average`, Weights by network, of each over its updates;
    and `progress`, int32 scalars: updates so far, and all of the training."""

    target: dict[str, jax.Array]
    average: dict[str, Weights]
    progress: dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class ELRPlus(LearnerMethod[ELRPlusState]):
    """Each network minimises, on a view of the batch that is mixed with itself by MixUp, its loss
    of the labels mixed alike + weight * mean log(1 - <q, p>). q is the t of the images, mixed
    alike; t takes in what an average over the updates of the other network's parameters says of the
    view unmixed.

    The averages' decay rises in the first `ramp` of all updates.
    """

    beta: Annotated[float, BELOW_1, "share of the average that stays at an update"] = 0.7
    weight: Annotated[float, number(0, 1000), "of the regulariser, the paper's lambda"] = 3.0
    alpha: Annotated[float, number(0.01, 1000), "of MixUp's Beta(alpha, alpha)"] = 1.0
    decay: Annotated[float, BELOW_1, "of the averages of the networks, in the end"] = 0.997
    ramp: Annotated[float, SHARE, "of the training, in which that decay rises"] = 0.5

    title = "ELR+"
    learners: ClassVar[int] = 2

    def init(self, key: jax.Array, example: jax.Array, task: Task) -> ELRPlusState:
        """Two fresh networks, which are their own averages, and averages t of zeros."""
        state = self.learner.init(key, example, networks=2)
        shape = task.num_images, task.num_classes
        target = {name: jnp.zeros(shape, jnp.float32) for name in _OTHER}
        # Copies: a step is given the whole state's buffers, and each of them once.
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
        train_accuracy, by the averages. What is said, for the memory, is said by these together."""
        view = self.learner.augmented(key, batch.image)
        said = {
            name: jax.nn.softmax(self.network.predict(weights, view).logits)
            for name, weights in state.average.items()
        }
        # Every device keeps all of the averages, and so needs what is said of the whole batch.
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
        """Of the averages at this update, float32."""
        rising = self.ramp * progress["all"].astype(jnp.float32)
        share = (progress["updates"] + 1).astype(jnp.float32) / jnp.maximum(rising, 1)
        return self.decay * averages.sigmoid_ramp(share)


def _networks(state: State) -> dict[str, Weights]:
    return {name: Weights(state.params[name], state.batch_stats[name]) for name in _OTHER}


METHOD = ELRPlus
