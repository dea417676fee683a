"""What a batch takes of a device's memory, said where it was too much."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from rmdnet_jax.errors import InputError
from rmdnet_jax.methods.interface import Batch, Method, State

_GIB = 2**30


def assigned(method: Method, state: State, image_shape: tuple[int, ...], batch_size: int) -> int:
    """Bytes that the compiler assigns to a step's program: arguments, outputs and temporaries; 0
    where it does not say. Compiles it; runs nothing.

    Args:
      method: whose step it is.
      state: gives shapes.
      image_shape: (H, W, 3).
      batch_size: images on the device.
    """
    shapes = jax.eval_shape(lambda state: state, state)

    def batch() -> Batch:
        labels = jnp.zeros(batch_size, jnp.int32)
        return Batch(jnp.zeros((batch_size, *image_shape), jnp.uint8), labels, labels)

    step = jax.jit(method.step, donate_argnums=0)
    compiled = step.lower(shapes, jax.eval_shape(batch), jax.random.key(0)).compile()
    memory: Any = compiled.memory_analysis()
    if memory is None:  # a backend that keeps no account
        return 0
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes
    return held + memory.temp_size_in_bytes - memory.alias_size_in_bytes


@contextlib.contextmanager
def telling(
    method: Method, state: State, image_shape: tuple[int, ...], batch_size: int, resident: int
) -> Iterator[None]:
    """Raises InputError where the block runs out of device memory: with what the batch needs and
    the largest that fits, by a line through what smaller ones need by the compiler's account.

    Args:
      method, state, image_shape: as `assigned` takes them; shapes will do for the state.
      batch_size: over all devices.
      resident: bytes of the training images, if they lie on every device.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        devices = jax.device_count()
        here = batch_size // devices
        some, more = max(1, here // 4), max(2, here // 2)  # a TPU does not compile what is too much
        try:
            least, most = (assigned(method, state, image_shape, n) for n in (some, more))
        except jax.errors.JaxRuntimeError:
            least = most = 0
        an_image = (most - least) / (more - some)
        needed = round(least + an_image * (here - some))
        raise InputError(_told(devices, here, needed, an_image, resident)) from error


def _told(devices: int, here: int, needed: int, an_image: float, resident: int) -> str:
    """What is wrong and would be right, where a device's share of the batch, `here` images, needs
    so many bytes, and one image more needs `an_image`."""
    on_each = f" ({here} on each of {devices} devices)" if devices > 1 else ""
    text = f"the device's memory does not hold a batch of {here * devices}{on_each}"
    if an_image <= 0:
        return f"{text}; give a smaller one (rm.batch_size, rgrl.batch_size)"
    text += f": a step needs about {needed / _GIB:.2f} GiB beside {resident / _GIB:.2f} of images"
    statistics = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" not in statistics:
        return f"{text}; give a smaller one (rm.batch_size, rgrl.batch_size)"
    budget = statistics["bytes_limit"]
    if needed + resident <= budget:
        return f"{text}, of {budget / _GIB:.2f}; right is a device that nothing else uses"
    fits = here - int((needed + resident - budget) / an_image) - 1
    largest = max(0, min(fits, here - 1)) * devices
    return (
        f"{text}, of {budget / _GIB:.2f}; the largest that fits is about {largest} "
        "(rm.batch_size, rgrl.batch_size)"
        if largest
        else f"{text}, of {budget / _GIB:.2f}; give a smaller network (model.width) or stream the "
        "images (dataset.memory_budget)"
    )
