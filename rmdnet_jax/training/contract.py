"""What methods/interface.py asks of a method and only its values show: checked where they are on
their way anyway. Shapes are checked before training, in runs/checks.py."""

from typing import Any

import jax
import numpy as np

from rmdnet_jax.base.errors import InputError

# What a probability may be out of range by, and a sum of them.
_ROUNDING = 1e-3


def decision(title: str, before: Any, after: Any) -> None:
    """Raises InputError unless `after`, which between_epochs made of the state `before`, has its
    structure, shapes and dtypes: gathers of other shapes run to the end, and are wrong."""
    said, right = (
        f"between_epochs of {title} returned",
        "expected a state of the shapes it was given",
    )
    structure: Any = jax.tree.structure(before)  # a type that mypy cannot compare
    if structure != jax.tree.structure(after):
        other = "" if after is None else f" with other arrays than {type(before).__name__}"
        found = "None" if after is None else type(after).__name__
        raise InputError(f"{said} {found}{other}; {right}")
    pairs = zip(jax.tree_util.tree_leaves_with_path(after), jax.tree.leaves(before), strict=True)
    for (path, new), old in pairs:
        if (found := _kind(new)) != (given := _kind(old)):
            where = jax.tree_util.keystr(path).removeprefix(".")
            raise InputError(f"{said} {where} as {found}, which was {given}; {right}")


def order(title: str, positions: np.ndarray, num_images: int, is_remembered: bool) -> None:
    """Raises InputError for an epoch's order that is not one of the training images.

    Args:
      title: of the method.
      positions: int32 [steps, rows].
      num_images: of the training set.
      is_remembered: whether the step returns probabilities: the memory of an image takes one at a
        time.
    """
    lowest, highest = positions.min(), positions.max()
    if lowest < 0 or highest >= num_images:
        raise InputError(
            f"order of {title} has positions from {lowest} to {highest}; expected 0 to "
            f"{num_images - 1}, for {num_images} training images"
        )
    if not is_remembered:
        return
    repeats = (np.diff(np.sort(positions, axis=1), axis=1) == 0).any(axis=1)
    if repeats.any():
        raise InputError(
            f"order of {title} has an image twice in step {repeats.argmax() + 1}; expected none "
            "twice, or a step that returns None for probabilities"
        )


def probabilities(what: str, rows: np.ndarray) -> None:
    """Raises InputError unless each of the rows [N, C] is in [0, 1] with the sum 1, or zeros:
    nothing is known. `what` they are is the subject of its message."""
    lowest, highest = rows.min(), rows.max()
    sums = rows.sum(axis=1)[rows.any(axis=1)]
    in_range = lowest >= -_ROUNDING and highest <= 1 + _ROUNDING  # false of NaN
    if not (in_range and np.all(np.abs(sums - 1) <= _ROUNDING)):
        raise InputError(
            f"{what} are from {lowest:.3g} to {highest:.3g}, with sums from {sums.min():.3g} to "
            f"{sums.max():.3g}; expected probabilities, in [0, 1] with the sum 1"
        )


def _kind(leaf: Any) -> str:
    """The dtype and shape that JAX gives to a value: "float32[5, 2]"."""
    try:
        found = jax.typeof(leaf)
    except TypeError:
        return type(leaf).__name__
    return f"{found.dtype}{list(found.shape)}"
