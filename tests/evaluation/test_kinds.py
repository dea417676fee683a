"""Confusion of right labels, those of another class, and pictures of none, counted by hand."""

import numpy as np

from rmdnet_jax.data.label_kinds import CLEAN, CLOSED, OPEN, Division
from rmdnet_jax.evaluation import kinds, label_issues

GIVEN = np.array([0, 1, 2, 0, 1, 2])
TRUTH = np.array([0, 1, 0, 2, -1, -1])
BELIEF = np.full((6, 3), 1 / 3)
DIVISION = Division(
    np.array([CLEAN, CLOSED, CLOSED, OPEN, OPEN, CLEAN], np.int8),
    np.array([0, 2, 0, 1, 0, 2], np.int32),
    np.array([0.9, 0.2, 0.1, 0.3, 0.4, 0.8], np.float32),
)


def issues(division=DIVISION):
    return label_issues.divided(division, BELIEF, None, GIVEN)


def test_what_labels_are():
    np.testing.assert_array_equal(
        kinds.true(GIVEN, TRUTH), [CLEAN, CLEAN, CLOSED, CLOSED, OPEN, OPEN]
    )


def test_quality_by_hand():
    assert kinds.quality(issues(), TRUTH) == {
        "confusion": [[1, 1, 0], [0, 1, 1], [1, 0, 1]],
        "accuracy": 0.5,
        "precision": {"clean": 0.5, "closed": 0.5, "open": 0.5},
        "recall": {"clean": 0.5, "closed": 0.5, "open": 0.5},
        "refined": 0.5,
    }


def test_a_share_of_nothing_is_none():
    all_clean = DIVISION._replace(part=np.zeros(6, np.int8))
    found = kinds.quality(issues(all_clean), GIVEN)
    assert found["precision"] == {"clean": 1.0, "closed": None, "open": None}
    assert found["recall"]["open"] is None
    assert found["refined"] is None


def test_a_methods_own_division_is_what_the_file_says():
    found = issues()
    np.testing.assert_array_equal(found.is_issue, DIVISION.part != CLEAN)
    np.testing.assert_array_equal(found.kind, DIVISION.part)
    np.testing.assert_array_equal(found.suggested, DIVISION.label)
    np.testing.assert_allclose(found.score, 1 - DIVISION.clean, rtol=1e-6)
    np.testing.assert_allclose(found.student_score, 2 / 3)
