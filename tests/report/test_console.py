"""The table at the end says what there is, in words that fit what was run."""

import re
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from rmdnet_jax.data.dataset import Dataset, SkippedFile
from rmdnet_jax.data.labels import Labels, Review
from rmdnet_jax.data.lazy_images import LazyImages
from rmdnet_jax.report import console

RESULTS = {
    "noise_kind": "symmetric",
    "noise_rate_nominal": 0.4,
    "noise_rate_realised": 0.387,
    "teacher_kind": "simsiam",
    "teacher_title": "SimSiam teacher",
    "teacher_knn_accuracy": 0.455,
    "random_encoder_knn_accuracy": 0.255,
    "pixel_knn_accuracy": 0.351,
    "test_labels": "true",
    "test_accuracy": None,
    "best_test_accuracy": None,
    "label_issue_auroc": None,
    "image_shape": [32, 32, 3],
}


def test_stage_rm_alone_promises_no_label_issues():
    told = console.closing(RESULTS, Path("w"), remark="")
    assert "SimSiam teacher 45.5%   (random encoder 25.5%, pixels 35.1%)" in told
    assert "test accuracy" not in told
    assert "label_issues.csv" not in told
    assert told.splitlines()[-1].startswith("results")


def test_an_encoder_has_no_untrained_form_and_feature_vectors_no_pixels():
    found = RESULTS | {"teacher_kind": "encoder", "random_encoder_knn_accuracy": None}
    found |= {"teacher_title": "built-in encoder"}
    told = console.closing(found, Path("w"), remark="")
    assert re.search(r"kNN +built-in encoder 45.5%   \(pixels 35.1%\)", told)
    found |= {"image_shape": [1280], "pixel_knn_accuracy": None}
    found |= {"teacher_title": "given feature vectors"}
    told = console.closing(found, Path("w"), remark="")
    assert re.search(r"kNN +given feature vectors 45.5%\n", told)


def test_a_student_is_told_with_its_wrong_labels():
    found = {"test_accuracy": 0.5, "best_test_accuracy": 0.625, "label_issue_auroc": 0.9}
    told = console.closing(RESULTS | found, Path("w"), remark="")
    assert "50.0%   (last epoch; best 62.5%)" in told
    assert "AUROC 0.900" in told
    assert "held-out" not in told
    held_out = {"validation_accuracy": 0.25, "validation_size": 1000}
    told = console.closing(RESULTS | found | held_out, Path("w"), remark="")
    assert "25.0% of 1,000 given labels" in told
    assert "label_issues.csv" in told


def test_a_baseline_is_told_by_its_name():
    found = {"baseline_test_accuracy": 0.25, "baseline_title": "CE alone"}
    assert "test, CE alone  25.0%" in console.closing(RESULTS | found, Path("w"), remark="")


def test_without_a_workdir_nothing_is_said_to_lie_in_one():
    told = console.closing(RESULTS | {"test_accuracy": 0.5}, None, remark="")
    assert "results" not in told
    assert "label_issues.csv" not in told


def test_labels_that_nobody_vouches_for_are_agreed_with():
    found = {"test_labels": "given", "test_accuracy": 0.5, "best_test_accuracy": 0.625}
    told = console.closing(RESULTS | found, Path("w"), remark="A remark.")
    assert "agreement with the given test labels  50.0%" in told
    assert "The test labels have not been verified" in told
    assert "accuracy" not in told.replace("not as accuracy", "")
    assert told.endswith("A remark.")


@pytest.mark.parametrize(
    ("rates", "said"),
    [
        ({}, "symmetric, 40.0% nominal, 38.7% actual"),
        (
            {"noise_rate_estimated": 0.41, "noise_rate_range": [0.3, 0.5]},
            "symmetric, 40.0% nominal, 38.7% actual, 41.0% estimated (between 30.0% and 50.0%)",
        ),
        (
            {"noise_rate_estimated": None, "noise_rate_range": [0.0, 0.9]},
            "symmetric, 40.0% nominal, 38.7% actual, rate not estimated: the predictions do not "
            "determine it",
        ),
        ({"noise_rate_nominal": None, "noise_rate_realised": None}, "symmetric"),
    ],
)
def test_of_the_noise_that_is_said_which_is_known(rates, said):
    told = console.closing(RESULTS | rates, Path("w"), remark="").splitlines()
    assert told[1].split(maxsplit=1) == ["noise", said]


def test_without_a_teacher_nothing_is_said_of_one():
    assert "kNN" not in console.closing(RESULTS | {"teacher_kind": "none"}, Path("w"), remark="")


def test_the_configs_remark_ends_it_in_lines_that_fit_a_terminal():
    told = console.closing(RESULTS, Path("w"), remark="word " * 60)
    assert told.count("word") == 60
    assert max(map(len, told.splitlines())) <= 88


def test_pixels_that_were_not_measured_are_not_made_up():
    told = console.closing(RESULTS | {"pixel_knn_accuracy": None}, Path("w"), remark="")
    assert "(random encoder 25.5%, pixels not measured: too large)" in told


def test_values_that_were_chosen_are_told_with_the_reason():
    config = ConfigDict({"loss": {"name": "gce"}, "seed": 1})
    told = console.choices(config, {"loss.name": "robust", "seed": "why not"})
    assert told == ["chosen   loss.name gce: robust", "chosen   seed 1: why not"]


def test_skipped_files_are_counted_and_the_first_named():
    images, labels = np.zeros((4, 8, 8, 3), np.uint8), np.zeros(4, np.int32)
    skipped = tuple(SkippedFile(f"{i}.png", "cut") for i in range(4))
    data = Dataset("x", images, labels, images, labels, {}, ("a",), skipped_files=skipped)
    given = Labels(labels, None, "none", None, None, None)
    told = console.opening(data, 10**9, given, "float32", Path("w")).splitlines()
    assert told[2] == "skipped  4 files (0.png, 1.png, 2.png, ...); see skipped_files.csv"


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (1, "reviewed 1 label, 1 of them corrected; 1 image removed"),
        (1200, "reviewed 1,200 labels, 1,200 of them corrected; 1,200 images removed"),
    ],
)
def test_one_is_not_plural(count, said):
    images, labels = np.zeros((4, 8, 8, 3), np.uint8), np.zeros(4, np.int32)
    skipped = tuple(SkippedFile(f"{i}.png", "cut") for i in range(min(count, 2)))
    data = Dataset("x", images, labels, images, labels, {}, ("a",), skipped_files=skipped)
    review = Review(np.ones(count, bool), np.zeros(4, bool), count, count)
    given = Labels(labels, None, "none", None, None, None, review=review)
    told = console.opening(data, 10**9, given, "float32", Path("w"))
    assert said in told.splitlines()
    assert ("skipped  1 file (" in told) == (count == 1)


def test_why_there_is_no_cache_is_said_at_the_start():
    images, labels = np.zeros((4, 8, 8, 3), np.uint8), np.zeros(4, np.int32)
    data = Dataset("x", images, labels, images, labels, {}, ("a",), not_cached="no room")
    given = Labels(labels, None, "none", None, None, None)
    told = console.opening(data, 10**9, given, "float32", Path("w")).splitlines()
    assert told[2] == "cache    none: no room"


def test_no_name_steers_the_terminal():
    images, labels = np.zeros((4, 8, 8, 3), np.uint8), np.zeros(4, np.int32)
    skipped = (SkippedFile("\x1b[2J.png", "cut"),)
    data = Dataset("x", images, labels, images, labels, {}, ("a",), skipped_files=skipped)
    given = Labels(labels, None, "none", None, None, None)
    told = console.opening(data, 10**9, given, "float32", Path("w\udce9"))
    assert r"(\x1b[2J.png)" in told
    assert told.endswith(r"workdir  w\xe9")
    told = console.closing(RESULTS, Path("w\udce9"), remark="\x1b[2J\udce9")
    assert r"w\xe9/report.html" in told
    assert told.endswith(r"\x1b[2J\xe9")


@pytest.mark.parametrize("on_disk", [False, True])
def test_where_the_images_are_is_said_at_the_start(on_disk):
    images = np.zeros((1000, 10, 10, 3), np.uint8)
    labels = np.zeros(1000, np.int32)
    lazy = LazyImages(images.take, np.arange(1000), (10, 10, 3))
    train = lazy if on_disk else images
    data = Dataset("beasts", train, labels, images[:0], labels[:0], {}, ("ant",))
    given = Labels(labels, None, "none", None, None, None)
    told = console.opening(data, 200_000, given, "float32", Path("w")).splitlines()[1]
    place = "streamed from disk: more than dataset.memory_budget, 0.0002 GB"
    assert told == f"images   0.0003 GB decoded, {place if on_disk else 'in memory'}"


def test_a_classifier_that_teaches_is_told_of_with_its_size():
    found = RESULTS | {"teacher_kind": "supervised", "teacher_test_accuracy": 0.875}
    found |= {"teacher_title": "trained classifier"}
    found |= {"teacher_parameters": 12345, "student_parameters": 678}
    told = console.closing(found, Path("w"), remark="")
    assert re.search(r"kNN +trained classifier 45.5%", told)
    assert re.search(r"test accuracy, teacher +87.5%   \(parameters: teacher 12,345, stud", told)
    logits = found | {"teacher_knn_accuracy": None, "teacher_parameters": None}
    told = console.closing(logits, Path("w"), remark="")
    assert "kNN" not in told
    assert re.search(r"test accuracy, teacher +87.5%   \(parameters: student 678\)", told)
