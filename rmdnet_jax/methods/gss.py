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
from rmdnet_jax.methods import learner as learners
from rmdnet_jax.methods import pool as pools
from rmdnet_jax.methods.dividemix import Division
from rmdnet_jax.methods.gss_ssl import TARGETS, DividedGSS
from rmdnet_jax.methods.interface import Batch, Look, Metrics, S, State, Task
from rmdnet_jax.methods.learner import Learner

# By gss.branches: what the paper calls it, and the number of its networks.
_BRANCHES = {"single": ("SB", 1), "double": ("DB", 2), "ssl": ("SSL", 2)}


@flax.struct.dataclass
class GSSState(State):
    """With `pool`, float32 [N, C] by network: what was added to the pool of every image; and
    `progress`, int32 scalars: updates so far, steps_an_epoch, and epochs of the whole training."""

    pool: dict[str, jax.Array]
    progress: dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class SemiSupervision(Division[S]):
    """Fields that `branches` "ssl" alone reads; lambda1 and lambda2 in it are of its own."""

    labelled_lambda1: Annotated[float, number(0, 1000), "lambda1 of labelled images, ssl"] = 0.1
    labelled_lambda2: Annotated[float, number(0, 1000), "lambda2 of labelled images, ssl"] = 0.0
    unlabelled_lambda1: Annotated[float, number(0, 1000), "lambda1 of unlabelled images, ssl"] = 0.2
    unlabelled_lambda2: Annotated[float, number(0, 1000), "lambda2 of unlabelled images, ssl"] = 0.5
    ssl_target: Annotated[
        str,
        one_of(*TARGETS),
        "what unlabelled images are taken for, ssl: a draw, the pool's shares, or DivideMix's",
    ] = "draw"


@dataclasses.dataclass(frozen=True)
class GSS(SemiSupervision[GSSState]):
    """The learner's loss of a label that is drawn from the image's pool, which then grows by what
    the network says of the image (methods/pool.py).

    With two branches, each network has a pool of its own to draw from, which grows by what the
    *other* network says. With semi-supervision it is DivideMix with pools (methods/gss_ssl.py), and
    has its fields.
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

    @classmethod
    def of(cls, learner: Learner, **parameters: Any) -> "GSS | DividedGSS":
        """Of the branches that are asked for; with semi-supervision it is a DivideMix.

        Raises:
          InputError: a field is given that these branches do not read.
        """
        gss = cls(learner, **parameters)
        of_ssl = {one.name for one in dataclasses.fields(SemiSupervision)} - {"learner"}
        is_ssl = gss.branches == "ssl"
        unread = ("draw", "lambda1", "lambda2") if is_ssl else sorted(of_ssl)
        for one in dataclasses.fields(cls):
            if one.name in unread and (value := getattr(gss, one.name)) != one.default:
                raise InputError(
                    f"config.gss.{one.name} is {value!r} with config.gss.branches = "
                    f"{gss.branches!r}, which does not read it; expected {one.default!r}, or "
                    f"--config.gss.branches={'single' if is_ssl else 'ssl'}"
                )
        return gss._divided() if is_ssl else gss

    def check(self, task: Task) -> None:
        """Raises InputError for pools that are too large, or a method that `of` has not made."""
        if self.branches == "ssl":
            raise InputError("GSS with branches 'ssl' is another class; expected GSS.of(...)")
        pools.check(task)

    def init(self, key: jax.Array, example: jax.Array, task: Task) -> GSSState:
        """Fresh networks, and pools that nothing was added to."""
        state = self.learner.init(key, example, self.learners)
        pool = pools.fresh(state.params, task)
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
        return pools.shares_of_all(state.pool.values(), look.given)

    def _divided(self) -> DividedGSS:
        frame = {one.name: getattr(self, one.name) for one in dataclasses.fields(Division)}
        labelled = self.labelled_lambda1, self.labelled_lambda2
        unlabelled = self.unlabelled_lambda1, self.unlabelled_lambda2
        return DividedGSS(
            **frame, weight_by=self.weight_by, target=self.ssl_target,
            lambdas=(labelled, unlabelled),
        )  # fmt: skip

    def _targets(
        self, key: jax.Array, weights: list[jax.Array], given: jax.Array
    ) -> tuple[list[jax.Array], Metrics]:
        """What each network is trained towards, labels int32 [B] or their shares float32 [B, C];
        and what to log of it."""
        shares = [pools.shares(one) for one in weights]
        metrics = {"pool_of_given": pools.share_of_given(shares, given)}
        if self.draw == "expected":
            return shares, metrics
        keys = jax.random.split(jax.random.fold_in(key, pools.DRAW), len(weights))
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
            grown[name] = pools.grown(added, batch.index, more)
        return grown


def _progress(counters: dict[str, jax.Array]) -> jax.Array:
    """s = e / E in [0, 1), float32 scalar: whole epochs done, of all."""
    epoch = counters["updates"] // counters["steps_an_epoch"]
    return epoch.astype(jnp.float32) / counters["epochs"].astype(jnp.float32)


METHOD = GSS
