"""What the measures are called. Only if the labels are known to be true is it accuracy; if they may
be wrong themselves, it is called agreement with them."""

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Terms:
    """The terms for a run.

    Attributes:
      test: for the share of the test images that are predicted as labelled.
      knn: for the same by a vote of nearest neighbours.
      label: for a label of the test images.
      caution: a caveat, or "".
    """

    test: str
    knn: str
    label: str
    caution: str


def shape(image_shape: Sequence[int]) -> str:
    """An image's shape as text: "32x32", or "1,280 features"."""
    if len(image_shape) == 1:
        return f"{image_shape[0]:,} features"
    return f"{image_shape[0]}x{image_shape[1]}"


def of(results: dict) -> Terms:
    """The terms for results.json's `test_labels`, "true" or "given"."""
    if results["test_labels"] == "true":
        return Terms("test accuracy", "kNN accuracy", "true class", "")
    return Terms(
        "agreement with the given test labels",
        "kNN agreement with the given test labels",
        "given test label",
        "The test labels have not been verified: where one is wrong, a right prediction counts as "
        "a mistake. Read the numbers as agreement with the given labels, not as accuracy.",
    )
