"""GSS with semi-supervision: DivideMix with labels drawn from the pools of GSS (Yu et al., CVPR
2023, section 5.2). The paper leaves much of it open; gss.py has the fields, and docs/method.md the
choices made here."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import flax.struct
import jax
import jax.numpy as jnp

from rmdnet_jax.methods import pool as pools
from rmdnet_jax.methods import samples, targets
from rmdnet_jax.methods.dividemix import DivideMix, DivideMixState, Lesson
from rmdnet_jax.methods.interface import Batch, Metrics, Task, Weights

# The target of an unlabelled image: a draw from its pool, the sharpened shares of its pool, or the
# sharpened prediction of both networks, as in DivideMix.
TARGETS = ("draw", "expected", "guess")


@flax.struct.dataclass
class DividedGSSState(DivideMixState):
    """Adds `pool`, float32 [N, C] by network, and `progress`: epochs, int32, of the whole training
    (methods/pool.py)."""

    pool: dict[str, jax.Array]
    progress: dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class DividedGSS(DivideMix):
    """DivideMix in which the label of a labelled image is drawn from its pool, and so is the target
    of an unlabelled one.

    The pool of a network grows by the *other's* predictions for the unmixed views, from the first
    epoch on, once per image and epoch; the amount depends on the part that the image is in.

    Attributes:
      weight_by: as pool.increment takes it.
      target: of TARGETS.
      lambdas: lambda1 and lambda2 of labelled, then of unlabelled images.
    """

    weight_by: str = "predicted"
    target: str = "draw"
    lambdas: tuple[tuple[float, float], tuple[float, float]] = ((0.1, 0.0), (0.2, 0.5))

    group: ClassVar[str] = "gss"

    @property
    def title(self) -> str:
        """The paper's name."""
        return "GSS-SSL"

    def check(self, task: Task) -> None:
        """Raises InputError as DivideMix does, and for pools that are too large."""
        super().check(task)
        samples.check(self.title, self.learners, task)

    def init(self, key: jax.Array, example: jax.Array, task: Task) -> DividedGSSState:
        """DivideMix's state, with empty pools."""
        state = super().init(key, example, task)
        progress = {"epochs": jnp.full((), task.epochs, jnp.int32)}
        fields = {one.name: getattr(state, one.name) for one in dataclasses.fields(state)}
        return DividedGSSState(**fields, pool=pools.fresh(state.params, task), progress=progress)

    def step(
        self, state: Any, batch: Batch, key: jax.Array, frozen: Any
    ) -> tuple[Any, Metrics, None]:
        """DivideMix's step; the metric pool_of_given is the given labels' share of the pools."""
        shares = [pools.shares(_weights(state, n, batch)) for n in range(self.learners)]
        share = pools.share_of_given(shares, batch.label)
        after, metrics, said = super().step(state, batch, key, frozen)
        return after, metrics | {"pool_of_given": share}, said

    def label(
        self, state: Any, number: int, part: Batch, given: jax.Array, key: jax.Array
    ) -> jax.Array:
        """A draw from the network's pool, one-hot."""
        weights = _weights(state, number, part)
        return _one_hot(pools.draw(jax.random.fold_in(key, pools.DRAW), weights), given)

    def guessed(
        self, state: Any, number: int, part: Batch, both: jax.Array, key: jax.Array
    ) -> jax.Array:
        """The target that the field `target` selects."""
        weights = _weights(state, number, part)
        if self.target == "draw":
            return _one_hot(
                pools.draw(jax.random.fold_in(key, pools.DRAW_UNLABELLED), weights), both
            )
        said = both if self.target == "guess" else pools.shares(weights)
        return targets.sharpen(said, self.temperature)

    def kept(
        self, state: Any, lessons: Sequence[Lesson], before: Sequence[Weights]
    ) -> DividedGSSState:
        """Adds the grown pools: on average once per image and epoch, however often it is
        learned."""
        division, pool = state.division, {}
        epochs = state.progress["epochs"].astype(jnp.float32)
        progress = division["epoch"].astype(jnp.float32) / epochs
        # Before the first division all images are labelled, and in both parts.
        is_warm = division["epoch"] < self.warmup
        labelled = jnp.asarray(self.lambdas[0], jnp.float32)
        unlabelled = jnp.asarray(self.lambdas[1], jnp.float32)
        lambdas = labelled, jnp.where(is_warm, labelled, unlabelled)
        for number, (name, added) in enumerate(state.pool.items()):
            lesson = lessons[number]
            share = jnp.where(is_warm, 0.5, division["labelled"][number].mean(dtype=jnp.float32))
            said = self.said(before[1 - number], lesson.views[:2]), lesson.other
            parts = lesson.labelled, lesson.unlabelled
            all_of = zip(parts, said, (share, 1 - share), lambdas, strict=True)
            for part, views, visits, (lambda1, lambda2) in all_of:
                more = visits * pools.increment(
                    jnp.log(targets.guess(views)), part.label, progress, lambda1, lambda2,
                    self.weight_by,
                )  # fmt: skip
                added = pools.grown(added, part.index, more)
            pool[name] = added
        return dataclasses.replace(state, pool=pool)


def _weights(state: DividedGSSState, number: int, part: Batch) -> jax.Array:
    """The pools, float32 [B, C], that a network draws the images' labels from."""
    added = list(state.pool.values())[number]
    return pools.weights(added[part.index], part.label)


def _one_hot(label: jax.Array, like: jax.Array) -> jax.Array:
    return jax.nn.one_hot(label, like.shape[1], dtype=jnp.float32)
