"""The gallery shows the most suspicious images, small enough for a page."""

import base64
import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from rmdnet_jax.data.dataset import NO_CLASS, Dataset
from rmdnet_jax.data.labels import Labels
from rmdnet_jax.data.lazy_images import LazyImages
from rmdnet_jax.evaluation.label_issues import LabelIssues, kinds
from rmdnet_jax.report import gallery

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (4, 8, 8, 3)).astype(np.uint8)
TRUE = np.array([0, 1, 2, 0], np.int32)
GIVEN = np.array([0, 2, 2, 1], np.int32)
DATA = Dataset("beasts", IMAGES, TRUE, IMAGES, TRUE, {}, ("ant", "bee", "cat"))
LABELS = Labels(GIVEN, TRUE, "symmetric", 0.5, 0.5, np.eye(3))
SCORE = np.array([0.1, 0.7, 0.2, 0.9])
ISSUES = LabelIssues(
    np.arange(len(GIVEN)), GIVEN, TRUE, SCORE, SCORE / 2, None, SCORE > 0.5,
    kinds(SCORE > 0.5, SCORE > 0.8),
)  # fmt: skip


def picture(uri):
    kind, _, encoded = uri.partition(";base64,")
    image = Image.open(io.BytesIO(base64.b64decode(encoded)))
    assert kind == f"data:image/{image.format.lower()}"
    return image


def test_the_most_suspicious_come_first_with_all_that_is_known_of_them():
    worst, second = gallery.suspects(ISSUES, DATA, LABELS, 2)
    assert (worst.index, worst.given, worst.suggested, worst.true) == (3, 1, 0, 0)
    assert (worst.score, worst.student_score, worst.neighbour_score) == (0.9, 0.45, None)
    assert worst.file is None
    assert second.index == 1
    assert [s.kind for s in gallery.suspects(ISSUES, DATA, LABELS, 4)] == [
        "open", "closed", "clean", "clean"
    ]  # fmt: skip
    assert np.array_equal(picture(worst.picture), IMAGES[3])


def test_a_truth_that_is_none_of_the_classes_stays_so():
    labels = dataclasses.replace(LABELS, true=np.full(4, NO_CLASS, np.int32))
    assert {suspect.true for suspect in gallery.suspects(ISSUES, DATA, labels, 4)} == {NO_CLASS}


def test_feature_vectors_have_no_pictures():
    vectors = dataclasses.replace(DATA, train_images=np.zeros((4, 5), np.float32))
    assert [s.picture for s in gallery.suspects(ISSUES, vectors, LABELS, 2)] == [None, None]


def test_images_on_disk_have_paths_and_only_those_shown_are_decoded():
    read = []

    def decode(rows):
        read.extend(rows)
        return IMAGES[rows]

    lazy = LazyImages(decode, np.arange(4), (8, 8, 3))
    data = dataclasses.replace(DATA, train_images=lazy, train_files=("a", "b", "c", "d"))
    unknown = dataclasses.replace(LABELS, true=None)
    (worst,) = gallery.suspects(ISSUES, data, unknown, 1)
    assert (worst.file, worst.true, read) == ("d", None, [3])


@pytest.mark.parametrize(
    ("shape", "kind", "shown"),
    [
        ((32, 32), "PNG", (32, 32)),
        ((48, 16), "PNG", (16, 48)),
        ((64, 64), "JPEG", (64, 64)),
        ((224, 112), "JPEG", (48, 96)),
        ((8, 2000), "JPEG", (96, 1)),
    ],
)
def test_thumbnails_are_small_and_keep_their_proportions(shape, kind, shown):
    pixels = RNG.integers(0, 256, (*shape, 3)).astype(np.uint8)
    uri = gallery.thumbnail(pixels)
    image = picture(uri)
    assert (image.format, image.size) == (kind, shown)
    assert len(uri) < 20_000


@pytest.mark.parametrize("side", [48, 96])
def test_a_picture_takes_the_room_it_may_have_and_no_more(side):
    noise = RNG.integers(0, 256, (side, side, 3)).astype(np.uint8)  # the hardest there is
    lengths = [len(gallery.thumbnail(noise, most)) for most in (20_000, 7_500, 3_000, 1_500)]
    assert all(n <= most for n, most in zip(lengths, (20_000, 7_500, 3_000, 1_500), strict=True))
    assert lengths[0] > lengths[2]
    assert gallery.thumbnail(noise, 0) == gallery.thumbnail(noise, 1)  # the least, and no error


def test_the_more_pictures_the_less_room_each_may_have(monkeypatch):
    rooms = []
    monkeypatch.setattr(gallery, "thumbnail", lambda pixels, most: rooms.append(most) or "data:,")
    for count in (1, 500, 2_000):
        images = np.zeros((count, 1, 1, 3), np.uint8)
        data = dataclasses.replace(DATA, train_images=images)
        assert len(gallery.thumbnails(data, np.arange(count))) == count
    assert (rooms[0], rooms[1], rooms[-1]) == (20_000, 20_000, 7_500)
