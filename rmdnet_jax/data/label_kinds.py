"""The kinds of given labels: right, of another class, or on an image that shows none of the
classes."""

from typing import NamedTuple

import numpy as np

# By name, as in files, and by their index in it.
KINDS = "clean", "closed", "open"
CLEAN, CLOSED, OPEN = range(3)


class Division(NamedTuple):
    """How a method divides N labels, for methods that know more than their belief shows.

    Attributes:
      part: int8 [N]: CLEAN, CLOSED or OPEN.
      label: int32 [N], the given label of a clean image, the likely class of another; meaningless
        for an open one.
      clean: float32 [N] in [0, 1], how likely the given label is right.
    """

    part: np.ndarray
    label: np.ndarray
    clean: np.ndarray

    def for_people(self, given: np.ndarray) -> "Division":
        """The division as it is reported: a label that is neither right nor has a likelier class is
        on an image that resembles no class, so its part is OPEN.

        Args:
          given: int [N], the labels.
        """
        is_none = (self.part == CLOSED) & (self.label == given)
        return self._replace(part=np.where(is_none, OPEN, self.part).astype(np.int8))
