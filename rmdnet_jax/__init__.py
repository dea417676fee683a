"""RMDNet: relation modelling and distillation for learning with noisy labels, in JAX and Flax."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rmdnet_jax.api import fit
    from rmdnet_jax.base.errors import DivergedError, InputError
    from rmdnet_jax.model import Model

__version__ = "0.2.0"
__all__ = ["DivergedError", "InputError", "Model", "fit"]


def __getattr__(name: str) -> Any:
    """Imports these names on first use: launch.py configures JAX before it is imported."""
    if name == "fit":
        from rmdnet_jax.api import fit

        return fit
    if name == "Model":
        from rmdnet_jax.model import Model

        return Model
    if name in ("DivergedError", "InputError"):
        from rmdnet_jax.base import errors

        return getattr(errors, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
