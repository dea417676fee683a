"""A folder of pictures is a data set: a class a folder, always the same split, order and pixels."""

import contextlib
import errno
import os
import shutil
import tempfile
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from layouts import built, layouts, real_files
from PIL import Image

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import folder_source, pictures, sources

CLASSES = ("ant", "bee", "cow")


def picture(seed, height=12, width=12):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


@pytest.fixture
def tree(tmp_path):
    """DIR/CLASS/*: 5 ants, 10 bees, 10 cows."""
    for label, name in enumerate(CLASSES):
        for i in range(5 if name == "ant" else 10):
            write(tmp_path / "beasts" / name / f"{i:02}.png", picture(100 * label + i))
    return tmp_path / "beasts"


@pytest.fixture
def split_tree(tmp_path):
    """DIR/train/CLASS/* and DIR/test/CLASS/*: 4 and 2 of each class."""
    for split, count in (("train", 4), ("test", 2)):
        for label, name in enumerate(CLASSES):
            for i in range(count):
                write(tmp_path / "both" / split / name / f"{i}.png", picture(10 * label + i))
    return tmp_path / "both"


def load(path, **options):
    """Without a cache, on disk, and whatever is broken refused."""
    return sources.load("folder", str(path), memory_budget=1e-9, max_broken=0.0, **options)


def test_train_and_test_folders(split_tree):
    data = load(split_tree)
    assert (data.name, data.class_names) == ("both", CLASSES)
    np.testing.assert_array_equal(data.train_labels, np.arange(12) % 3)
    np.testing.assert_array_equal(data.test_labels, np.arange(6) % 3)
    for i, (file, label) in enumerate(zip(data.train_files, data.train_labels, strict=True)):
        assert file == f"train/{CLASSES[label]}/{i // 3}.png"
        np.testing.assert_array_equal(data.train_images[i], picture(10 * label + i // 3))


@pytest.mark.parametrize("name", ["validation", "val"])
def test_the_test_split_may_be_called_otherwise(split_tree, name):
    (split_tree / "test").rename(split_tree / name)
    assert len(load(split_tree).test_images) == 6


def test_a_share_of_each_class_is_held_out(tree):
    found = folder_source.find(str(tree), test_fraction=0.3)
    np.testing.assert_array_equal(np.bincount(found.test.labels), [2, 3, 3])
    np.testing.assert_array_equal(np.bincount(found.train.labels), [3, 7, 7])
    train, test = set(found.train.files), set(found.test.files)
    assert not train & test
    assert len(train | test) == 25


def test_the_split_is_the_same_wherever_the_folder_lies(tree, tmp_path):
    here = folder_source.find(str(tree)).test.files
    shutil.move(tree, tmp_path / "moved" / "beasts")
    assert folder_source.find(str(tmp_path / "moved" / "beasts")).test.files == here
    # Of this release: results are comparable only on the same split.
    held_out = ["ant/04", "bee/01", "cow/02", "bee/06", "cow/04"]
    assert here == [f"{file}.png" for file in held_out]


def test_one_of_a_class_of_two_is_tested_on(tree):
    for name in "ab":
        write(tree / "dog" / f"{name}.png", picture(ord(name)))
    data = load(tree, test_fraction=0.1)
    assert np.bincount(data.train_labels)[3] == np.bincount(data.test_labels)[3] == 1


def test_a_class_of_one_picture_is_trained_on(tree):
    write(tree / "dog" / "only.png", picture(9))
    data = load(tree, test_fraction=0.9)
    assert np.bincount(data.train_labels)[3] == 1
    assert 3 not in data.test_labels


def test_the_first_images_are_of_all_classes(tree):
    data = sources.load("folder", str(tree), train_size=6)
    np.testing.assert_array_equal(data.train_labels, [0, 1, 2, 0, 1, 2])


def test_a_class_may_be_called_train_below_train_and_test(split_tree):
    for split in ("train", "test"):
        (split_tree / split / "bee").rename(split_tree / split / "train")
    assert load(split_tree).class_names == ("ant", "cow", "train")


def test_classes_that_are_numbers_are_in_their_order(tmp_path):
    for label in range(12):
        for i in range(3):
            write(tmp_path / "n" / str(label) / f"{i}.png", picture(i))
    data = load(tmp_path / "n")
    assert data.class_names == tuple(map(str, range(12)))
    for file, label in zip(data.train_files, data.train_labels, strict=True):
        assert file.startswith(f"{label}/")


def test_what_is_no_picture_by_its_name_is_named_and_does_not_count(tree):
    (tree / "README").write_text("hello")
    (tree / "bee" / "Thumbs.db").write_text("hello")
    data = load(tree)
    assert [(file.path, file.is_picture) for file in data.skipped_files] == [
        ("README", False),
        ("bee/Thumbs.db", False),
    ]
    assert len(data.train_images) + len(data.test_images) == 25


def test_a_third_split_is_skipped_with_the_number_of_its_pictures(split_tree):
    for i in range(3):
        write(split_tree / "val" / "ant" / f"{i}.png", picture(i))
    (split_tree / "val" / "notes.txt").touch()
    (split_tree / "notes.txt").touch()
    data = load(split_tree)
    assert (len(data.train_images), len(data.test_images)) == (12, 6)
    assert [(file.path, file.reason, file.is_picture) for file in data.skipped_files] == [
        ("notes.txt", "its name does not end in .jpg, .jpeg, .png, .webp", False),
        ("val", "a folder next to train and test: its 3 pictures are not used", False),
    ]


def test_one_name_in_two_spellings_is_one_class(split_tree):
    """As a Mac and a PC may write it."""
    for split, form in (("train", "NFC"), ("test", "NFD")):
        (split_tree / split / "bee").rename(split_tree / split / unicodedata.normalize(form, "bé"))
    data = load(split_tree)
    assert data.class_names == ("ant", unicodedata.normalize("NFC", "bé"), "cow")
    np.testing.assert_array_equal(np.bincount(data.test_labels), [2, 2, 2])


def test_classes_that_differ_only_in_case_are_told_and_stay_separate(tree, capsys):
    if (tree / "ANT").exists():
        pytest.skip("the names of this disk have no case")
    write(tree / "ANT" / "0.png", picture(7))
    assert load(tree).class_names == ("ANT", "ant", "bee", "cow")
    assert capsys.readouterr().err == (
        "warning: the classes 'ANT' (labels: 1) and 'ant' (4) differ only in case and stay "
        "separate; if they are one class, give it one name\n"
    )


def test_pictures_of_several_sizes_are_resized(tree):
    write(tree / "ant" / "large.jpg", picture(5, 40, 30))
    data = sources.load("folder", str(tree), image_size=16)
    assert data.image_shape == (16, 16, 3)
    with pytest.raises(
        InputError, match=r"large.jpg has 40x30 pixels, others 12x12; for pictures of several sizes"
    ):
        load(tree)


def test_in_memory_it_is_the_same_data(tree):
    on_disk = sources.load("folder", str(tree), memory_budget=1e-9)
    in_memory = sources.load("folder", str(tree), memory_budget=1)
    assert on_disk.is_on_disk
    assert not in_memory.is_on_disk
    np.testing.assert_array_equal(on_disk.train_images[:], in_memory.train_images)
    np.testing.assert_array_equal(on_disk.test_images[:], in_memory.test_images)
    np.testing.assert_array_equal(on_disk.mean_std(), in_memory.mean_std())
    assert on_disk.images_fingerprint() == in_memory.images_fingerprint()


def test_hidden_files_and_folders_are_passed_over(tree):
    (tree / ".git").mkdir()
    (tree / ".DS_Store").write_bytes(b"x")
    (tree / "ant" / "._00.png").write_bytes(b"x")
    assert len(load(tree).train_images) == 20


def test_links_within_the_folder_are_followed(tree):
    (tree / "ant" / "again.png").symlink_to(tree / "ant" / "00.png")
    (tree / "dog").symlink_to(tree / "bee")
    assert load(tree).class_names == (*CLASSES, "dog")


def make_other_format(tree):
    Image.fromarray(picture(0)).save(tree / "bee" / "x.bmp")


def make_liar(tree):
    (tree / "bee" / "liar.png").write_text("hello")


def make_empty(tree):
    (tree / "bee" / "empty.jpg").write_bytes(b"")


def make_stray(tree):
    write(tree / "stray.png", picture(0))


def make_deeper(tree):
    write(tree / "bee" / "deeper" / "0.png", picture(0))


def make_empty_class(tree):
    (tree / "dog").mkdir()


def make_link_out(tree):
    write(tree.parent / "outside.png", picture(0))
    (tree / "bee" / "link.png").symlink_to(tree.parent / "outside.png")


def make_class_link_out(tree):
    write(tree.parent / "elsewhere" / "0.png", picture(0))
    (tree / "dog").symlink_to(tree.parent / "elsewhere")


def make_dangling_link(tree):
    (tree / "bee" / "gone.png").symlink_to(tree / "bee" / "nothing.png")


def make_pipe(tree):
    os.mkfifo(tree / "bee" / "pipe.png")


def make_circle(tree):
    (tree / "dog").symlink_to("dog")


def make_circle_in_a_class(tree):
    (tree / "bee" / "circle").symlink_to("circle")


def make_link_to_nothing(tree):
    (tree / "dog").symlink_to("nothing")


def make_other_pictures_alone(tree):
    for i, kind in enumerate(("bmp", "tif", "TIF")):
        write(tree / "dog" / f"{i}.{kind}", picture(i))


def make_split_beside(name):
    def make(tree):
        write(tree / name / "0.png", picture(0))

    make.__name__ = f"make_{name}_beside"
    return make


def make_split_with_classes_beside(tree):
    write(tree / "val" / "ant" / "0.png", picture(0))


def make_pictures_in_splits(tree):
    for name, split in zip(CLASSES, ("train", "test", "Val"), strict=True):
        (tree / name).rename(tree / split)


def make_train_and_test_in_capitals(tree):
    for split in ("Train", "Test"):
        shutil.copytree(tree, tree.parent / "split" / split)
    shutil.rmtree(tree)
    (tree.parent / "split").rename(tree)


def make_flat(tree):
    for name in CLASSES:
        shutil.rmtree(tree / name)
    write(tree / "0.png", picture(0))


def make_flat_with_a_list(tree):
    make_flat(tree)
    (tree / "labels.csv").write_text("path,label")


def make_parquet_parts(tree):
    make_flat(tree)
    (tree / "0.png").unlink()
    for part in range(2):
        (tree / f"part-{part}.parquet").touch()


def make_parquet_parts_by_label(tree):
    for name in CLASSES:
        shutil.rmtree(tree / name)
        (tree / f"label={name}").mkdir()
        (tree / f"label={name}" / "part-0.parquet").touch()


def make_two_spellings(tree):
    for form in ("NFC", "NFD"):
        write(tree / unicodedata.normalize(form, "é") / "0.png", picture(0))


_BESIDE = (
    r"beasts/{} is next to the class folder 'ant', and would be a class itself; move it out of .*"
    r", or use DIR/train/CLASS/\* and DIR/test/CLASS/\*; .* a manifest"
)
_NO_CLASSES = "no class folders in .*beasts, only files that end in "

BAD = {
    make_other_format: r"1 of 26 files of .* cannot be used \(bee/x.bmp: its name does not end in",
    make_circle: "beasts/dog cannot be read .Too many levels of symbolic links.; make it readable",
    make_circle_in_a_class: "bee/circle cannot be read .Too many levels of symbolic links.",
    make_link_to_nothing: "beasts/dog is a broken link, perhaps to a class folder; fix or remove",
    make_other_pictures_alone: (
        "no pictures in .*dog, only files that end in .bmp, .tif; expected at least one per class, "
        "ending in .jpg, .jpeg, .png, .webp"
    ),
    **{
        make_split_beside(name): _BESIDE.format(name)
        for name in ("train", "test", "val", "validation", "Test")
    },
    make_split_with_classes_beside: _BESIDE.format("val"),
    make_pictures_in_splits: (
        r"beasts has Val, test, train, but no class folders in a folder train; expected DIR/tr"
    ),
    make_train_and_test_in_capitals: "beasts has Test, Train, but no class folders in a",
    make_flat: _NO_CLASSES + r".png; expected DIR/train/CLASS/\* and DIR/test/CLASS/\*, or DIR/CL",
    make_flat_with_a_list: (
        _NO_CLASSES + ".csv, .png; .*; or, if labels.csv lists the pictures, dataset.path=.*/labels"
    ),
    make_parquet_parts: (
        _NO_CLASSES + ".parquet; .* if part-0.parquet lists the pictures, dataset.path=.*one file"
    ),
    make_parquet_parts_by_label: "no pictures in .*label=ant, only files that end in .parquet",
    make_two_spellings: "beasts has two folders 'é', in different characters that look the same",
    make_liar: r"\(bee/liar.png: unknown format\)",
    make_empty: r"\(bee/empty.jpg: it is empty\)",
    make_stray: "beasts/stray.png is next to the class folders",
    make_deeper: "bee/deeper is a folder in a class folder",
    make_empty_class: "no pictures in .*dog",
    make_link_out: "bee/link.png is a link that leads out of",
    make_class_link_out: "dog is a link that leads out of",
    make_dangling_link: r"\(bee/gone.png: there is no such file\)",
    make_pipe: r"\(bee/pipe.png: there is no such file\)",
}


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_what_does_not_belong_is_named_in_one_line(tree, make):
    make(tree)
    with pytest.raises(InputError, match=BAD[make]) as caught:
        load(tree)
    assert "\n" not in str(caught.value)


def test_test_classes_must_be_train_classes(split_tree):
    write(split_tree / "test" / "dog" / "0.png", picture(0))
    with pytest.raises(InputError, match=r"has a class 'dog' that .*train does not have"):
        folder_source.find(str(split_tree))


def test_train_without_test(split_tree):
    shutil.rmtree(split_tree / "test")
    with pytest.raises(InputError, match=r"dataset.path=.*both/train to hold out a share of it"):
        folder_source.find(str(split_tree))
    assert len(folder_source.find(str(split_tree / "train")).test) == 3


@pytest.mark.parametrize("path", ["", "nowhere"])
def test_no_folder(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"no folder {path!r}"):
        folder_source.find(path)


def test_a_folder_without_classes(tmp_path):
    with pytest.raises(InputError, match="no class folders"):
        folder_source.find(str(tmp_path))


@pytest.mark.parametrize("place", [".", "bee", "test", "test/ant", "val/deep"])
def test_a_folder_that_may_not_be_read_is_named(tree, split_tree, place, monkeypatch):
    root = split_tree if place.startswith(("test", "val")) else tree
    write(split_tree / "val" / "deep" / "0.png", picture(0))
    denied, scandir = os.path.normpath(root / place), os.scandir

    def scanned(folder):
        if os.path.normpath(folder) == denied:
            raise PermissionError(errno.EACCES, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", scanned)
    says = rf"{denied} cannot be read \(Permission denied\); make it readable"
    with pytest.raises(InputError, match=says) as caught:
        folder_source.find(str(root))
    assert "\n" not in str(caught.value)


def test_a_link_to_where_nobody_may_look_is_named(tree, monkeypatch):
    (tree / "dog").symlink_to(tree / "bee")
    scandir = os.scandir

    class Denied:
        def __init__(self, entry):
            self.name, self.path, self.is_symlink = entry.name, entry.path, entry.is_symlink

        def is_dir(self):
            raise PermissionError(errno.EACCES, "Permission denied")

    class Listed(list):
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    def scanned(folder):
        with scandir(folder) as entries:
            return Listed(Denied(entry) if entry.name == "dog" else entry for entry in entries)

    monkeypatch.setattr(os, "scandir", scanned)
    with pytest.raises(InputError, match=r"dog cannot be read \(Permission denied\)"):
        folder_source.find(str(tree))


@given(layouts)
def test_no_picture_is_left_out_without_a_word(layout):
    """Of any folder: it is refused in one line, or every picture is used or told of."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "photos"
        found = None
        with contextlib.suppress(InputError), built(root, layout):
            found = folder_source.find(str(root))
        if found is None:
            with built(Path(place) / "again", layout), pytest.raises(InputError) as refused:
                folder_source.find(str(Path(place) / "again"))
            assert "\n" not in str(refused.value)
            return
        used = {*found.train.files, *found.test.files}
        assert len(used) == len(found.train) + len(found.test)
        skipped = {file.path for file in found.skipped}
        for file in real_files(root):
            told = {file, *map(str, Path(file).parents)} & skipped
            assert (file in used) != bool(told), file
            assert not (file in used and not pictures.is_picture(file))
        is_split = "train" in {file.split("/")[0] for file in found.train.files}
        names = {name.lower() for name in found.class_names}
        assert is_split or not names & {"train", "test", "val", "validation"}
