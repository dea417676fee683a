"""What a run leaves behind is named for what it is, and the numbers come first."""

import dataclasses
import json
import types

import numpy as np
import pytest

from rmdnet_jax.config import default
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.data.labels import Labels, Review
from rmdnet_jax.evaluation.suspicion import suspect
from rmdnet_jax.methods.interface import Prediction
from rmdnet_jax.report import figures, results
from rmdnet_jax.report.outcome import Outcome, Student
from rmdnet_jax.teachers import registry as teachers
from rmdnet_jax.teachers.judged import Judged, Verdict

RNG = np.random.default_rng(0)
PROMISED = (
    "test_accuracy",
    "best_test_accuracy",
    "teacher_knn_accuracy",
    "noise_rate_realised",
    "label_issue_auroc",
)


def outcome(kind="simsiam", students=("baseline", "student"), size=40):
    true = np.arange(size, dtype=np.int32) % 4
    given = np.where(np.arange(size) < size // 4, (true + 1) % 4, true).astype(np.int32)
    images = np.zeros((size, 8, 8, 3), np.uint8)
    data = Dataset("colours", images, true, images, true, {}, ("red", "green", "blue", "grey"))
    labels = Labels(given, true, "symmetric", 0.25, 0.25, np.eye(4))
    embedding = RNG.normal(size=(size, 6)).astype(np.float32)
    verdict, source = Verdict(0.5, 0.3, 0.4), teachers.get(kind)
    teacher = Judged(kind, source, None, embedding, embedding, verdict, tested=size)
    prediction = Prediction(np.eye(4, dtype=np.float32)[true] * 5, embedding)
    belief = np.full((size, 4), 0.1) + 0.6 * np.eye(4)[true]
    line = {"epoch": 1, "loss": 1.0, "test_accuracy": 1.0, "seconds": 2.0, "images_per_second": 9.0}
    titles = {"baseline": "CE alone", "student": "CE + RMDNet"}
    trained = {
        stage: Student(titles[stage], prediction, prediction, [line | {"stage": stage}])
        for stage in students
    }
    suspicion = None
    if "student" in students:
        logits = prediction.logits
        suspicion = suspect(belief, logits, logits, data, labels, (embedding, embedding))
    return Outcome(data, labels, teacher, [], trained, suspicion)


def config(**report):
    filled = default()
    filled.report.update(report)
    return filled.to_dict()


def test_what_is_promised_is_there_even_where_there_is_nothing_to_say():
    found = results.summarise(outcome(students=()))
    assert set(PROMISED) <= found.keys()
    assert found["test_accuracy"] is None
    json.dumps(found)


def test_what_was_trained_is_named():
    found = results.summarise(outcome())
    assert (found["title"], found["baseline_title"]) == ("CE + RMDNet", "CE alone")
    assert "baseline_title" not in results.summarise(outcome(students=("student",)))


def test_what_is_said_of_the_labels_is_the_suspicions():
    found = outcome()
    summary = results.summarise(found)
    assert summary["noise_rate_estimated"] == found.suspicion.rate
    assert np.allclose(summary["noise_transition_estimated"], found.suspicion.transition, atol=1e-6)
    assert summary["label_issue_auroc"] == 1.0
    unsuspected = results.summarise(dataclasses.replace(found, suspicion=None))
    assert unsuspected["label_issue_auroc"] is None
    assert "noise_rate_estimated" not in unsuspected


def test_matrices_of_many_classes_have_a_file_of_their_own(tmp_path, monkeypatch):
    found = outcome()
    results.write(tmp_path, found, config(tsne_points=0), "python launch.py")
    assert not (tmp_path / results.TRANSITIONS).exists()
    monkeypatch.setattr(results, "_IN_JSON", 3)
    written = results.write(tmp_path, found, config(tsne_points=0), "python launch.py")
    assert written["noise_transition_estimated"] is written["noise_transition_realised"] is None
    assert written["noise_rate_estimated"] == found.suspicion.rate
    with np.load(tmp_path / results.TRANSITIONS) as held:
        np.testing.assert_array_equal(held["estimated"], found.suspicion.transition)
        np.testing.assert_array_equal(held["realised"], found.labels.transition)


def test_agreement_with_held_out_labels_is_that_of_the_last_epoch():
    found = outcome()
    for student in found.students.values():
        student.history.insert(0, student.history[0] | {"validation_accuracy": 0.75})
        student.history[-1]["validation_accuracy"] = 0.5
    held_out = results.summarise(dataclasses.replace(found, validation_size=4))
    assert held_out["validation_accuracy"] == held_out["baseline_validation_accuracy"] == 0.5
    assert held_out["validation_size"] == 4
    assert "validation_accuracy" not in results.summarise(found)


def test_accuracy_is_told_apart_where_test_labels_were_reviewed():
    found = outcome()
    looked = np.zeros(40, bool)
    assert "test_accuracy_reviewed" not in results.summarise(found)
    labels = dataclasses.replace(found.labels, review=Review(looked, looked, 0, 0))
    found = dataclasses.replace(found, labels=labels)
    assert "test_accuracy_reviewed" not in results.summarise(found)
    # Predictions are right of all; of the four that were looked at one has another label now.
    looked = np.arange(40) < 4
    tested = np.where(np.arange(40) == 0, 1, found.data.test_labels).astype(np.int32)
    labels = dataclasses.replace(found.labels, review=Review(looked * False, looked, 1, 0))
    data = dataclasses.replace(found.data, test_labels=tested)
    summary = results.summarise(dataclasses.replace(found, data=data, labels=labels))
    assert summary["test_images_reviewed"] == 4
    assert summary["test_accuracy_reviewed"] == summary["baseline_test_accuracy_reviewed"] == 0.75
    assert summary["test_accuracy"] == 39 / 40


def test_label_issues_are_listed_by_their_place_in_the_whole_data_set(tmp_path):
    found = outcome()
    issues = dataclasses.replace(found.suspicion.train, index=np.arange(40) + 7)
    suspicion = dataclasses.replace(found.suspicion, train=issues)
    found = dataclasses.replace(found, suspicion=suspicion)
    results.write(tmp_path, found, config(tsne_points=0), "python launch.py")
    lines = (tmp_path / "label_issues.csv").read_text().splitlines()[1:]
    assert sorted(int(line.split(",")[0]) for line in lines) == list(range(7, 47))


@pytest.mark.parametrize("true", [True, False])
def test_test_labels_are_true_where_those_of_training_are_known_to_be(true):
    found = outcome()
    if not true:
        unknown = dataclasses.replace(found.labels, true=None, transition=None)
        found = dataclasses.replace(found, labels=unknown)
    assert results.summarise(found)["test_labels"] == ("true" if true else "given")
    doubtful = dataclasses.replace(found, data=dataclasses.replace(found.data, tests_truth=False))
    assert results.summarise(doubtful)["test_labels"] == "given"


def test_numbers_survive_a_figure_that_cannot_be_drawn_but_the_run_is_not_finished(
    tmp_path, monkeypatch
):
    def broken(*_, **__):
        raise RuntimeError("no font")

    monkeypatch.setattr(figures, "curve", broken)
    with pytest.raises(RuntimeError, match="no font"):
        results.write(tmp_path, outcome(), config(tsne_points=0), "python launch.py")
    assert json.loads((tmp_path / "results.json").read_text())["test_accuracy"] == 1.0
    assert (tmp_path / "label_issues.csv").exists()
    assert not (tmp_path / "report.html").exists()  # the last file: grid.py goes by it


@pytest.mark.parametrize("broken", ["audit.audit", "audit.write_csv", "data_section.section"])
@pytest.mark.parametrize("error", [MemoryError("9 GB\nof 8"), ValueError("no")])
def test_an_audit_that_fails_costs_neither_numbers_nor_page(
    tmp_path, monkeypatch, capsys, broken, error
):
    def fails(*_, **__):
        raise error

    module, name = broken.split(".")
    monkeypatch.setattr(getattr(results, module), name, fails)
    told = results.write(tmp_path, outcome(), config(tsne_points=0), "python launch.py")
    assert json.loads((tmp_path / "results.json").read_text()) == told
    assert told["test_accuracy"] == 1.0
    assert "data_issues" not in told
    assert "Image issues" not in (tmp_path / "report.html").read_text()
    assert not (tmp_path / "data_issues.csv").exists()
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: the images were not checked for issues")
    assert type(error).__name__ in warning


@pytest.mark.parametrize("count", [0, 3, 100])
def test_the_gallery_is_as_large_as_asked(tmp_path, count):
    results.write(tmp_path, outcome(), config(tsne_points=0, gallery=count), "python launch.py")
    page = (tmp_path / "report.html").read_text()
    assert page.count("data-index=") == min(count, 40)


def test_the_page_says_the_configs_remark_and_the_teachers_kind(tmp_path):
    results.write(tmp_path, outcome("random"), config(tsne_points=0, remark="Mind <this>."), "")
    page = (tmp_path / "report.html").read_text()
    assert "Mind &lt;this&gt;." in page
    assert "kNN accuracy of the random encoder" in page


def test_a_classifier_that_teaches_has_an_accuracy_and_sizes_beside_the_students():
    assert "teacher_parameters" not in results.summarise(outcome())
    found = outcome()
    logits = np.zeros((len(found.data.train_images), 4), np.float32)
    known = types.SimpleNamespace(parameters=1234)
    source = types.SimpleNamespace(known=known, title="trained classifier")
    verdict = Verdict(test_accuracy=0.9)
    teacher = dataclasses.replace(
        found.teacher, source=source, verdict=verdict, train_logits=logits
    )
    sized = {
        stage: dataclasses.replace(student, parameters=size)
        for (stage, student), size in zip(found.students.items(), (10, 20), strict=True)
    }
    summary = results.summarise(dataclasses.replace(found, teacher=teacher, students=sized))
    assert summary["teacher_test_accuracy"] == 0.9
    assert summary["teacher_knn_accuracy"] is None
    sizes = [summary[f"{whose}_parameters"] for whose in ("teacher", *found.students)]
    assert sizes == [1234, 10, 20]
