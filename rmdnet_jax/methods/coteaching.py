"""Co-teaching: two networks, each trained on the images of a batch for which the other network has
a small loss (Han et al. 2018, arXiv 1804.06872)."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp

from rmdnet_jax.methods import select
from rmdnet_jax.methods.interface import Metrics
from rmdnet_jax.methods.smallloss import SmallLoss


@dataclasses.dataclass(frozen=True)
class CoTeaching(SmallLoss):
    """Each network is updated on the images with the `keep` smallest losses of the *other*
    network."""

    title = "Co-teaching"
    name: ClassVar[str] = "coteaching"

    def objective(
        self, logits: Sequence[jax.Array], label: jax.Array, keep: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        """The sum of both networks' mean losses. Metrics: robust_loss, the mean of the two."""
        losses = [self.learner.loss(one, label) for one in logits]
        chosen = [select.smallest(one, keep) for one in losses]
        count = keep.astype(jnp.float32)
        own, other = ((losses[i] * chosen[1 - i]).sum() / count for i in (0, 1))
        return own + other, {"robust_loss": (own + other) / 2}


METHOD = CoTeaching
