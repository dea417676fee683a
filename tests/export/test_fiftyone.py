"""labels.json as FiftyOne's importer reads it: a label and its attributes under every picture."""

import json

import numpy as np
import pytest

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.evaluation import label_issues
from rmdnet_jax.export import fiftyone

BELIEF = np.array([[0.9, 0.1], [0.2, 0.8], [0.1, 0.9]])
ISSUES = label_issues.score(BELIEF, None, np.array([1, 1, 0]), 2 / 3)
CLASSES = ('<b>"a', "=b\u202e")


def test_every_picture_has_its_given_label_and_what_is_suspected(tmp_path):
    fiftyone.write(tmp_path / "x.json", ISSUES, CLASSES, ["a/1.png", "./b.c/2.x.jpg", "é.webp"])
    content = json.loads((tmp_path / "x.json").read_text("ascii"))
    assert content["classes"] == ['<b>"a', "=b\\u202e"]
    assert content["labels"] == {
        "a/1": {
            "label": 1,
            "attributes": {"suggested": '<b>"a', "score": 0.9, "is_issue": True, "kind": "closed"},
        },
        "b.c/2.x": {
            "label": 1,
            "attributes": {
                "suggested": "=b\\u202e", "score": 0.2, "is_issue": False, "kind": "clean"
            },
        },
        "é": {
            "label": 0,
            "attributes": {
                "suggested": "=b\\u202e", "score": 0.9, "is_issue": True, "kind": "closed"
            },
        },
    }  # fmt: skip


def test_integer_classes_are_names(tmp_path):
    fiftyone.write(tmp_path / "x.json", ISSUES, (3, 7), ["1.png", "2.png", "3.png"])
    assert json.loads((tmp_path / "x.json").read_text())["classes"] == ["3", "7"]


def test_names_that_differ_in_their_endings_alone_are_refused(tmp_path):
    with pytest.raises(InputError, match="two pictures are named a/1 with different ext"):
        fiftyone.write(tmp_path / "x.json", ISSUES, CLASSES, ["a/1.png", "a/1.jpg", "b.png"])
    assert not list(tmp_path.iterdir())
