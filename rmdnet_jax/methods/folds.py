"""A method trained several times side by side: once on all images, which gives the classifier, and
once without each part of them, so that every label is judged by a network that has not seen it
(cross-fitting).

All trainings take a step together, in one compiled program: `jax.vmap` over stacked states.
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

# The parts are the same whatever the seed: "fold" in ASCII.
_SEED = 0x666F6C64


@dataclasses.dataclass(frozen=True)
class Folded(Method[S]):
    """Any method that draws its images by chance.

    Attributes:
      method: what is trained; a state of this is one of it whose arrays have a leading axis, of
        1 + folds trainings, the first of which sees all images.
      folds: number of parts, 2 or more.
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
        """Of the training on all images."""
        return self.method.learners

    @property
    def frozen(self) -> Any:
        """The method's, once for all trainings."""
        return self.method.frozen

    def check(self, task: Task) -> None:
        """Raises InputError for a method with an order of its own, which says what it reads."""
        self.method.check(task)
        if type(self.method).order is not Method.order:
            raise InputError(
                f"config.train.folds is {self.folds} with {self.title}, which orders its images "
                "itself; expected 1"
            )

    def init(self, key: jax.Array, example: jax.Array, task: Task) -> S:
        """A fresh state of each training; the first is the one that the method alone would have."""
        keys = [key, *(jax.random.fold_in(key, number) for number in range(1, self.folds + 1))]
        fresh = jax.vmap(lambda key: self.method.init(key, example, task))
        return cpu.jit_once(fresh)(jnp.stack(keys))  # one program, not one a training

    def step(
        self, state: S, batch: Batch, key: jax.Array, frozen: Any
    ) -> tuple[S, Metrics, jax.Array | None]:
        """One update of each; metrics are their means. Nothing is said for the memory: a network
        that has learned from a label is the lesser witness here."""
        parts = jax.tree.map(lambda x: x.reshape(self.folds + 1, -1, *x.shape[1:]), batch)
        keys = jax.random.split(key, self.folds + 1)
        step = jax.vmap(self.method.step, in_axes=(0, 0, 0, None))
        state, metrics, _ = step(state, parts, keys, frozen)
        return state, jax.tree.map(jnp.mean, metrics), None

    def between_epochs(self, state: S, epoch: int, look: Look) -> S:
        """What the method decides for each. The noise is of all labels, by the trainings that have
        not seen them."""
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
        """int32 [task.steps, (1 + folds) * batch size]: each training's images, by chance."""
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
        """What is said of each image without having learned from its label.

        Of a class with fewer images than parts it is what the training on all images says: where
        one of a few is left out, too little is left to know the class by.
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
    """The part of every image, int [N] in [0, folds): of every given class equally many go to each
    as far as that can be, and the parts' sizes differ by one at most."""
    draw = np.random.default_rng(_SEED).random(len(given))
    part = np.empty(len(given), np.int64)
    part[np.lexsort((draw, given))] = np.arange(len(given)) % folds
    return part


def _mean(said: Sequence[Prediction]) -> np.ndarray:
    """Probabilities float32 [N, C] of several networks, in the mean."""
    probabilities = np.stack([softmax(one.logits, axis=1) for one in said])
    return probabilities.mean(axis=0).astype(np.float32)


@jax.jit
def _one_of(state: S, number: Any) -> S:
    """That of a training. One program: of an operation for every array, one device of a CPU would
    be so many ahead of the other that both wait for ever (docs/running.md)."""
    return jax.tree.map(lambda x: x[number], state)


@jax.jit
def _stacked(states: Sequence[S]) -> S:
    return jax.tree.map(lambda *arrays: jnp.stack(arrays), *states)
