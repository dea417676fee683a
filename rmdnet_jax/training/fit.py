"""The only training loop: any method, any number of epochs, starting from the last checkpoint.

A batch is a function of (seed, epoch, step), so no state of it is saved and a resumed run repeats
the same batches.
"""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rmdnet_jax.base.errors import DivergedError
from rmdnet_jax.data import transition
from rmdnet_jax.data.lazy_images import Images
from rmdnet_jax.data.transition import Noise
from rmdnet_jax.machine import memory as machine_memory
from rmdnet_jax.machine import sharding
from rmdnet_jax.methods import inference, samples
from rmdnet_jax.methods.interface import (
    Look,
    Method,
    Metrics,
    Prediction,
    S,
    State,
    Task,
    Weights,
)
from rmdnet_jax.training import checkpoints as saving
from rmdnet_jax.training import chunks, contract, stopping
from rmdnet_jax.training.checkpoints import Checkpoints
from rmdnet_jax.training.chunks import Carried
from rmdnet_jax.training.logging import StageLog

# The name of the memory among the items of a checkpoint.
_MEMORY = "memory"

# What to do about a loss or parameters that are not finite.
_SMALLER = "try a smaller rate in another workdir"


class Fitted(NamedTuple, Generic[S]):
    """The result of training.

    Attributes:
      state: the method's, on the devices.
      look: queries about the images at the end of training.
    """

    state: S
    look: Look


def fit(
    method: Method[S],
    state: S,
    images: Images,
    task: Task,
    *,
    key: jax.Array,
    checkpoints: Checkpoints,
    log: StageLog,
    evaluate: Callable[[S, int, dict[str, float]], Mapping[str, float]],
    learning_rate: optax.Schedule,
    checkpoint_every: float = 1,
    workers: int = -1,
) -> Fitted[S]:
    """Trains until all epochs are done.

    Args:
      method: its step is compiled here.
      state: fresh state, replaced by the last checkpoint's if there is one. Its buffers are
        donated.
      images: uint8 [N, H, W, 3] or float32 [N, D], N >= the batch size; an array is copied to every
        device, LazyImages are streamed from disk.
      task: the given labels, batch size and epochs; the batch size is divisible by the number of
        devices.
      key: all randomness of the training comes from (key, epoch, step).
      checkpoints: where the state is saved and resumed from.
      log: receives every epoch's metrics.
      evaluate: (state, epochs done, metrics of the epoch so far) -> further ones.
      learning_rate: that of the method's optimiser, by update; reported if the loss diverges.
      checkpoint_every: epochs between checkpoints; 0.25 is four per epoch. The end is saved.
      workers: processes that decode images on disk, as in streaming.batches.

    Raises:
      DivergedError: a loss or a parameter is not finite; the last checkpoint is intact.
      StoppedError: a signal requested it; the last checkpoint is of that step.
      InputError: the state cannot be stored, the checkpoints belong to something else, an image
        on disk cannot be read, or the method returns what is not as promised.
    """
    mesh = sharding.mesh()
    steps, epochs = task.steps, task.epochs
    interval = max(1, round(checkpoint_every * steps))
    order = jax.jit(lambda state, key: method.order(state, key, task))
    ordered_steps, rows = jax.eval_shape(order, state, key).shape
    if ordered_steps != steps:
        raise ValueError(f"the order has {ordered_steps} steps; expected the task's {steps}")
    checkpoints.check()
    step = chunks.traced(method)
    seen = images.shape[1:], images.dtype, rows
    _, metrics, said = chunks.first_step(step, method.frozen, state, *seen)
    carried, done = _begun(state, said is not None, task, checkpoints)
    del state  # a resumed training needs its memory

    def save_if_due(carried: Carried, done: _Done, stops: bool) -> None:
        number = done.epoch * steps + done.step
        if stops or number % interval == 0 or number == epochs * steps:
            checkpoints.save(number, _items(carried), dataclasses.asdict(done))
        if stops:
            stopping.check(f"in stage {log.name} after {done.epoch} epochs and {done.step} steps")

    def run_epoch(carried: Carried, done: _Done) -> tuple[Carried, dict[str, float]]:
        """Runs the rest of an epoch; returns the carry and the sums of the metrics."""
        order_key, steps_key = jax.random.split(jax.random.fold_in(key, done.epoch))
        ordered = order(carried.state, order_key)
        if type(method).order is not Method.order:
            read = jax.device_get(ordered)
            contract.order(method.title, read, task.num_images, said is not None)
        before, started = done.epoch * steps, time.perf_counter()
        totals, pending = done.totals, None
        # Inside the loop, only explicit transfers between host and device are allowed.
        with jax.transfer_guard("disallow"), begin(ordered, steps_key, done.step) as advance:
            for start, stop in _cuts(before, done.step, steps, chunk, interval):
                carried, sums = advance(carried, start, stop)
                if pending:  # metrics are read one chunk late: the device never waits for the host
                    totals = _add(totals, pending, done.epoch)
                    log.step(start, totals["loss"] / start)
                pending = sums
                if stop == steps:
                    break
                stops = stopping.is_asked()
                if stops or (before + stop) % interval == 0:
                    totals, pending = _add(totals, pending, done.epoch), None
                    _check_finite(carried, done.epoch, stop)
                    seconds = done.seconds + time.perf_counter() - started
                    save_if_due(carried, _Done(done.epoch, stop, seconds, totals), stops)
        return carried, _add(totals, pending, done.epoch) if pending else totals

    chunk = chunks.size(min(interval, steps), rows, images.shape[1:])
    log.start(done.epoch, epochs, steps, rows, done.step)
    naming = _naming(log.name, steps, learning_rate)
    hinting = machine_memory.hinting(rows)
    with stopping.between_steps(), jax.set_mesh(mesh), checkpoints, log, naming, hinting:
        if done.epoch < epochs:
            begin = chunks.prepare(
                step, method.frozen, tuple(metrics), images, task.given, mesh, chunk, workers
            )
            carried = sharding.replicate(carried, mesh)
        predict = inference.predictor(method.network, embeds=False)
        for epoch in range(done.epoch, epochs):
            started = time.perf_counter()
            if not done.step:  # else the decision is in the checkpoint
                look = _look(method, predict, carried, images, task)
                before, carried = carried, _decided(method, carried, epoch, look)
                if not epoch or carried is not before:
                    _check_finite(carried, epoch, 1)
            carried, totals = run_epoch(carried, done)
            _check_finite(carried, epoch, steps)
            if not epoch and carried.memory:
                what = f"the probabilities that a step of {method.title} returns"
                contract.probabilities(what, samples.recalled(carried.memory))
            speed = (steps - done.step) * rows / (time.perf_counter() - started)
            means = {name: total / steps for name, total in totals.items()}
            means |= evaluate(carried.state, epoch + 1, means)
            seconds = done.seconds + time.perf_counter() - started
            log.epoch(epoch + 1, means | {"images_per_second": speed, "seconds": seconds})
            done = _Done(epoch + 1, seconds=seconds)
            save_if_due(carried, done, stopping.is_asked())
    look = _look(method, predict, carried, images, task)
    return Fitted(carried.state, look)


def _begun(state: Any, says: bool, task: Task, checkpoints: Checkpoints) -> tuple[Carried, "_Done"]:
    """The carry, fresh or from the last checkpoint, and the progress of the training. Refuses a
    state that cannot be stored.

    Args:
      says: whether a step returns probabilities, which the memory keeps.
    """
    keeps = says and samples.fits(task.num_images, task.num_classes)
    if checkpoints.latest() is None:
        empty = samples.empty(task.num_images, task.num_classes) if keeps else {}
        carried = Carried(state, empty)
        _items(carried)
        return carried, _Done()
    # Shapes only: the fresh arrays are not needed beside the restored ones.
    memory = jax.eval_shape(lambda: samples.empty(task.num_images, task.num_classes))
    shapes = jax.eval_shape(lambda state: state, state)
    restored = checkpoints.restore(_items(Carried(shapes, memory if keeps else {})))
    memory = restored.pop(_MEMORY, {})
    carried = Carried(dataclasses.replace(state, **restored), memory)
    return carried, _Done.of(checkpoints.meta())


def _items(carried: Carried) -> dict[str, Any]:
    """What a checkpoint holds, by name."""
    memory = {_MEMORY: carried.memory} if carried.memory else {}
    return saving.fields(carried.state) | memory


def _decided(method: Method, carried: Carried, epoch: int, look: Look) -> Carried:
    """The carry, with what the method decides before an epoch."""
    state = method.between_epochs(carried.state, epoch, look)
    if state is carried.state:
        return carried
    contract.decision(method.title, carried.state, state)
    return Carried(sharding.replicate(state, sharding.mesh()), carried.memory)


def _look(method: Method, predict: Callable, carried: Carried, images: Images, task: Task) -> Look:
    """Queries about the images at this point."""

    def say(networks: tuple[Weights, ...]) -> tuple[Prediction, ...]:
        return tuple(predict((one,), images) for one in networks)

    @functools.cache
    def predictions() -> tuple[Prediction, ...]:
        return say(method.networks(carried.state))

    def current() -> np.ndarray:
        logits = np.mean([one.logits for one in predictions()], axis=0)
        return np.asarray(jax.nn.softmax(logits))

    def remembered() -> np.ndarray:
        return samples.recalled(carried.memory) if carried.memory else current()

    @functools.cache
    def noise() -> Noise:
        said = remembered()
        said = said if said.any() else current()  # before the first epoch
        known = said.any(axis=1)
        return transition.estimate(said[known], task.given[known], learned=True)

    return Look(task.given, say, predictions, remembered, noise, bool(carried.memory))


class _NotFiniteError(Exception):
    """What is not finite, in which epoch and step, from 0, and what to do about it."""


@contextlib.contextmanager
def _naming(stage: str, steps: int, learning_rate: optax.Schedule) -> Iterator[None]:
    """Turns _NotFiniteError into DivergedError, which also names the stage and the learning
    rate."""
    try:
        yield
    except _NotFiniteError as error:
        what, epoch, step, remedy = error.args
        rate = float(learning_rate(epoch * steps + step))
        raise DivergedError(
            f"{what} not finite in stage {stage}, epoch {epoch + 1}, step {step + 1}, at a "
            f"learning rate of {rate:.3g}; the last checkpoint is kept: {remedy}"
        ) from error


@dataclasses.dataclass(frozen=True)
class _Done:
    """The progress of a training, as saved with its state.

    Attributes:
      epoch: completed epochs.
      step: steps done of the next epoch.
      seconds: spent on all of these, including evaluation.
      totals: sums of the metrics over the steps of the next epoch.
    """

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    totals: dict[str, float] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, meta: dict) -> "_Done":
        """From the result of Checkpoints.meta, which includes the description."""
        return cls(**{field.name: meta[field.name] for field in dataclasses.fields(cls)})


def _cuts(
    before: int, first: int, steps: int, chunk: int, interval: int
) -> Iterator[tuple[int, int]]:
    """(start, stop) of each chunk of an epoch from step `first` on: `chunk` steps, or fewer at its
    end and where a checkpoint is due, at every multiple of `interval` counted over all epochs, of
    which `before` steps are done."""
    while first < steps:
        due = interval - (before + first) % interval
        stop = min(first + min(chunk, due), steps)
        yield first, stop
        first = stop


def _add(totals: dict[str, float], sums: Metrics, epoch: int) -> dict[str, float]:
    """The epoch's totals with a chunk's sums; raises _NotFiniteError if a loss was not finite."""
    values = jax.device_get(sums)
    bad = int(values.pop(chunks.BAD))
    if bad != chunks.NEVER:
        raise _NotFiniteError("the loss is", epoch, bad, _SMALLER)
    return {name: totals.get(name, 0.0) + float(value) for name, value in values.items()}


def _check_finite(carried: Carried, epoch: int, step: int) -> None:
    """Raises _NotFiniteError if the state is not finite: no loss shows the damage of the last
    update yet, and it must not be saved."""
    # One device's result does not show how far the others are, and programs that wait for a device
    # must not pile up (docs/running.md).
    is_finite = jax.block_until_ready(_all_finite(carried))
    if not jax.device_get(is_finite):
        what, remedy = _damaged(carried)
        raise _NotFiniteError(what, epoch, step - 1, remedy)


def _damaged(carried: Carried) -> tuple[str, str]:
    """What of a carry is not finite, as the subject of a message, and what to do about it."""
    state = carried.state
    names = [field.name for field in dataclasses.fields(state)]
    found = [name for name in names if not jax.device_get(_all_finite(getattr(state, name)))]
    if "params" in found:
        return "the parameters are", _SMALLER
    if not found:  # the memory
        return "the probabilities that a step returns are", "expected finite ones"
    is_usual = found[0] in State.__dataclass_fields__
    remedy = _SMALLER if is_usual else "expected finite values in every field of the state"
    return f"the field {found[0]} of {type(state).__name__} is", remedy


@jax.jit
def _all_finite(tree) -> jax.Array:
    """Whether all floats of the tree are finite: bool scalar."""
    floats = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    return jnp.all(jnp.array([jnp.isfinite(x).all() for x in floats]))
