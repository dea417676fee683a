"""Every picture of a folder gets one row, the broken ones too."""

import csv
import os
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from layouts import built, layouts, real_files
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


def rows_of(file):
    with open(file, newline="") as text:
        return list(csv.DictReader(text))


def test_a_row_a_picture_in_order(folder, tmp_path):
    said = prediction.write(folder, tmp_path)
    rows = rows_of(tmp_path / "predictions.csv")
    assert [row["path"] for row in rows] == ["a, b.jpg", "b.png", "d.png", "in/c.PNG"]
    assert [row["predicted_class"] for row in rows] == ["'=bright", "dark", "", "'=bright"]
    assert rows[1]["probability"] == "1.000000"
    assert "cannot be read as a picture" in rows[2]["error"]
    assert said == (
        "4 pictures, 1 of them cannot be read; 1 file that is not a picture skipped: "
        f"{tmp_path / 'predictions.csv'}"
    )


def test_any_name_is_one_row_and_no_formula(folder, tmp_path):
    for name in (b"=1+1.png", b"a\rb.png", b"caf\xe9.png"):
        os.link(folder / "b.png", os.path.join(os.fsencode(folder), name))
    os.mkfifo(folder / "pipe.png")
    prediction.write(folder, tmp_path)
    rows = {row["path"]: row for row in rows_of(tmp_path / "predictions.csv")}
    assert len(rows) == 8
    for path in ("'=1+1.png", r"a\rb.png", r"caf\xe9.png"):
        assert rows[path]["predicted_class"] == "dark"
    assert "it is not a regular file" in rows["pipe.png"]["error"]


def test_pictures_are_decoded_by_several_threads(folder, tmp_path, monkeypatch):
    """Two blocks of two wait for each other."""
    monkeypatch.setattr(lazy_images, "cores", lambda: 2)
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


def test_links_to_folders_are_followed_within_the_folder_and_told_of_elsewhere(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    os.link(folder / "b.png", tmp_path / "elsewhere" / "e.png")
    (folder / ".hidden" / "deep").mkdir()
    os.link(folder / "b.png", folder / ".hidden" / "deep" / "y.png")
    (folder / "again").symlink_to(folder / ".hidden")  # before `same` in the alphabet
    (folder / "same").symlink_to(folder / ".hidden")
    (folder / "a link to in").symlink_to("in")
    (folder / "out").symlink_to(tmp_path / "elsewhere")
    (folder / "round").symlink_to("round")
    (folder / "in" / "up").symlink_to("..")
    (folder / "nothing").symlink_to("gone")
    (folder / "e.png").symlink_to(tmp_path / "elsewhere" / "e.png")
    (folder / "gone.png").symlink_to("gone")
    said = prediction.write(folder, tmp_path)
    rows = {row["path"]: row for row in rows_of(tmp_path / "predictions.csv")}
    assert list(rows) == sorted(rows)
    assert [path for path, row in rows.items() if row["predicted_class"]] == [
        "a, b.jpg", "again/deep/y.png", "again/x.png", "b.png", "e.png", "in/c.PNG",
    ]  # fmt: skip
    errors = {path: row["error"] for path, row in rows.items() if row["error"]}
    assert errors.pop("d.png")
    assert "No such file" in errors.pop("gone.png")
    assert errors == {
        "in/up": f"{folder}/in/up is a link to a folder that contains it",
        "nothing": f"{folder}/nothing is a link to nothing",
        "out": f"{folder}/out is a link to outside of {folder}",
        "round": f"{folder}/round cannot be read (Too many levels of symbolic links)",
    }
    assert said.startswith(
        "8 pictures, 2 of them cannot be read; 4 folders or links cannot be read; "
    )


def test_a_folder_that_may_not_be_read_is_a_row(folder, tmp_path, monkeypatch):
    scandir = os.scandir

    def denied(place):
        if os.path.basename(place) == denied.name:
            raise PermissionError(13, "Permission denied")
        return scandir(place)

    denied.name = "in"
    monkeypatch.setattr(os, "scandir", denied)
    said = prediction.write(folder, tmp_path)
    (row,) = (row for row in rows_of(tmp_path / "predictions.csv") if row["path"] == "in")
    assert row["error"] == f"{folder}/in cannot be read (Permission denied)"
    assert said.startswith(
        "3 pictures, 1 of them cannot be read; 1 folder or link cannot be read; "
    )
    denied.name = "photos"
    with pytest.raises(InputError, match=r"photos cannot be read \(Permission denied\)"):
        prediction.write(folder, tmp_path)


def test_pictures_of_other_kinds_are_rows_with_an_error(folder, tmp_path):
    Image.new("RGB", (9, 9)).save(folder / "in" / "scan.TIF")
    said = prediction.write(folder, tmp_path)
    (row,) = (row for row in rows_of(tmp_path / "predictions.csv") if row["path"] == "in/scan.TIF")
    assert row["error"] == "its name does not end in .jpg, .jpeg, .png, .webp"
    assert said.startswith("5 pictures, 2 of them cannot be read; 1 file that is no")


@given(layouts)
def test_every_picture_of_any_folder_is_in_one_row_or_below_one(layout):
    with (
        tempfile.TemporaryDirectory() as place,
        mock.patch.object(prediction.Model, "load", return_value=dark_or_bright()),
    ):
        root = Path(place) / "photos"
        said = ""
        with built(root, layout) as locked:
            try:
                said = prediction.write(root, place)
            except InputError as error:
                refused = str(error)
        locked = {os.path.relpath(folder, root) for folder in locked}
        files = real_files(root)
        readable = {
            file
            for file in files
            if pictures.is_picture(file) and not {*map(str, Path(file).parents)} & locked
        }
        if not said:
            assert refused.startswith("no pictures below")
            assert not readable
            return
        rows = {row["path"]: row for row in rows_of(Path(place) / "predictions.csv")}
        assert readable <= rows.keys()
        for file in files - readable:
            is_told = bool({file, *map(str, Path(file).parents)} & rows.keys())
            is_picture = pictures.is_picture(file) or pictures.is_other_picture(file)
            assert is_told or not is_picture, file
        # Through links too, no file twice: but for links to files.
        real = [os.path.realpath(root / file) for file in rows if not os.path.islink(root / file)]
        assert len(real) == len(set(real))
        unread = sum(bool(row["error"]) for row in rows.values())
        assert unread == 0 or "cannot be" in said


def test_where_to_write_may_be_said(folder, tmp_path):
    (tmp_path / "model").mkdir()
    said = prediction.write(folder, tmp_path / "model", tmp_path / "told.csv")
    assert said.endswith(f": {tmp_path / 'told.csv'}")
    assert len(rows_of(tmp_path / "told.csv")) == 4
    assert not any((tmp_path / "model").iterdir())


@pytest.mark.parametrize(
    ("to", "says"),
    [
        (
            "missing/x.csv",
            "cannot write .*missing/x.csv .No such file or directory.; expected --pr",
        ),
        ("/proc/x.csv", "cannot write /proc/x.csv"),
        (
            "photos/b.png",
            "b.png' .--predict_to. is not a .csv file; expected --predict_to=FILE.csv",
        ),
        ("folder.csv", "folder.csv' .--predict_to. is not a .csv file"),
        ("pipe.csv", "pipe.csv' .--predict_to. is not a .csv file"),
        ("", "is not a .csv file"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_any_picture_is_read(
    folder, tmp_path, monkeypatch, to, says
):
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    monkeypatch.setattr(prediction, "_found", None)  # not called
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=says) as caught:
        prediction.write(folder, tmp_path, tmp_path / to if to else to)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_workdir_that_may_only_be_read_is_refused_with_another_place(
    folder, tmp_path, monkeypatch
):
    def denied(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", denied)
    says = r"predictions.csv \(Permission denied\); expected --predict_to=FILE.csv"
    with pytest.raises(InputError, match=says):
        prediction.write(folder, tmp_path)


def test_a_disk_that_fills_up_is_told_in_one_line(folder, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(prediction, "open_atomic", full)
    with pytest.raises(InputError, match=r"cannot write .* \(No space left on device\)"):
        prediction.write(folder, tmp_path)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (("a.bmp", "b.TIF"), "only files that end in .bmp, .tif; expected files in .jpg, .jpeg, "),
        (("notes",), "only files that end in no extension; expected"),
        ((), "photos .--predict.; expected files in .jpg, .jpeg, .png, .webp"),
    ],
)
def test_without_pictures_what_there_is_is_said(folder, tmp_path, files, says):
    empty = tmp_path / "other photos"
    empty.mkdir()
    for name in files:
        (empty / name).touch()
    with pytest.raises(InputError, match=says):
        prediction.write(empty, tmp_path)
    (empty / "out").symlink_to(folder)
    with pytest.raises(InputError, match=r"out is a link to outside of .*; expected files"):
        prediction.write(empty, tmp_path)


def test_a_folder_without_pictures_is_refused_and_nothing_written(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    for where, says in [("empty", "no pictures below"), ("missing", "no folder")]:
        with pytest.raises(InputError, match=says):
            prediction.write(tmp_path / where, tmp_path)
    assert not (tmp_path / "predictions.csv").exists()
