"""Cross-fitting: a method trained several times in parallel, once on all images, which gives the
classifier, and once without each fold, so that every label is judged by a network that has not seen
it.

All trainings step together in one compiled program: `jax.vmap` over stacked states.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import softmax

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import unseen
from rmdnet_jax.data.transition import Noise
from rmdnet_jax.machine import cpu
from rmdnet_jax.methods import interface
from rmdnet_jax.methods.interface import (
    Batch,
    Look,
    Method,
    Metrics,
    Network,
    Prediction,
    S,
    Task,
    Weights,
)

# The folds do not depend on the run's seed: "fold" in ASCII.
_SEED = 0x666F6C64


@dataclasses.dataclass(frozen=True)
class Folded(Method[S]):
    """Any method that draws its images at random.

    Attributes:
      method: what is trained; the state is the method's, whose arrays have a leading axis of
        1 + folds trainings, the first of which sees all images.
      folds: number of folds, 2 or more.
    """

    method: Method[S]
    folds: int

    @property
    def title(self) -> str:
        """The method's."""
        return self.method.title

    @property
    def network(self) -> Network:
        """The method's."""
        return self.method.network

    @property
    def learners(self) -> int:  # type: ignore[override]
        """The number of networks of the training on all images."""
        return self.method.learners

    @property
    def frozen(self) -> Any:
        """The method's, shared by all trainings."""
        return self.method.frozen

    def check(self, task: Task) -> None:
        """Raises InputError for a method with its own order, which determines what it reads."""
        self.method.check(task)
        if type(self.method).order is not Method.order:
            raise InputError(
                f"config.train.folds is {self.folds} with {self.title}, which sets its own "
                "order of images; expected 1"
            )

    def init(self, key: jax.Array, example: jax.Array, task: Task) -> S:
        """A fresh state for each training; the first is that of the method alone."""
        keys = [key, *(jax.random.fold_in(key, number) for number in range(1, self.folds + 1))]
        fresh = jax.vmap(lambda key: self.method.init(key, example, task))
        return cpu.jit_once(fresh)(jnp.stack(keys))  # one program, not one per training

    def step(
        self, state: S, batch: Batch, key: jax.Array, frozen: Any
    ) -> tuple[S, Metrics, jax.Array | None]:
        """One update of each; metrics are their means. Returns no probabilities for the memory:
        those of networks that have learned from the label are worse evidence."""
        parts = jax.tree.map(lambda x: x.reshape(self.folds + 1, -1, *x.shape[1:]), batch)
        keys = jax.random.split(key, self.folds + 1)
        step = jax.vmap(self.method.step, in_axes=(0, 0, 0, None))
        state, metrics, _ = step(state, parts, keys, frozen)
        return state, jax.tree.map(jnp.mean, metrics), None

    def between_epochs(self, state: S, epoch: int, look: Look) -> S:
        """What the method decides for each training. The noise is that of all labels, estimated
        from the trainings that have not seen them."""
        if type(self.method).between_epochs is Method.between_epochs:
            return state

        @functools.cache
        def noise() -> Noise:
            return unseen.noise(self.belief(state, look), look.given)

        def decided(one: S) -> S:
            def predictions() -> tuple[Prediction, ...]:
                return look.predict(self.method.networks(one))

            def remembered() -> np.ndarray:
                return _mean(predictions())

            own = Look(
                look.given, look.predict, predictions, remembered, noise, is_remembered=False
            )
            return self.method.between_epochs(one, epoch, own)

        return _stacked([decided(one) for one in self._each(state)])

    def order(self, state: S, key: jax.Array, task: Task) -> jax.Array:
        """int32 [task.steps, (1 + folds) * batch size]: each training's images, at random."""
        part = parts(task.given, self.folds)
        seen = [np.arange(task.num_images), *(np.flatnonzero(part != n) for n in range(self.folds))]
        columns = [
            jnp.asarray(images, jnp.int32)[
                interface.permutation(one, len(images), task.steps, task.batch_size)
            ]
            for images, one in zip(seen, jax.random.split(key, len(seen)), strict=True)
        ]
        return jnp.concatenate(columns, axis=1)

    def networks(self, state: S) -> tuple[Weights, ...]:
        """Those of the training on all images."""
        return self.method.networks(self._each(state)[0])

    def belief(self, state: S, look: Look) -> np.ndarray:
        """The prediction for each image without having learned from its label.

        For a class with fewer images than folds, it is the prediction of the training on all
        images: with one of a few left out, too few are left to learn the class.
        """
        part, every = parts(look.given, self.folds), self._each(state)
        belief = _mean(look.predict(self.method.networks(every[0])))
        sizes = np.bincount(look.given, minlength=belief.shape[1])
        is_rare = sizes[look.given] < self.folds
        for number, one in enumerate(every[1:]):
            rows = (part == number) & ~is_rare
            belief[rows] = _mean(look.predict(self.method.networks(one)))[rows]
        return belief

    def _each(self, state: S) -> list[S]:
        """The state of each training."""
        return [_one_of(state, np.int32(number)) for number in range(self.folds + 1)]


def parts(given: np.ndarray, folds: int) -> np.ndarray:
    """The fold of every image, int [N] in [0, folds): each given class is spread over the folds as
    evenly as possible, and the folds' sizes differ by at most one."""
    draw = np.random.default_rng(_SEED).random(len(given))
    part = np.empty(len(given), np.int64)
    part[np.lexsort((draw, given))] = np.arange(len(given)) % folds
    return part


def _mean(said: Sequence[Prediction]) -> np.ndarray:
    """The mean probabilities, float32 [N, C], of several networks."""
    probabilities = np.stack([softmax(one.logits, axis=1) for one in said])
    return probabilities.mean(axis=0).astype(np.float32)


@jax.jit
def _one_of(state: S, number: Any) -> S:
    """The state of one training, in one program: with an operation per array, one CPU device could
    get so far ahead of another that both wait forever (docs/running.md)."""
    return jax.tree.map(lambda x: x[number], state)


@jax.jit
def _stacked(states: Sequence[S]) -> S:
    return jax.tree.map(lambda *arrays: jnp.stack(arrays), *states)
