"""A teacher is worth learning from, or the user is told."""

import dataclasses

import numpy as np
import pytest

from rmdnet_jax.teachers import registry
from rmdnet_jax.teachers.encoder import TableTeacher
from rmdnet_jax.teachers.judged import Judged, Verdict

NONE = np.zeros((1, 2), np.float32)  # embeddings that are not read


def judged(*accuracies, kind="simsiam"):
    return Judged(
        kind=kind, source=registry.get(kind), teacher=TableTeacher(NONE), train_embedding=NONE,
        test_embedding=NONE, verdict=Verdict(*accuracies), tested=1000,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("teacher", "random_encoder", "pixels", "warns"),
    [
        (0.50, 0.30, 0.35, False),
        (0.36, 0.30, 0.35, True),  # two standard errors of 0.35 over 1,000 images are 0.030
        (0.37, 0.30, 0.35, True),
        (0.39, 0.30, 0.35, False),
        (0.50, 0.60, 0.35, True),
    ],
)
def test_weak_teachers_are_warned_of_with_the_figures(teacher, random_encoder, pixels, warns):
    warning = judged(teacher, random_encoder, pixels).warning()
    assert bool(warning) == warns
    if warns:
        for text in (f"{teacher:.1%}", f"{random_encoder:.1%}", "rm.epochs", "rgrl.k"):
            assert text in warning


def test_what_was_not_measured_is_left_out():
    assert "a random encoder's (30.0%): its relations" in judged(0.3, 0.3).warning()
    table = judged(0.3, None, 0.3, kind="encoder").warning()
    assert table.startswith("the encoder's kNN accuracy (30.0%) is not clearly better than raw")
    assert "use a better encoder" in table
    assert "rm.epochs" not in table  # nothing here trains it


def test_a_teacher_that_nothing_was_measured_beside_is_not_warned_of():
    assert judged(0.01).warning() is None


def test_a_control_was_asked_for_and_is_not_warned_of():
    assert judged(0.3, 0.3, 0.4, kind="random").warning() is None


@pytest.mark.parametrize(
    ("agreement", "measured_on", "warns"),
    [
        (0.30, 1000, True),  # one class for all reaches 0.30
        (0.32, 1000, True),  # one and a half standard errors of 0.30 over 1,000 images are 0.022
        (0.33, 1000, False),
        (0.33, 100, True),
        (0.10, 1000, True),
        (None, None, False),  # there was nothing to judge it by
    ],
)
def test_a_classifier_that_knows_no_more_than_the_most_frequent_class_is_warned_of(
    agreement, measured_on, warns
):
    """Whatever its neighbours say."""
    figures = agreement, agreement, 0.3, measured_on
    warning = judged(0.2, None, 0.9, *figures, kind="supervised").warning()
    assert bool(warning) == warns
    if warns:
        assert f"{agreement:.1%} of the test images" in warning
        assert "one class for all (30.0%)" in warning
        assert "in this order" in warning


def test_a_classifiers_agreement_with_training_labels_is_called_that():
    warning = judged(None, None, None, None, 0.3, 0.3, 50, kind="supervised").warning()
    assert "30.0% of the training images" in warning


def test_embeddings_are_of_training_and_test_images_or_none():
    whole = judged(0.5)
    assert whole.embeddings == (NONE, NONE)
    assert dataclasses.replace(whole, test_embedding=None).embeddings is None
