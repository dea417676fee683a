"""Runs on corrected pictures: streamed from disk, with labels held out, with embeddings kept."""

import numpy as np
import pytest
from PIL import Image

from rmdnet_jax.config import default
from rmdnet_jax.data import lazy_images
from rmdnet_jax.encoders.classical import ClassicalEncoder
from rmdnet_jax.runs.preparation import prepare

COUNT = 24  # to train on; a third as many to test on
ROWS = (
    "train/a/00.png,remove,", "train/b/05.png,class,a", "train/a/06.png,suggestion,b",
    "train/b/11.png,remove,", "test/a/02.png,remove,", "test/b/03.png,class,a",
)  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Pictures of one grey each, of which the file's number tells what grey."""
    root = tmp_path_factory.mktemp("photos")
    for split, count in (("train", COUNT), ("test", COUNT // 3)):
        for i in range(count):
            file = root / split / "ab"[i % 2] / f"{i:02}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((16, 16, 3), 10 * i, np.uint8)).save(file)
    (root.parent / f"{root.name}.csv").write_text("\n".join(["path,verdict,class", *ROWS, ""]))
    return root


def prepared(photos, is_corrected=True, **fields):
    config = default()
    config.dataset.name, config.dataset.path = "folder", str(photos)
    config.dataset.cache = config.encoder.cache = ""
    if is_corrected:
        config.dataset.corrections = f"{photos}.csv"
    config.noise.kind = config.teacher.kind = "none"
    config.model.width, config.model.blocks = 2, (1,)
    config.train.batch_size = 8
    config.report.tsne_classes = (0, 1)
    config.update_from_flattened_dict(fields)
    return prepare(config, None)


def greys(files):
    """What the pictures of these files must look like."""
    return [10 * int(file[-6:-4]) for file in files]


@pytest.mark.parametrize("budget", [0.0, 1e-9])
def test_pictures_labels_and_files_stay_together_in_memory_and_on_disk(photos, budget):
    this = prepared(photos, **{"dataset.memory_budget": budget})
    data = this.data
    assert data.is_on_disk == (budget > 0)
    assert (len(data.train_images), len(data.test_images)) == (COUNT - 2, COUNT // 3 - 1)
    for images, files in (
        (data.train_images, data.train_files), (data.test_images, data.test_files),
    ):  # fmt: skip
        seen = lazy_images.decoded(images)[:, 0, 0, 0]
        np.testing.assert_array_equal(seen, greys(files))
    given = dict(zip(data.train_files, this.labels.given, strict=True))
    assert (given["train/b/05.png"], given["train/a/06.png"]) == (0, 1)
    others = {file: "ab".index(file[6]) for file in given if file[-6:-4] not in ("05", "06")}
    assert others.items() <= given.items()
    reviewed = np.array(data.train_files)[this.labels.review.train]
    assert sorted(reviewed) == ["train/a/06.png", "train/b/05.png"]


def test_labels_that_are_held_out_are_the_corrected_ones(photos):
    this = prepared(photos, **{"dataset.validation_fraction": 0.25})
    split, data = this.split, this.data
    held_out = np.setdiff1d(np.arange(len(data.train_labels)), split.index)
    assert len(split.held_out_given) == len(held_out) > 2
    for images, given, rows in (
        (split.data.train_images, split.labels.given, split.index),
        (split.held_out_images, split.held_out_given, held_out),
    ):
        files = [data.train_files[row] for row in rows]
        changed = {"train/b/05.png": 0, "train/a/06.png": 1}
        wanted = {grey: changed.get(file, "ab".index(file[6]))
                  for grey, file in zip(greys(files), files, strict=True)}  # fmt: skip
        found = zip(images[:, 0, 0, 0].tolist(), given.tolist(), strict=True)
        assert dict(found) == wanted
    np.testing.assert_array_equal(split.labels.review.train, this.labels.review.train[split.index])


def test_what_an_encoder_saw_is_kept_when_pictures_are_left_out(photos, tmp_path, monkeypatch):
    fields = {"encoder.path": "classical", "encoder.cache": str(tmp_path), "model.kind": "mlp"}
    whole = prepared(photos, is_corrected=False, **fields).complete()
    corrected = prepared(photos, **fields)

    def embed(*_):
        raise AssertionError("a picture is looked at again")

    monkeypatch.setattr(ClassicalEncoder, "embed", embed)
    corrected = corrected.complete()
    for images, seen in (
        ("train_images", "train_files"), ("test_images", "test_files"),
    ):  # fmt: skip
        files = getattr(whole.data, seen)
        rows = [files.index(file) for file in getattr(corrected.data, seen)]
        assert len(rows) < len(files)
        np.testing.assert_array_equal(
            getattr(corrected.seen, images), getattr(whole.seen, images)[rows]
        )
