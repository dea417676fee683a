"""A teacher's worth is the kNN accuracy of its embeddings beside that of what it must beat."""

import numpy as np
import pytest

from rmdnet_jax.data.dataset import NO_CLASS, Dataset
from rmdnet_jax.data.lazy_images import LazyImages
from rmdnet_jax.evaluation import knn, worth
from rmdnet_jax.methods.interface import Prediction

# Pictures whose brightness is their class; the test images are some of them.
LABELS = np.arange(30, dtype=np.int32) % 3
NOISE = np.random.default_rng(0).integers(0, 20, (30, 8, 8, 3))
IMAGES = (NOISE + 100 * LABELS[:, None, None, None]).astype(np.uint8)
DATA = Dataset("npz", IMAGES, LABELS, IMAGES[:9], LABELS[:9], {}, ("a", "b", "c"))
CLASSES = np.eye(3, dtype=np.float32)
GOOD = CLASSES[LABELS], CLASSES[LABELS[:9]]
USELESS = CLASSES[LABELS], CLASSES[(LABELS[:9] + 1) % 3]
SAID = tuple(Prediction(None, embedding) for embedding in GOOD)


def test_neighbours_elect_the_label():
    assert worth.knn_accuracy(GOOD, LABELS, DATA, 5) == 1
    assert worth.knn_accuracy(USELESS, LABELS, DATA, 5) == 0
    better = (LABELS + 2) % 3  # the labels that are given count, whatever the data has
    assert worth.knn_accuracy(USELESS, better, DATA, 5) == 1
    assert worth.knn_accuracy(GOOD, better, DATA, 5) == 0


def test_images_of_no_class_have_no_vote():
    labels = np.where(np.arange(30) < 24, NO_CLASS, LABELS)
    assert worth.knn_accuracy(GOOD, labels, DATA, 1) == 1
    # With so many neighbours all vote, weighted by exp(similarity / 0.1): the nearest still win,
    # where a vote of -1 would be one of the last class.
    assert worth.knn_accuracy(GOOD, labels, DATA, 30) == 1
    labels[24:] = (LABELS[24:] + 1) % 3
    assert worth.knn_accuracy(GOOD, labels, DATA, 5) == 0


def test_a_verdict_measures_the_teacher_its_untrained_network_and_pixels():
    verdict = worth.judge(SAID, lambda: USELESS, LABELS, DATA, 5)
    assert (verdict.knn_accuracy, verdict.random_encoder_knn_accuracy) == (1, 0)
    mean, std = DATA.mean_std()
    pixels = [
        ((images / 255 - mean) / std).astype(np.float32).reshape(len(images), -1)
        for images in (IMAGES, IMAGES[:9])
    ]
    expected = knn.accuracy(pixels[0], LABELS, pixels[1], LABELS[:9], 3, k=5)
    assert verdict.pixel_knn_accuracy == pytest.approx(expected)


def test_what_there_is_not_is_not_measured():
    """A table has no network; images that stay on disk do not all fit into memory as floats."""
    lazy = LazyImages(lambda rows: (IMAGES[row] for row in rows), np.arange(30), (8, 8, 3))
    data = Dataset("folder", lazy, LABELS, IMAGES[:9], LABELS[:9], {}, ("a", "b", "c"))
    assert data.is_on_disk
    verdict = worth.judge(SAID, None, LABELS, data, 5)
    assert verdict.knn_accuracy == 1
    assert verdict.random_encoder_knn_accuracy is verdict.pixel_knn_accuracy is None


def test_pixels_that_would_fill_the_memory_as_floats_are_not_compared(monkeypatch):
    monkeypatch.setattr(worth, "_MOST_BYTES", DATA.nbytes - 1)
    assert worth.judge(SAID, None, LABELS, DATA, 5).pixel_knn_accuracy is None
    monkeypatch.setattr(worth, "_MOST_BYTES", DATA.nbytes)
    assert worth.judge(SAID, None, LABELS, DATA, 5).pixel_knn_accuracy is not None


def classifier(train, test):
    """What a classifier says whose classes are these; without embeddings."""
    parts = (None if part is None else CLASSES[part] for part in (train, test))
    return tuple(Prediction(part, None) for part in parts)


def test_a_classifier_is_judged_by_its_classes_on_the_test_images():
    said = classifier(LABELS, np.array([0, 1, 2, 0, 1, 0, 0, 0, 0]))
    verdict = worth.judge(said, None, LABELS, DATA, 5)
    assert verdict.test_accuracy == verdict.agreement == pytest.approx(6 / 9)
    assert (verdict.usual, verdict.measured_on) == (pytest.approx(3 / 9), 9)
    assert verdict.knn_accuracy is verdict.pixel_knn_accuracy is None  # nothing to compare


def test_a_table_without_test_images_is_judged_by_the_training_labels_that_are_of_a_class():
    labels = np.where(np.arange(30) < 10, -1, LABELS)  # a third shows none of the classes
    labels[10:20] = 1
    verdict = worth.judge(classifier(LABELS, None), None, labels, DATA, 5)
    known = labels[10:]
    assert verdict.test_accuracy is None
    assert verdict.agreement == pytest.approx(np.mean(known == LABELS[10:]))
    assert verdict.usual == pytest.approx(np.mean(known == 1))
    assert verdict.measured_on == 20
