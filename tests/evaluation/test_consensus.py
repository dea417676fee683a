"""The files on several people's labels."""

import csv
import dataclasses

import numpy as np
import pytest

from rmdnet_jax.data import corrected, corrections, labels
from rmdnet_jax.data.dataset import NO_CLASS, Dataset
from rmdnet_jax.evaluation import consensus

CLASSES = ("=cat", "dog", "emu")
TRUE = (np.arange(60) % 3).astype(np.int32)
IMAGES = np.zeros((60, 8, 8, 3), np.uint8)


@pytest.fixture
def data():
    """Two who are right and one who says dog to all, of images with paths; the fourth is silent."""
    dogs = np.full(60, 1, np.int32)
    sets = {
        "label:ann": TRUE,
        "label:=bob": np.where(np.arange(60) % 2, TRUE, -1).astype(np.int32),
        "label:cy": dogs,
        "label:dee": np.full(60, -1, np.int32),
    }
    paths = tuple(f"{i}.png" for i in range(60))
    return Dataset(
        "pets", IMAGES, dogs * 0 + np.arange(60, dtype=np.int32) % 2, IMAGES, TRUE, sets, CLASSES,
        train_files=paths, true_labels=TRUE,
    )  # fmt: skip


def belief():
    return np.eye(3, dtype=np.float32)[TRUE] * 0.7 + 0.1


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_files_and_the_way_back(data, tmp_path):
    given = labels.give(
        dataclasses.replace(data, train_labels=np.roll(TRUE, 1)), "none", 0.0, seed=0
    )
    found = consensus.found(data, given, belief())
    consensus.write(tmp_path, found, data, given)
    people = read(tmp_path / consensus.ANNOTATORS)
    assert [row["annotator"] for row in people] == ["ann", "'=bob", "cy", "dee"]
    assert [row["labels"] for row in people] == ["60", "30", "60", "0"]
    assert float(people[0]["quality"]) > 0.9 > 0.5 > float(people[2]["quality"])
    assert (people[3]["agreement"], people[3]["quality"]) == ("", "")

    rows = read(tmp_path / consensus.CONSENSUS)
    assert [row["ask_again"] for row in rows] == [str(rank) for rank in range(1, 61)]
    qualities = [float(row["quality"]) for row in rows]
    assert qualities == sorted(qualities)
    by_index = {int(row["index"]): row for row in rows}
    names = ("'=cat", "dog", "emu")
    for i in range(60):
        assert by_index[i]["consensus"] == by_index[i]["class"] == names[TRUE[i]]
        assert by_index[i]["given_class"] == names[given.given[i]]
        assert by_index[i]["path"] == f"{i}.png"
        assert by_index[i]["labels"] == str(2 + i % 2)
    after = corrected.applied(data, given, corrections.read(tmp_path / consensus.CONSENSUS))
    np.testing.assert_array_equal(after.labels.given, TRUE)
    assert after.labels.review.corrected == 60


def test_what_agrees_is_left_as_it_is(data, tmp_path):
    given = labels.give(data, "human", 0.0, seed=0, field="label:ann")
    found = consensus.found(data, given, belief())
    plain = dataclasses.replace(data, train_files=None, train_index=np.arange(60) * 2)
    consensus.write(tmp_path, found, plain, given)
    rows = read(tmp_path / consensus.CONSENSUS)
    assert {(row["verdict"], row["class"]) for row in rows} == {("unsure", "")}
    assert "path" not in rows[0]
    assert sorted(int(row["index"]) for row in rows) == list(range(0, 120, 2))


def test_what_a_person_has_reviewed_stands_and_comes_last(data, tmp_path):
    given = labels.give(
        dataclasses.replace(data, train_labels=np.roll(TRUE, 1)), "none", 0.0, seed=0
    )
    looked = tmp_path / "looked.csv"
    looked.write_text("index,verdict,class\n0,keep,\n7,class,emu\n8,unsure,\n")
    looked_at = corrected.applied(data, given, corrections.read(looked)).labels
    found = consensus.found(data, looked_at, belief())
    assert consensus.summarise(found, looked_at)["consensus_differs"] == 58
    # Image 0 is no emu and 7 is a dog: what people say there is what they said, and does not count.
    assert consensus.summarise(found, looked_at)["consensus_wrong"] == 2 / 60
    consensus.write(tmp_path, found, data, looked_at)
    rows = read(tmp_path / consensus.CONSENSUS)
    assert [row["ask_again"] for row in rows] == [str(rank) for rank in range(1, 61)]
    assert {row["index"] for row in rows[-2:]} == {"0", "7"}
    for row in rows[-2:]:
        assert (row["verdict"], row["class"], row["given_class"]) == ("unsure", "", "emu")
        assert (row["consensus"], row["quality"]) == ("emu", "1.000000")
    again = corrected.applied(data, looked_at, corrections.read(tmp_path / consensus.CONSENSUS))
    np.testing.assert_array_equal(again.labels.given[[0, 7]], [2, 2])
    np.testing.assert_array_equal(np.delete(again.labels.given, [0, 7]), np.delete(TRUE, [0, 7]))


def test_shares_of_wrong_labels_are_of_images_of_a_class(data):
    given = dataclasses.replace(
        labels.give(data, "none", 0.0, seed=0), given=data.label_sets["label:cy"]
    )
    found = consensus.found(data, given, belief())
    told = consensus.summarise(found, given)
    assert told["annotators"] == 4
    assert told["consensus_differs"] == 40
    assert told["consensus_wrong"] == 0
    is_open = dataclasses.replace(given, true=np.where(np.arange(60) < 30, NO_CLASS, TRUE))
    assert consensus.summarise(found, is_open)["consensus_wrong"] == 0
    unknown = dataclasses.replace(given, true=None)
    assert "consensus_wrong" not in consensus.summarise(found, unknown)


def test_where_there_is_nothing_to_tell(data):
    given = labels.give(data, "none", 0.0, seed=0)
    drawn = labels.give(data, "symmetric", 0.4, seed=0)
    assert consensus.found(data, drawn, belief()) is None
    assert consensus.found(dataclasses.replace(data, label_sets={}), given, belief()) is None
