"""Tasks as Label Studio imports them, and a labelling interface that knows their classes."""

import json
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import numpy as np

from rmdnet_jax.data import labelstudio_source
from rmdnet_jax.evaluation import label_issues
from rmdnet_jax.export import labelstudio

BELIEF = np.array([[0.8, 0.2], [0.3, 0.7], [0.1, 0.9]])
ISSUES = label_issues.score(BELIEF, None, np.array([1, 1, 0]), 2 / 3)
CLASSES = ("<b>\"a' & co", "b\u202e")
FILES = ["a b/1&?#.png", "2.png", "é%20.png"]


def written(folder):
    labelstudio.write(folder / "x.json", ISSUES, CLASSES, FILES)
    interface = ElementTree.parse(folder / "x.xml").getroot()
    return json.loads((folder / "x.json").read_text("ascii")), interface


def test_tasks_stand_most_suspicious_first_and_suggest_a_class(tmp_path):
    tasks, interface = written(tmp_path)
    assert [task["data"]["path"] for task in tasks] == [FILES[2], FILES[0], FILES[1]]
    assert [task["data"]["score"] for task in tasks] == [0.9, 0.8, 0.3]
    assert [task["data"]["kind"] for task in tasks] == ["closed", "closed", "clean"]
    assert tasks[0]["data"]["given_label"] == CLASSES[0]
    image, choices = interface.find("Image"), interface.find("Choices")
    offered = [choice.get("value") for choice in choices]
    assert offered == [CLASSES[0], "b\\u202e"]
    assert choices.get("toName") == image.get("name")
    assert image.get("value") == "$image"
    for task, suggested in zip(tasks, (offered[1], offered[0], offered[1]), strict=True):
        (prediction,) = task["predictions"]
        assert prediction["score"] == task["data"]["score"]
        assert prediction["result"] == [
            {
                "from_name": choices.get("name"),
                "to_name": image.get("name"),
                "type": "choices",
                "value": {"choices": [suggested]},
            }
        ]


def test_pictures_are_in_the_local_storage_under_their_paths(tmp_path):
    for task in written(tmp_path)[0]:
        url = urlsplit(task["data"]["image"])
        assert url.path == "/data/local-files/"
        assert parse_qs(url.query) == {"d": [task["data"]["path"]]}


def test_tasks_that_somebody_has_annotated_are_read_again(tmp_path):
    tasks, _ = written(tmp_path)
    for task in tasks:
        (tmp_path / task["data"]["path"]).parent.mkdir(exist_ok=True)
        (tmp_path / task["data"]["path"]).touch()
        task["annotations"] = [{"result": task["predictions"][0]["result"]}]
    (tmp_path / "back.json").write_text(json.dumps(tasks))
    found = labelstudio_source.find(str(tmp_path / "back.json"), 0.01)
    assert found.class_names == (CLASSES[0], "b\\u202e")
    labels = {
        file: label
        for split in (found.train, found.test)
        for file, label in zip(split.files, split.labels.tolist(), strict=True)
    }
    assert labels == {FILES[0]: 0, FILES[1]: 1, FILES[2]: 1}
