"""ResNet backbones: images in, one embedding each out. Classifier and heads are in heads.py."""

import flax.linen as nn
import jax
import jax.numpy as jnp

# PyTorch's default, U(-1/sqrt(fan_in), 1/sqrt(fan_in)), as in the public code of this family.
# With batch normalisation the scale of the weights sets the effective step size, so at the
# paper's learning rates it matters.
default_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")

# Output channels of a block, as a multiple of its `features`.
EXPANSION = {"basic": 1, "bottleneck": 4}


def batch_norm(train: bool, dtype: jnp.dtype) -> nn.BatchNorm:
    """Batch normalisation with PyTorch's defaults; statistics are float32 in any `dtype`."""
    return nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5, dtype=dtype)


def _conv(features: int, size: int, stride: int, dtype: jnp.dtype) -> nn.Conv:
    """A square convolution that keeps the image size up to its stride; batch norm has the bias."""
    return nn.Conv(
        features,
        (size, size),
        strides=stride,
        padding=size // 2,
        use_bias=False,
        kernel_init=default_init,
        dtype=dtype,
    )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut (He et al. 2016, figure 5 left)."""

    features: int
    stride: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/stride, W/stride, features]."""

        def conv(x, size, stride):
            return _conv(self.features, size, stride, self.dtype)(x)

        shortcut = x
        if self.stride != 1 or x.shape[-1] != self.features:
            shortcut = batch_norm(train, self.dtype)(conv(x, 1, self.stride))
        y = nn.relu(batch_norm(train, self.dtype)(conv(x, 3, self.stride)))
        y = batch_norm(train, self.dtype)(conv(y, 3, 1))
        # Later blocks read this instead of computing it again (machine/cpu.py).
        return jax.lax.optimization_barrier(nn.relu(y + shortcut))


class BottleneckBlock(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with a shortcut (He et al. 2016, figure 5 right).

    The 3x3 convolution has the stride, as in torchvision ("v1.5"); in the paper the first has it.
    """

    features: int
    stride: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/stride, W/stride, 4 * features]."""

        def conv(x, features, size, stride):
            return _conv(features, size, stride, self.dtype)(x)

        features = EXPANSION["bottleneck"] * self.features
        shortcut = x
        if self.stride != 1 or x.shape[-1] != features:
            shortcut = batch_norm(train, self.dtype)(conv(x, features, 1, self.stride))
        y = nn.relu(batch_norm(train, self.dtype)(conv(x, self.features, 1, 1)))
        y = nn.relu(batch_norm(train, self.dtype)(conv(y, self.features, 3, self.stride)))
        y = batch_norm(train, self.dtype)(conv(y, features, 1, 1))
        # As in BasicBlock.
        return jax.lax.optimization_barrier(nn.relu(y + shortcut))


BLOCKS = {"basic": BasicBlock, "bottleneck": BottleneckBlock}


class ResNet(nn.Module):
    """ResNet-18, or another ResNet, without its classifier.

    Attributes:
      width: channels of the first stage; each further stage has twice as many (64 -> 512).
      stem: "cifar" (3x3 convolution, stride 1, no pooling) for small images or "imagenet"
        (7x7, stride 2, max pool) for large ones.
      dtype: of the convolutions; parameters, batch statistics and the embedding are float32.
      blocks: number per stage; (2, 2, 2, 2) is ResNet-18, (1, 1, 1, 1) is ResNet-10.
      block: "basic", or "bottleneck", which has four times the channels: ResNet-50 has
        (3, 4, 6, 3) bottlenecks.
    """

    width: int = 64
    stem: str = "cifar"
    dtype: jnp.dtype = jnp.float32
    blocks: tuple[int, ...] = (2, 2, 2, 2)
    block: str = "basic"

    @property
    def embedding_size(self) -> int:
        """Number of features D of the embedding: the last stage's channels."""
        return EXPANSION[self.block] * self.width * 2 ** (len(self.blocks) - 1)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Normalised images float32 [B, H, W, 3] -> embedding float32 [B, embedding_size]."""
        size, stride = (3, 1) if self.stem == "cifar" else (7, 2)
        x = _conv(self.width, size, stride, self.dtype)(x)
        x = nn.relu(batch_norm(train, self.dtype)(x))
        if self.stem == "imagenet":
            x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for stage, blocks in enumerate(self.blocks):
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                x = BLOCKS[self.block](self.width * 2**stage, stride, self.dtype)(x, train)
        return x.astype(jnp.float32).mean(axis=(1, 2))
