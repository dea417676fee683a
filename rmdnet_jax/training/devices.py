"""The devices that JAX shall use: whether they are there, and that nobody else takes them."""

import jax
from jax.extend import backend

from rmdnet_jax.errors import InputError
from rmdnet_jax.names import one_line

# In the environment of a child process with TensorFlow, which takes all the memory of a GPU that it
# sees.
HIDDEN = {"CUDA_VISIBLE_DEVICES": "-1", "HIP_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}


def check() -> None:
    """Raises InputError if none of the platforms that JAX_PLATFORMS names is there.

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
        reason = one_line(error, 150) or "nothing is installed for them"
        raise InputError(
            f"JAX_PLATFORMS is {asked} and JAX finds no such devices here ({reason}); right is one "
            f"of {there}, or to leave it out (docs/running.md has what a GPU or TPU needs)"
        ) from error
