"""Heads on a backbone: SimSiam's projector and predictor, the classifier, the adapter."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from rmdnet_jax.models.resnet import batch_norm, default_init


class Projector(nn.Module):
    """SimSiam's projector for CIFAR: one hidden layer, batch norm on both, no ReLU on the output.

    Chen and He 2021, appendix D.
    """

    features: int = 2048
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, embedding: jax.Array, train: bool) -> jax.Array:
        """[B, D] -> float32 [B, features]."""
        x = _dense(self.features, self.dtype, use_bias=False)(embedding)
        x = nn.relu(batch_norm(train, self.dtype)(x))
        x = _dense(self.features, self.dtype, use_bias=False)(x)
        return batch_norm(train, self.dtype)(x).astype(jnp.float32)


class Predictor(nn.Module):
    """SimSiam's predictor: a bottleneck with batch norm and ReLU in the hidden layer only."""

    hidden: int = 512
    features: int = 2048
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, projection: jax.Array, train: bool) -> jax.Array:
        """[B, features] -> float32 [B, features]."""
        x = _dense(self.hidden, self.dtype, use_bias=False)(projection)
        x = nn.relu(batch_norm(train, self.dtype)(x))
        return _dense(self.features, self.dtype)(x).astype(jnp.float32)


class Linear(nn.Module):
    """One float32 linear layer: the classifier, and the adapter between embeddings of unequal size.

    Attributes:
      features: number of outputs.
      alone: it is the whole network, so that its gradient takes most of the training time.
    """

    features: int
    alone: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """float32 [B, D] -> float32 [B, features], whether it trains or not."""
        # Accelerators would otherwise multiply in tf32 or bfloat16.
        precise = {"precision": jax.lax.Precision.HIGHEST}
        own = {"dot_general": _dot_general} if self.alone else precise
        return _dense(self.features, jnp.float32, **own)(x)


def _dot_general(x: jax.Array, kernel: jax.Array, *_: Any, **__: Any) -> jax.Array:
    return _product(x, kernel)


@jax.custom_vjp
def _product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x [B, D] times a kernel [D, C] with few columns.

    XLA's CPU compiler turns the kernel's gradient x^T g, whose few columns come last, into a loop
    that takes three times as long as the transpose of g^T x. The barriers keep it from
    simplifying one into the other.
    """
    # Accelerators would otherwise multiply in tf32 or bfloat16.
    return jnp.matmul(x, kernel, precision=jax.lax.Precision.HIGHEST)


def _product_forward(
    x: jax.Array, kernel: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _product(x, kernel), (x, kernel)


def _product_backward(
    saved: tuple[jax.Array, jax.Array], g: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    precision, apart = jax.lax.Precision.HIGHEST, jax.lax.optimization_barrier
    of_kernel = apart(jnp.matmul(apart(g.T), x, precision=precision)).T
    return jnp.matmul(g, kernel.T, precision=precision), of_kernel


_product.defvjp(_product_forward, _product_backward)


def _dense(features: int, dtype: jnp.dtype, **options: Any) -> nn.Dense:
    return nn.Dense(features, kernel_init=default_init, dtype=dtype, **options)
