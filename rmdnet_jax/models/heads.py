"""What sits on a backbone: SimSiam's projector and predictor, the classifier, the adapter."""

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
    """One float32 linear layer: the classifier, and the adapter between unequal embeddings."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """float32 [B, D] -> float32 [B, features], whether it trains or not."""
        # Accelerators would otherwise multiply in tf32 or bfloat16.
        return _dense(self.features, jnp.float32, precision=jax.lax.Precision.HIGHEST)(x)


def _dense(features: int, dtype: jnp.dtype, **options: Any) -> nn.Dense:
    return nn.Dense(features, kernel_init=default_init, dtype=dtype, **options)
