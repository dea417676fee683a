"""What a given label may be: right, that of another class, or of an image that shows none of the
classes."""

from typing import NamedTuple

import numpy as np

# By name, as files have them, and by their places in it.
KINDS = "clean", "closed", "open"
CLEAN, CLOSED, OPEN = range(3)


class Division(NamedTuple):
    """What a method takes N labels for, where it knows better than its belief says.

    Attributes:
      part: int8 [N]: CLEAN, CLOSED or OPEN.
      label: int32 [N], the given label of a clean image, the likely class of another; of an open
        one it means nothing.
      clean: float32 [N] in [0, 1], how surely the given label is right.
    """

    part: np.ndarray
    label: np.ndarray
    clean: np.ndarray
