"""Which layout a folder or a file has is seen from what is there."""

import json

import pyarrow
import pyarrow.parquet
import pytest

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import picture_sources


def make_classes(folder):
    for name in ("a/1.png", "b/2.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def make_fiftyone(folder):
    (folder / "data").mkdir()
    for name in "12":
        (folder / "data" / f"{name}.png").touch()
    (folder / "labels.json").write_text(json.dumps({"labels": {"1": "a", "2": "b"}}))


def make_imagefolder(folder):
    (folder / "metadata.csv").write_text("file_name,label\n1.png,a\n2.png,b\n")


def make_parquet(folder):
    table = pyarrow.table({"image": [b"1", b"2"], "label": ["a", "b"]})
    pyarrow.parquet.write_table(table, folder / "train.parquet")


def make_manifest(folder):
    (folder / "list.csv").write_text("path,label\n1.png,a\n2.png,b\n")
    return "list.csv"


def make_tasks(folder):
    result = [{"type": "choices", "value": {"choices": ["a"]}}]
    other = [{"type": "choices", "value": {"choices": ["b"]}}]
    tasks = [
        {"data": {"image": f"{i}.png"}, "annotations": [{"result": one}]}
        for i, one in enumerate((result, other))
    ]
    (folder / "list.json").write_text(json.dumps(tasks))
    return "list.json"


def make_one_parquet(folder):
    make_parquet(folder)
    return "train.parquet"


@pytest.mark.parametrize("make", [make_classes, make_fiftyone, make_imagefolder, make_parquet])
def test_a_folder(tmp_path, make):
    make(tmp_path)
    found = picture_sources.in_folder(str(tmp_path), 0.2, str(tmp_path / "cache"))
    assert found.class_names == ("a", "b")
    assert found.name == tmp_path.name


@pytest.mark.parametrize("make", [make_manifest, make_tasks, make_one_parquet])
def test_a_list(tmp_path, make):
    path = str(tmp_path / make(tmp_path))
    found = picture_sources.of_list(path, 0.2, str(tmp_path / "cache"), "")
    assert found.class_names == ("a", "b")


@pytest.mark.parametrize("make", [make_classes, make_fiftyone, make_imagefolder, make_parquet])
@pytest.mark.parametrize("path", ["", "nowhere"])
def test_no_path_is_not_the_folder_that_one_stands_in(tmp_path, monkeypatch, make, path):
    make(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"no folder '{path}'"):
        picture_sources.in_folder(path, 0.2, str(tmp_path / "cache"))


def test_what_is_not_there_is_told_as_a_manifest(tmp_path):
    with pytest.raises(InputError, match="no manifest"):
        picture_sources.of_list(str(tmp_path / "x.parquet"), 0.2, "", "")
