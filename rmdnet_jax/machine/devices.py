"""The devices that JAX shall use: whether they are there, and that nobody else takes them."""

import jax
import jax.numpy as jnp
from jax.extend import backend

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import one_line

# In the environment of a child process with TensorFlow, which takes all the memory of a GPU that it
# sees.
HIDDEN = {"CUDA_VISIBLE_DEVICES": "-1", "HIP_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}


def check() -> None:
    """Raises InputError if no device can be used of those that JAX_PLATFORMS names or that are
    found, or if they are a part of what several processes share, which have not met.

    To be called before JAX computes anything, and after the processes of a run have met.
    """
    asked = jax.config.values["jax_platforms"]
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter of CUDA without its plugin
        jax.config.update("jax_platforms", "")
        there = ", ".join(sorted(backend.backends()))
        # As it was: who tries again must not silently get other devices.
        backend.clear_backends()
        jax.config.update("jax_platforms", asked)
        reason = one_line(error, 300) or "nothing is installed for them"
        if not asked:
            raise InputError(
                f"JAX cannot use the accelerator that it finds here ({reason}); expected one that "
                "works (docs/running.md), or JAX_PLATFORMS=cpu to do without it"
            ) from error
        raise InputError(
            f"JAX_PLATFORMS is {asked} and JAX finds no such devices here ({reason}); expected one "
            f"of {there}, or to leave it out (docs/running.md has what a GPU or TPU needs)"
        ) from error
    if jax.process_count() > 1 and not jax.distributed.is_initialized():
        raise InputError(
            f"the devices here are those of one host of {jax.process_count()}; expected the same "
            "command on every host, with --distributed"
        )


def fast_dtype() -> jnp.dtype:
    """The dtype that convolutions are fastest in: bfloat16 on TPUs and on GPUs that have it (of
    NVIDIA's from compute capability 8 on; a T4 has 7.5), else float32."""
    device = jax.local_devices()[0]
    generation = getattr(device, "compute_capability", "").partition(".")[0]  # of AMD's: gfx90a
    is_old = generation.isdecimal() and int(generation) < 8
    return jnp.dtype("float32" if device.platform == "cpu" or is_old else "bfloat16")
