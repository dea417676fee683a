"""The most suspicious training images, small enough for the page."""

import base64
import dataclasses
import io

import numpy as np
from PIL import Image

from rmdnet_jax.data import label_kinds, lazy_images
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.data.labels import Labels
from rmdnet_jax.evaluation import label_issues
from rmdnet_jax.evaluation.label_issues import LabelIssues

# Images of at most so many pixels per side are kept as they are.
_SMALL = 48

# Characters of all images of a page together, so that one of 2,000 cards stays below 20 MB; and the
# maximum for each, however few there are.
_ALL = 15_000_000
_MOST = 20_000

# (longest side in pixels, JPEG quality), from the preferred form to the one that is used if all
# others are too long.
_FORMS = ((96, 85), (96, 70), (80, 65), (64, 60), (48, 50), (32, 40))


@dataclasses.dataclass(frozen=True)
class Suspect:
    """A training image whose label looks wrong.

    Attributes:
      index: its position in what the user gave.
      picture: a data URI; None if the data is feature vectors.
      given, suggested: class numbers.
      kind: one of label_kinds.KINDS; an open one shows none of the classes, and the suggested class
        is the most similar one.
      true: class number, dataset.NO_CLASS for none of the classes, or None if it is unknown.
      score, student_score, neighbour_score: as in LabelIssues.
      file: its path as given by the user, or None.
    """

    index: int
    picture: str | None
    given: int
    suggested: int
    kind: str
    true: int | None
    score: float
    student_score: float
    neighbour_score: float | None
    file: str | None


def suspects(issues: LabelIssues, data: Dataset, labels: Labels, count: int) -> list[Suspect]:
    """The `count` most suspicious images, or all if there are fewer, most suspicious first."""
    chosen = label_issues.ranking(issues)[:count]
    neighbours = issues.neighbour_score
    pictures = thumbnails(data, chosen) if data.are_pictures else [None] * len(chosen)
    return [
        Suspect(
            index=int(issues.index[i]),
            picture=picture,
            given=int(issues.given[i]),
            suggested=int(issues.suggested[i]),
            kind=label_kinds.KINDS[issues.kind[i]],
            true=None if labels.true is None else int(labels.true[i]),
            score=float(issues.score[i]),
            student_score=float(issues.student_score[i]),
            neighbour_score=None if neighbours is None else float(neighbours[i]),
            file=None if data.train_files is None else data.train_files[i],
        )
        for i, picture in zip(chosen, pictures, strict=True)
    ]


def thumbnails(data: Dataset, chosen: np.ndarray) -> list[str]:
    """Data URIs of training images, int [n]; each may be smaller if there are many."""
    most = min(_MOST, _ALL // max(1, len(chosen)))
    images = lazy_images.subset(data.train_images, chosen)
    return [thumbnail(pixels, most) for block in lazy_images.blocks(images) for pixels in block]


def thumbnail(pixels: np.ndarray, most: int = _MOST) -> str:
    """The data URI of uint8 [H, W, 3]: a small image in full as PNG; a larger one, or one whose PNG
    is too long, as a JPEG of at most 96 pixels per side. It has at most `most` characters if that
    is possible (32 pixels of pure noise take 1,000). The page enlarges small ones."""
    image = Image.fromarray(pixels)
    if max(image.size) <= _SMALL:
        uri = _uri(image, "png", optimize=True)
        if len(uri) <= most:
            return uri
    for side, quality in _FORMS:
        image.thumbnail((side, side))
        uri = _uri(image, "jpeg", quality=quality, optimize=True)
        if len(uri) <= most:
            break
    return uri


def _uri(image: Image.Image, kind: str, **options: object) -> str:
    encoded = io.BytesIO()
    image.save(encoded, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(encoded.getvalue()).decode()}"
