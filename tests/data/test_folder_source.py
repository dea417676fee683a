"""A folder of pictures is a data set: a class a folder, always the same split, order and pixels."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import folder_source, sources

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
    found = folder_source.find(str(tree), held_out=0.3)
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


def test_a_class_of_one_picture_is_trained_on(tree):
    write(tree / "dog" / "only.png", picture(9))
    data = load(tree, held_out=0.9)
    assert np.bincount(data.train_labels)[3] == 1
    assert 3 not in data.test_labels


def test_the_first_images_are_of_all_classes(tree):
    data = sources.load("folder", str(tree), train_size=6)
    np.testing.assert_array_equal(data.train_labels, [0, 1, 2, 0, 1, 2])


def test_a_class_may_be_called_train(tmp_path):
    for name in ("train", "plane"):
        for i in range(5):
            write(tmp_path / name / f"{i}.png", picture(i))
    assert folder_source.find(str(tmp_path)).class_names == ("plane", "train")


def test_pictures_of_several_sizes_are_resized(tree):
    write(tree / "ant" / "large.jpg", picture(5, 40, 30))
    data = sources.load("folder", str(tree), image_size=16)
    assert data.image_shape == (16, 16, 3)
    with pytest.raises(InputError, match=r"large.jpg has 40x30 pixels, others have 12x12; right"):
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


def make_text(tree):
    (tree / "bee" / "notes.txt").write_text("hello")


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


def make_note_beside(tree):
    (tree / "notes.txt").write_text("hello")


BAD = {
    make_text: r"1 of 26 files of .* cannot be used \(bee/notes.txt: its name does not end in",
    make_note_beside: r"\(notes.txt: its name does not end in .jpg",
    make_liar: r"\(bee/liar.png: another format, or none\)",
    make_empty: r"\(bee/empty.jpg: it is empty\)",
    make_stray: "beasts/stray.png stands beside the folders of the classes",
    make_deeper: "bee/deeper is a folder in the folder of a class",
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
    with pytest.raises(InputError, match=r"has a class 'dog' that .*train has not"):
        folder_source.find(str(split_tree))


def test_train_without_test(split_tree):
    shutil.rmtree(split_tree / "test")
    with pytest.raises(InputError, match=r"both/train as dataset.path to hold a share of it out"):
        folder_source.find(str(split_tree))
    assert len(folder_source.find(str(split_tree / "train")).test) == 3


@pytest.mark.parametrize("path", ["", "nowhere"])
def test_no_folder(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"no folder {path!r}"):
        folder_source.find(path)


def test_a_folder_without_classes(tmp_path):
    with pytest.raises(InputError, match="no folders of classes"):
        folder_source.find(str(tmp_path))
