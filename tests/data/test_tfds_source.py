"""Real TFDS sets, made on disk from small arrays, come back pixel for pixel without TensorFlow."""

import io
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import sources, streaming, tfds_source

SIZES = {"train": 60, "test": 20, "validation": 20}
CLASSES = ("ant", "bee", "cow", "dog")


def rows(split, config):
    """What is put into a set: one dict a row, images as arrays, in the order of their ids."""
    rng = np.random.default_rng(len(split))
    for i in range(SIZES[split]):
        side = 12 + i % 2 if config == "two_sizes" else 12
        channels = 1 if config == "grey" else 3
        row = {
            "image": rng.integers(0, 256, (side, side, channels), np.uint8),
            "label": i % 4,
            "worse_label": (i + i % 3) % 4,
            "coarse_label": i % 2,
            "worker_id": i % 4,
        }
        yield row if config == "no_id" else row | {"id": f"{split}_{i:05d}"}


def png(image):
    file = io.BytesIO()
    Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(file, "PNG")
    file.seek(0)
    return file


class TinyBeasts(tfds.core.GeneratorBasedBuilder):
    """Noise with four labels; TFDS finds it by the name tiny_beasts."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [  # noqa: RUF012 (TFDS wants a list here)
        tfds.core.BuilderConfig(name=name)
        for name in ("colour", "grey", "no_id", "two_sizes", "no_test", "validation", "no_image")
    ]

    def _info(self):
        config = self.builder_config.name
        side = None if config == "two_sizes" else 12
        features = {
            "image": tfds.features.Image(shape=(side, side, 1 if config == "grey" else 3)),
            "label": tfds.features.ClassLabel(names=list(CLASSES)),
            "worse_label": tfds.features.ClassLabel(num_classes=4),
            "coarse_label": tfds.features.ClassLabel(num_classes=2),
            "worker_id": np.int64,
            "id": tfds.features.Text(),
        }
        if config == "no_id":
            del features["id"]
        if config == "no_image":
            features = {"id": tfds.features.Text(), "label": features["label"]}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        tested = {"no_test": [], "validation": ["validation"]}
        splits = ["train", *tested.get(self.builder_config.name, ["test"])]
        return {split: self._generate_examples(split) for split in splits}

    def _generate_examples(self, split):
        for i, row in enumerate(rows(split, self.builder_config.name)):
            yield i, row | {"image": png(row["image"])}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of TFDS with every config of the set but no_image, prepared as array_record."""
    folder = tmp_path_factory.mktemp("tfds")
    tfds.disable_progress_bar()
    for config in TinyBeasts.BUILDER_CONFIGS:
        if config.name != "no_image":
            builder = TinyBeasts(config=config, data_dir=folder, file_format="array_record")
            builder.download_and_prepare()
    return str(folder)


def expected(split, field, config="colour"):
    return np.stack([row[field] for row in rows(split, config)])


def test_pixels_and_labels_come_back_exactly_in_the_order_of_their_ids(folder):
    data = tfds_source.load("tiny_beasts", folder).check()
    np.testing.assert_array_equal(data.train_images, expected("train", "image"))
    np.testing.assert_array_equal(data.test_images, expected("test", "image"))
    np.testing.assert_array_equal(data.train_labels, expected("train", "label"))
    np.testing.assert_array_equal(data.test_labels, expected("test", "label"))
    assert data.train_images.dtype == data.test_images.dtype == np.uint8
    assert data.train_labels.dtype == data.test_labels.dtype == np.int32
    assert (data.name, data.class_names) == ("tiny_beasts", CLASSES)


def test_class_labels_with_as_many_classes_become_label_sets(folder):
    data = tfds_source.load("tiny_beasts", folder)
    assert set(data.label_sets) == {"worse_label"}  # neither coarse_label nor worker_id
    np.testing.assert_array_equal(data.label_sets["worse_label"], expected("train", "worse_label"))
    assert data.label_sets["worse_label"].dtype == np.int32


def test_greyscale_gets_three_equal_channels(folder):
    data = tfds_source.load("tiny_beasts/grey", folder).check()
    grey = expected("train", "image", "grey")
    np.testing.assert_array_equal(data.train_images, np.concatenate([grey] * 3, axis=-1))


def test_without_ids_images_labels_and_label_sets_stay_together(folder):
    data = tfds_source.load("tiny_beasts/no_id", folder)
    assert not np.array_equal(data.train_images, expected("train", "image", "no_id"))  # shuffled
    original = {row["image"].tobytes(): row for row in rows("train", "no_id")}
    found = [original[image.tobytes()] for image in data.train_images]
    np.testing.assert_array_equal(data.train_labels, [row["label"] for row in found])
    human = data.label_sets["worse_label"]
    np.testing.assert_array_equal(human, [row["worse_label"] for row in found])
    assert len(original) == len(data.train_images) == SIZES["train"]


@pytest.mark.parametrize("config", ["colour", "grey", "no_id"])
def test_on_disk_it_is_the_same_data_as_in_memory(folder, config):
    name = f"tiny_beasts/{config}"
    on_disk = sources.load(name, folder, memory_budget=1e-9)
    in_memory = sources.load(name, folder, memory_budget=1)
    assert on_disk.is_on_disk
    assert isinstance(in_memory.train_images, np.ndarray)
    for field in ("train_images", "train_labels", "test_images", "test_labels"):
        np.testing.assert_array_equal(getattr(on_disk, field)[:], getattr(in_memory, field))
    np.testing.assert_array_equal(on_disk.mean_std(), in_memory.mean_std())
    assert on_disk.images_fingerprint() == in_memory.images_fingerprint()


def test_the_budget_is_for_what_is_left_of_the_set(folder):
    budget = 25 * 432 / 1e9  # 25 of its 80 images
    small = sources.load("tiny_beasts", folder, train_size=20, test_size=5, memory_budget=budget)
    assert not small.is_on_disk
    assert sources.load("tiny_beasts", folder, memory_budget=budget).is_on_disk


def test_images_on_disk_are_read_in_another_process(folder):
    data = tfds_source.load("tiny_beasts", folder)
    order = np.arange(12, dtype=np.int32)[::-1].reshape(4, 3)
    with streaming.batches(data.train_images, data.train_labels, order, workers=1) as batches:
        read = np.concatenate([batch.image for batch in batches])
    np.testing.assert_array_equal(read, expected("train", "image")[11::-1])


def test_images_of_several_sizes_are_resized(folder):
    data = tfds_source.load("tiny_beasts/two_sizes", folder, image_size=12).check()
    for image, original in zip(data.train_images, rows("train", "two_sizes"), strict=True):
        square = Image.fromarray(original["image"]).resize((12, 12), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(image, np.asarray(square))


def test_what_an_image_was_decoded_from_tells_it_from_others(folder):
    data, again = (tfds_source.load("tiny_beasts", folder) for _ in range(2))
    assert len(np.unique(data.train_digests, axis=0)) == SIZES["train"]
    assert len(np.unique(data.test_digests, axis=0)) == SIZES["test"]
    for split in ("train_digests", "test_digests"):
        np.testing.assert_array_equal(getattr(data, split), getattr(again, split))


def test_chunks_do_not_show(folder, monkeypatch):
    whole = tfds_source.load("tiny_beasts", folder)
    monkeypatch.setattr(tfds_source, "_CHUNK", 7)
    chunked = tfds_source.load("tiny_beasts", folder)
    np.testing.assert_array_equal(chunked.train_images, whole.train_images)


# Hides TensorFlow as if it were not installed, for a process of its own.
WITHOUT_TENSORFLOW = """
import sys
from importlib.machinery import PathFinder
find = PathFinder.find_spec
hidden = lambda name: name.split(".")[0] == "tensorflow"
PathFinder.find_spec = lambda name, *a: None if hidden(name) else find(name, *a)
from rmdnet_jax.data import sources
from rmdnet_jax.base.errors import InputError
"""


def run_without_tensorflow(code, *args):
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW + code, *args]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_reads_where_tensorflow_is_not_installed(folder):
    # There the set's class is unknown too: what lies on disk is enough.
    code = (
        "data = sources.load('tiny_beasts/colour', sys.argv[1])\nprint(data.images_fingerprint())"
    )
    here = tfds_source.load("tiny_beasts", folder).images_fingerprint()
    assert run_without_tensorflow(code, folder) == here


def test_reading_does_not_import_tensorflow(folder):
    code = """
import sys
from rmdnet_jax.data import sources
sources.load('tiny_beasts/colour', sys.argv[1])
print('tensorflow' in sys.modules)
"""
    command = [sys.executable, "-c", code, folder]
    assert subprocess.check_output(command, text=True).strip() == "False"


def test_unprepared_without_tensorflow_says_how_to_get_the_data(tmp_path):
    code = "try: sources.load('cifar10', sys.argv[1])\nexcept InputError as error: print(error)"
    message = run_without_tensorflow(code, str(tmp_path))
    assert "\n" not in message
    assert "TensorFlow is not installed" in message
    assert "tfds.builder('cifar10', data_dir='tfds_array_record'" in message


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("cifar100", "put cifar-100-binary.tar.gz into {folder}/downloads/manual"),
        ("cifar10_n", "see https://www.tensorflow.org/datasets/catalog/cifar10_n"),
    ],
)
def test_unprepared_without_network_says_how_to_get_the_data(name, hint, tmp_path, monkeypatch):
    for variable in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nobody listens: no network anywhere
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(InputError) as caught:
        tfds_source.load(name, str(tmp_path))
    message = str(caught.value)
    assert "\n" not in message
    assert "no answer from https://www.cs.toronto.edu" in message
    assert f"tfds.builder('{name}', data_dir='tfds_array_record'" in message
    assert "--config.dataset.path=tfds_array_record" in message
    assert hint.format(folder=tmp_path) in message


def test_a_set_without_a_test_split_is_tested_on_its_validation_split(folder):
    data = tfds_source.load("tiny_beasts/validation", folder).check()
    np.testing.assert_array_equal(data.test_images, expected("validation", "image", "validation"))


def test_the_suggested_command_prepares_the_config_that_was_asked_for(folder):
    builder = TinyBeasts(config="grey", data_dir=folder)
    assert "tfds.builder('tiny_beasts/grey', data_dir=" in tfds_source._command(builder)


def test_an_unprepared_set_is_prepared_and_read(folder, tmp_path, monkeypatch):
    # The process of its own knows only TFDS's own sets, so a copy stands in for its work.
    def prepare(command, env, **_):
        assert env["CUDA_VISIBLE_DEVICES"] == "-1"  # TensorFlow would take all of a GPU
        shutil.copytree(f"{folder}/tiny_beasts", tmp_path / "tiny_beasts")
        assert command[-2:] == ["tiny_beasts", str(tmp_path)]
        return subprocess.CompletedProcess(command, 0, stdout="")

    monkeypatch.setattr(subprocess, "run", prepare)
    data = tfds_source.load("tiny_beasts", str(tmp_path))
    np.testing.assert_array_equal(data.train_images, expected("train", "image"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("CIFAR10", "unknown data set 'CIFAR10'; did you mean cifar10"),
        ("mnst", "did you mean mnist"),
        ("digit", "did you mean digits"),
        ("qqqqqqqq", "expected digits, npz or a TFDS name"),
        ("", "unknown data set ''"),
        ("huggingface:mnist", "unknown data set 'huggingface:mnist'"),
        ("cifar10/blue", "cifar10/blue cannot be opened: .*BuilderConfig blue not found"),
        ("glue/cola", "features sentence, label, idx; expected a set with an 'image'"),
        ("tiny_beasts/no_image", "features id, label; expected a set with an 'image'"),
    ],
)
def test_names_that_are_no_image_set(name, message, tmp_path):
    with pytest.raises(InputError, match=message) as caught:
        tfds_source.load(name, str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "tiny_beasts/two_sizes",
            r"\(1., 1., 3\) and of \(1., 1., 3\); expected .* one image size",
        ),
        ("tiny_beasts/no_test", "has the splits train; expected train and test"),
    ],
)
def test_sets_that_do_not_fit(folder, name, message):
    with pytest.raises(InputError, match=message):
        tfds_source.load(name, folder)


@pytest.fixture
def own_folder(folder, tmp_path):
    """A copy that a test may spoil, and the path of the one set in it."""
    place = tmp_path / "tiny_beasts" / "colour" / "1.0.0"
    shutil.copytree(f"{folder}/tiny_beasts/colour/1.0.0", place)
    return str(tmp_path), place


def test_a_set_prepared_as_tfrecord_must_be_prepared_as_array_record(own_folder):
    folder, place = own_folder
    info = json.loads((place / "dataset_info.json").read_text())
    (place / "dataset_info.json").write_text(json.dumps(info | {"fileFormat": "tfrecord"}))
    with pytest.raises(InputError, match="prepared as tfrecord; expected array_record"):
        tfds_source.load("tiny_beasts", folder)


def test_a_cut_file_is_named(own_folder):
    folder, place = own_folder
    (file,) = place.glob("*-train.array_record-*")
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"train split of tiny_beasts .* cannot be read") as caught:
        tfds_source.load("tiny_beasts", folder)
    assert "\n" not in str(caught.value)
