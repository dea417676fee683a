"""A small network on feature vectors: an encoder's embeddings, or any other features."""

import flax.linen as nn
import jax

from rmdnet_jax.models.resnet import default_init


class MLP(nn.Module):
    """Hidden layers with ReLU, without the classifier; float32.

    Attributes:
      hidden: units of each layer, one or more.
    """

    hidden: tuple[int, ...]

    @property
    def embedding_size(self) -> int:
        """Number of features D of the embedding: the last layer's units."""
        return self.hidden[-1]

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Normalised features float32 [B, F] -> embedding float32 [B, embedding_size]."""
        for units in self.hidden:
            # Accelerators would otherwise multiply in tf32 or bfloat16.
            dense = nn.Dense(units, kernel_init=default_init, precision=jax.lax.Precision.HIGHEST)
            x = nn.relu(dense(x))
        return x
