"""An encoder from the .safetensors file of a ResNet with PyTorch's names: run in JAX, and usable to
initialise a student."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from rmdnet_jax.base.digest import text_digest
from rmdnet_jax.encoders.interface import PRESETS, SIDE, Asked
from rmdnet_jax.models import chain, torch_weights
from rmdnet_jax.models.torch_weights import Pretrained


@dataclasses.dataclass(frozen=True)
class ResNetEncoder:
    """The encoder; `read` makes it.

    Attributes:
      path, used, side, normalised, digest, story: as in Encoder.
      pretrained: the network and its weights.
      mean, std: float32 [3], of channels in [0, 1].
    """

    path: Path
    used: Asked
    pretrained: Pretrained
    mean: np.ndarray
    std: np.ndarray
    side: int
    normalised: str | None
    digest: str
    story: str

    @property
    def size(self) -> int:
        """D, the number of features of an embedding."""
        return self.pretrained.backbone.embedding_size

    def embed(self, pictures: np.ndarray) -> np.ndarray:
        """Embeddings float32 [n, D] of uint8 [n, side, side, 3]."""
        x = (pictures.astype(np.float32) / 255 - self.mean) / self.std
        return np.asarray(self._apply(x))

    @functools.cached_property
    def _apply(self) -> Callable[[np.ndarray], jax.Array]:
        found = self.pretrained
        modules = {"backbone": found.backbone}
        # On the device once: a ResNet-50's weights are five times a batch of pictures.
        trees = jax.device_put(({"backbone": found.params}, {"backbone": found.batch_stats}))

        @jax.jit
        def apply(trees: tuple[dict, dict], x: jax.Array) -> jax.Array:
            return chain.apply(modules, *trees, x, train=False)[0]["backbone"]

        return functools.partial(apply, trees)


def read(path: Path, asked: Asked) -> ResNetEncoder:
    """The encoder of a file.

    Raises:
      InputError: it is not a ResNet that can be read, or safetensors is missing.
    """
    pretrained = torch_weights.read(path)
    side, normalised = asked.side or SIDE, asked.normalisation
    name = normalised or "imagenet"
    mean, std = (np.array(numbers, np.float32) for numbers in PRESETS[name])
    digest = text_digest(hashlib.sha256(path.read_bytes()).hexdigest(), str(side), name)
    blocks = pretrained.backbone.blocks
    story = (
        f"{path.name}: ResNet of {sum(blocks)} {pretrained.backbone.block} blocks, images of "
        f"{side} pixels, normalisation {name}"
        + ("" if normalised else " (a .safetensors does not say)")
    )
    used = Asked(side, normalised)
    return ResNetEncoder(path, used, pretrained, mean, std, side, normalised, digest, story)
