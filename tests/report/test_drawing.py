"""What is drawn is named for what it is, and the words beside it fit what is seen."""

import dataclasses

import numpy as np
import pytest

from rmdnet_jax.config import default
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.data.labels import Labels
from rmdnet_jax.evaluation.suspicion import Suspicion
from rmdnet_jax.methods.interface import Prediction
from rmdnet_jax.report import drawing, figures
from rmdnet_jax.report.outcome import Outcome, Student
from rmdnet_jax.teachers import registry as teachers
from rmdnet_jax.teachers.judged import Judged, Verdict

RNG = np.random.default_rng(0)
TRUE = np.arange(40, dtype=np.int32) % 4
GIVEN = np.where(np.arange(40) < 10, (TRUE + 1) % 4, TRUE).astype(np.int32)
GUESS = np.where(TRUE == 2, 3, TRUE)  # every blue is taken for grey
EMBEDDING = RNG.normal(size=(40, 6)).astype(np.float32)
SPREADS = [
    {"stage": "teacher", "epoch": epoch, "loss": -0.5, "spread": spread}
    for epoch, spread in ((1, 0.7), (2, 0.4), (3, 0.9))
]


def outcome(kind="simsiam", students=("baseline", "student"), history=SPREADS):
    images = np.zeros((40, 8, 8, 3), np.uint8)
    data = Dataset("colours", images, TRUE, images, TRUE, {}, ("red", "green", "blue", "grey"))
    labels = Labels(GIVEN, TRUE, "symmetric", 0.25, 0.25, np.eye(4))
    teacher, titles = None, {"baseline": "CE alone", "student": "CE"}
    if kind:
        source = teachers.get(kind)
        verdict = Verdict(0.9, 0.3, 0.4)
        teacher = Judged(kind, source, None, EMBEDDING, EMBEDDING, verdict, tested=40)
        titles["student"] += f" + {source.term}"
    prediction = Prediction(np.eye(4, dtype=np.float32)[GUESS], EMBEDDING)
    line = {"epoch": 1, "loss": 1.0, "node_loss": 2.0, "test_accuracy": 0.75}
    trained = {
        stage: Student(titles[stage], prediction, prediction, [line | {"stage": stage}])
        for stage in students
    }
    return Outcome(data, labels, teacher, history, trained, None)


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """Sections by id, with what was drawn in them: nothing is."""
    calls = {}

    def draw(outcome, tsne_points=0, **results):
        for name in ("comparison", "curve", "heat_map", "embedding"):
            record = calls.setdefault(name, [])
            monkeypatch.setattr(figures, name, lambda *a, record=record, **_: record.append(a))
        config = default()
        config.report.tsne_points = tsne_points
        results = {"test_labels": "true"} | results
        sections = drawing.draw(tmp_path / "figures", outcome, results, config.to_dict())
        return {section.id: section for section in sections}, calls

    return draw


@pytest.mark.parametrize(
    ("kind", "student"),
    [
        ("simsiam", "CE + RMDNet"),
        ("random", "CE + RGRL, random teacher"),
        ("encoder", "CE + RMDNet"),
    ],
)
def test_teacher_and_students_are_called_what_they_are(drawn, kind, student):
    sections, calls = drawn(outcome(kind), tsne_points=10)
    assert calls["comparison"][0][2] == ("CE alone", student)
    assert sections["comparison"].heading == "Comparison with the baseline"
    titles = [title for *_, title, _ in calls["embedding"]]
    assert titles == [teachers.get(kind).title, "CE alone", student]
    assert len(sections["embeddings"].figures) == 3


def test_without_a_teacher_there_is_the_loss_alone(drawn):
    sections, calls = drawn(outcome(None, ("student",), []), tsne_points=10)
    assert set(sections) == {"student", "predictions", "noise", "embeddings"}
    assert [title for *_, title, _ in calls["embedding"]] == ["CE"]


def test_without_a_teacher_nothing_is_said_of_one(drawn):
    sections, _ = drawn(outcome(None, history=[]))
    assert sections["comparison"].heading == "Comparison with the baseline"
    assert "teacher" not in sections["comparison"].text


def test_a_teacher_alone_is_drawn_alone(drawn):
    sections, _ = drawn(outcome(students=()))
    assert set(sections) == {"teacher", "noise"}


@pytest.mark.parametrize(
    ("last", "verdict"),
    [(0.9, "It has not collapsed"), (0.3, "It has partly collapsed"), (0.02, "It has collapsed")],
)
def test_the_collapse_monitor_is_put_into_words(drawn, last, verdict):
    history = [*SPREADS[:2], SPREADS[2] | {"spread": last}]
    text = drawn(outcome(history=history))[0]["teacher"].text
    assert f"{verdict}" in text
    assert f"ended at {last:.2f}" in text
    assert f"minimum {min(last, 0.4):.2f}, in epoch {3 if last < 0.4 else 2}" in text


def test_a_teacher_trained_elsewhere_or_weak_is_said_to_be(drawn):
    found = outcome(history=[])
    weak = dataclasses.replace(found.teacher, verdict=Verdict(0.3, 0.3, 0.4))
    text = drawn(dataclasses.replace(found, teacher=weak))[0]["teacher"].text
    assert "trained by an earlier run" in text
    assert "Warning: the teacher's kNN accuracy (30.0%) is not clearly better" in text


def test_a_table_was_made_elsewhere(drawn):
    text = drawn(outcome("encoder", history=[]))[0]["teacher"].text
    assert text == teachers.get("encoder").story


def test_the_largest_confusions_are_named(drawn):
    sections, calls = drawn(outcome())
    assert sections["predictions"].text == "Most frequent confusions: blue as grey (100% of 10)."
    assert calls["heat_map"][0][0].sum(axis=1).tolist() == [1, 1, 1, 1]
    assert calls["heat_map"][0][2] == "true class"


def test_an_estimated_transition_stands_beside_the_realised_one(drawn):
    estimate = np.full((4, 4), 0.25)
    sections, calls = drawn(
        dataclasses.replace(outcome(), suspicion=Suspicion(None, None, estimate, 0.75, (0.5, 1))),
        noise_rate_estimated=0.75,
        noise_transition_error=0.75,
    )
    assert len(sections["noise"].figures) == 2
    assert (
        "Estimated without true labels: 75.0%, between 50.0% and 100.0%." in sections["noise"].text
    )
    assert "differ by 0.750 on average" in sections["noise"].text
    assert np.array_equal(calls["heat_map"][-1][0], estimate)


def test_an_estimated_transition_alone_says_what_it_is(drawn):
    labels = Labels(GIVEN, None, "none", None, None, None)
    suspicion = Suspicion(None, None, np.full((4, 4), 0.25), 0.75, (0.5, 1))
    sections, _ = drawn(dataclasses.replace(outcome(), labels=labels, suspicion=suspicion))
    (figure,) = sections["noise"].figures
    assert figure.caption == "Estimated without true labels: given labels by true class."


def test_where_no_truth_is_known_none_is_drawn(drawn):
    labels = Labels(GIVEN, None, "none", None, None, None)
    found = dataclasses.replace(outcome(), labels=labels)
    sections, calls = drawn(found, tsne_points=10, test_labels="given")
    assert not {"noise", "embeddings"} & set(sections)
    assert calls["heat_map"][0][2] == "given test label"
    assert calls["comparison"][0][3:5] == (
        "agreement with the given test labels",
        "labels as given",
    )


def test_classes_too_small_for_t_sne_are_left_out(drawn):
    assert "embeddings" not in drawn(outcome(), tsne_points=2)[0]
