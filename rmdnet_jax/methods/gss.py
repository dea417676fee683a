"""GSS, the gradient switching strategy: an image is trained on a label drawn anew at every visit
from a pool that the network's own predictions are added to (Yu et al., CVPR 2023, "How to Prevent
the Continuous Damage of Noises to Model Training?").

A confident image is trained on its main label; an uncertain one on a different label each time,
which cannot be memorised.
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
from rmdnet_jax.methods import samples
from rmdnet_jax.methods.dividemix import Division
from rmdnet_jax.methods.gss_ssl import TARGETS, DividedGSS
from rmdnet_jax.methods.interface import Batch, Look, Metrics, S, State, Task
from rmdnet_jax.methods.learner import Learner

# By gss.branches: the paper's name, and the number of networks.
_BRANCHES = {"single": ("SB", 1), "double": ("DB", 2), "ssl": ("SSL", 2)}


@flax.struct.dataclass
class GSSState(State):
    """Adds `pool`, float32 [N, C] by network: what was added to the pool of every image; and
    `progress`, int32 scalars: updates so far, steps_an_epoch, and epochs of the whole training."""

    pool: dict[str, jax.Array]
    progress: dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class SemiSupervision(Division[S]):
    """Fields that only `branches` "ssl" reads; it has its own lambda1 and lambda2."""

    labelled_lambda1: Annotated[float, number(0, 1000), "lambda1 of labelled images, ssl"] = 0.1
    labelled_lambda2: Annotated[float, number(0, 1000), "lambda2 of labelled images, ssl"] = 0.0
    unlabelled_lambda1: Annotated[float, number(0, 1000), "lambda1 of unlabelled images, ssl"] = 0.2
    unlabelled_lambda2: Annotated[float, number(0, 1000), "lambda2 of unlabelled images, ssl"] = 0.5
    ssl_target: Annotated[
        str,
        one_of(*TARGETS),
        "targets of unlabelled images, ssl: a draw, the pool's shares, or DivideMix's",
    ] = "draw"


@dataclasses.dataclass(frozen=True)
class GSS(SemiSupervision[GSSState]):
    """The learner's loss on a label drawn from the image's pool, which then grows by the network's
    prediction for the image (methods/pool.py).

    With two branches, each network draws from its own pool, which grows by the predictions of the
    *other* network. With semi-supervision it is DivideMix with pools (methods/gss_ssl.py), and has
    DivideMix's fields.
    """

    branches: Annotated[str, one_of(*_BRANCHES), "networks, each with its own pool"] = "single"
    weight_by: Annotated[
        str,
        one_of("predicted", "given"),
        "probability that weights the predicted label: its own, or the given label's, as equation "
        "7 is printed",
    ] = "predicted"
    draw: Annotated[
        str, one_of("sample", "expected"), "one label per visit, or the mean loss over all"
    ] = "sample"
    lambda1: Annotated[float, number(0, 1000), "weight of the predicted label in the pool"] = 2.0
    lambda2: Annotated[float, number(0, 1000), "equal weight of all labels in the pool"] = 1.0

    @property
    def title(self) -> str:
        """The paper's name: "GSS-SB"."""
        return f"GSS-{_BRANCHES[self.branches][0]}"

    @property
    def learners(self) -> int:  # type: ignore[override]
        """The number of branches."""
        return _BRANCHES[self.branches][1]

    @classmethod
    def of(cls, learner: Learner, **parameters: Any) -> "GSS | DividedGSS":
        """The method of the requested branches; with semi-supervision it is a DivideMix.

        Raises:
          InputError: a field is set that these branches do not read.
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
        """Raises InputError for pools that are too large, or a method not made by `of`."""
        if self.branches == "ssl":
            raise InputError("GSS with branches 'ssl' is another class; expected GSS.of(...)")
        samples.check(self.title, self.learners, task)

    def init(self, key: jax.Array, example: jax.Array, task: Task) -> GSSState:
        """Fresh networks, and empty pools."""
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

        Metrics: robust_loss on the labels trained on (the networks' mean); pool_of_given, the given
        labels' share of the pools; drawn_is_given, the share of draws that give the given label,
        if labels are drawn; and the learner's.
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
        """The memory of all epochs, or the shares of the pools if there is no memory."""
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
        """Each network's targets, labels int32 [B] or their shares float32 [B, C]; and metrics of
        them."""
        shares = [pools.shares(one) for one in weights]
        metrics = {"pool_of_given": pools.share_of_given(shares, given)}
        if self.draw == "expected":
            return shares, metrics
        keys = jax.random.split(jax.random.fold_in(key, pools.DRAW), len(weights))
        drawn = [pools.draw(*pair) for pair in zip(keys, weights, strict=True)]
        is_given = jnp.stack([one == given for one in drawn])
        return drawn, metrics | {"drawn_is_given": is_given.astype(jnp.float32).mean()}

    def _loss(self, logits: jax.Array, target: jax.Array) -> jax.Array:
        """The loss of a batch on one network's target, float32 scalar."""
        if self.draw == "expected":
            return pools.expected(self.learner.loss, logits, target).mean()
        return self.learner.loss(logits, target).mean()

    def _grown(
        self, state: GSSState, batch: Batch, logits: list[jax.Array]
    ) -> dict[str, jax.Array]:
        """The pools after a batch for which the networks gave `logits`."""
        grown, progress = {}, _progress(state.progress)
        # With two networks, each pool gets the other's prediction; with one, its own.
        for (name, added), said in zip(state.pool.items(), reversed(logits), strict=True):
            more = pools.increment(
                said, batch.label, progress, self.lambda1, self.lambda2, self.weight_by
            )
            grown[name] = pools.grown(added, batch.index, more)
        return grown


def _progress(counters: dict[str, jax.Array]) -> jax.Array:
    """s = e / E in [0, 1), float32 scalar: completed epochs out of all."""
    epoch = counters["updates"] // counters["steps_an_epoch"]
    return epoch.astype(jnp.float32) / counters["epochs"].astype(jnp.float32)


METHOD = GSS
