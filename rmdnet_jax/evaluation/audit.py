"""Problems of the images themselves: duplicates, test images that look like training images, one
image with two labels, outliers, and dark, bright, blank, blurry, tiny and oblong images."""

import csv
import dataclasses
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rmdnet_jax.base.atomic import open_atomic
from rmdnet_jax.base.digest import content_digests
from rmdnet_jax.base.text import cell
from rmdnet_jax.data import lazy_images
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.data.lazy_images import Images
from rmdnet_jax.evaluation import duplicates, outliers, quality
from rmdnet_jax.evaluation.duplicates import Near, Pairs

ISSUES = (
    "exact_duplicate", "near_duplicate", "leak", "label_conflict", "outlier",
    "blank", "dark", "bright", "blurry", "tiny", "oblong",
)  # fmt: skip

# At most so many images are checked, evenly spaced: time grows with the square of their number.
_MOST = 100_000

_NAMED = 3  # duplicates that are named in the detail of an image


@dataclasses.dataclass(frozen=True)
class Finding:
    """An issue of an image.

    Attributes:
      split: "train" or "test".
      row: its position in the data set's images.
      index: its position in the user's input.
      issue: one of ISSUES.
      score: in [0, 1], higher is worse.
      group: the number of its group of duplicates, or None.
      detail: text for the user.
    """

    split: str
    row: int
    index: int
    issue: str
    score: float
    group: int | None
    detail: str


class Audit(NamedTuple):
    """All findings, ordered by issue, group and score; how many of all images were checked; and how
    many candidate pairs were skipped because there were too many to compare in detail."""

    findings: tuple[Finding, ...]
    looked_at: int
    images: int
    passed_over: int = 0

    def counts(self) -> dict[str, int]:
        """Number of images per issue, 0 where there are none."""
        found = Counter(finding.issue for finding in self.findings)
        return {issue: found[issue] for issue in ISSUES}


@dataclasses.dataclass(frozen=True)
class _Images:
    """The images that are checked, training images first: whether each is a training image, its
    row, its index and its given label, [N]."""

    is_train: np.ndarray
    row: np.ndarray
    index: np.ndarray
    label: np.ndarray

    def name(self, i: int) -> str:
        return f"{'train' if self.is_train[i] else 'test'} {self.index[i]}"

    def finding(
        self, i: int, issue: str, score: float, group: int | None = None, detail: str = ""
    ) -> Finding:
        split = "train" if self.is_train[i] else "test"
        return Finding(
            split, int(self.row[i]), int(self.index[i]), issue, float(score), group, detail
        )


def audit(data: Dataset, given: np.ndarray, embeddings: tuple[np.ndarray, np.ndarray]) -> Audit:
    """Checks all images, reading each once.

    Args:
      data: images, or feature vectors, for which only duplicates and outliers are reported.
      given: int [N], labels of the training images.
      embeddings: of the training and the test images, float [N, D] and [M, D].
    """
    sizes = len(data.train_images), len(data.test_images)
    chosen = np.linspace(0, sum(sizes) - 1, min(sum(sizes), _MOST)).astype(np.int64)
    rows = chosen[chosen < sizes[0]], chosen[chosen >= sizes[0]] - sizes[0]
    images = _Images(
        np.repeat([True, False], [len(part) for part in rows]),
        np.concatenate(rows),
        _of_both(rows, data.train_places, data.test_places),
        _of_both(rows, given, data.test_labels),
    )
    both = _of_both(rows, *embeddings)
    found: list[Finding] = []
    looks = None
    if data.are_pictures:
        looks = quality.joined(
            quality.look(_part(data.train_images, rows[0])),
            quality.look(_part(data.test_images, rows[1])),
        )
        digests = looks.digest
        scores = quality.issues(looks)
        if data.train_sizes is not None and data.test_sizes is not None:
            scores |= quality.shapes(_of_both(rows, data.train_sizes, data.test_sizes))
        for issue, score in scores.items():
            found += [images.finding(i, issue, score[i]) for i in np.flatnonzero(score).tolist()]
    else:
        parts = zip((data.train_images, data.test_images), rows, strict=True)
        vectors = (row for part in parts for row in np.asarray(_part(*part)))
        digests = content_digests(row.tobytes() for row in vectors)
    distance = outliers.distances(both)
    score, typical = outliers.scores(distance), np.median(distance)
    for i in np.flatnonzero(score).tolist():
        detail = f"cosine distance to nearest neighbours {distance[i]:.3f}, median {typical:.3f}"
        found.append(images.finding(i, "outlier", score[i], detail=detail))
    same = duplicates.exact(digests)
    alike = _near(both, looks, duplicates.distinct(len(both), same))
    found += _of_duplicates(images, same, alike.pairs, data.class_names)
    order = {issue: number for number, issue in enumerate(ISSUES)}
    found.sort(key=lambda one: (order[one.issue], one.group or 0, -one.score))
    return Audit(tuple(found), len(chosen), sum(sizes), alike.passed_over)


def write_csv(path: Path, audit: Audit, data: Dataset) -> None:
    """Writes one row per finding.

    Columns: index, split, path (empty where images have none), issue, score, group (empty except
    for duplicates), detail. Paths and class names are escaped by text.cell.
    """
    files = {"train": data.train_files, "test": data.test_files}
    with open_atomic(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("index", "split", "path", "issue", "score", "group", "detail"))
        for one in audit.findings:
            named = files[one.split]
            group = "" if one.group is None else one.group
            where = "" if named is None else cell(named[one.row])
            score = f"{one.score:.6f}"
            writer.writerow(
                (one.index, one.split, where, one.issue, score, group, cell(one.detail))
            )


def _near(embeddings: np.ndarray, looks: quality.Looks | None, distinct: np.ndarray) -> Near:
    """Near duplicates among the distinct rows; of feature vectors if there are no looks."""
    if len(distinct) < len(embeddings):
        embeddings = embeddings[distinct]
    if looks is None:
        found = duplicates.near_vectors(embeddings)
    else:
        thumbnails, chroma = looks.thumbnail[distinct], looks.chroma[distinct]
        found = duplicates.near(outliers.directions(embeddings), thumbnails, chroma)
    first, second, similarity = found.pairs
    return found._replace(pairs=Pairs(distinct[first], distinct[second], similarity))


def _of_duplicates(
    images: _Images, same: Pairs, alike: Pairs, class_names: tuple[str, ...]
) -> Iterator[Finding]:
    """The findings for all images that are in a group of duplicates."""
    size = len(images.row)
    copies = duplicates.groups(size, same)
    pairs = Pairs(*(np.concatenate(parts) for parts in zip(same, alike, strict=True)))
    group = duplicates.groups(size, pairs)
    best = np.zeros(size)
    for side in (alike.first, alike.second):
        np.maximum.at(best, side, alike.similarity)
    members: dict[int, list[int]] = {}
    for place in np.flatnonzero(group >= 0).tolist():
        members.setdefault(int(group[place]), []).append(place)
    for number, those in members.items():
        labels = sorted({int(images.label[i]) for i in those})
        splits = {bool(images.is_train[i]) for i in those}
        seen = next((images.name(i) for i in those if images.is_train[i]), "")
        for i in those:
            # Only the first of a group are searched: it may have thousands.
            others = [j for j in those[: _NAMED + 1] if j != i][:_NAMED]
            detail = ", ".join(images.name(j) for j in others)
            more = len(those) - 1 - len(others)
            detail += f" and {more} more" if more else ""
            is_same = copies[i] >= 0
            issue = "exact_duplicate" if is_same else "near_duplicate"
            yield images.finding(i, issue, 1 if is_same else best[i], number, f"with {detail}")
            if len(splits) > 1 and not images.is_train[i]:
                yield images.finding(i, "leak", 1 if is_same else best[i], number, f"also {seen}")
            if len(labels) > 1:
                named = " / ".join(class_names[label] for label in labels)
                yield images.finding(i, "label_conflict", 1, number, f"labelled {named}")


def _part(images: Images, rows: np.ndarray) -> Images:
    """The images of these rows; no copy is made if these are all rows."""
    return images if len(rows) == len(images) else lazy_images.subset(images, rows)


def _of_both(
    rows: tuple[np.ndarray, np.ndarray], train: np.ndarray, test: np.ndarray
) -> np.ndarray:
    return np.concatenate([train[rows[0]], test[rows[1]]])
