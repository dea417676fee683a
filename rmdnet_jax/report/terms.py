"""What numbers are called. Accuracy is only what is measured on labels known to be true; on labels
that may be wrong themselves it is agreement with them, and says so."""

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Terms:
    """Words of a run.

    Attributes:
      test: the share of the test images that are predicted as labelled.
      knn: the same by a vote of nearest neighbours.
      label: of the test images.
      caution: what to keep in mind, or nothing.
    """

    test: str
    knn: str
    label: str
    caution: str


def shape(image_shape: Sequence[int]) -> str:
    """Of an image: "32x32", or "1,280 features"."""
    if len(image_shape) == 1:
        return f"{image_shape[0]:,} features"
    return f"{image_shape[0]}x{image_shape[1]}"


def of(results: dict) -> Terms:
    """The words that fit results.json's `test_labels`, "true" or "given"."""
    if results["test_labels"] == "true":
        return Terms("test accuracy", "kNN accuracy", "true class", "")
    return Terms(
        "agreement with the given test labels",
        "kNN agreement with the given test labels",
        "given test label",
        "Nobody vouches for the test labels: where one is wrong, a right prediction counts as a "
        "mistake. Read the numbers as agreement with the given labels, not as accuracy.",
    )
