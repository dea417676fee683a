"""Every picture of a folder gets one row, the broken ones too."""

import csv
import os
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import lazy_images, pictures
from rmdnet_jax.runs import prediction


def dark_or_bright():
    """A model that tells dark pictures from bright ones."""

    def predict_proba(images):
        bright = images.mean(axis=(1, 2, 3)) / 255
        return np.stack([1 - bright, bright], axis=1)

    return SimpleNamespace(
        classes=("dark", "=bright"),
        picture_shape=(8, 8, 3),
        predict_proba=predict_proba,
        read=lambda file: pictures.decode(str(file), str(file), (8, 8, 3), True),
    )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(prediction.Model, "load", lambda workdir: dark_or_bright())
    monkeypatch.setattr(prediction, "_BLOCK", 2)
    photos = tmp_path / "photos"
    (photos / "in").mkdir(parents=True)
    (photos / ".hidden").mkdir()
    for name, value in [("b.png", 0), ("in/c.PNG", 255), ("a, b.jpg", 255), (".hidden/x.png", 0)]:
        Image.new("RGB", (12, 9), (value,) * 3).save(photos / name)
    (photos / "d.png").write_bytes(b"no picture")
    (photos / "notes.txt").write_text("passed over")
    return photos


def test_a_row_a_picture_in_order(folder, tmp_path):
    said = prediction.write(folder, tmp_path)
    with open(tmp_path / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == ["a, b.jpg", "b.png", "d.png", "in/c.PNG"]
    assert [row["predicted_class"] for row in rows] == ["'=bright", "dark", "", "'=bright"]
    assert rows[1]["probability"] == "1.000000"
    assert "cannot be read as a picture" in rows[2]["error"]
    assert said == f"4 pictures, 1 of them cannot be read: {tmp_path / 'predictions.csv'}"


def test_any_name_is_one_row_and_no_formula(folder, tmp_path):
    for name in (b"=1+1.png", b"a\rb.png", b"caf\xe9.png"):
        os.link(folder / "b.png", os.path.join(os.fsencode(folder), name))
    os.mkfifo(folder / "pipe.png")
    prediction.write(folder, tmp_path)
    with open(tmp_path / "predictions.csv", newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    assert len(rows) == 8
    for path in ("'=1+1.png", r"a\rb.png", r"caf\xe9.png"):
        assert rows[path]["predicted_class"] == "dark"
    assert "it is no regular file" in rows["pipe.png"]["error"]


def test_pictures_are_decoded_by_several_threads(folder, tmp_path, monkeypatch):
    """Two blocks of two wait for each other."""
    monkeypatch.setattr(lazy_images.os, "cpu_count", lambda: 2)
    both = threading.Barrier(2, timeout=10)
    model, waited = dark_or_bright(), []

    def read(file):
        if file.name in ("b.png", "c.PNG"):
            both.wait()
            waited.append(file.name)
        return pictures.decode(str(file), str(file), (8, 8, 3), True)

    model.read = read
    monkeypatch.setattr(prediction.Model, "load", lambda workdir: model)
    prediction.write(folder, tmp_path)
    assert sorted(waited) == ["b.png", "c.PNG"]


def test_a_folder_without_pictures_is_refused_and_nothing_written(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    for where, says in [("empty", "no pictures below"), ("missing", "no folder")]:
        with pytest.raises(InputError, match=says):
            prediction.write(tmp_path / where, tmp_path)
    assert not (tmp_path / "predictions.csv").exists()
