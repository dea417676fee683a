"""Whatever is wrong is said in one line, and nothing is written or changed. That a command ends so,
with exit status 2, test_bad_commands.py sees to."""

import dataclasses
import io
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from command import write_npz
from PIL import Image

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.config import checking, default
from rmdnet_jax.runs import prediction, start

LABELS = np.arange(64) % 4
IMAGES = np.zeros((64, 8, 8, 3), np.uint8)


@dataclasses.dataclass(frozen=True)
class Case:
    """What a user gives in a folder that holds data.npz, and what the one line must say.

    Attributes:
      says: part of the line.
      fields: of the config, that differ from a run on data.npz.
      arrays: of data.npz, that differ from right ones; None leaves one out.
      files: by path; bytes, or what makes the file when it is given its path.
      sweep: values of --sweep.
      predict: the value of --predict; nothing else is read then.
    """

    says: str
    fields: Mapping[str, object] = dataclasses.field(default_factory=dict)
    arrays: Mapping[str, object] = dataclasses.field(default_factory=dict)
    files: Mapping[str, bytes | Callable[[Path], object]] = dataclasses.field(default_factory=dict)
    sweep: Sequence[str] = ()
    predict: str | None = None


def config(says, **fields):
    """A case of one value: config("...", train__lr=0.0)."""
    return Case(says, {name.replace("__", "."): value for name, value in fields.items()})


def arrays(says, **changed):
    return Case(says, arrays=changed)


def matrix(says, file, content):
    fields = {"noise.kind": "matrix", "noise.matrix": file}
    return Case(says, fields, files={} if content is None else {file: content})


def pairs(says, content):
    return Case(says, {"noise.kind": "asymmetric", "noise.map": "m.csv"}, files={"m.csv": content})


def manifest(says, content, file="rows.csv", **files):
    return Case(says, {"dataset.name": "own", "dataset.path": file}, files={file: content, **files})


def folder(says, files, **fields):
    fields = {"dataset.name": "own", "dataset.path": "photos"} | fields
    return Case(says, fields, files={f"photos/{name}": content for name, content in files.items()})


def png(height=8, width=8):
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "PNG")
    return file.getvalue()


def link(target):
    return lambda path: path.symlink_to(target)


def parquet(**columns):
    def write(path):
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table(columns), path)

    return write


TWO_CLASSES = {f"{label}/{i}.png": png() for label in "ab" for i in range(5)}
PHOTO = {"photos/0.png": png()}
BOMB = io.BytesIO()
Image.new("1", (10_000, 10_000)).save(BOMB, "PNG")

LOSSES = {
    "own_losses.py": b"def fails(logits, labels):\n    return labels.shape[7]\n\n"
    b"def mean(logits, labels):\n    return logits.mean()\n",
    "broken_losses.py": b"def loss(:",
}


def own_loss(says, name):
    return Case(says, {"loss.name": name}, files=LOSSES)


CASES = {
    # A value of the config.
    "a number of epochs below 0": config("train.epochs is -1; expected", train__epochs=-1),
    "a million million epochs": config("rm.epochs is 1000000000000;", rm__epochs=10**12),
    "half an epoch": config("rm.epochs is 0.5; expected a whole number", rm__epochs=0.5),
    "epochs in words": config("rm.epochs is 'many'", rm__epochs="many"),
    "no batch": config("train.batch_size is 0; expected a whole", train__batch_size=0),
    "a batch of one": config("batch statistics and relations need pairs", rm__batch_size=1),
    "a batch of True": config("rm.batch_size is True", rm__batch_size=True),
    "a learning rate of NaN": config("train.lr is nan", train__lr=math.nan),
    "an infinite learning rate": config("rm.lr is inf", rm__lr=math.inf),
    "a learning rate of 0": config("rm.lr is 0.0; expected a number > 0", rm__lr=0.0),
    "an alpha of NaN": config("rgrl.alpha is nan", rgrl__alpha=math.nan),
    "a beta below 0": config("rgrl.beta is -0.35", rgrl__beta=-0.35),
    "a K beyond float32": config("rgrl.k is 1e+300", rgrl__k=1e300),
    "a momentum of 1": config("expected a number in [0, 1)", train__momentum=1.0),
    "a width of 0": config("model.width is 0;", model__width=0),
    "a million channels": config("model.width is 1000000;", model__width=10**6),
    "an unknown stem": config("model.stem is 'vgg'; expected one of", model__stem="vgg"),
    "images of 10**9 pixels": config("image_size is 1000000000", dataset__image_size=10**9),
    "a share as text": config("test_fraction is '0.2'", dataset__test_fraction="0.2"),
    "a path that is a number": config("dataset.path is 3; expected text", dataset__path=3),
    "a path with NUL": config(r"dataset.path is 'a\x00b'", dataset__path="a\0b"),
    "a path that is no text": config("dataset.path is b'x'", dataset__path=b"x"),
    "a path too long for any file": config("no file aaa", dataset__path="a" * 300 + ".npz"),
    "a home that nobody has": config("no file ~no-body/x.npz", dataset__path="~no-body/x.npz"),
    "no value": config("noise.rate is None", noise__rate=None),
    "a switch as text": config("noise.exact is 'False'; expected True", noise__exact="False"),
    "drops that do not increase": config("lr_drops is (0.5, 0.4)", train__lr_drops=(0.5, 0.4)),
    "drops in words": config("train.lr_drops is ('a', 'b')", train__lr_drops=("a", "b")),
    "a seed of 400 digits": config("seed is 1000", seed=10**400),
    "a field nobody knows": config("train.epoch: the config has no such field", train__epoch=3),
    "a field's old name": config("it is now called train.epochs", rgrl__epochs=3),
    "a group that is a number": config("config.augment: the config has no such field", augment=4),
    # Values that do not go together.
    "an unknown loss": config("did you mean 'gce'", loss__name="gec"),
    "a loss without a name": config("loss.name is ''", loss__name=""),
    "a parameter of another loss": config("'ce' has no parameter 'q'", loss__q=0.5),
    "a loss that is not there": config("nowhere", loss__name="nowhere:loss"),
    "a loss that is no import path": config("is not an import path", loss__name="os:path:x"),
    "a loss that cannot be imported": own_loss("invalid syntax", "broken_losses:loss"),
    "a loss that fails": own_loss("IndexError", "own_losses:fails"),
    "a loss that is a mean": own_loss("one value per example", "own_losses:mean"),
    "an unknown noise": config("symmetric", noise__kind="symetric"),
    "a rate above 1": config("noise.rate is 1.5", noise__rate=1.5),
    "a batch larger than the data": config("only 64 training images", train__batch_size=65),
    "a border as wide as the images": config("pad is 8 but the images", augment__pad=8),
    "more images than there are": config("train_size is 65 for data", dataset__train_size=65),
    "arrays to be resized": config("are not resized", dataset__image_size=16),
    "human labels that are not there": config("mturk", noise__kind="human", noise__field="mturk"),
    "labels nobody reads": config("only human uses it", noise__field="mturk"),
    "asymmetric noise without pairs": config("asymmetric", noise__kind="asymmetric"),
    "an unknown teacher": config("teacher.kind is 'moco'", teacher__kind="moco"),
    "a path to a random teacher": config(
        "with config.teacher.kind = 'random'", teacher__kind="random", teacher__path="x"
    ),
    "nothing to run": config("runs nothing", teacher__kind="none", train__epochs=0),
    "a baseline to itself": config(
        "needs a teacher", teacher__kind="none", method__baseline="robust"
    ),
    "an unknown method": config("did you mean 'elr'", method__name="erl"),
    "a method that is not there": config("nowhere", method__name="nowhere:Method"),
    "two networks with a teacher": config("trains 2 networks", method__name="coteaching"),
    "a baseline to K = 0": config("needs a teacher", rgrl__k=0.0, method__baseline="robust"),
    "a start from a wider teacher": config(
        "teacher of width 8", rgrl__init_from_teacher=True, teacher__width=8, model__width=4
    ),
    "classes to draw that there are not": config("tsne_classes", report__tsne_classes=(2, 4)),
    "an unknown data set": config("cifar10", dataset__name="cifar11", dataset__path=""),
    "a data set by a path": config("unknown data set", dataset__name="../x", dataset__path=""),
    # Arrays and labels.
    "float labels": arrays("y_train", y_train=LABELS / 3),
    "NaN labels": arrays("y_train", y_train=np.full(64, np.nan)),
    "negative labels": arrays("y_train", y_train=LABELS - 1),
    "labels beyond int64": arrays("go up to", y_train=np.full(64, 2**64 - 1, np.uint64)),
    "labels that are times": arrays("timedelta64", y_train=LABELS.astype("m8[s]")),
    "labels that are objects": arrays("Python objects", y_train=np.array([None] * 64)),
    "a class an image": arrays(
        "10,001 classes", y_train=np.arange(10_001), x_train=np.zeros((10_001, 8, 8), np.uint8)
    ),
    "an empty class": arrays("class 2 (2) is empty", y_train=np.where(LABELS == 2, 1, LABELS)),
    "images of rank 2": arrays("x_train", x_train=IMAGES.reshape(64, -1)),
    "float images": arrays("float32", x_train=IMAGES.astype(np.float32)),
    "NaN images": arrays("float64", x_train=np.full((64, 8, 8, 3), np.nan)),
    "images without labels": arrays("y_train", y_train=LABELS[:60]),
    "no test images": arrays("x_test", x_test=None),
    "names that are no text": arrays("class_names", class_names=np.arange(4)),
    "an array nobody knows": arrays("unknown array extra", extra=np.zeros((64, 2))),
    "a .npz that is cut": Case(
        "is not a .npz file",
        {"dataset.path": "cut.npz"},
        files={"cut.npz": lambda path: path.write_bytes(Path("data.npz").read_bytes()[:9000])},
    ),
    "a .npz that is a folder": Case("no file here.npz", {"dataset.path": "here.npz"},
                                    files={"here.npz/x": b""}),
    "a .npz that is a pipe": Case("no file pipe.npz", {"dataset.path": "pipe.npz"},
                                  files={"pipe.npz": os.mkfifo}),
    # Noise.
    "a matrix that is not there": matrix("cannot be read", "m.npy", None),
    "a matrix of another kind": matrix("expected .npy or .csv", "m.txt", b"1"),
    "a matrix that is cut": matrix("cannot be read", "m.npy", b"\x93NUMPY\x01"),
    "a matrix of other classes": matrix("for 2 classes; expected 4", "m.csv", b"1,0\n0,1"),
    "a matrix that sums to 2": matrix("wrong in row 1", "m.csv", b"1,0\n1,1"),
    "a matrix of NaN": matrix("wrong in row 0", "m.csv", b"nan,0\n0,1"),
    "a matrix that is a pipe": matrix("no such file", "m.csv", os.mkfifo),
    "a map to no class": pairs("0 -> 9", b"0,9\n"),
    "a map of words": pairs("two integers", b"cat,dog\n"),
    # Manifests.
    "a manifest without labels": manifest("has no column label", b"path\na.png\n"),
    "a manifest in UTF-16": manifest("not UTF-8", "path,label\n".encode("utf-16")),
    "a manifest that climbs out": manifest("line 2: ../x.png leads", b"path,label\n../x.png,a\n"),
    "a manifest with an absolute path": manifest("leads out", b"path,label\n/etc/passwd,a\n"),
    "a manifest that follows a link out": manifest(
        "leads out", b"path,label\nout/x.png,a\n", out=link("/tmp")
    ),
    "a manifest of what is not there": manifest("there is no such file", b"path,label\na.png,a\n"),
    "a manifest that is a folder": manifest("dataset.path", b"", file="rows.csv/x"),
    "a manifest of numbers beyond Python's": manifest(
        "there is no such file", b"path,label\na.png," + b"1" * 5000 + b"\nb.png,2\n"
    ),
    "a Parquet file that is text": manifest("as Parquet", b"path,label\n", "rows.parquet"),
    "a Parquet file of lists": manifest("the path is list", parquet(path=[["a"]], label=["x"]),
                                        "rows.parquet"),
    # Pictures and folders.
    "no path": config("no folder or file ''", dataset__name="own", dataset__path=""),
    "a folder without classes": folder("no class folders", {"notes.txt": b""}),
    "a folder of one class": folder("has only 1 class, 'a'", {"a/0.png": png(), "a/1.png": png()}),
    "an empty class folder": folder("no pictures in", TWO_CLASSES | {"c/.keep": b""}),
    "a link out of the folder": folder("leads out", TWO_CLASSES | {"a/x.png": link("/etc/passwd")}),
    "a picture that is text": folder("unknown format", TWO_CLASSES | {"a/x.png": b"no"}),
    "a picture that is cut": folder("(a/x.png: ", TWO_CLASSES | {"a/x.png": png()[:43]}),
    "a picture of 100 million pixels": folder(
        "decompression bomb", TWO_CLASSES | {"a/x.png": BOMB.getvalue()}
    ),
    "pictures of two sizes": folder("image_size=SIDE", TWO_CLASSES | {"a/x.png": png(9, 9)}),
    "pictures too small": folder("at least 8x8", {k: png(7, 7) for k in TWO_CLASSES}),
    "a cache that cannot be written": folder(
        "cannot write the cache", TWO_CLASSES, **{"dataset.cache": "photos/a/0.png/cache"}
    ),
    # Teachers and workdirs.
    "a teacher that is not there": config("no teacher in nowhere", teacher__path="nowhere"),
    "a teacher that is a file": config("no teacher in data.npz", teacher__path="data.npz"),
    "a teacher that is an empty folder": Case("no teacher in t", {"teacher.path": "t"},
                                              files={"t/teacher/.keep": b""}),
    "an encoder without a file": config("without config.encoder.path", teacher__kind="encoder"),
    "an encoder that is not there": config(
        "no file 'nowhere.npz' (encoder.path)", teacher__kind="encoder", encoder__path="nowhere.npz"
    ),
    "an encoder that is a picture": Case(
        "x.png (encoder.path) ends in .png", {"encoder.path": "x.png", "teacher.kind": "encoder"},
        files={"x.png": png()},
    ),
    "a table of something else": config(
        "contains x_test, x_train", encoder__path="data.npz", teacher__kind="encoder"
    ),
    "an encoder that nothing reads": config("which do not read it", encoder__path="data.npz"),
    "an encoder's size without an encoder": config(
        "without config.encoder.path", encoder__image_size=224
    ),
    "a table of other images": Case(
        "test has 9 rows for", {"encoder.path": "t.npz", "teacher.kind": "encoder"},
        files={"t.npz": lambda path: np.savez(path, train=np.zeros((64, 2)), test=np.zeros((9, 2)))}
    ),
    "a workdir of an older version": Case(
        "was made by an older rmdnet_jax", files={"w/config.json": b'{"rgrl": {"epochs": 240}}'}
    ),
    "a workdir that is a file": Case("cannot write the workdir", files={"w": b"mine"}),
    "a workdir with other files": Case("holds files but no config.json", files={"w/mine": b"mine"}),
    "a workdir of another experiment": Case("dataset.name is 'cifar10' there, 'npz' here",
                                            files={"w/config.json": b'{"seed": 7}'}),
    "a workdir whose config is damaged": Case("is not JSON", files={"w/config.json": b'{"seed": '}),
    # Sweeps.
    "a sweep of nothing": Case("has no values", sweep=["train.lr"]),
    "a sweep of a field nobody knows": Case("did you mean 'train.lr'", sweep=["train.lrr=1,2"]),
    "a sweep of the data": Case("the same images and labels", sweep=["dataset.train_size=8,9"]),
    "a sweep of a value that cannot be": Case(
        "train.lr is -1.0", {"rm.batch_size": 8, "train.batch_size": 8}, sweep=["train.lr=0.1,-1"]
    ),
    "a sweep of NaN": Case("train.lr is 'nan'; expected a number", sweep=["train.lr=0.1,nan"]),
    "a sweep of words": Case("'many'; expected a whole number", sweep=["train.epochs=1,many"]),
    "a sweep of the same twice": Case("names a value twice", sweep=["train.lr=0.1,0.1"]),
    "a sweep with a gap": Case("an empty value", sweep=["train.lr=0.1,,0.2"]),
    # Prediction.
    "a model that is not there": Case("no model in w", files=PHOTO, predict="photos"),
    "a folder to predict that is not there": Case("no folder 'nowhere'", predict="nowhere"),
    "no folder to predict": Case("no folder ''", predict=""),
    "a folder to predict that is a file": Case("no folder 'data.npz'", predict="data.npz"),
    "a model of something else": Case("none that is intact", files=PHOTO | {"w/model/0/x": b""},
                                      predict="photos"),
}  # fmt: skip


def begin(case, folder):
    """Starts what launch.py would start."""
    workdir = folder / "w"
    if case.predict is not None:
        return prediction.write(case.predict, "w")
    config = default()
    config.dataset.name, config.dataset.path, config.dataset.cache = "npz", "data.npz", ""
    for field, value in case.fields.items():
        group, _, leaf = field.rpartition(".")
        # As a config file may leave it, whatever the type.
        (checking.get(config, group) if group else config)._fields[leaf] = value
    return start.job(config, case.sweep).run(workdir, "")


def everything(folder):
    """Every file, folder and link below a folder; of files, what they hold."""
    found = {path for path in folder.rglob("*") if "__pycache__" not in path.parts}
    return {path: path.read_bytes() if path.is_file() else path.is_dir() for path in found}


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_is_said_in_one_line_and_nothing_is_written(name, tmp_path, monkeypatch):
    case = CASES[name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("own_losses", "broken_losses"):
        sys.modules.pop(module, None)
    write_npz("data.npz", **case.arrays)
    for file, content in case.files.items():
        path = Path(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        content(path) if callable(content) else path.write_bytes(content)
    before = everything(tmp_path)
    with pytest.raises(InputError) as refused:
        begin(case, tmp_path)
    said = str(refused.value)
    assert case.says in said
    assert "\n" not in said
    assert everything(tmp_path) == before
