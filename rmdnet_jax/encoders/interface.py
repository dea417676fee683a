"""The interface of a pretrained encoder: images in, one embedding each out."""

import dataclasses
from pathlib import Path
from typing import Protocol

import numpy as np

from rmdnet_jax.base.ranges import Rule, one_of

# Means and standard deviations that encoders were trained with, of channels in [0, 1]: those of
# ImageNet, of CLIP, 0.5 (Inception, EfficientNet-Lite, many of timm), and 0 and 1.
PRESETS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "inception": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
NORMALISATION: Rule = one_of(*PRESETS)

SIDE = 224  # pixels, if neither the file nor the user says


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a user states about an encoder's file; the rest is read from the file.

    Attributes:
      side: of its square images, in pixels; 0 is the file's own, or 224.
      normalisation: one of `PRESETS`; None is the file's own.
      output: the name of the output of an ONNX file; "" lets the program choose.
    """

    side: int = 0
    normalisation: str | None = None
    output: str = ""


class Encoder(Protocol):
    """A frozen network that was trained elsewhere.

    Attributes:
      path: its file.
      used: how it is used, so that the file can be read again.
      side: of the square images that it reads, in pixels.
      size: D, the number of features of an embedding.
      normalised: one of `PRESETS`, "the file's", or None: not stated, and ImageNet's is used.
      digest: SHA-256 of its file and of how it is used.
      story: a line for the terminal on what it reads and which output is used.
    """

    @property
    def path(self) -> Path:
        """Its file."""
        ...

    @property
    def used(self) -> Asked:
        """How it is used."""
        ...

    @property
    def side(self) -> int:
        """In pixels."""
        ...

    @property
    def size(self) -> int:
        """D."""
        ...

    @property
    def normalised(self) -> str | None:
        """With which mean and standard deviation."""
        ...

    @property
    def digest(self) -> str:
        """A hash of file and use."""
        ...

    @property
    def story(self) -> str:
        """For the terminal."""
        ...

    def embed(self, pictures: np.ndarray) -> np.ndarray:
        """Embeddings float32 [n, D] of uint8 [n, side, side, 3]."""
        ...
