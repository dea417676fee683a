"""A chunk of an epoch's steps as one call: batches gathered on the device, or streamed from disk.

Both compile the same step, and both use the batches given by `order`.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rmdnet_jax.data.lazy_images import Images
from rmdnet_jax.machine import cpu, sharding
from rmdnet_jax.methods import samples
from rmdnet_jax.methods.interface import Batch, Method, Metrics, State

# Method.step, or `traced` of it.
Step = Callable[[Any, Batch, jax.Array, Any], tuple[Any, Metrics, jax.Array | None]]


class Carried(NamedTuple):
    """What training carries from step to step.

    Attributes:
      state: the method's.
      memory: its predictions for every image so far (methods/samples.py); {} if not kept.
    """

    state: Any
    memory: samples.Memory


# Pixels per chunk on a CPU and on an accelerator: 4 and 100 batches of 64 CIFAR images; and feature
# vectors per chunk on any device, which cost a ten-thousandth of an image. After each chunk, the
# host reads the metrics of the previous chunk and checks whether the run should stop: a chunk must
# not take long.
CPU_PIXELS, PIXELS = 4 * 64 * 32 * 32, 100 * 64 * 32 * 32
VECTORS = 50_000

# A metric that is not summed: the first step of an epoch with a loss that is not finite.
BAD = "first_bad_step"
NEVER = np.int32(np.iinfo(np.int32).max)

# (carry, start, stop) -> (carry, sums of the metrics over these steps); the carry is donated.
Advance = Callable[[Any, int, int], tuple[Any, Metrics]]

# (order int32 [steps, B], key, first step) -> a context in which its Advance can be called, for
# consecutive steps.
Epoch = Callable[[jax.Array, jax.Array, int], contextlib.AbstractContextManager[Advance]]


def size(span: int, batch_size: int, image_shape: tuple[int, ...]) -> int:
    """Steps per chunk, for batches of this many images [H, W, 3] or feature vectors [D]. A whole
    number of chunks makes up `span` steps, except for a few that are left over and run singly."""
    if len(image_shape) == 1:
        images = VECTORS
    else:
        pixels = CPU_PIXELS if jax.default_backend() == "cpu" else PIXELS
        images = pixels // (image_shape[0] * image_shape[1])
    largest = min(span, max(1, images // batch_size))
    dividing = [steps for steps in range(max(2, largest // 4), largest + 1) if span % steps == 0]
    return max(dividing, default=span // math.ceil(span / largest))


def traced(method: Method) -> Step:
    """The step of a method, which JAX traces once for all programs that contain it."""
    return jax.jit(method.step, inline=True)


def prepare(
    step: Step,
    frozen: Any,
    metrics: tuple[str, ...],
    images: Images,
    labels: np.ndarray,
    mesh: jax.sharding.Mesh,
    usual: int,
    workers: int,
) -> Epoch:
    """A function that runs an epoch of a method, from device memory or, if the images are not in
    memory, from disk.

    Args:
      step: of the method; compiled here, in one program or two.
      frozen: of the method; copied to every device here.
      metrics: the names of the metrics that a step returns.
      images: uint8 [N, H, W, 3] or float32 [N, D]; in memory, they are copied to every device
        here.
      labels: int32 [N].
      mesh: the devices.
      usual: steps of most calls: these are one program on an accelerator.
      workers: processes that decode images on disk, as in `streaming.batches`.
    """
    start_carry = _start_carry(metrics, mesh)
    step = functools.partial(_step, step)
    frozen = sharding.replicate(frozen, mesh)
    if isinstance(images, np.ndarray):
        return _from_memory(step, frozen, start_carry, images, labels, mesh, usual)
    return _from_disk(step, frozen, start_carry, images, labels, mesh, workers)


def _from_memory(step, frozen, start_carry, images, labels, mesh, usual) -> Epoch:
    # One row per image: TPUs store [N, H, W, 3] with the images innermost, and so would copy all of
    # them to gather a few.
    rows = images.reshape(len(images), -1)
    on_device = sharding.replicate((rows, labels), mesh)

    def gather_and_step(carry, data):
        rows, labels, frozen, order, key = data
        index = order[carry[2]]
        image = rows[index].reshape(-1, *images.shape[1:])
        batch = Batch(image, labels[index], index)
        return step(carry, sharding.split_batch(batch, mesh), key, frozen)

    def scan(carry, data):
        body = lambda carry, _: (gather_and_step(carry, data), None)  # noqa: E731
        return jax.lax.scan(body, carry, length=usual)[0]

    one_step, scanned = _compiled(gather_and_step), _compiled(scan)
    # On the CPU backend a convolution inside lax.scan is over 20 times slower than outside.
    scans = jax.default_backend() != "cpu" or images.ndim == 2

    def run(carry, data, steps):
        if scans and steps == usual:
            return scanned(carry, data)
        for number in range(steps):  # a chunk cut by a checkpoint: no program for every length
            carry = cpu.waited(one_step(carry, data), number)
        return carry

    @contextlib.contextmanager
    def epoch(order, key, first) -> Iterator[Advance]:
        data = *on_device, frozen, *sharding.replicate((order, key), mesh)

        def advance(carried, start, stop):
            return run(start_carry(carried, start), data, stop - start)[:2]

        yield advance

    return epoch


def _from_disk(step, frozen, start_carry, images, labels, mesh, workers) -> Epoch:
    # Imported here: Grain takes a second, and is not needed where the data fits.
    from rmdnet_jax.data import streaming

    one_step = _compiled(step)

    @contextlib.contextmanager
    def epoch(order, key, first) -> Iterator[Advance]:
        order = np.asarray(jax.device_get(order))[:, sharding.columns(order.shape[1], mesh)]
        key = sharding.replicate(key, mesh)
        with streaming.batches(images, labels, order, start=first, workers=workers) as batches:

            def advance(carried, start, stop):
                carry = start_carry(carried, start)
                for number in range(start, stop):
                    part = next(batches)
                    batch = Batch(part.image, part.label, part.index)
                    carry = one_step(carry, sharding.split(batch, mesh), key, frozen)
                    carry = cpu.waited(carry, number)
                return carry[:2]

            yield advance

    return epoch


def _step(step: Step, carry: Any, batch: Batch, key: jax.Array, frozen: Any) -> Any:
    """carry = (Carried, sums of the metrics, number of the step in its epoch)."""
    (state, memory), sums, i = carry
    state, metrics, said = step(state, batch, jax.random.fold_in(key, i), frozen)
    if memory and said is not None:
        # Every device keeps the whole memory, and so needs the whole batch's predictions.
        memory = samples.remember(memory, *sharding.whole((batch.index, said)))
    bad = jnp.where(jnp.isfinite(metrics["loss"]), NEVER, i)
    sums = {
        name: jnp.minimum(total, bad) if name == BAD else total + metrics[name]
        for name, total in sums.items()
    }
    return Carried(state, memory), sums, i + jnp.int32(1)


def _compiled(step: Callable) -> Callable:
    is_cpu = jax.default_backend() == "cpu"
    options = cpu.COMPILER_OPTIONS if is_cpu else None
    return jax.jit(step, donate_argnums=0, compiler_options=options)


def first_step(
    step: Step,
    frozen: Any,
    state: State,
    image_shape: tuple[int, ...],
    dtype: np.dtype,
    rows: int,
) -> Any:
    """The shapes and dtypes of what a step on this many images of a shape and dtype returns;
    nothing is computed."""
    label: Any = jax.ShapeDtypeStruct((rows,), jnp.int32)
    image: Any = jax.ShapeDtypeStruct((rows, *image_shape), dtype)
    batch = Batch(image, label, label)
    mesh = sharding.mesh()
    # On the devices, as in training: a step of other arguments would be traced again.
    given = sharding.shapes((state, batch, jax.random.key(0), frozen), mesh)
    with jax.set_mesh(mesh):
        return jax.eval_shape(step, *given)


def _start_carry(
    metrics: tuple[str, ...], mesh: jax.sharding.Mesh
) -> Callable[[Carried, int], Any]:
    """The carry that a chunk starts with at a step."""
    zeros = {name: np.float32(0) for name in metrics} | {BAD: NEVER}
    return lambda carried, start: (carried, *sharding.replicate((zeros, np.int32(start)), mesh))
