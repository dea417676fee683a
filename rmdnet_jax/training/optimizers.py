"""SGD as the paper trains with it: momentum, coupled weight decay, and the two schedules."""

from collections.abc import Sequence

import jax
import optax


def constant(lr: float) -> optax.Schedule:
    """`lr` throughout."""
    return optax.constant_schedule(lr)


def cosine(lr: float, total_steps: int) -> optax.Schedule:
    """Cosine decay from `lr` to 0 over `total_steps` updates (stage RM)."""
    return optax.cosine_decay_schedule(lr, total_steps)


def step_decay(lr: float, total_steps: int, drops: Sequence[float]) -> optax.Schedule:
    """`lr` times 0.1 at each share of training in `drops` (stage RGRL).

    The paper's drops at epochs 150, 180 and 210 of 240 are (0.625, 0.75, 0.875).
    """
    return optax.piecewise_constant_schedule(lr, {round(drop * total_steps): 0.1 for drop in drops})


def sgd(
    schedule: optax.Schedule, momentum: float, weight_decay: float, grad_clip: float = 0.0
) -> optax.GradientTransformation:
    """SGD as PyTorch's: the decay, on every parameter, is added to the gradient before momentum.

    Args:
      schedule: learning rate by update.
      momentum: in [0, 1), not dampened.
      weight_decay: >= 0.
      grad_clip: largest global norm of the gradient before the decay is added; 0 is no clipping.
    """
    clip = [optax.clip_by_global_norm(grad_clip)] if grad_clip else []
    return optax.chain(
        *clip, optax.add_decayed_weights(weight_decay), optax.sgd(schedule, momentum)
    )


def with_constant_predictor(
    decayed: optax.GradientTransformation, constant: optax.GradientTransformation
) -> optax.GradientTransformation:
    """`decayed` for all networks but the predictor, which gets `constant`.

    SimSiam's ImageNet recipe does so (Chen and He 2021, section 4.1): the predictor should follow
    the newest representation.
    """

    def by_network(params):
        return {
            name: jax.tree.map(lambda _, n=name: n == "predictor", tree)
            for name, tree in params.items()
        }

    return optax.partition({True: constant, False: decayed}, by_network)
