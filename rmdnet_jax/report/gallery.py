"""The most suspicious training images, small enough to put on a page."""

import base64
import dataclasses
import io

import numpy as np
from PIL import Image

from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.data.labels import Labels
from rmdnet_jax.evaluation import label_issues
from rmdnet_jax.evaluation.label_issues import LabelIssues

_SIDE = 96  # pixels, the longest of a thumbnail's

# Up to so many pixels a side a picture is kept as it is, every pixel of it.
_SMALL = 48


@dataclasses.dataclass(frozen=True)
class Suspect:
    """A training image whose label looks wrong.

    Attributes:
      index: its place in the training set.
      picture: a data URI; None where the data is feature vectors.
      given, suggested: class numbers.
      true: class number, or None where nobody knows it.
      score, student_score, neighbour_score: as in LabelIssues.
      file: its path as the user knows it, or None.
    """

    index: int
    picture: str | None
    given: int
    suggested: int
    true: int | None
    score: float
    student_score: float
    neighbour_score: float | None
    file: str | None


def suspects(issues: LabelIssues, data: Dataset, labels: Labels, count: int) -> list[Suspect]:
    """The `count` most suspicious images, or all there are, most suspicious first."""
    neighbours = issues.neighbour_score
    return [
        Suspect(
            index=int(issues.index[i]),
            picture=thumbnail(data.train_images[i]) if data.are_pictures else None,
            given=int(issues.given[i]),
            suggested=int(issues.suggested[i]),
            true=None if labels.true is None else int(labels.true[i]),
            score=float(issues.score[i]),
            student_score=float(issues.student_score[i]),
            neighbour_score=None if neighbours is None else float(neighbours[i]),
            file=None if data.train_files is None else data.train_files[i],
        )
        for i in label_issues.ranking(issues)[:count]
    ]


def thumbnail(pixels: np.ndarray) -> str:
    """The data URI of uint8 [H, W, 3]: a small picture whole as PNG, a larger one as a JPEG of at
    most 96 pixels a side. The page enlarges what is smaller."""
    image = Image.fromarray(pixels)
    is_small = max(image.size) <= _SMALL
    image.thumbnail((_SIDE, _SIDE))
    kind, options = ("png", {"optimize": True}) if is_small else ("jpeg", {"quality": 85})
    encoded = io.BytesIO()
    image.save(encoded, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(encoded.getvalue()).decode()}"
