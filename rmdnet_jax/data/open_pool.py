"""Images that show none of the classes, from which open-set noise is drawn: open_set.py adds them
to a data set, open_source.py reads them from another source."""

import dataclasses
from collections.abc import Callable

import numpy as np

from rmdnet_jax.data import lazy_images
from rmdnet_jax.data.lazy_images import Images


@dataclasses.dataclass(frozen=True)
class Pool:
    """Open-set images, or feature vectors in their place; their labels are not read.

    Attributes:
      name: what they are, for messages.
      images: uint8 [M, H, W, 3] or float32 [M, D], of the same shape as the data's images.
      files: the path of each as the user knows it, or None.
      digests: uint8 [M, 16], as in a `Dataset`, or None.
      originals: side -> the images as squares of so many pixels, from the best available
        resolution; None: there is nothing beyond the images.
      are_whole: whether they need no check for broken ones (open_source.whole).
    """

    name: str
    images: Images
    files: tuple[str, ...] | None = None
    digests: np.ndarray | None = None
    originals: Callable[[int], Images] | None = None
    are_whole: bool = True

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: np.ndarray) -> "Pool":
        """The images of these rows, int [m], in their order."""
        originals = self.originals
        return dataclasses.replace(
            self,
            images=lazy_images.subset(self.images, rows),
            files=None if self.files is None else tuple(self.files[row] for row in rows),
            digests=None if self.digests is None else self.digests[rows],
            originals=originals and (lambda side: lazy_images.subset(originals(side), rows)),
        )

    def squares(self, side: int) -> Images:
        """As `Dataset.squares` gives those of a data set: uint8 [M, side, side, 3]."""
        if self.originals:
            return self.originals(side)
        return lazy_images.squares(self.images, side)
