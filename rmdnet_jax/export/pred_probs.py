"""The probabilities that the given labels were scored with, and the labels, for every training
image, as arrays with the names that cleanlab's functions use."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rmdnet_jax.base.atomic import open_atomic
from rmdnet_jax.base.text import shown

NAME = "pred_probs.npz"

# Size limit of the probabilities: for a million images of a thousand classes they are not written.
_MOST_BYTES = 1 << 30


def write(
    path: Path,
    pred_probs: np.ndarray,
    given: np.ndarray,
    index: np.ndarray,
    classes: Sequence[object],
    is_out_of_sample: bool,
) -> bool:
    """Writes pred_probs float32 [N, C] (rows sum to 1), labels int64 [N], index int64 [N] (in the
    data set), class_names str [C] and out_of_sample bool: whether each label was scored only by
    networks that were not trained on it. Nothing is written if pred_probs exceeds a gigabyte.

    Returns:
      Whether it was written.

    Raises:
      OSError: it cannot be written.
    """
    if pred_probs.nbytes > _MOST_BYTES:
        return False
    # cleanlab requires rows that sum to 1, up to float32 rounding.
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
