"""Label Studio's JSON export is a data set of the pictures that somebody chose a class for."""

import json

import numpy as np
import pytest
from PIL import Image

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import sources


def save(folder, names):
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name)


def annotation(*choices, **options):
    result = {"from_name": "c", "to_name": "i", "type": "choices", "value": {"choices": [*choices]}}
    return {"id": 1, "result": [result], "was_cancelled": False} | options


def task(image, *annotations, **data):
    return {"id": 1, "data": {"image": image} | data, "annotations": list(annotations)}


def write(folder, tasks):
    (folder / "tasks.json").write_text(json.dumps(tasks))
    return str(folder / "tasks.json")


def labelled(name, i):
    return task(name, annotation(("zebra", "ant")[i % 2]))


NAMES = [f"in a/{i}&.png" for i in range(10)]


@pytest.mark.parametrize(
    "url",
    [
        lambda name: name,
        lambda name: "/data/local-files/?d=photos/" + name.replace(" ", "%20").replace("&", "%26"),
        lambda name: "/data/upload/7/" + name.replace(" ", "%20").replace("&", "%26"),
    ],
    ids=["path", "local storage", "uploaded"],
)
def test_tasks_become_a_data_set(tmp_path, url):
    save(tmp_path, NAMES)
    path = write(tmp_path, [labelled(url(name), i) for i, name in enumerate(NAMES)])
    data = sources.load("own", path)
    assert (data.name, data.class_names) == ("tasks", ("ant", "zebra"))
    found = dict(zip(data.train_files, data.train_labels, strict=True))
    found |= dict(zip(data.test_files, data.test_labels, strict=True))
    assert found == {name: 1 - i % 2 for i, name in enumerate(NAMES)}
    assert len(data.test_labels) == 2


@pytest.mark.parametrize("kept", ["0a1b2c3d-x.png", "x.png", "images/0a1b2c3d-x.png"])
def test_an_uploaded_file_is_found_by_its_name(tmp_path, kept):
    save(tmp_path, [*NAMES, kept])
    tasks = [labelled(name, i) for i, name in enumerate(NAMES)]
    path = write(tmp_path, [*tasks, labelled("/data/upload/3/0a1b2c3d-x.png", 0)])
    data = sources.load("own", path)
    assert kept in data.train_files + data.test_files


def stored(path):
    return f"/data/local-files/?d={path}"


def both(data):
    return {*data.train_files, *data.test_files}


def test_folders_that_all_paths_begin_with_may_be_left_away_and_it_is_told(tmp_path):
    names = [f"{'ab'[i % 2]}/{i}.png" for i in range(9)]
    save(tmp_path, names)
    tasks = [
        labelled(stored(f"disk/photos/{name}"), i) for i, name in enumerate([*names, "a/9.png"])
    ]
    path = write(tmp_path, tasks)
    data = sources.load("own", path, max_broken=0.2)
    assert both(data) == set(names)
    assert [one.path for one in data.skipped_files] == ["a/9.png"]
    assert data.changes == (
        "9 of 10 pictures of tasks were found without disk/photos/, none by the full path in its "
        "task",
    )


@pytest.mark.parametrize("others", ["cats/{}.png", "dogs/{}.png", "{}.png"])
def test_a_missing_picture_is_not_one_of_the_same_name_elsewhere(tmp_path, others):
    names = [others.format(i) for i in range(9)]
    save(tmp_path, ["a.png", *names])
    tasks = [labelled(stored("dogs/a.png"), 0)]
    tasks += [labelled(stored(name), i) for i, name in enumerate(names)]
    data = sources.load("own", write(tmp_path, tasks), max_broken=0.1)
    assert both(data) == set(names)
    assert data.changes == ()
    (skipped,) = data.skipped_files
    assert (skipped.path, skipped.reason) == ("dogs/a.png", "there is no such file")


def test_of_uploads_too_all_are_found_in_one_way(tmp_path):
    names = [f"0a1b2c3{i}-{i}.png" for i in range(9)]
    save(tmp_path, [*names, "9.png"])
    uploads = [f"/data/upload/7/{name}" for name in [*names, "0a1b2c39-9.png"]]
    tasks = [labelled(upload, i) for i, upload in enumerate(uploads)]
    data = sources.load("own", write(tmp_path, tasks), max_broken=0.1)
    assert both(data) == set(names)
    assert data.changes == (
        "9 of 10 pictures of tasks were found by their names, none by the full path in its task",
    )


def test_the_last_annotation_that_stands_counts_and_the_rest_is_told(tmp_path):
    save(tmp_path, NAMES)
    tasks = [labelled(name, i) for i, name in enumerate(NAMES)]
    tasks[0]["annotations"] = [
        annotation("zebra"), annotation("ant"), annotation("zebra", was_cancelled=True)
    ]  # fmt: skip
    tasks[1]["annotations"] = []
    tasks[2]["annotations"] = [annotation("ant", was_cancelled=True)]
    data = sources.load("own", write(tmp_path, tasks))
    both = data.train_files + data.test_files
    labels = np.concatenate([data.train_labels, data.test_labels])
    assert labels[both.index(NAMES[0])] == 0
    assert [one.path for one in data.skipped_files] == NAMES[1:3]
    assert {one.reason for one in data.skipped_files} == {"its task has no annotation"}


def test_splits_and_the_folder_of_the_pictures_may_be_said(tmp_path):
    save(tmp_path / "photos", NAMES)
    tasks = [labelled(name, i) for i, name in enumerate(NAMES)]
    for i, one in enumerate(tasks):
        one["data"]["split"] = "test" if i > 5 else "train"
    path = write(tmp_path, tasks)
    data = sources.load("own", path, root=str(tmp_path / "photos"))
    assert (len(data.train_labels), len(data.test_labels)) == (6, 4)


BAD = {
    "url": ([task("https://a.b/c.png", annotation("x"))], "task 1: the picture is 'https://a.b/c"),
    "several": ([task("0.png", annotation("x", "y"))], "task 1 has 2 choices; expected one class"),
    "no data": ([{"annotations": []}], "task 1 has no data; expected a JSON export"),
    "text": ([{"data": {"text": "good"}}], "task 1 has no picture in data"),
    "object": ({"data": {}}, "is not a list; expected a JSON export of Label Studio"),
    "out": ([task("../../etc/x.png", annotation("x"))], "leads out of"),
    "nobody": ([task("0.png")], "has no rows"),
    "odd": ([{"data": {"image": "0.png"}, "annotations": {"a": 1}}], "annotations are not a list"),
}


@pytest.mark.parametrize(("tasks", "says"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_told_in_a_line(tmp_path, tasks, says):
    save(tmp_path, ["0.png"])
    with pytest.raises(InputError, match=says) as told:
        sources.load("own", write(tmp_path, tasks))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("text", ["{", "[" * 200_000, ""])
def test_what_is_no_json_is_told_in_a_line(tmp_path, text):
    (tmp_path / "tasks.json").write_text(text)
    with pytest.raises(InputError, match="cannot be read as JSON"):
        sources.load("own", str(tmp_path / "tasks.json"))
