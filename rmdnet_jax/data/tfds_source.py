"""Image sets of tensorflow-datasets (TFDS), read without TensorFlow: labels at once, images when
needed.

A set that is not on disk yet is prepared once, in a separate process, which does need TensorFlow.
"""

import contextlib
import dataclasses
import difflib
import hashlib
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from absl import logging

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import one_line, shown
from rmdnet_jax.data import pictures
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.data.lazy_images import LazyImages
from rmdnet_jax.machine import devices

# Read this many records at a time: twice as fast as one by one.
_CHUNK = 1000

# Where the commands that we suggest prepare a set, apart from other copies of it.
_BESIDE = "tfds_array_record"

# 'name', 'name/config', 'name:1.0.0'; a namespace, as in 'huggingface:name', would need a network.
_NAME = re.compile(r"[A-Za-z]\w*(/[\w.+-]+)?(:[\d.*]+)?")

# The program of the separate process. By default TFDS tries ten times, and waits without limit:
# 204 s where names do not resolve.
_PREPARE = """
import functools, logging, sys
logging.disable(logging.WARNING)
import requests
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import downloader
downloader.MAX_RETRIES = 2
requests.Session.request = functools.partialmethod(requests.Session.request, timeout=10)
name, folder = sys.argv[1:]
if not sys.stderr.isatty():
    tfds.disable_progress_bar()
try:
    tfds.builder(
        name, data_dir=folder or None, file_format="array_record"
    ).download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
except requests.RequestException as error:
    print("no answer from", error.request.url if error.request else "the server")
    sys.exit(1)
except Exception as error:
    print(type(error).__name__, " ".join(str(error).split()))
    sys.exit(1)
"""


def load(name: str, data_dir: str = "", image_size: int = 0) -> Dataset:
    """The splits 'train' and 'test' (or 'validation') of an image-classification set of TFDS.

    Every record is read once for its labels; images are decoded when they are read.

    Images come from the feature 'image', labels and class names from 'label'. Every other class
    label of the training split with as many classes becomes a label set under its name: the human
    labels 'aggre_label', 'worse_label' and so on of cifar10_n. Greyscale images get three channels.

    Rows are sorted by the feature 'id' if there is one, since TFDS shuffles what it writes. This
    is not torchvision's order: labels stored by position for torchvision do not fit these images.

    Args:
      name: the set's name, with '/config' or ':version' if needed.
      data_dir: the folder in which TFDS keeps its sets; empty is TFDS's default.
      image_size: every image becomes a square of so many pixels, as `pictures.decode` does; 0
        leaves them as they are, and all must have one size.

    Returns:
      Images [N, H, W, 3], on disk, and labels int32 [N], not checked yet.

    Raises:
      InputError: TFDS does not have the set, it is not an image-classification set, it has several
        image sizes and `image_size` is not given, or it is not on disk and cannot be prepared here.
    """
    builder = _builder(name, data_dir)
    _check_features(builder)
    if not _is_prepared(builder):
        _prepare(builder, name, data_dir)
        builder = _builder(name, data_dir)
    _check_prepared(builder)
    test_split = _test_split(builder)
    features = builder.info.features
    class_names = tuple(map(shown, features["label"].names or ()))
    label_sets = [
        key
        for key in _class_labels(builder)
        if key != "label" and features[key].num_classes == len(class_names)
    ]
    train = _read_split(builder, "train", ["label", *label_sets], image_size)
    test = _read_split(builder, test_split, ["label"], image_size)
    return Dataset(
        name=builder.name,
        train_images=train.images,
        train_labels=train.columns["label"],
        test_images=test.images,
        test_labels=test.columns["label"],
        label_sets={key: train.columns[key] for key in label_sets},
        class_names=class_names,
        train_digests=train.digests,
        test_digests=test.digests,
    )


@dataclasses.dataclass(frozen=True)
class TfdsReader:
    """Decodes the images at given positions of a split; can be pickled.

    Attributes:
      source: the split's records, an ArrayRecordDataSource.
      split: what to call it in an error.
      folder: where it is.
      shape: (H, W, 3) of every image.
      resize: whether images are resized to that shape.
    """

    source: Any
    split: str
    folder: str
    shape: tuple[int, int, int]
    resize: bool

    def __call__(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """The images of the records `rows` int [n], one by one: uint8 [H, W, 3]."""
        for row, record in zip(rows, self.records(rows), strict=True):
            # Not turned by EXIF, as TFDS itself does not.
            yield pictures.decode(
                _value(record["image"]),
                self.where(int(row)),
                self.shape,
                self.resize,
                upright=False,
            )

    def records(self, rows: np.ndarray) -> list[Any]:
        """The features by name of the records `rows`, with the image still encoded."""
        # Imported here: it takes a second that other data sources need not pay.
        from tensorflow_datasets.proto import tf_example_pb2

        try:
            read = self.source.__getitems__([int(row) for row in rows])
            return [tf_example_pb2.Example.FromString(record).features.feature for record in read]
        except Exception as error:  # whatever a truncated or missing file makes the readers raise
            raise _unreadable(self.split, self.folder, error) from error

    def where(self, row: int) -> str:
        """What to call an image in an error."""
        return f"image {row} of the {self.split} in {self.folder}"


@dataclasses.dataclass(frozen=True)
class _Split:
    """The contents of a split's records, sorted by id.

    Attributes:
      images: [N, H, W, 3], on disk.
      columns: int32 [N] by field.
      digests: uint8 [N, 16], of the encoded images.
    """

    images: LazyImages
    columns: dict[str, np.ndarray]
    digests: np.ndarray


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppresses TFDS's warnings (a folder without data, OpenCV not installed) in the log."""
    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)


@_quiet()
def _builder(name: str, data_dir: str) -> Any:
    """The TFDS builder of a set, for the copy on disk if there is one; never uses the network."""
    # Imported here: it takes a second that other data sources need not pay.
    try:
        import tensorflow_datasets as tfds
    except ModuleNotFoundError as error:
        raise InputError(
            f"data set {name!r} needs tensorflow-datasets, which is not installed ({error}); "
            "run pip install -r requirements.txt, or set dataset.path=FILE.npz"
        ) from error

    if not _NAME.fullmatch(name):
        raise _unknown(name)
    try:
        return tfds.builder(name, data_dir=data_dir or None, try_gcs=False)
    except tfds.core.registered.DatasetNotFoundError as error:
        raise _unknown(name) from error
    except Exception as error:
        raise InputError(f"data set {name} cannot be opened: {one_line(error, 300)}") from error


@_quiet()
def _is_prepared(builder: Any) -> bool:
    return builder.is_prepared()


def _unknown(name: str) -> InputError:
    import tensorflow_datasets as tfds

    known = ["digits", "npz", *tfds.list_builders(with_community_datasets=False)]
    near = difflib.get_close_matches(name.lower(), known)
    right = f"did you mean {' or '.join(near)}?" if near else "expected digits, npz or a TFDS name"
    return InputError(f"unknown data set {name!r}; {right}")


def _class_labels(builder: Any) -> list[str]:
    """Names of the features that are one class label per image."""
    import tensorflow_datasets as tfds

    features = builder.info.features
    return [
        key for key, feature in features.items() if isinstance(feature, tfds.features.ClassLabel)
    ]


def _check_features(builder: Any) -> None:
    import tensorflow_datasets as tfds

    features = builder.info.features
    names = list(features) if isinstance(features, tfds.features.FeaturesDict) else []
    has_image = "image" in names and isinstance(features["image"], tfds.features.Image)
    if not (has_image and "label" in _class_labels(builder)):
        raise InputError(
            f"data set {builder.name} has the features {', '.join(names) or features}; "
            "expected a set with an 'image' and a class 'label'"
        )
    if features["image"].np_dtype != np.uint8:
        raise InputError(
            f"images of data set {builder.name} are {np.dtype(features['image'].np_dtype)}; "
            "expected uint8"
        )


def _check_prepared(builder: Any) -> None:
    formats = sorted(file_format.value for file_format in builder.info.available_file_formats())
    if "array_record" not in formats:
        raise InputError(
            f"data set {builder.name} in {builder.data_dir} is prepared as {', '.join(formats)}; "
            f"expected array_record: make a second copy with {_command(builder)} and pass "
            f"--config.dataset.path={_BESIDE}"
        )


def _test_split(builder: Any) -> str:
    """The name of the split to test on: "validation" if there is no "test".

    Raises:
      InputError: there is neither, or no "train".
    """
    splits = list(builder.info.splits)
    for split in ("test", "validation"):
        if {"train", split} <= set(splits):
            return split
    raise InputError(
        f"data set {builder.name} has the splits {', '.join(splits)}; expected train and test "
        "(or validation)"
    )


def _command(builder: Any) -> str:
    """The command that prepares a set in `_BESIDE`, to be run by the user."""
    name = builder.info.full_name.rpartition("/")[0]  # with its config, without its version
    return (
        'python -c "import tensorflow_datasets as tfds; '
        f"tfds.builder('{name}', data_dir='{_BESIDE}', file_format='array_record')"
        '.download_and_prepare()"'
    )


def _prepare(builder: Any, name: str, data_dir: str) -> None:
    """Downloads and prepares a set, or says in one line how to get it.

    In a separate process, so that TensorFlow is never loaded in the one that trains.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise _unprepared(builder, name, data_dir, "TensorFlow is not installed")
    print(f"preparing data set {name} (only once); a download can take minutes", flush=True)
    child = subprocess.run(
        [sys.executable, "-c", _PREPARE, name, data_dir],
        env=os.environ | devices.HIDDEN | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        # Progress bars, only for a terminal.
        stderr=None if sys.stderr.isatty() else subprocess.DEVNULL,
        text=True,
        check=False,
    )
    if child.returncode:
        lines = child.stdout.splitlines() or [f"exit status {child.returncode}"]
        raise _unprepared(builder, name, data_dir, one_line(lines[-1], 300))


def _unprepared(builder: Any, name: str, data_dir: str, reason: str) -> InputError:
    folder = data_dir or "~/tensorflow_datasets"
    by_hand = f"{folder}/downloads/manual"
    archives = [info.filename for info in (builder.url_infos or {}).values() if info.filename]
    if builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
        page = f"https://www.tensorflow.org/datasets/catalog/{builder.name}"
        hint = f"; some files must be put into {by_hand} manually first, see {page}"
    elif len(archives) == 1:
        hint = f"; or put {archives[0]} into {by_hand} and start again"
    else:
        hint = ""
    return InputError(
        f"data set {name} is not in {builder.data_dir} and cannot be prepared here ({reason}); "
        f"on a machine with a network and TensorFlow run {_command(builder)}, then copy {_BESIDE} "
        f"here and pass --config.dataset.path={_BESIDE}{hint}"
    )


@_quiet()
def _read_split(builder: Any, split: str, fields: list[str], image_size: int) -> _Split:
    """Reads a split's labels, and the sizes of its images if they are not known."""
    features = builder.info.features
    sort_by_id = "id" in features and features["id"].shape == ()
    size = (image_size, image_size) if image_size else tuple(features["image"].shape[:2])
    sizes_vary = None in size
    columns: dict[str, list[int]] = {field: [] for field in fields}
    ids: list[Any] = []
    digests: list[bytes] = []
    reader = _reader(builder, split)
    for start in range(0, len(reader.source), _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, len(reader.source)))
        for row, record in zip(rows, reader.records(rows), strict=True):
            for field in fields:
                columns[field].append(_value(record[field]))
            if sort_by_id:
                ids.append(_value(record["id"]))
            encoded = _value(record["image"])
            digests.append(hashlib.blake2b(encoded, digest_size=16).digest())
            if sizes_vary:
                found = pictures.size(encoded, reader.where(int(row)), upright=False)
                size = found if None in size else size
                if found != size:
                    raise InputError(
                        f"data set {builder.name} has images of {(*size, 3)} and of "
                        f"{(*found, 3)}; expected --config.dataset.image_size=SIDE, or a set with "
                        "one image size"
                    )
    order = np.argsort(np.asarray(ids), kind="stable") if sort_by_id else np.arange(len(digests))
    reader = dataclasses.replace(reader, shape=(*size, 3), resize=bool(image_size))
    return _Split(
        LazyImages(reader, order, reader.shape),
        {field: np.asarray(values, np.int32)[order] for field, values in columns.items()},
        np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16)[order],
    )


def _reader(builder: Any, split: str) -> TfdsReader:
    """A reader of a split's records in the order on disk; the images' shape is not known yet."""
    name, folder = f"{split} split of {builder.name}", str(builder.data_dir)
    try:
        source = builder.as_data_source(split).data_source
    except Exception as error:  # whatever a truncated or missing file makes the readers raise
        raise _unreadable(name, folder, error) from error
    return TfdsReader(source, name, folder, shape=(0, 0, 3), resize=False)


def _unreadable(split: str, folder: str, error: Exception) -> InputError:
    return InputError(
        f"{split} in {folder} cannot be read ({one_line(error, 300)}); "
        "remove that folder and prepare it again"
    )


def _value(feature: Any) -> Any:
    """The value of a tf.train.Feature with one value."""
    return getattr(feature, feature.WhichOneof("kind")).value[0]
