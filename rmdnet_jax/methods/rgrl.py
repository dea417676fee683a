"""The relation term, K (alpha node + beta edge), that any method with one network can carry (RGRL
in the paper). It regularises the learner by the relation graphs of a frozen teacher (RMDNet,
section 3.3, equations 6 to 11)."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from rmdnet_jax.losses import relation
from rmdnet_jax.machine import sharding
from rmdnet_jax.methods.interface import Metrics, Teacher
from rmdnet_jax.models import chain
from rmdnet_jax.models.heads import Linear

# Name of the adapter among a learner's parameters; inference does not read it.
ADAPTER = "adapter"


@dataclasses.dataclass(frozen=True)
class Relation:
    """The regulariser of equation 11.

    Attributes:
      teacher: the source of target embeddings.
      embedding_size: size of the learner's embedding.
      k: weight K; quoted for batches of 64.
      alpha, beta: weights of node and edge matching (equation 10).
      norm: "frobenius" (the paper's, grows with the batch) or "frobenius_per_sample" (divided by
        the batch size, so that one K fits all batch sizes).
      view: "same" (the teacher sees the learner's augmented batch) or "own" (drawn independently).
    """

    teacher: Teacher
    embedding_size: int
    k: float = 1.0
    alpha: float = 0.8
    beta: float = 0.35
    norm: str = "frobenius"
    view: str = "same"

    @property
    def adapter(self) -> dict[str, Linear]:
        """Maps the learner's embedding to the teacher's size if the two differ, for this term only
        (as EGA, arXiv 2211.13264, does for unequal networks)."""
        same = self.teacher.size == self.embedding_size
        return {} if same else {ADAPTER: Linear(self.teacher.size)}

    def init(self, key: jax.Array) -> dict:
        """Fresh parameters of the adapter, by its name; {} if none is needed."""
        embedding = jnp.zeros((1, self.embedding_size), jnp.float32)
        params, _ = chain.init(self.adapter, [key] * len(self.adapter), embedding)
        return params

    def __call__(self, params: dict, target: Any, embedding: jax.Array) -> tuple[Any, Metrics]:
        """The term and its parts, node_loss and edge_loss.

        Args:
          params: the learner's, including the adapter's.
          target: the teacher's embeddings of the batch, float32 [B, D].
          embedding: the learner's, float32 [B, embedding_size].
        """
        if self.adapter:
            embedding = chain.apply(self.adapter, params, {}, embedding, train=False)[0][ADAPTER]
        # Every image relates to every other, on whichever device it is.
        pair = sharding.whole((target, embedding))
        node, edge = relation.node_loss(*pair), relation.edge_loss(*pair)
        scale = len(embedding) if self.norm == "frobenius_per_sample" else 1
        term = self.k / scale * (self.alpha * node + self.beta * edge)
        return term, {"node_loss": node, "edge_loss": edge}
