"""The devices that JAX is to use: whether they are available, and how to hide them from others."""

import jax
import jax.numpy as jnp
from jax.extend import backend

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import one_line

# For the environment of a child process with TensorFlow, which takes all the memory of a GPU that
# it sees.
HIDDEN = {"CUDA_VISIBLE_DEVICES": "-1", "HIP_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}


def check() -> None:
    """Raises InputError if none of the devices that JAX_PLATFORMS names or that are found can be
    used, or if they belong to one of several processes, which have not been connected.

    To be called before JAX computes anything, and after the processes of a run are connected.
    """
    asked = jax.config.values["jax_platforms"]
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter from CUDA without its plugin
        jax.config.update("jax_platforms", "")
        there = ", ".join(sorted(backend.backends()))
        # Restored: a second attempt must not silently get other devices.
        backend.clear_backends()
        jax.config.update("jax_platforms", asked)
        reason = one_line(error, 300) or "nothing is installed for them"
        if not asked:
            raise InputError(
                f"JAX cannot use the accelerator that it finds here ({reason}); expected one that "
                "works (docs/running.md), or JAX_PLATFORMS=cpu to run without it"
            ) from error
        raise InputError(
            f"JAX_PLATFORMS is {asked} and JAX finds no such devices here ({reason}); expected one "
            f"of {there}, or leave it unset (docs/running.md says what a GPU or TPU needs)"
        ) from error
    if jax.process_count() > 1 and not jax.distributed.is_initialized():
        raise InputError(
            f"the devices here belong to one of {jax.process_count()} hosts; expected the same "
            "command on every host, with --distributed"
        )


def fast_dtype() -> jnp.dtype:
    """The dtype in which convolutions are fastest: bfloat16 on TPUs and on GPUs that support it
    (NVIDIA's from compute capability 8 on; a T4 has 7.5), else float32."""
    device = jax.local_devices()[0]
    generation = getattr(device, "compute_capability", "").partition(".")[0]  # AMD's: gfx90a
    is_old = generation.isdecimal() and int(generation) < 8
    return jnp.dtype("float32" if device.platform == "cpu" or is_old else "bfloat16")
