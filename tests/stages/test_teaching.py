"""A teacher's outputs are a finite row for each image, or the teacher is named."""

import dataclasses
from unittest import mock

import numpy as np
import pytest

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.config import default
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.runs.preparation import prepare
from rmdnet_jax.stages.teaching import teaching
from rmdnet_jax.teachers.encoder import EncoderSource

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (32, 8, 8, 3), np.uint8)
LABELS = np.arange(32, dtype=np.int32) % 2
DATA = Dataset("pets", IMAGES, LABELS, IMAGES[:8], LABELS[:8], {}, ("cat", "dog"))
TRAIN = RNG.normal(size=(32, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def taught():
    """Judges a kind of teacher whose outputs for the training and the test images are given."""
    config = default()
    config.noise.kind, config.teacher.kind = "none", "random"
    config.model.width, config.model.blocks, config.rm.knn_k = 2, (1,), 3
    config.train.batch_size = config.rm.batch_size = 8
    config.report.tsne_classes = (0, 1)
    run = prepare(config, None, DATA)
    run.config.teacher.kind = "mine"

    def judged(train, test):
        return teaching(dataclasses.replace(run, source=EncoderSource(train, test)))

    return judged


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_row_of_floats_for_each_image_is_judged(taught, dtype):
    train = (TRAIN + 9 * LABELS[:, None]).astype(dtype)
    assert taught(train, train[:8]).verdict.knn_accuracy == 1


def bad(value):
    rows = TRAIN.copy()
    rows[3, 1] = value
    return rows


@pytest.mark.parametrize(
    ("train", "test", "refusal"),
    [
        (
            TRAIN[:30],
            TRAIN[:8],
            r"of the training images is float32 (30, 4); expected float [32, D]",
        ),
        (TRAIN[:, 0], TRAIN[:8], "of the training images is float32 (32,); expected float [32, D]"),
        (TRAIN, TRAIN, "of the test images is float32 (32, 4); expected float [8, D], a row for"),
        (TRAIN, TRAIN[:8, :3], "of the test images is float32 (8, 3); expected float [8, D]"),
        (TRAIN.astype(int), TRAIN[:8], "of the training images is int64 (32, 4); expected float"),
        (bad(np.nan), TRAIN[:8], "of the training images has values that are not finite"),
        (TRAIN, bad(-np.inf)[:8], "of the test images has values that are not finite; expected"),
    ],
)
def test_anything_else_is_refused_before_it_is_compared(taught, train, test, refusal):
    with mock.patch("rmdnet_jax.evaluation.worth.judge") as judge, pytest.raises(InputError) as it:
        taught(train, test)
    assert str(it.value).startswith(f"teacher 'mine': embedding {refusal}")
    assert not judge.called
