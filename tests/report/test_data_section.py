"""What the page says of the images themselves."""

import numpy as np
import pytest

from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.evaluation.audit import Audit, Finding
from rmdnet_jax.report import data_section

LABELS = np.zeros(9, np.int32)
IMAGES = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3), np.uint8)
PICTURES = Dataset("made", IMAGES, LABELS, IMAGES, LABELS, {}, ("a", "b"))


def finding(row, issue="near_duplicate", group=0, split="train"):
    return Finding(split, row, row + 10, issue, 0.9, group, "")


@pytest.mark.usefixtures("fine_figures")
def test_counts_are_put_into_words_and_some_pictures_shown(tmp_path):
    findings = (finding(0), finding(1), finding(2, "dark", None, "test"))
    section = data_section.section(tmp_path, Audit(findings, 18, 18), PICTURES)
    assert section.text == (
        "18 images were checked: 2 near duplicates, 1 too dark. They are listed in data_issues.csv."
    )
    (figure,) = section.figures
    assert figure.caption == "Examples, one row per issue: near duplicate, dark."
    assert figure.path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("fine_figures")
@pytest.mark.parametrize(
    ("count", "said"),
    [
        (1, "1 test image that looks like a training image"),
        (2, "2 test images that look like training images"),
    ],
)
def test_a_leak_is_claimed_of_looks_only(tmp_path, count, said):
    leaks = tuple(finding(i, "leak", split="test") for i in range(count))
    section = data_section.section(tmp_path, Audit(leaks, 18, 18), PICTURES)
    assert section.text.startswith(f"18 images were checked: {said}. ")


def test_where_nothing_is_found_nothing_is_drawn(tmp_path):
    section = data_section.section(tmp_path, Audit((), 10, 100), PICTURES)
    assert section.text.startswith("10 images were checked (of 100; evenly spaced): none is")
    assert section.figures == ()


def test_pairs_that_were_passed_over_are_counted(tmp_path):
    section = data_section.section(tmp_path, Audit((), 10, 10, 1234), PICTURES)
    assert " 1,234 pairs of similar images were not compared in detail:" in section.text


def test_feature_vectors_cannot_be_shown(tmp_path):
    vectors = Dataset("made", IMAGES[:, 0, :, 0], LABELS, IMAGES[:, 0, :, 0], LABELS, {}, ("a",))
    section = data_section.section(tmp_path, Audit((finding(0), finding(1)), 18, 18), vectors)
    assert section.figures == ()


def test_of_a_group_two_are_shown_and_of_others_the_first():
    findings = [finding(i, group=i // 3) for i in range(9)]
    findings += [finding(i, "dark", None) for i in range(8)]
    audit = Audit(tuple(findings), 9, 9)
    assert [one.row for one in data_section.examples(audit, "near_duplicate")] == [0, 1, 3, 4, 6, 7]
    assert [one.row for one in data_section.examples(audit, "dark")] == [0, 1, 2, 3, 4, 5]
