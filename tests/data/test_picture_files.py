"""Picture files become a data set: decoded once, the broken ones named and skipped."""

import dataclasses
import errno
import os
import re
import types

import numpy as np
import pytest
from PIL import Image

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import picture_cache, picture_files, pictures, sources


@pytest.fixture
def photos(tmp_path):
    """Two classes of 20 pictures of several sizes."""
    rng = np.random.default_rng(0)
    for name in ("ant", "bee"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(20):
            pixels = rng.integers(0, 256, (12 + i, 40, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i:02}.jpg")
    return tmp_path / "photos"


def cut(file):
    """A file that ends too early: its head is whole."""
    file.write_bytes(file.read_bytes()[:-100])


def load(photos, image_size=16, **options):
    return sources.load("folder", str(photos), image_size=image_size, **options)


def broken(photos):
    """One of each kind: no picture by its name, none by its head, cut."""
    (photos / "ant" / "Thumbs.db").write_bytes(b"x")
    (photos / "ant" / "03.jpg").write_bytes(b"")
    cut(photos / "bee" / "04.jpg")


def test_sizes_are_known_before_anything_is_decoded(photos):
    found = sources.find("folder", str(photos))
    np.testing.assert_array_equal(np.sort(found.short_sides), np.sort([*range(12, 32)] * 2))


def test_the_data_set_knows_the_sizes_of_its_files_after_they_are_resized(photos):
    data = load(photos)
    for files, sizes in ((data.train_files, data.train_sizes), (data.test_files, data.test_sizes)):
        numbers = [int(file.rpartition("/")[2].removesuffix(".jpg")) for file in files]
        np.testing.assert_array_equal(sizes, [(12 + number, 40) for number in numbers])
    part = data.take(np.array([3, 5])).take_test(np.array([1]))
    np.testing.assert_array_equal(part.train_sizes, data.train_sizes[[3, 5]])
    np.testing.assert_array_equal(part.test_sizes, data.test_sizes[[1]])


@pytest.mark.parametrize("budget", [0.0, 1e-9], ids=["in memory", "on disk"])
def test_with_a_cache_or_without_it_is_the_same_data(photos, tmp_path, budget):
    broken(photos)
    cached, plain = (
        load(photos, cache=cache, max_broken=0.1, memory_budget=budget if cache else 0.0)
        for cache in (str(tmp_path / "cache"), "")
    )
    assert cached.is_on_disk == (budget > 0)
    for field in ("train_labels", "test_labels", "train_digests", "train_files", "skipped_files"):
        np.testing.assert_array_equal(getattr(cached, field), getattr(plain, field))
    np.testing.assert_array_equal(cached.train_images[:], plain.train_images)
    np.testing.assert_array_equal(cached.test_images[:], plain.test_images)
    assert len(cached.train_images) + len(cached.test_images) == 38


def test_a_disk_without_room_for_the_cache_is_no_obstacle(photos, tmp_path, monkeypatch):
    usage = types.SimpleNamespace(free=1000)
    monkeypatch.setattr(picture_cache.shutil, "disk_usage", lambda folder: usage)
    plain = load(photos)
    for budget in (0.0, 1e-9):
        data = load(photos, cache=str(tmp_path / "cache"), memory_budget=budget)
        assert data.is_on_disk == (budget > 0)
        assert re.match(r"decoded pictures take .* has 0.00 GB left; expected", data.not_cached)
        np.testing.assert_array_equal(data.train_images[:], plain.train_images)
    assert not plain.not_cached


def test_broken_files_are_named_with_the_reason(photos):
    broken(photos)
    data = load(photos, max_broken=0.1)
    assert [file.path for file in data.skipped_files] == [
        "ant/Thumbs.db",
        "ant/03.jpg",
        "bee/04.jpg",
    ]
    reasons = [file.reason for file in data.skipped_files]
    assert "does not end in .jpg" in reasons[0]
    assert reasons[1] == "it is empty"
    assert "truncated" in reasons[2]
    assert not {"ant/03.jpg", "bee/04.jpg"} & set(data.train_files)


def test_the_others_stay_in_the_split_they_were_in(photos):
    before = load(photos)
    broken(photos)
    after = load(photos, max_broken=0.1)
    gone = {"ant/03.jpg", "bee/04.jpg"}
    assert [file for file in before.train_files if file not in gone] == list(after.train_files)


def test_more_than_the_share_are_refused_and_counted(photos):
    broken(photos)
    says = (
        r"2 of 40 files of .*photos cannot be used \(ant/03.jpg: .*; bee/04.jpg: .*\), which is "
        r"more than dataset.max_broken, 0.04; fix or remove them, or set .*=0.05$"
    )
    with pytest.raises(InputError, match=says) as caught:
        load(photos, max_broken=0.04)
    assert "\n" not in str(caught.value)
    load(photos, max_broken=0.05)


def test_a_readme_does_not_count_and_a_picture_of_another_kind_does(photos):
    (photos / "README.md").touch()
    (photos / "ant" / "Thumbs.db").touch()
    data = load(photos, max_broken=0.0)
    assert [file.path for file in data.skipped_files] == ["README.md", "ant/Thumbs.db"]
    (photos / "ant" / "scan.tif").touch()
    with pytest.raises(InputError, match=r"1 of 41 files of .* \(ant/scan.tif: its name does not"):
        load(photos, max_broken=0.0)


def test_the_first_three_are_named(photos):
    for i in range(5):
        (photos / "ant" / f"{i}.gif").touch()
    with pytest.raises(InputError, match=r"ant/2.gif: [^;]*; and 2 more\)"):
        load(photos)


def test_without_a_cache_and_memory_a_cut_picture_ends_the_run_when_it_is_read(photos):
    cut(photos / "bee" / "04.jpg")
    data = load(photos, memory_budget=1e-9)
    with pytest.raises(InputError, match=r"bee/04.jpg cannot be read as a picture \(.*truncated"):
        data.train_images[:], data.test_images[:]


def test_a_class_whose_training_pictures_are_all_broken(photos):
    for file in (photos / "bee").iterdir():
        file.write_bytes(b"")
    with pytest.raises(InputError, match=r"class 'bee' of .* has no training pictures"):
        load(photos, max_broken=0.9)


def test_a_second_start_opens_no_picture(photos, tmp_path, monkeypatch):
    broken(photos)
    first = load(photos, cache=str(tmp_path / "cache"), max_broken=0.1)

    def never(*args, **kwargs):
        raise AssertionError("a picture was opened")

    monkeypatch.setattr(pictures, "_opened", never)
    second = load(photos, cache=str(tmp_path / "cache"), max_broken=0.1)
    np.testing.assert_array_equal(first.train_images, second.train_images)
    assert second.skipped_files == first.skipped_files
    # A larger share held out is another split of the same pixels.
    load(photos, cache=str(tmp_path / "cache"), max_broken=0.1, test_fraction=0.5)


def test_what_cannot_be_read_now_ends_the_run_and_is_read_by_the_next(
    photos, tmp_path, monkeypatch
):
    """A picture behind a failing network, say, is not taken for broken, now or ever after."""
    options = {"cache": str(tmp_path / "cache"), "max_broken": 0.5}
    opened = Image.open

    def failing(file, *args, **kwargs):
        if str(file).endswith("bee/04.jpg") and failing.left:
            failing.left -= 1
            raise OSError(errno.EIO, "Input/output error")
        return opened(file, *args, **kwargs)

    monkeypatch.setattr(Image, "open", failing)
    says = r"bee/04.jpg cannot be read \(Input/output error"
    failing.left = 1  # when its head is read
    with pytest.raises(InputError, match=says):
        load(photos, **options)
    found = sources.find("folder", str(photos), **options)
    failing.left = 1  # when it is decoded
    with pytest.raises(InputError, match=says):
        sources.read(found, image_size=16, max_broken=0.5)
    assert not load(photos, **options).skipped_files


def test_a_folder_that_cannot_be_looked_into_is_no_missing_file(photos, monkeypatch):
    looked = os.stat

    def denied(file, *args, **kwargs):
        if str(file).endswith("bee/04.jpg"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return looked(file, *args, **kwargs)

    monkeypatch.setattr(picture_files.os, "stat", denied)
    with pytest.raises(InputError, match=r"bee/04.jpg cannot be read \(Permission denied\)"):
        load(photos, max_broken=0.5)


def test_a_changed_picture_is_decoded_again(photos, tmp_path):
    before = load(photos, cache=str(tmp_path / "cache"))
    at = before.train_files.index("ant/00.jpg")
    Image.new("RGB", (30, 30), (0, 0, 255)).save(photos / "ant" / "00.jpg")
    after = load(photos, cache=str(tmp_path / "cache"))
    assert after.train_images[at, 8, 8].tolist() == [0, 0, 254]
    np.testing.assert_array_equal(
        np.delete(after.train_images, at, axis=0), np.delete(before.train_images, at, axis=0)
    )


def test_the_first_images_are_decoded_alone(photos, tmp_path):
    found = sources.find("folder", str(photos), cache=str(tmp_path / "cache"))
    data = sources.read(found, train_size=6, test_size=2, image_size=16)
    assert (len(data.train_images), len(data.test_images)) == (6, 2)
    (array,) = (tmp_path / "cache").glob("*.npy")
    assert np.load(array, mmap_mode="r").shape == (8, 16, 16, 3)
    with pytest.raises(InputError, match=r"train_size is 33 for photos; expected 0 \(all\) to 32"):
        sources.read(found, train_size=33, image_size=16)


def test_names_that_are_no_utf_8_can_be_printed(photos):
    (photos / "ant" / "00.jpg").rename(os.fsdecode(bytes(photos / "ant") + b"/caf\xe9.jpg"))
    data = load(photos)
    (file,) = (file for file in data.train_files if "caf" in file)
    assert file == r"ant/caf\xe9.jpg"


def test_an_error_that_names_a_file_is_one_line_that_can_be_printed(photos):
    (photos / "ant" / "00.jpg").rename(os.fsdecode(bytes(photos / "ant") + b"/\xe9\r\x1b[2J.jpg"))
    cut(photos / "ant" / os.fsdecode(b"\xe9\r\x1b[2J.jpg"))
    with pytest.raises(InputError) as caught:
        load(photos)
    assert r"(ant/\xe9\r\x1b[2J.jpg: " in str(caught.value)
    data = load(photos, memory_budget=1e-9)
    with pytest.raises(InputError) as caught:
        data.train_images[:], data.test_images[:]
    assert r"/ant/\xe9\r\x1b[2J.jpg cannot be read as a picture" in str(caught.value)


def test_skipped_files_become_a_csv_if_there_are_any(photos, tmp_path):
    picture_files.write_skipped(tmp_path / "skipped.csv", ())
    assert not (tmp_path / "skipped.csv").exists()
    broken(photos)
    data = load(photos, max_broken=0.1)
    reason = dataclasses.replace(data.skipped_files[1], reason='cut, "twice"')
    picture_files.write_skipped(tmp_path / "skipped.csv", [reason])
    assert (tmp_path / "skipped.csv").read_text() == 'path,reason\nant/03.jpg,"cut, ""twice"""\n'
