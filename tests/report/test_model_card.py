"""model_card.md: what was measured, and nothing that a name could smuggle into it."""

import re

import numpy as np

from rmdnet_jax.config import default
from rmdnet_jax.evaluation import label_issues
from rmdnet_jax.report import model_card

RESULTS = {
    "dataset": "photos](javascript:alert(1))",
    "title": "CE + RMDNet",
    "train_images": 1437,
    "test_images": 360,
    "image_shape": [8, 8, 3],
    "classes": 5,
    "devices": "1 x cpu",
    "teacher_kind": "simsiam",
    "teacher_title": "SimSiam teacher",
    "noise_kind": "none",
    "noise_rate_nominal": None,
    "noise_rate_realised": None,
    "noise_rate_estimated": 0.412,
    "noise_rate_range": [0.4, 0.42],
    "test_labels": "given",
    "test_accuracy": 0.936,
    "best_test_accuracy": 0.939,
    "expected_calibration_error": 0.021,
    "skipped_files": 3,
    "versions": {"jax": "0.10.2"},
}
CLASSES = (
    "<script>alert(1)</script>",
    "a | b\n# c\u202e",
    "`x` *y* _z_ $m$",
    "![i](http://x)",
    "\\",
)
ISSUES = label_issues.score(
    np.array([[0.9, 0.1], [0.2, 0.8], [0.1, 0.9]]), None, np.array([1, 1, 0]), 2 / 3
)


def card(tmp_path, results=RESULTS, command="python launch.py", **changes):
    config = default().to_dict()
    config["train"]["folds"] = changes.get("folds", 1)
    path = tmp_path / "model_card.md"
    model_card.write(path, results, config, ISSUES, CLASSES, command)
    return path.read_text()


def test_it_says_what_was_measured_and_how(tmp_path):
    text = card(tmp_path)
    for part in (
        "# CE + RMDNet on photos",
        "| agreement with the given test labels | 93.6% | last epoch; best 93.9% |",
        "| wrong labels, estimated | 41.2% |",
        "| calibration error | 2.1% |",
        "The test labels have not been verified",
        "1,437 training and 360 test images",
        "2 of 3 training labels",
        "scored by the network that was trained on them",
        "Licence: to be stated",
        "```bash\npython launch.py\n```",
        'model.predict(["new/picture.jpg"])',
        "jax 0.10.2",
    ):
        assert part in text, part
    assert "accuracy |" not in text.partition("## Data")[0]


def test_true_test_labels_and_unseen_labels_are_called_so(tmp_path):
    text = card(tmp_path, RESULTS | {"test_labels": "true", "image_shape": [9]}, folds=5)
    assert "| test accuracy | 93.6% |" in text
    assert "have not been verified:" not in text
    assert "scored by networks that were not trained on them" in text
    assert "model.predict(features)" in text
    assert "It is meant for feature vectors" in text


def test_no_name_becomes_html_or_markdown(tmp_path):
    text = card(tmp_path, command="python launch.py '```\n<b>' \u202e")
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    (line,) = [line for line in text.splitlines() if line.startswith("- classes:")]
    unescaped = re.sub(r"\\[\\`*_\[\]#|!~$]", "", line)
    assert not re.search(r"[`*_\[\]#|!$<>\\]", unescaped)
    assert "\u202e" not in text
    assert not re.search(r"[^\\]\]\(javascript", text)
    fences = re.findall("^`{3,}", text, re.M)
    assert fences == ["```", "```", "````", "````"]


def test_the_table_has_three_columns(tmp_path):
    text = card(tmp_path, RESULTS | {"title": "a | b", "baseline_title": "x | y",
                                     "baseline_test_accuracy": 0.5})  # fmt: skip
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 6
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {4}
