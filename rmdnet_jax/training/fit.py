"""The only training loop: any method, any number of epochs, from the last checkpoint on.

A batch is a function of (seed, epoch, step), so there is nothing to save of it and a resumed run
repeats itself.
"""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rmdnet_jax.data.lazy_images import Images
from rmdnet_jax.errors import DivergedError
from rmdnet_jax.methods.interface import Method, Metrics, S, State
from rmdnet_jax.training import chunks, device_memory, sharding, stopping
from rmdnet_jax.training.checkpoints import Checkpoints
from rmdnet_jax.training.logging import StageLog


def fit(
    method: Method[S],
    state: S,
    images: Images,
    labels: np.ndarray,
    *,
    epochs: int,
    batch_size: int,
    key: jax.Array,
    checkpoints: Checkpoints,
    log: StageLog,
    evaluate: Callable[[S, int, dict[str, float]], dict[str, float]],
    learning_rate: optax.Schedule,
    checkpoint_every: float = 1,
    workers: int = -1,
) -> S:
    """Trains until `epochs` epochs are done and returns the last state.

    Args:
      method: its step is compiled here.
      state: fresh state; the last checkpoint's takes its place where there is one. Its buffers
        are given away.
      images: uint8 [N, H, W, 3], N >= batch_size; an array is copied to every device, LazyImages
        are streamed from disk.
      labels: int32 [N].
      epochs: passes over the data; of each, the N mod batch_size last images of that epoch's
        order are left out.
      batch_size: divisible by the number of devices.
      key: all randomness of the training comes from (key, epoch, step).
      checkpoints: where the state is saved and resumed from.
      log: told of every epoch's metrics.
      evaluate: (state, epochs done, metrics of the epoch so far) -> further ones.
      learning_rate: that of the method's optimiser, by update; told where the loss diverges.
      checkpoint_every: epochs between two checkpoints; 0.25 is four an epoch. The end is saved.
      workers: processes that decode images on disk, as streaming.batches takes them.

    Raises:
      DivergedError: a loss or a parameter is not finite; the last checkpoint is a good one.
      StoppedError: a signal asked for it; the last checkpoint is of that step.
      InputError: the checkpoints are of something else, or an image on disk cannot be read.
    """
    mesh = sharding.mesh()
    steps = len(images) // batch_size
    interval = max(1, round(checkpoint_every * steps))
    chunk = chunks.size(min(interval, steps), batch_size, images.shape[1:])
    checkpoints.check()
    done = _Done()
    if checkpoints.latest() is not None:
        state, done = checkpoints.restore(state), _Done.of(checkpoints.meta())
    resident = images.nbytes if isinstance(images, np.ndarray) else 0
    shapes = jax.eval_shape(lambda state: state, state)  # the state itself is given away
    telling = device_memory.telling(method, shapes, images.shape[1:], batch_size, resident)

    def save_if_due(state: S, done: _Done, stops: bool) -> None:
        number = done.epoch * steps + done.step
        if stops or number % interval == 0 or number == epochs * steps:
            checkpoints.save(number, state, dataclasses.asdict(done))
        if stops:
            stopping.check(f"in stage {log.name} after {done.epoch} epochs and {done.step} steps")

    def run_epoch(state: S, done: _Done) -> tuple[S, dict[str, float]]:
        """The rest of an epoch: the state and the sums of its metrics."""
        order_key, steps_key = jax.random.split(jax.random.fold_in(key, done.epoch))
        order = _order(order_key, len(images), steps, batch_size)
        before, started = done.epoch * steps, time.perf_counter()
        totals, pending = done.totals, None
        # Nothing goes between host and device in the loop that is not asked for by name.
        with jax.transfer_guard("disallow"), begin(order, steps_key, done.step) as advance:
            for start, stop in _cuts(before, done.step, steps, chunk, interval):
                state, sums = advance(state, start, stop)
                if pending:  # metrics are read one chunk late: the device never waits for the host
                    totals = _add(totals, pending, done.epoch)
                    log.step(start, totals["loss"] / start)
                pending = sums
                if stop == steps:
                    break
                stops = stopping.is_asked()
                if stops or (before + stop) % interval == 0:
                    totals, pending = _add(totals, pending, done.epoch), None
                    _check_finite(state, done.epoch, stop)
                    seconds = done.seconds + time.perf_counter() - started
                    save_if_due(state, _Done(done.epoch, stop, seconds, totals), stops)
        return state, _add(totals, pending, done.epoch) if pending else totals

    log.start(done.epoch, epochs, steps, batch_size)
    naming = _naming(log.name, steps, learning_rate)
    with stopping.between_steps(), jax.set_mesh(mesh), checkpoints, log, naming, telling:
        begin = chunks.prepare(method, state, images, labels, batch_size, mesh, chunk, workers)
        state = sharding.replicate(state, mesh)
        for epoch in range(done.epoch, epochs):
            started = time.perf_counter()
            state, totals = run_epoch(state, done)
            _check_finite(state, epoch, steps)
            speed = (steps - done.step) * batch_size / (time.perf_counter() - started)
            metrics = {name: total / steps for name, total in totals.items()}
            metrics |= evaluate(state, epoch + 1, metrics)
            seconds = done.seconds + time.perf_counter() - started
            log.epoch(epoch + 1, metrics | {"images_per_second": speed, "seconds": seconds})
            done = _Done(epoch + 1, seconds=seconds)
            save_if_due(state, done, stopping.is_asked())
    return state


class _NotFiniteError(Exception):
    """What is not finite after which epoch and step, from 0."""


@contextlib.contextmanager
def _naming(stage: str, steps: int, learning_rate: optax.Schedule) -> Iterator[None]:
    """Raises DivergedError, which names the stage and the learning rate too, for what is not
    finite."""
    try:
        yield
    except _NotFiniteError as error:
        what, epoch, step = error.args
        rate = float(learning_rate(epoch * steps + step))
        raise DivergedError(
            f"{what} not finite in stage {stage}, epoch {epoch + 1}, step {step + 1}, at a "
            f"learning rate of {rate:.3g}; the checkpoint before stays: try a smaller rate in "
            "another workdir"
        ) from error


@dataclasses.dataclass(frozen=True)
class _Done:
    """How far a training is, as saved with its state.

    Attributes:
      epoch: whole epochs done.
      step: steps done of the next.
      seconds: spent on all of them, with their evaluation.
      totals: sums of the metrics over the steps of the next epoch.
    """

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    totals: dict[str, float] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, meta: dict) -> "_Done":
        """From what Checkpoints.meta returns, the description included. What is not in it, as in
        checkpoints from before they fell inside epochs, is as at an epoch's end."""
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in meta.items() if name in names})


def _cuts(
    before: int, first: int, steps: int, chunk: int, interval: int
) -> Iterator[tuple[int, int]]:
    """(start, stop) of each chunk of an epoch from step `first` on: `chunk` steps, or fewer at its
    end and where a checkpoint is due, at every multiple of `interval`, counted over all epochs, of
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
        raise _NotFiniteError("the loss is", epoch, bad)
    return {name: totals.get(name, 0.0) + float(value) for name, value in values.items()}


def _check_finite(state: State, epoch: int, step: int) -> None:
    """Raises _NotFiniteError if a parameter is not finite: the harm of the last update shows in no
    loss so far, and must not be saved."""
    if not jax.device_get(_all_finite(state)):
        raise _NotFiniteError("the parameters are", epoch, step - 1)


@jax.jit
def _all_finite(tree) -> jax.Array:
    """Whether no float of the tree is NaN or infinite: bool scalar."""
    floats = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    return jnp.all(jnp.array([jnp.isfinite(x).all() for x in floats]))


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _order(key: jax.Array, size: int, steps: int, batch_size: int) -> jax.Array:
    """An epoch's order: int32 [steps, batch_size], no index twice."""
    order = jax.random.permutation(key, size).astype(jnp.int32)
    return order[: steps * batch_size].reshape(steps, batch_size)
