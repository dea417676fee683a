"""Strict JAX for every test: promotions raise, so that [B] never meets [B, 1] by accident."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Compiling is what these tests spend their time on; here and in the runs that they start.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def x64():
    """Float64 for finite differences; JAX's default is float32."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def lenient_promotion():
    """For libraries that mix dtypes on purpose: Optax's schedules, Flax's batch norm."""
    with jax.numpy_dtype_promotion("standard"):
        yield
