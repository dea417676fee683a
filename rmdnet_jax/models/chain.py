"""Networks in sequence, each on the output of the one before: backbone and head.

Parameters and batch statistics are dicts by the networks' names; they are initialised and applied
only here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax

Modules = Mapping[str, nn.Module]


def init(
    modules: Modules, keys: Sequence[jax.Array] | jax.Array, x: jax.Array
) -> tuple[dict, dict]:
    """Fresh parameters and batch statistics.

    Args:
      modules: called with (x, train).
      keys: one per module, in order.
      x: an input of the first module, for its shape.
    """
    params, batch_stats = {}, {}
    out: Any = x
    for key, (name, module) in zip(keys, modules.items(), strict=True):
        out, variables = module.init_with_output(key, out, train=False)
        params[name] = variables["params"]
        if "batch_stats" in variables:
            batch_stats[name] = variables["batch_stats"]
    return params, batch_stats


def apply(
    modules: Modules, params: dict, batch_stats: dict, x: jax.Array, *, train: bool
) -> tuple[dict[str, Any], dict]:
    """Every network's output, by name, and the batch statistics afterwards.

    Args:
      modules: called with (x, train).
      params, batch_stats: as `init` gives them; other names are ignored.
      x: the input of the first module.
      train: whether batch norm uses the batch's statistics, and updates the running ones.
    """
    outputs: dict[str, Any] = {}
    updated: dict[str, Any] = {}
    out: Any = x
    for name, module in modules.items():
        variables = {"params": params[name]}
        if name in batch_stats:
            variables["batch_stats"] = batch_stats[name]
        if train:
            out, changed = module.apply(variables, out, train=True, mutable=["batch_stats"])
        else:
            out, changed = module.apply(variables, out, train=False), variables
        outputs[name] = out
        if name in batch_stats:
            updated[name] = changed["batch_stats"]
    return outputs, updated
