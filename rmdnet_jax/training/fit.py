"""The only training loop: any method, any number of epochs, from the last checkpoint on.

Images and labels lie on the device; a batch is a function of (seed, epoch, step), so there is
nothing to save of it and a resumed run repeats itself.
"""

import functools
import time
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from rmdnet_jax.errors import DivergedError
from rmdnet_jax.methods.interface import Batch, Method, Metrics, State
from rmdnet_jax.training import cpu, sharding
from rmdnet_jax.training.checkpoints import Checkpoints
from rmdnet_jax.training.logging import StageLog

# Steps between two looks at the metrics; on accelerators they are one compiled call.
_CHUNK = {"cpu": 16, "gpu": 1000, "tpu": 1000}

# The sum that is none: the first step of an epoch whose loss was not finite.
_BAD = "first_bad_step"
_NEVER = np.int32(np.iinfo(np.int32).max)


def fit(
    method: Method,
    state: State,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    epochs: int,
    batch_size: int,
    key: jax.Array,
    checkpoints: Checkpoints,
    log: StageLog,
    evaluate: Callable[[State, int], dict[str, float]],
) -> State:
    """Trains until `epochs` epochs are done and returns the last state.

    Args:
      method: its step is compiled here.
      state: fresh state; the last checkpoint's takes its place where there is one. Its buffers
        are given away.
      images: uint8 [N, H, W, 3], N >= batch_size.
      labels: int32 [N].
      epochs: passes over the data; of each, the N mod batch_size last images of that epoch's
        order are left out.
      batch_size: divisible by the number of devices.
      key: all randomness of the training comes from (key, epoch, step).
      checkpoints: where the state is saved and resumed from.
      log: told of every epoch's metrics.
      evaluate: (state, epochs done) -> further metrics of the epoch.

    Raises:
      DivergedError: a loss or a parameter is not finite; the last checkpoint is a good one.
      InputError: the checkpoints are of something else.
    """
    mesh = sharding.mesh()
    done, seconds = 0, 0.0
    checkpoints.check()
    if checkpoints.latest() is not None:
        state, meta = checkpoints.restore(state), checkpoints.meta()
        done, seconds = meta["epoch"], meta["seconds"]
    steps = len(images) // batch_size
    zeros = _zero_sums(method, state, images, labels, batch_size)
    state, *on_device = sharding.replicate((state, images, labels), mesh)
    run_chunk = _chunk_runner(method, mesh)

    def run_epoch(state: State, epoch: int) -> tuple[State, dict[str, float]]:
        order_key, steps_key = jax.random.split(jax.random.fold_in(key, epoch))
        data = *on_device, _order(order_key, len(images), steps, batch_size), steps_key
        totals: dict[str, float] = {}
        pending: Metrics = {}
        for start, stop in _chunks(steps):
            state, sums = run_chunk((state, zeros), data, start, stop)
            if start:  # metrics are read one chunk late: the device never waits for the host
                _collect(totals, pending, epoch)
                log.step(start, totals["loss"] / start)
            pending = sums
        _collect(totals, pending, epoch)
        return state, {name: total / steps for name, total in totals.items()}

    log.start(done, epochs, steps, batch_size)
    with checkpoints, log:
        for epoch in range(done, epochs):
            started = time.perf_counter()
            state, metrics = run_epoch(state, epoch)
            if not _all_finite(state):  # the last update's harm shows in no loss of this epoch
                raise DivergedError(
                    f"the parameters are not finite after epoch {epoch + 1}, step {steps}"
                )
            speed = steps * batch_size / (time.perf_counter() - started)
            metrics |= evaluate(state, epoch + 1)
            seconds += time.perf_counter() - started
            log.epoch(epoch + 1, metrics | {"images_per_second": speed, "seconds": seconds})
            meta = {"epoch": epoch + 1, "seconds": seconds}
            checkpoints.save(epoch + 1, state, meta, last=epochs)
    return state


def _chunk_runner(method: Method, mesh: jax.sharding.Mesh):
    """run(carry, data, start, stop) -> carry, with carry = (state, sums of the metrics) given away
    and data = (images, labels, order, key)."""

    def one_step(carry, data, i):
        state, sums = carry
        images, labels, order, key = data
        index = order[i]
        batch = sharding.split_batch(Batch(images[index], labels[index], index), mesh)
        state, metrics = method.step(state, batch, jax.random.fold_in(key, i))
        bad = jnp.where(jnp.isfinite(metrics["loss"]), _NEVER, i)
        return state, {
            name: jnp.minimum(total, bad) if name == _BAD else total + metrics[name]
            for name, total in sums.items()
        }

    # On the CPU backend a training step inside lax.scan is over 20 times slower than outside.
    if jax.default_backend() == "cpu":
        step = jax.jit(one_step, donate_argnums=0, compiler_options=cpu.COMPILER_OPTIONS)

        def run(carry, data, start, stop):
            for i in range(start, stop):
                carry = step(carry, data, np.int32(i))
            return carry

        return run

    @functools.partial(jax.jit, donate_argnums=0)
    def scan(carry, data, steps):
        return jax.lax.scan(lambda carry, i: (one_step(carry, data, i), None), carry, steps)[0]

    return lambda carry, data, start, stop: scan(
        carry, data, np.arange(start, stop, dtype=np.int32)
    )


def _zero_sums(method, state, images, labels, batch_size) -> dict[str, np.generic]:
    """Where the sums of a chunk's metrics start."""
    batch = Batch(images[:batch_size], labels[:batch_size], labels[:batch_size])
    _, metrics = jax.eval_shape(method.step, state, batch, jax.random.key(0))
    return {name: np.float32(0) for name in metrics} | {_BAD: _NEVER}


def _collect(totals: dict[str, float], sums: Metrics, epoch: int) -> None:
    """Adds a chunk's sums to the epoch's totals; raises DivergedError if a loss was not finite."""
    values = jax.device_get(sums)
    bad = int(values.pop(_BAD))
    if bad != _NEVER:
        raise DivergedError(f"the loss is not finite in epoch {epoch + 1}, step {bad + 1}")
    for name, value in values.items():
        totals[name] = totals.get(name, 0.0) + float(value)


@jax.jit
def _all_finite(tree) -> jax.Array:
    """Whether no float of the tree is NaN or infinite: bool scalar."""
    floats = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    return jnp.all(jnp.array([jnp.isfinite(x).all() for x in floats]))


def _chunks(steps: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of each chunk of an epoch."""
    size = _CHUNK[jax.default_backend()]
    return ((start, min(start + size, steps)) for start in range(0, steps, size))


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _order(key: jax.Array, size: int, steps: int, batch_size: int) -> jax.Array:
    """An epoch's order: int32 [steps, batch_size], no index twice."""
    order = jax.random.permutation(key, size).astype(jnp.int32)
    return order[: steps * batch_size].reshape(steps, batch_size)
