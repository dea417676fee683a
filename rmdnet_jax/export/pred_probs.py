"""What the given labels were judged by, as arrays under the names that cleanlab's functions have
for them: probabilities of every training image, and the labels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rmdnet_jax.base.atomic import open_atomic
from rmdnet_jax.base.text import shown

NAME = "pred_probs.npz"

# Of the probabilities: those of a million images of a thousand classes are nobody's by-product.
_MOST_BYTES = 1 << 30


def write(
    path: Path,
    pred_probs: np.ndarray,
    given: np.ndarray,
    index: np.ndarray,
    classes: Sequence[object],
    is_out_of_sample: bool,
) -> bool:
    """Writes pred_probs float32 [N, C] (rows sum to 1), labels int64 [N], index int64 [N] (places
    in the data set), class_names str [C] and out_of_sample bool: whether a label was judged only by
    networks that had not seen it. Nothing is written of more than a gigabyte.

    Returns:
      Whether it was written.

    Raises:
      OSError: it cannot be.
    """
    if pred_probs.nbytes > _MOST_BYTES:
        return False
    # Rounding of float32 aside, cleanlab asks for rows that sum to 1.
    probabilities = np.clip(np.asarray(pred_probs, np.float64), 0, None)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    with open_atomic(path, "wb") as file:
        np.savez_compressed(
            file,  # type: ignore[arg-type]
            pred_probs=probabilities.astype(np.float32),
            labels=np.asarray(given, np.int64),
            index=np.asarray(index, np.int64),
            class_names=np.array([shown(str(name)) for name in classes]),
            out_of_sample=np.array(is_out_of_sample),
        )
    return True
