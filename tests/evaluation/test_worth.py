"""A teacher's worth is the kNN accuracy of its embeddings beside that of what it must beat."""

import numpy as np
import pytest

from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.data.lazy_images import LazyImages
from rmdnet_jax.evaluation import knn, worth

# Pictures whose brightness is their class; the test images are some of them.
LABELS = np.arange(30, dtype=np.int32) % 3
NOISE = np.random.default_rng(0).integers(0, 20, (30, 8, 8, 3))
IMAGES = (NOISE + 100 * LABELS[:, None, None, None]).astype(np.uint8)
DATA = Dataset("npz", IMAGES, LABELS, IMAGES[:9], LABELS[:9], {}, ("a", "b", "c"))
CLASSES = np.eye(3, dtype=np.float32)
GOOD = CLASSES[LABELS], CLASSES[LABELS[:9]]
USELESS = CLASSES[LABELS], CLASSES[(LABELS[:9] + 1) % 3]


def test_neighbours_elect_the_label():
    assert worth.knn_accuracy(GOOD, LABELS, DATA, 5) == 1
    assert worth.knn_accuracy(USELESS, LABELS, DATA, 5) == 0
    better = (LABELS + 2) % 3  # the labels that are given count, whatever the data has
    assert worth.knn_accuracy(USELESS, better, DATA, 5) == 1
    assert worth.knn_accuracy(GOOD, better, DATA, 5) == 0


def test_a_verdict_measures_the_teacher_its_untrained_network_and_pixels():
    verdict = worth.judge(GOOD, lambda: USELESS, LABELS, DATA, 5)
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
    verdict = worth.judge(GOOD, None, LABELS, data, 5)
    assert verdict.knn_accuracy == 1
    assert verdict.random_encoder_knn_accuracy is verdict.pixel_knn_accuracy is None
