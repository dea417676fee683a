"""JoCoR: two networks that agree are likely right; both are trained on the images of a batch with a
small joint loss, and to agree on them (Wei et al. 2020, arXiv 2003.02752)."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp

from rmdnet_jax.base.ranges import BELOW_1
from rmdnet_jax.losses import soft
from rmdnet_jax.methods import select
from rmdnet_jax.methods.interface import Metrics
from rmdnet_jax.methods.smallloss import SmallLoss


@dataclasses.dataclass(frozen=True)
class JoCoR(SmallLoss):
    """Both networks are updated on the `keep` smallest of a joint loss per image,
    (1 - weight) (the losses of both) + weight (KL(p1 || p2) + KL(p2 || p1)) (equations 1 to 5)."""

    weight: Annotated[float, BELOW_1, "weight of the networks' agreement, the paper's lambda"] = 0.9

    title = "JoCoR"
    name: ClassVar[str] = "jocor"

    def objective(
        self, logits: Sequence[jax.Array], label: jax.Array, keep: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        """The mean over the kept images. Metrics: robust_loss (the mean of both networks') and
        disagreement (the second part unweighted), also over the kept images."""
        robust = self.learner.loss(logits[0], label) + self.learner.loss(logits[1], label)
        apart = soft.symmetric_kl(*logits)
        joint = (1 - self.weight) * robust + self.weight * apart
        chosen = select.smallest(joint, keep)
        loss, robust, apart = (
            (one * chosen).sum() / keep.astype(jnp.float32) for one in (joint, robust, apart)
        )
        return loss, {"robust_loss": robust / 2, "disagreement": apart}


METHOD = JoCoR
