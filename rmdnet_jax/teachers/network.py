"""A teacher that is a frozen network and sees the learner's views."""

import dataclasses
from typing import Any

import jax
import numpy as np

from rmdnet_jax.models import chain


@dataclasses.dataclass(frozen=True)
class NetworkTeacher:
    """A chain of networks, with running statistics.

    Attributes:
      modules: a backbone and perhaps a projector, by name; the last one's output is the embedding.
      size: the embedding size.
      params, batch_stats: by network, on the host.
      reads_labels: whether it was trained with labels.
    """

    modules: dict[str, Any]
    size: int
    params: dict
    batch_stats: dict
    reads_labels: bool = False

    @property
    def frozen(self) -> dict:
        """Its weights."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    def embed(self, frozen: dict, view: jax.Array, index: jax.Array) -> jax.Array:
        """Embeddings float32 [B, D] of normalised views float32 [B, H, W, 3]."""
        outputs, _ = chain.apply(
            self.modules, frozen["params"], frozen["batch_stats"], view, train=False
        )
        return outputs[[*self.modules][-1]]

    def of_images(self, index: np.ndarray) -> "NetworkTeacher":
        """Itself: it does not depend on which images a learner has."""
        return self
