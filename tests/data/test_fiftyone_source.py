"""A folder with labels.json and data is a data set, as FiftyOne exports image classification."""

import json

import numpy as np
import pytest
from PIL import Image

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import fiftyone_source, sources


def save(folder, names):
    for seed, name in enumerate(names):
        (folder / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "data" / name)


def write(folder, labels, classes=None):
    content = {"classes": classes, "labels": labels}
    (folder / "labels.json").write_text(json.dumps(content))


NAMES = [f"in/{i}.png" for i in range(8)] + ["8.jpg", "9.PNG"]


@pytest.mark.parametrize(
    ("target", "classes"),
    [
        (lambda i: i % 2, ["zebra", "ant"]),
        (lambda i: ["zebra", "ant"][i % 2], None),
        (lambda i: {"label": i % 2, "confidence": 0.5, "attributes": {"x": 1}}, ["zebra", "ant"]),
    ],
)
def test_labels_stand_under_names_without_endings(tmp_path, target, classes):
    folder = tmp_path / "beasts"
    save(folder, NAMES)
    write(folder, {name.rpartition(".")[0]: target(i) for i, name in enumerate(NAMES)}, classes)
    data = sources.load("own", str(folder))
    assert (data.name, data.class_names) == ("beasts", ("ant", "zebra"))
    assert (len(data.train_labels), len(data.test_labels)) == (8, 2)
    found = dict(zip(data.train_files, data.train_labels, strict=True))
    found |= dict(zip(data.test_files, data.test_labels, strict=True))
    assert found == {f"data/{name}": 1 - i % 2 for i, name in enumerate(NAMES)}


def test_pictures_without_a_label_are_told(tmp_path):
    save(tmp_path, NAMES)
    labels = {name.rpartition(".")[0]: i % 2 for i, name in enumerate(NAMES[:9])}
    write(tmp_path, labels | {"8": None}, ["a", "b"])
    data = sources.load("own", str(tmp_path))
    assert len(data.train_labels) + len(data.test_labels) == 8
    assert [(one.path, one.reason) for one in data.skipped_files] == [
        ("data/8.jpg", "it has no label"), ("data/9.PNG", "it has no label"),
    ]  # fmt: skip


def test_a_folder_of_classes_that_has_other_files_stays_one(tmp_path):
    (tmp_path / "labels.json").write_text("{}")
    assert not fiftyone_source.is_one(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "cannot be read as JSON"),
        ("[" * 200_000, "cannot be read as JSON"),
        ("[]", 'is not FiftyOne\'s; expected {"classes"'),
        ('{"labels": {}, "classes": [1]}', "is not FiftyOne's"),
        ('{"labels": {"a": 2}, "classes": ["x", "y"]}', "'a': the label is 2; expected 0 to 1"),
        ('{"labels": {"a": [0]}, "classes": ["x", "y"]}', "'a': the label is list"),
        ('{"labels": {"../../b": 0}, "classes": ["x"]}', "leads out of"),
        ('{"labels": {}}', "has no rows"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(tmp_path, text, says):
    save(tmp_path, ["a.png"])
    (tmp_path / "labels.json").write_text(text)
    with pytest.raises(InputError, match=says) as told:
        sources.load("own", str(tmp_path))
    assert "\n" not in str(told.value)


def test_two_pictures_of_one_name_are_refused(tmp_path):
    save(tmp_path, ["a.png", "a.jpg"])
    write(tmp_path, {"a": "x"})
    with pytest.raises(InputError, match="has two pictures a with different extensions"):
        sources.load("own", str(tmp_path))
