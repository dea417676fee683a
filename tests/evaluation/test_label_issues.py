"""Suspicion of a given label: what it is made of, how it is ranked and written."""

import csv
import dataclasses

import numpy as np
import pytest

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.evaluation import label_issues
from rmdnet_jax.evaluation.label_issues import LabelIssues

STUDENT = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
VOTES = np.array([[1.0, 0.0], [0.4, 0.6], [0.0, 1.0]])
GIVEN = np.array([0, 0, 1], np.int32)


def test_score_by_hand():
    """Seven parts of the student's word and three of what it says of the neighbours."""
    issues = label_issues.score(STUDENT, VOTES, GIVEN, 0.4)
    np.testing.assert_allclose(issues.score, [0.07, 0.74, 0.42], rtol=1e-6)
    np.testing.assert_array_equal(issues.suggested, [0, 1, 1])
    np.testing.assert_allclose(issues.student_score, [0.1, 0.8, 0.6], rtol=1e-6)
    np.testing.assert_allclose(issues.neighbour_score, [0.0, 0.6, 0.0], atol=1e-12)


@pytest.mark.parametrize(("rate", "expected"), [(0, []), (0.4, [1]), (0.7, [1]), (1, [1])])
def test_issues_are_as_many_as_are_wrong_if_another_class_is_suggested(rate, expected):
    issues = label_issues.score(STUDENT, VOTES, GIVEN, rate)
    assert np.flatnonzero(issues.is_issue).tolist() == expected


def test_without_a_teacher_the_student_alone_speaks():
    issues = label_issues.score(STUDENT, None, GIVEN, 0.4)
    np.testing.assert_allclose(issues.score, [0.1, 0.8, 0.6], rtol=1e-6)
    assert issues.neighbour_score is None
    np.testing.assert_allclose(label_issues.evidence(STUDENT, None), STUDENT)


def test_csv_lists_all_samples_most_suspicious_first(tmp_path):
    issues = label_issues.score(STUDENT, VOTES, GIVEN, 0.4, np.array([0, 4, 7]))
    names, files = ("cat", "dog, hot"), ("a", "b", "c")
    label_issues.write_csv(tmp_path / "issues.csv", issues, names, files)
    with open(tmp_path / "issues.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["index"] for row in rows] == ["4", "7", "0"]
    assert rows[0] == {
        "index": "4", "given_label": "0", "suggested_label": "1", "score": "0.740000",
        "student_score": "0.800000", "neighbour_score": "0.600000", "is_issue": "1",
        "kind": "closed", "given_class": "cat", "suggested_class": "dog, hot", "path": "b",
    }  # fmt: skip


def test_what_was_written_is_read_again(tmp_path):
    issues = label_issues.score(STUDENT, VOTES, GIVEN, 0.4, np.array([0, 4, 7]))
    label_issues.write_csv(tmp_path / "issues.csv", issues, ("cat", "dog"), ("a", "b", "c"))
    again, files = label_issues.read_csv(tmp_path / "issues.csv")
    assert files == ("a", "b", "c")
    for field in dataclasses.fields(issues):
        ours, theirs = getattr(again, field.name), getattr(issues, field.name)
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_any_name_of_a_file_or_a_class_is_one_row_and_no_formula(tmp_path):
    issues = label_issues.score(STUDENT, VOTES, GIVEN, 0.4)
    files = ("=1+1.png", "a\rb.png", b"caf\xe9.png".decode("utf-8", "surrogateescape"))
    label_issues.write_csv(tmp_path / "issues.csv", issues, ("@cat", "big\ndog"), files)
    with open(tmp_path / "issues.csv", newline="") as file:
        rows = {row["index"]: row for row in csv.DictReader(file)}
    assert [rows[i]["path"] for i in "012"] == ["'=1+1.png", r"a\rb.png", r"caf\xe9.png"]
    assert [rows[i]["given_class"] for i in "012"] == ["'@cat", "'@cat", r"big\ndog"]
    _, again = label_issues.read_csv(tmp_path / "issues.csv")
    assert again == ("=1+1.png", r"a\rb.png", r"caf\xe9.png")


@pytest.mark.parametrize("text", ["", "index,score\n0,1\n", "index\nmany\n"])
def test_another_file_is_refused(text, tmp_path):
    (tmp_path / "issues.csv").write_text(text)
    with pytest.raises(InputError, match="expected a label_issues"):
        label_issues.read_csv(tmp_path / "issues.csv")


def test_csv_leaves_out_what_there_is_not(tmp_path):
    issues = label_issues.score(STUDENT, None, GIVEN, 0.4)
    label_issues.write_csv(tmp_path / "issues.csv", issues, ("cat", "dog"))
    header = (tmp_path / "issues.csv").read_text().splitlines()[0]
    assert "neighbour_score" not in header
    assert "path" not in header


def test_quality_by_hand():
    """Of the four pairs of a wrong and a right label, three are ranked rightly; of the two most
    suspicious one is wrong; three are issues, two of them wrong."""
    score = np.array([0.9, 0.3, 0.5, 0.1])
    issues = LabelIssues(
        np.arange(4), np.zeros(4, int), np.ones(4, int), score, score, None,
        np.array([True, True, True, False]), np.array([1, 1, 1, 0], np.int8),
    )  # fmt: skip
    found = label_issues.quality(issues, np.array([True, True, False, False]))
    assert found == pytest.approx(
        {"auroc": 0.75, "average_precision": (1 + 2 / 3) / 2, "precision": 0.5, "f1": 0.8}
    )


@pytest.mark.parametrize("wrong", [True, False])
def test_quality_needs_right_and_wrong_labels(wrong):
    issues = label_issues.score(STUDENT, None, GIVEN, 0.4)
    assert label_issues.quality(issues, np.full(3, wrong)) is None


def test_who_has_looked_at_a_label_is_not_asked_again():
    student = np.array([[0.1, 0.9], [0.2, 0.8], [0.9, 0.1]], np.float32)
    issues = label_issues.score(student, None, np.zeros(3, int), rate=0.7)
    np.testing.assert_array_equal(issues.is_issue, [True, True, False])
    after = label_issues.accepted(issues, np.array([True, False, False]))
    np.testing.assert_array_equal(after.is_issue, [False, True, False])
    np.testing.assert_array_equal(after.kind, [0, 1, 0])
    np.testing.assert_allclose(after.score, [0, 0.8, 0.1], rtol=1e-6)
    np.testing.assert_array_equal(label_issues.ranking(after), [1, 2, 0])
    np.testing.assert_array_equal(after.student_score, issues.student_score)
