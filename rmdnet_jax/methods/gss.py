"""GSS, the gradient switching strategy: an image is trained towards a label that is drawn anew at
every visit, from a pool that the network's own word goes into (Yu et al., CVPR 2023, "How to
Prevent the Continuous Damage of Noises to Model Training?").

A sure image is drawn towards its main label; an unsure one towards another label each time, which
cannot be learned by heart.
"""

import dataclasses
from typing import Annotated, Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.ranges import number, one_of
from rmdnet_jax.machine import sharding
from rmdnet_jax.methods import learner as learners
from rmdnet_jax.methods import pool as pools
from rmdnet_jax.methods import samples
from rmdnet_jax.methods.interface import Batch, Look, Metrics, State, Task
from rmdnet_jax.methods.learner import LearnerMethod

# By gss.branches: what the paper calls it, and the number of its networks.
_BRANCHES = {"single": ("SB", 1), "double": ("DB", 2)}

# Makes the key of the draws of a step's key: "draw" in ASCII. A small number would give one of the
# keys that the learner splits it into.
_DRAW = 0x64726177


@flax.struct.dataclass
class GSSState(State):
    """With `pool`, float32 [N, C] by network: what was added to the pool of every image; and
    `progress`, int32 scalars: updates so far, steps_an_epoch, and epochs of the whole training."""

    pool: dict[str, jax.Array]
    progress: dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class GSS(LearnerMethod[GSSState]):
    """The learner's loss of a label that is drawn from the image's pool, which then grows by what
    the network says of the image (methods/pool.py).

    With two branches, each network has a pool of its own to draw from, which grows by what the
    *other* network says.
    """

    branches: Annotated[str, one_of(*_BRANCHES), "networks, each with a pool of its own"] = "single"
    weight_by: Annotated[
        str,
        one_of("predicted", "given"),
        "whose probability weighs the predicted label: its own, or, as equation 7 is printed, the "
        "given label's",
    ] = "predicted"
    draw: Annotated[
        str, one_of("sample", "expected"), "one label a visit, or the mean of the loss over all"
    ] = "sample"
    lambda1: Annotated[float, number(0, 1000), "weight of the predicted label in the pool"] = 2.0
    lambda2: Annotated[float, number(0, 1000), "weight of all labels alike in the pool"] = 1.0

    @property
    def title(self) -> str:
        """The paper's: "GSS-SB"."""
        return f"GSS-{_BRANCHES[self.branches][0]}"

    @property
    def learners(self) -> int:  # type: ignore[override]
        """As many as there are branches."""
        return _BRANCHES[self.branches][1]

    def check(self, task: Task) -> None:
        """Raises InputError for a pool that is too large to lie on every device."""
        size = 4 * task.num_images * task.num_classes
        if size > samples.LARGEST:
            raise InputError(
                f"a pool of GSS has {task.num_images:,} images times {task.num_classes:,} classes, "
                f"{size / 2**30:.3g} GiB on every device; right is at most "
                f"{samples.LARGEST / 2**30:.3g} GiB, or another config.method.name"
            )

    def init(self, key: jax.Array, example: jax.Array, task: Task) -> GSSState:
        """Fresh networks, and pools that nothing was added to."""
        state = self.learner.init(key, example, self.learners)
        shape = (task.num_images, task.num_classes)
        pool = {name: jnp.zeros(shape, jnp.float32) for name in state.params}
        progress = {
            "updates": jnp.zeros((), jnp.int32),
            "steps_an_epoch": jnp.full((), task.steps, jnp.int32),
            "epochs": jnp.full((), task.epochs, jnp.int32),
        }
        return GSSState(state.params, state.batch_stats, state.opt_state, pool, progress)

    def step(
        self, state: GSSState, batch: Batch, key: jax.Array, frozen: Any
    ) -> tuple[GSSState, Metrics, jax.Array]:
        """One update of all networks.

        Metrics: robust_loss, to the labels that are trained on (the mean of the networks');
        pool_of_given, the given labels' share of the pools; drawn_is_given, the share of the draws
        that are the given label, where one is drawn; and the learner's.
        """
        weights = [pools.weights(one[batch.index], batch.label) for one in state.pool.values()]
        targets, of_draw = self._targets(key, weights, batch.label)

        def objective(logits):
            losses = [self._loss(*pair) for pair in zip(logits, targets, strict=True)]
            return sum(losses), {"robust_loss": sum(losses) / len(losses)} | of_draw

        after, metrics, logits = self.learner.update(state, batch, key, frozen, objective)
        pool = self._grown(state, batch, logits)
        progress = state.progress | {"updates": state.progress["updates"] + 1}
        after = dataclasses.replace(after, pool=pool, progress=progress)
        return after, metrics, learners.probabilities(logits)

    def belief(self, state: GSSState, look: Look) -> np.ndarray:
        """The memory of all epochs, and the shares of the pools where that was not kept."""
        if look.is_remembered:
            return look.remembered()
        return shares_of_all(state, look.given)

    def _targets(
        self, key: jax.Array, weights: list[jax.Array], given: jax.Array
    ) -> tuple[list[jax.Array], Metrics]:
        """What each network is trained towards, labels int32 [B] or their shares float32 [B, C];
        and what to log of it."""
        shares = [pools.shares(one) for one in weights]
        metrics = {"pool_of_given": _mean_at(shares, given)}
        if self.draw == "expected":
            return shares, metrics
        keys = jax.random.split(jax.random.fold_in(key, _DRAW), len(weights))
        drawn = [pools.draw(*pair) for pair in zip(keys, weights, strict=True)]
        is_given = jnp.stack([one == given for one in drawn])
        return drawn, metrics | {"drawn_is_given": is_given.astype(jnp.float32).mean()}

    def _loss(self, logits: jax.Array, target: jax.Array) -> jax.Array:
        """Of a batch and one network's target, float32 scalar."""
        if self.draw == "expected":
            return pools.expected(self.learner.loss, logits, target).mean()
        return self.learner.loss(logits, target).mean()

    def _grown(
        self, state: GSSState, batch: Batch, logits: list[jax.Array]
    ) -> dict[str, jax.Array]:
        """The pools after a batch of which the networks said `logits`."""
        grown, progress = {}, _progress(state.progress)
        # Of two networks each pool gets the other's word; of one its own.
        for (name, added), said in zip(state.pool.items(), reversed(logits), strict=True):
            more = pools.increment(
                said, batch.label, progress, self.lambda1, self.lambda2, self.weight_by
            )
            # Every device keeps all of a pool, and so needs what is added for the whole batch.
            index, more = sharding.whole((batch.index, more))
            grown[name] = added.at[index].add(more)
        return grown


def shares_of_all(state: GSSState, given: np.ndarray) -> np.ndarray:
    """The labels' shares of the pools of all images, the mean of all pools: float32 [N, C] on the
    host; zeros for an image that was in no batch."""
    added = np.mean([np.asarray(jax.device_get(one)) for one in state.pool.values()], axis=0)
    weights = added + np.eye(added.shape[1], dtype=np.float32)[given]
    is_seen = added.any(axis=1, keepdims=True)
    return np.where(is_seen, weights / weights.sum(axis=1, keepdims=True), 0)


def _progress(counters: dict[str, jax.Array]) -> jax.Array:
    """s = e / E in [0, 1), float32 scalar: whole epochs done, of all."""
    epoch = counters["updates"] // counters["steps_an_epoch"]
    return epoch.astype(jnp.float32) / counters["epochs"].astype(jnp.float32)


def _mean_at(shares: list[jax.Array], given: jax.Array) -> jax.Array:
    """The mean share of the given labels, float32 scalar."""
    return jnp.stack([jnp.take_along_axis(one, given[:, None], axis=1) for one in shares]).mean()


METHOD = GSS
