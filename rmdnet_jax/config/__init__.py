"""A run's config: its fields, their validation, and the automatic choices for open fields."""

from rmdnet_jax.config.fields import default, set_loss, set_method

__all__ = ["default", "set_loss", "set_method"]
