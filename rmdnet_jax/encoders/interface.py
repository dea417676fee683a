"""What a pretrained encoder is to everything around it: pictures in, one embedding each out."""

import dataclasses
from pathlib import Path
from typing import Protocol

import numpy as np

from rmdnet_jax.base.ranges import Rule, one_of

# Means and standard deviations that encoders were trained with, of channels in [0, 1]: those of
# ImageNet's pictures, of CLIP's, 0.5 (Inception, EfficientNet-Lite, many of timm), and 0 and 1.
PRESETS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "inception": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
NORMALISATION: Rule = one_of(*PRESETS)

SIDE = 224  # pixels, where neither the file nor the user says


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a user says of an encoder's file; the rest is read from the file.

    Attributes:
      side: of its square pictures, in pixels; 0 is the file's own, or 224.
      normalisation: of `PRESETS`; None is the file's own.
      output: the name of the output of an ONNX file; "" is chosen.
    """

    side: int = 0
    normalisation: str | None = None
    output: str = ""


class Encoder(Protocol):
    """A frozen network that somebody else has trained.

    Attributes:
      path: its file.
      used: how it is used, so that the file can be read again.
      side: of the square pictures that it reads, in pixels.
      size: D, features of an embedding.
      normalised: of `PRESETS`, "the file's", or None: nobody says, and ImageNet's is taken.
      digest: SHA-256 of its file and of how it is used.
      story: a line on what is read and what is taken, for the terminal.
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
        """By which mean and standard deviation."""
        ...

    @property
    def digest(self) -> str:
        """Of file and use."""
        ...

    @property
    def story(self) -> str:
        """For the terminal."""
        ...

    def embed(self, pictures: np.ndarray) -> np.ndarray:
        """Embeddings float32 [n, D] of uint8 [n, side, side, 3]."""
        ...
