"""What every method on given labels shares: the network, its optimiser, the view of a batch, and
the relation term, if there is one. A method adds the handling of wrong labels."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from rmdnet_jax.data import augment
from rmdnet_jax.losses.robust import Loss
from rmdnet_jax.machine import cpu
from rmdnet_jax.methods.interface import (
    Batch,
    Guide,
    Method,
    Metrics,
    Prediction,
    S,
    State,
    Weights,
)
from rmdnet_jax.methods.network import Classifier
from rmdnet_jax.methods.rgrl import Relation

# The logits [B, C] of each network -> the loss, and metrics to log.
Objective = Callable[[Sequence[jax.Array]], tuple[jax.Array, Metrics]]

# The parameters -> the loss; and the new batch statistics, metrics to log, and any other output.
LossOfParams = Callable[[dict], tuple[jax.Array, tuple[dict, Metrics, Any]]]

# The parameters and the predictions of each network -> the same.
_Loss = Callable[[dict, dict[str, Prediction]], tuple[jax.Array, Metrics]]


@dataclasses.dataclass(frozen=True)
class Learner:
    """A network (or several) with everything that trains it.

    Attributes:
      network: backbone and classifier, with the statistics of the images.
      optimizer: over all parameters of the learner, and no others.
      loss: per-example robust loss of the config, (logits [B, C], labels [B]) -> [B].
      loss_name: its name on pages.
      relation: the relation term; None without a teacher.
      start: weights of the backbone to start from instead of fresh ones, e.g. a teacher's.
      pad, flip: for images, the random crop's padding in pixels, and whether views are mirrored
        half of the time.
      guide: a trained classifier that the method learns from; None without one.

    Examples:
      A linear model of three features, and one update by cross entropy:

      >>> import jax
      >>> import jax.numpy as jnp
      >>> import numpy as np
      >>> import optax
      >>> from rmdnet_jax.losses import robust
      >>> from rmdnet_jax.methods.interface import Batch
      >>> from rmdnet_jax.methods.learner import Learner
      >>> from rmdnet_jax.methods.network import Classifier
      >>> from rmdnet_jax.models.heads import Linear
      >>> mean, std = np.zeros(3, np.float32), np.ones(3, np.float32)
      >>> network = Classifier(None, Linear(2), mean, std)
      >>> learner = Learner(network, optax.sgd(0.1), robust.get("ce"))
      >>> batch = Batch(jnp.eye(3), jnp.array([0, 1, 1]), jnp.arange(3))
      >>> state = learner.init(jax.random.key(0), batch.image[:1])
      >>> def objective(logits):
      ...     return learner.loss(logits[0], batch.label).mean(), {}
      >>> key = jax.random.key(1)
      >>> after, metrics, logits = learner.update(state, batch, key, (), objective)
      >>> sorted(metrics), logits[0].shape
      (['loss', 'train_accuracy'], (3, 2))
    """

    network: Classifier
    optimizer: optax.GradientTransformation
    loss: Loss
    loss_name: str = "ce"
    relation: Relation | None = None
    start: Weights | None = None
    pad: int = 4
    flip: bool = True
    guide: Guide | None = None

    @property
    def frozen(self) -> Any:
        """The arrays of the teacher, which the guide and the relation term share."""
        if self.guide:
            return self.guide.teacher.frozen
        return self.relation.teacher.frozen if self.relation else ()

    def init(self, key: jax.Array, example: jax.Array, networks: int = 1) -> State:
        """Fresh networks "1", "2", ... and the state of the optimiser over all of them. The same
        key gives the same networks with and without the relation term."""
        keys = [key, *(jax.random.fold_in(key, number) for number in range(2, networks + 1))]
        # Given weights stay out of the compiled program, which would hold a copy of them.
        fresh = cpu.jit_once(self._fresh)
        params, batch_stats = {}, {}
        for number, one in enumerate(keys, 1):
            weights = fresh(one, example)
            own, stats = dict(weights.params), dict(weights.batch_stats)
            if self.start:
                own["backbone"] = jax.tree.map(jnp.array, self.start.params["backbone"])
                stats["backbone"] = jax.tree.map(jnp.array, self.start.batch_stats["backbone"])
            params[str(number)], batch_stats[str(number)] = own, stats
        return State(params, batch_stats, cpu.jit_once(self.optimizer.init)(params))

    def update(
        self, state: S, batch: Batch, key: jax.Array, frozen: Any, objective: Objective
    ) -> tuple[S, Metrics, list[jax.Array]]:
        """One update of all networks on one augmented view of the batch: the objective, plus the
        relation term, which needs a single network.

        Args:
          state: of any method; its other fields are kept.
          batch: as stored in memory.
          key: of the step.
          frozen: the learner's own, on the devices.
          objective: what is minimised.

        Returns:
          The state; metrics, including loss and train_accuracy (agreement with the given labels);
          and the logits float32 [B, C] of each network, before the update.
        """
        view_key, teacher_key = jax.random.split(key)
        view = self.view(view_key, batch.image)
        target = None
        if self.relation:
            own = self.relation.view == "own"
            seen = self.view(teacher_key, batch.image) if own else view
            target = self.relation.teacher.embed(frozen, seen, batch.index)

        def loss(params: dict, said: dict[str, Prediction]) -> tuple[jax.Array, Metrics]:
            logits = [one.logits for one in said.values()]
            loss, metrics = objective(logits)
            metrics = metrics | {"train_accuracy": agreement(_mean(logits), batch.label)}
            if self.relation:
                ((name, one),) = said.items()
                term, parts = self.relation(params[name], target, one.embedding)
                loss, metrics = loss + term, metrics | parts
            return loss, metrics

        return self._descended(state, dict.fromkeys(state.params, view), loss)

    def update_each(
        self, state: S, views: Mapping[str, jax.Array], objective: Objective
    ) -> tuple[S, Metrics, list[jax.Array]]:
        """One update of every network on its own view of the batch, made by the method: for methods
        that mix images, or give their networks different ones. There is no relation term.

        Args:
          state: of any method; its other fields are kept.
          views: by network, normalised (`as_input`), float32 [B, H, W, 3] or [B, D].
          objective: what is minimised; its logits are in the order of the networks' names.

        Returns:
          The state; metrics, including loss; and the logits of each network, before the update.
        """

        def loss(_: dict, said: dict[str, Prediction]) -> tuple[jax.Array, Metrics]:
            return objective([one.logits for one in said.values()])

        return self._descended(state, views, loss)

    def augmented(self, key: jax.Array, images: jax.Array) -> jax.Array:
        """One augmented view of every image, uint8 [B, H, W, 3]; feature vectors [B, D], which
        cannot be cropped or mirrored, are returned as they are."""
        if images.ndim == 4:
            images = augment.crop_flip(key, images, pad=self.pad, flip=self.flip)
        return images

    def as_input(self, images: jax.Array) -> jax.Array:
        """The networks' input for images or views of them: normalised, float32."""
        return augment.as_input(images, self.network.mean, self.network.std)

    def view(self, key: jax.Array, images: jax.Array) -> jax.Array:
        """One augmented view of every image, as input of the networks."""
        return self.as_input(self.augmented(key, images))

    def minimised(self, state: S, loss: LossOfParams) -> tuple[S, Metrics, Any]:
        """One optimiser step on a loss of all parameters: for a method that runs its network more
        than once.

        Args:
          state: of any method; its other fields are kept.
          loss: what is minimised.

        Returns:
          The state; the loss's metrics, including the loss; and its other output.
        """

        def with_metrics(params: dict) -> tuple[jax.Array, tuple[dict, Metrics, Any]]:
            value, (batch_stats, metrics, rest) = loss(params)
            return value, (batch_stats, metrics | {"loss": value}, rest)

        gradient, aux = jax.grad(with_metrics, has_aux=True)(state.params)
        batch_stats, metrics, rest = aux
        updates, opt_state = self.optimizer.update(gradient, state.opt_state, state.params)
        state = dataclasses.replace(
            state,
            params=optax.apply_updates(state.params, updates),
            batch_stats=batch_stats,
            opt_state=opt_state,
        )
        return state, metrics, rest

    def _descended(
        self, state: S, views: Mapping[str, jax.Array], loss: _Loss
    ) -> tuple[S, Metrics, list[jax.Array]]:
        """The state after one optimiser step, the metrics with the loss, and the logits."""

        def loss_fn(params: dict) -> tuple[jax.Array, tuple[dict, Metrics, list[jax.Array]]]:
            said: dict[str, Prediction] = {}
            batch_stats = {}
            for name in sorted(params):
                weights = Weights(params[name], state.batch_stats[name])
                said[name], batch_stats[name] = self.network.train(weights, views[name])
            value, metrics = loss(params, said)
            logits = [one.logits for one in said.values()]
            return value, (batch_stats, metrics, logits)

        return self.minimised(state, loss_fn)

    def _fresh(self, key: jax.Array, example: jax.Array) -> Weights:
        weights = self.network.init(key, example)
        if not self.relation:
            return weights
        modules = len(self.network.modules)
        adapter_key = jax.random.split(key, modules + 1)[modules]
        return Weights(weights.params | self.relation.init(adapter_key), weights.batch_stats)


@dataclasses.dataclass(frozen=True)
class LearnerMethod(Method[S]):
    """A method that trains a learner: its network and its teacher are the learner's.

    Examples:
      A method with one hyperparameter, whose range is stated where it is declared:

      >>> import dataclasses
      >>> from typing import Annotated
      >>> from rmdnet_jax.base import ranges
      >>> from rmdnet_jax.methods.interface import State
      >>> from rmdnet_jax.methods.learner import LearnerMethod, probabilities
      >>> @dataclasses.dataclass(frozen=True)
      ... class Weighted(LearnerMethod[State]):
      ...     weight: Annotated[float, ranges.number(0, 10), "of the loss"] = 1.0
      ...     title = "Weighted"
      ...
      ...     def init(self, key, example, task):
      ...         return self.learner.init(key, example)
      ...
      ...     def step(self, state, batch, key, frozen):
      ...         def objective(logits):
      ...             return self.weight * self.learner.loss(logits[0], batch.label).mean(), {}
      ...         state, metrics, logits = self.learner.update(state, batch, key, frozen, objective)
      ...         return state, metrics, probabilities(logits)
      >>> print(ranges.declared(Weighted)["weight"].rule)
      a number in [0, 10]
    """

    learner: Learner

    @property
    def network(self) -> Classifier:
        """The learner's architecture, of each of its networks."""
        return self.learner.network

    @property
    def frozen(self) -> Any:
        """The arrays of the teacher."""
        return self.learner.frozen

    @property
    def guide(self) -> Guide:
        """The trained classifier of a method that needs one; a run without it is refused
        earlier."""
        assert self.learner.guide
        return self.learner.guide


def agreement(logits: jax.Array, label: jax.Array) -> jax.Array:
    """The share of a batch whose logits [B, C] favour the label, int [B]: float32 scalar."""
    return (logits.argmax(axis=-1) == label).astype(jnp.float32).mean()


def probabilities(logits: Sequence[jax.Array]) -> jax.Array:
    """The joint probabilities of several networks, float32 [B, C]: those of their mean logits.

    Examples:
      >>> import jax.numpy as jnp
      >>> from rmdnet_jax.methods.learner import probabilities
      >>> undecided = jnp.zeros((1, 2))
      >>> print(probabilities([undecided]))
      [[0.5 0.5]]
      >>> print(probabilities([undecided + 1, jnp.array([[0.0, 200.0]])]))  # two networks
      [[0. 1.]]
    """
    return jax.nn.softmax(_mean(logits))


def _mean(logits: Sequence[jax.Array]) -> jax.Array:
    return functools.reduce(jnp.add, logits) / len(logits) if len(logits) > 1 else logits[0]
