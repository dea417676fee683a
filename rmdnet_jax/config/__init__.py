"""A run's config: its fields, their check, and what is chosen where a field is left open."""

from rmdnet_jax.config.fields import default, set_loss, set_method

__all__ = ["default", "set_loss", "set_method"]
