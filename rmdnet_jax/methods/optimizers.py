"""Optimisers with coupled weight decay, as in PyTorch, and a learning rate schedule."""

from collections.abc import Sequence

import jax
import optax


def step_decay(
    lr: float, total_steps: int, drops: Sequence[float], factor: float = 0.1
) -> optax.Schedule:
    """`lr`, multiplied by `factor` at each fraction of training in `drops`.

    The paper's drops at epochs 150, 180 and 210 of 240 are (0.625, 0.75, 0.875).
    """
    at: dict[int, float] = {}
    for drop in drops:  # in short trainings several may fall on one update
        update = round(drop * total_steps)
        at[update] = at.get(update, 1.0) * factor
    return optax.piecewise_constant_schedule(lr, at)


def build(
    name: str, schedule: optax.Schedule, momentum: float, weight_decay: float, grad_clip: float
) -> optax.GradientTransformation:
    """ "sgd" or "adam", whose beta1 is the momentum; the other arguments are those of `sgd`."""
    make = {"sgd": sgd, "adam": adam}[name]
    return make(schedule, momentum, weight_decay, grad_clip)


def adam(
    schedule: optax.Schedule, beta1: float, weight_decay: float, grad_clip: float = 0.0
) -> optax.GradientTransformation:
    """Adam as in PyTorch: the decay is added to the gradient before the moments are taken."""
    return _coupled(optax.adam(schedule, beta1), weight_decay, grad_clip)


def sgd(
    schedule: optax.Schedule, momentum: float, weight_decay: float, grad_clip: float = 0.0
) -> optax.GradientTransformation:
    """SGD as in PyTorch: the decay, on every parameter, is added to the gradient before momentum.

    Args:
      schedule: learning rate by update.
      momentum: in [0, 1), without dampening.
      weight_decay: >= 0.
      grad_clip: largest global norm of the gradient before the decay is added; 0: no clipping.
    """
    return _coupled(optax.sgd(schedule, momentum), weight_decay, grad_clip)


def with_constant_predictor(
    decayed: optax.GradientTransformation, constant: optax.GradientTransformation
) -> optax.GradientTransformation:
    """`decayed` for all networks except the predictor, which gets `constant`.

    SimSiam's ImageNet recipe does this (Chen and He 2021, section 4.1): the predictor should follow
    the newest representation.
    """

    def by_network(params):
        return {
            name: jax.tree.map(lambda _, n=name: n == "predictor", tree)
            for name, tree in params.items()
        }

    return optax.partition({True: constant, False: decayed}, by_network)


def _coupled(
    optimizer: optax.GradientTransformation, weight_decay: float, grad_clip: float
) -> optax.GradientTransformation:
    clip = [optax.clip_by_global_norm(grad_clip)] if grad_clip else []
    return optax.chain(*clip, optax.add_decayed_weights(weight_decay), optimizer)
