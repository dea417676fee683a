"""A trained classifier for inference: predictions, embeddings, label issues, saving and loading.

experiment.py trains it; every run with a student saves one in its workdir.
"""

import dataclasses
import functools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from rmdnet_jax.base.atomic import open_atomic
from rmdnet_jax.base.digest import fingerprint
from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import cut, listed, one_line, shown
from rmdnet_jax.data import given_images, label_kinds, lazy_images, pictures
from rmdnet_jax.data.dataset import as_images, check_features, check_labels, with_three_channels
from rmdnet_jax.data.given_images import GivenImages
from rmdnet_jax.data.lazy_images import Images, LazyImages
from rmdnet_jax.encoders import classical, extraction, opening
from rmdnet_jax.encoders.interface import Asked, Encoder
from rmdnet_jax.evaluation import classification, label_issues
from rmdnet_jax.evaluation.label_issues import LabelIssues
from rmdnet_jax.export import onnx_graph
from rmdnet_jax.machine import devices, hosts
from rmdnet_jax.methods import inference
from rmdnet_jax.methods.interface import Weights
from rmdnet_jax.methods.network import Classifier
from rmdnet_jax.models.heads import Linear
from rmdnet_jax.models.mlp import MLP
from rmdnet_jax.models.resnet import ResNet
from rmdnet_jax.training.checkpoints import Checkpoints

# In the folder of a saved model, which may be a run's workdir.
_WEIGHTS = "model"
_ISSUES = "label_issues.csv"

# What every workdir of a run has (runs/workdirs.py).
_OF_RUN = {"config.json", ".lock"}

_CHOSEN_IN_REPR = 6  # class names

_LARGEST_SIDE = 1 << 14  # of images, in pixels
_MOST_FEATURES = 1 << 20


@dataclasses.dataclass(frozen=True, repr=False)
class Model:
    """A trained classifier.

    Attributes:
      network: its architecture, with the mean and standard deviation of its training images.
      weights: of each of its networks, whose predictions are averaged; float32, on the host.
      image_shape: (H, W, 3) of its training images, or (D,) of feature vectors.
      classes: the class names, or the integers of the user's own labels.
      issues: the assessment of every training label; None if it was not saved.
      files: the path of each image in `issues`, or None.
      encoder: computes its feature vectors from images; None if it reads images itself, or takes
        vectors.

    Examples:
      Dark and bright pictures, one of them with a wrong label, and a small network. The examples of
      the methods go on from here:

      >>> import numpy as np
      >>> import rmdnet_jax
      >>> is_bright = np.arange(40) % 2
      >>> images = np.random.default_rng(0).integers(0, 60, (40, 8, 8, 3))
      >>> images = (images + 120 * is_bright[:, None, None, None]).astype(np.uint8)
      >>> labels = np.array(["night", "day"])[is_bright]
      >>> labels[0] = "day"
      >>> fields = {"model.width": 4, "model.blocks": (1,), "train.epochs": 20}
      >>> fields |= {"teacher.kind": "none", "method.name": "robust", "train.folds": 1}
      >>> model = rmdnet_jax.fit(images, labels, fields)
      data     own: 36 training and 4 test images, 8x8, 2 classes
      ...
      >>> model.classes, model.image_shape
      (('day', 'night'), (8, 8, 3))
    """

    network: Classifier
    weights: tuple[Weights, ...]
    image_shape: tuple[int, ...]
    classes: tuple[str, ...] | tuple[int, ...]
    issues: LabelIssues | None = None
    files: tuple[str, ...] | None = None
    encoder: Encoder | None = None

    def __post_init__(self) -> None:
        """Raises ValueError if the files do not match the issues."""
        if self.files and self.issues and len(self.files) != len(self.issues.index):
            raise ValueError(f"{len(self.files)} files for {len(self.issues.index)} label issues")

    @property
    def picture_shape(self) -> tuple[int, int, int] | None:
        """(H, W, 3) of the images that it reads; None if it only takes feature vectors."""
        if self.encoder:
            return self.encoder.side, self.encoder.side, 3
        if len(self.image_shape) == 1:
            return None
        height, width, channels = self.image_shape
        return height, width, channels

    def predict(self, images: GivenImages) -> np.ndarray:
        """The class of every image: [N] of `classes`.

        Args:
          images: uint8 [N, H, W, 3] or greyscale [N, H, W] of the model's size (of any size with an
            encoder), or the paths of image files, which are resized; feature vectors float [N, D]
            if it was trained on them. Arrays may be of any library, or N of one shape in a list;
            paths may be in a list or an array. One path, one image [H, W, 3] or one vector [D]
            gives one prediction, [1].

        Raises:
          InputError: they have another shape or dtype, or a file is not an image; or a path is a
            pattern or a folder, where single files are expected.

        Examples:
          >>> print(model.predict(images[:4]))
          ['night' 'day' 'night' 'day']
        """
        return np.asarray(self.classes)[self.predict_proba(images).argmax(axis=1)]

    def predict_proba(self, images: GivenImages) -> np.ndarray:
        """Probabilities float64 [N, C] in the order of `classes`; rows sum to 1. See `predict`.

        Examples:
          >>> probabilities = model.predict_proba(images)
          >>> probabilities.shape, probabilities.dtype
          ((40, 2), dtype('float64'))
        """
        return classification.softmax(self._predictor(self.weights, self._images(images)).logits)

    def embed(self, images: GivenImages) -> np.ndarray:
        """Embeddings float32 [N, D] of the backbone; those of several networks are concatenated,
        [N, 2 D] for two. See `predict`.

        Examples:
          >>> model.embed(images).shape  # of a ResNet of one stage with 4 channels
          (40, 4)
        """
        return self._predictor(self.weights, self._images(images)).embedding

    def read(self, file: str | Path) -> np.ndarray:
        """The pixels of an image file in the form that the model reads: uint8 [H, W, 3].

        Raises:
          InputError: it is not an image, or its size differs and the model's is not square; or the
            model takes feature vectors.

        Examples:
          >>> import tempfile
          >>> from PIL import Image
          >>> with tempfile.TemporaryDirectory() as folder:
          ...     Image.new("L", (20, 10)).save(f"{folder}/grey.png")
          ...     model.read(f"{folder}/grey.png").shape
          (8, 8, 3)
        """
        shape = self.picture_shape
        if shape is None:
            raise InputError(f"{cut(file)} is a file, but the model takes {self._right()}")
        # Images that are not square were not resized in training either.
        return pictures.decode(str(file), str(file), shape, resize=shape[0] == shape[1])

    def label_issues(self) -> np.ndarray:
        """Every training sample, the most suspicious label first, for pandas.DataFrame or NumPy.

        Returns:
          A record array [N] of index (position in the training set), given and suggested (of
          `classes`), score in [0, 1], its parts student_score and, with a teacher, neighbour_score,
          is_issue (whether to review it), kind ("clean", "closed" or "open"), and path, if images
          have one.

        Raises:
          InputError: the model was saved without them.

        Examples:
          >>> issues = model.label_issues()
          >>> len(issues), issues.dtype.names[:4]
          (40, ('index', 'given', 'suggested', 'score'))
          >>> first = issues[0]
          >>> int(first.index), str(first.given), str(first.suggested)
          (0, 'day', 'night')
        """
        if self.issues is None:
            raise InputError(
                f"this model has no label issues; expected a folder that also has {_ISSUES}"
            )
        classes, issues = np.asarray(self.classes), self.issues
        columns = {
            "index": issues.index,
            "given": classes[issues.given],
            "suggested": classes[issues.suggested],
            "score": issues.score,
            "student_score": issues.student_score,
        }
        if issues.neighbour_score is not None:
            columns["neighbour_score"] = issues.neighbour_score
        columns["is_issue"] = issues.is_issue
        columns["kind"] = np.array(label_kinds.KINDS)[issues.kind]
        if self.files is not None:
            columns["path"] = np.asarray(self.files)
        order = label_issues.ranking(issues)
        dtype = np.dtype([(name, column.dtype) for name, column in columns.items()])
        records = np.recarray(len(order), dtype)
        for name, column in columns.items():
            records[name] = column[order]
        return records

    def save(self, folder: str | Path) -> None:
        """Writes the model into `folder`, which is created; `load` can read it on any machine.

        Args:
          folder: a new or empty folder, or one that holds this model already: saved, or as the
            workdir of its run.

        Raises:
          InputError: the folder holds another model or other files, or cannot be written.

        Examples:
          >>> import tempfile
          >>> with tempfile.TemporaryDirectory() as folder:
          ...     model.save(f"{folder}/skies")
          ...     again = rmdnet_jax.Model.load(f"{folder}/skies")
          >>> bool((again.predict(images) == model.predict(images)).all())
          True
        """
        folder = Path(os.path.expanduser(folder))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            backbone = self.network.backbone
            dtype = str(jnp.dtype(backbone.dtype if isinstance(backbone, ResNet) else "float32"))
            with Checkpoints(folder / _WEIGHTS, self._description()) as saved:
                saved.check()
                is_new = saved.latest() is None
                if is_new:
                    self._check_unused(folder)
                hosts.meet("looked for a model")  # all check before one writes
                if self.encoder and self.encoder.path.suffix and hosts.is_writer():
                    _copy(self.encoder.path, folder / _kept_name(self.encoder))
                if is_new:
                    origin = str(self.encoder.path.absolute()) if self.encoder else ""
                    meta = {"dtype": dtype, "encoder_path": origin}
                    saved.save(0, _trees(self.weights), meta)
            if self.issues is not None:
                label_issues.write_csv(
                    folder / _ISSUES, self.issues, tuple(map(str, self.classes)), self.files
                )
        except OSError as error:
            reason = cut(error.strerror or error, 80)
            raise InputError(f"cannot write the model to {cut(folder)} ({reason})") from error

    def _check_unused(self, folder: Path) -> None:
        """Raises InputError if a folder without a model holds files that are neither a run's, nor
        left over from a save that was interrupted; hidden ones do not count."""
        names = {path.name for path in folder.iterdir()}
        ours = {_WEIGHTS, _kept_name(self.encoder) if self.encoder else _WEIGHTS}
        others = sorted(name for name in names - ours if not name.startswith("."))
        if others and not names >= _OF_RUN:
            raise InputError(
                f"{cut(folder)} holds other files ({listed(others, 3)}) and no model; expected a "
                "new or empty folder, or one that holds this model"
            )

    def to_onnx(self, path: str | Path) -> None:
        """Writes the classifier as an ONNX file, for use without this package.

        Its input is "image", uint8 [N, H, W, 3], or "features", float32 [N, D], for a model of
        feature vectors; with an encoder only the head is written. Normalisation and softmax are in
        the file; its output is "probabilities", float32 [N, C], as from `predict_proba`. Its
        metadata has class_names (JSON), side (of square images, in pixels) and encoder (the name of
        its file).

        Raises:
          InputError: the package onnx is missing, or the path is not an .onnx file that can be
            written.

        Examples:
          >>> import tempfile
          >>> import onnxruntime
          >>> with tempfile.TemporaryDirectory() as folder:
          ...     model.to_onnx(f"{folder}/skies.onnx")
          ...     session = onnxruntime.InferenceSession(f"{folder}/skies.onnx")
          >>> (probabilities,) = session.run(None, {"image": images})
          >>> probabilities.shape, probabilities.dtype
          ((40, 2), dtype('float32'))
        """
        metadata = {"class_names": onnx_graph.as_text(self.classes)}
        if len(self.image_shape) == 3 and self.image_shape[0] == self.image_shape[1]:
            metadata["side"] = str(self.image_shape[0])
        if self.encoder:
            metadata["encoder"] = shown(self.encoder.path.name)
        onnx_graph.write(path, self.network, self.weights, self.image_shape, metadata)

    @classmethod
    def load(cls, folder: str | Path) -> "Model":
        """Reads the model that `save`, or a run with this workdir, wrote into `folder`.

        Only numbers and JSON are read, no executable code: the folder may be untrusted.

        Raises:
          InputError: there is no model, or it is damaged.

        Examples:
          >>> import tempfile
          >>> with tempfile.TemporaryDirectory() as folder:
          ...     model.save(folder)
          ...     again = rmdnet_jax.Model.load(folder)
          >>> again.classes, len(again.label_issues())
          (('day', 'night'), 40)
        """
        devices.check()
        folder = Path(os.path.expanduser(folder))
        with Checkpoints(folder / _WEIGHTS) as saved:
            try:
                if saved.latest() is None:
                    raise _no_model(folder)
                meta = saved.meta()
                network, shape, classes = _described(meta)
                encoder = _encoder(
                    folder, meta["model"].get("encoder"), meta.get("encoder_path", "")
                )
                if encoder and (encoder.size,) != shape:
                    raise ValueError("its encoder has another number of features than it takes")
                like = _trees((_shapes(network, shape),) * meta["model"]["networks"])
                trees = jax.device_get(saved.restore(like))
                weights = tuple(Weights(**trees[name]) for name in like)
                if fingerprint(weights) != meta["weights"]:
                    raise ValueError("its weights are not those that were saved")
            except InputError:
                raise
            except Exception as error:  # damaged files may make the readers raise anything
                reason = f"{type(error).__name__}: {cut(one_line(error))}"
                raise InputError(
                    f"the model in {cut(folder)} cannot be read ({reason}); "
                    "expected the complete workdir of a finished run with a student"
                ) from error
        path = folder / _ISSUES
        issues, files = label_issues.read_csv(path) if path.is_file() else (None, None)
        if issues is not None:
            for labels in (issues.given, issues.suggested):
                check_labels(labels, len(issues.index), len(classes), f"labels in {cut(path)}")
        return cls(network, weights, shape, classes, issues, files, encoder)

    def __repr__(self) -> str:
        names = ", ".join(shown(str(name)) for name in self.classes[:_CHOSEN_IN_REPR])
        names += ", ..." if len(self.classes) > _CHOSEN_IN_REPR else ""
        several = f"{len(self.weights)} networks, " if len(self.weights) > 1 else ""
        text = f"Model({several}{self._architecture()}, {len(self.classes)} classes: {names}"
        if self.issues is not None:
            flagged, total = int(self.issues.is_issue.sum()), len(self.issues.given)
            text += f"; {flagged:,} of {total:,} training labels flagged"
        return text + ")"

    def _architecture(self) -> str:
        backbone, shape = self.network.backbone, self.image_shape
        if isinstance(backbone, ResNet):
            return f"ResNet of width {backbone.width}, {shape[0]}x{shape[1]} pixels"
        hidden = f"MLP of {backbone.hidden} hidden units" if backbone else "linear model"
        seen = f" of {shown(self.encoder.path.name)}" if self.encoder else ""
        return f"{hidden} on {shape[0]} features{seen}"

    def _right(self) -> str:
        """The input that it takes, in words."""
        shape = self.picture_shape
        if shape is None:
            return f"feature vectors, float [N, {self.image_shape[0]}]"
        if self.encoder:
            return "uint8 [N, H, W, 3], or the paths of pictures"
        return f"uint8 [N, {shape[0]}, {shape[1]}, 3], or the paths of pictures"

    def _description(self) -> dict:
        backbone = self.network.backbone
        network: dict
        if isinstance(backbone, ResNet):
            network = {"width": backbone.width, "stem": backbone.stem}
            network["blocks"] = list(backbone.blocks)
            if backbone.block != "basic":  # models of older versions lack the field
                network["block"] = backbone.block
        else:
            network = {"hidden": list(backbone.hidden) if backbone else []}
        if self.encoder:
            network["encoder"] = {
                "file": _kept_name(self.encoder),
                "digest": self.encoder.digest,
                **dataclasses.asdict(self.encoder.used),
            }
        return {
            "model": {
                "networks": len(self.weights),
                **network,
                "mean": np.asarray(self.network.mean).tolist(),
                "std": np.asarray(self.network.std).tolist(),
                "image_shape": list(self.image_shape),
                "classes": list(self.classes),
            },
            "weights": fingerprint(self.weights),
        }

    @functools.cached_property
    def _predictor(self):
        return inference.predictor(self.network)

    def _images(self, given: GivenImages) -> Images:
        """Arrays unchanged; paths as images that are decoded when they are read."""
        images = given_images.read(given)
        if not len(images):
            raise InputError("no images; expected at least one")
        if isinstance(images, list):
            return self._seen(self._pictures(images))
        is_one_picture = self.picture_shape and images.ndim == 3 and images.shape[2] == 3
        if is_one_picture or images.ndim == len(self.image_shape) == 1:
            images = images[None]  # a greyscale image is not 3 pixels wide
        if images.shape[1:] == self.image_shape and images.ndim == 2 and images.dtype.kind == "f":
            features = as_images(images)
            check_features(features, "features")
            return features
        images = with_three_channels(images)
        is_right = images.dtype == np.uint8 and images.ndim == 4 and images.shape[3] == 3
        if not is_right or not (self.encoder or images.shape[1:] == self.picture_shape):
            raise InputError(
                f"images are {cut(images.dtype, 40)} {images.shape}; expected {self._right()}"
            )
        return self._seen(images)

    def _pictures(self, files: list[str]) -> LazyImages:
        def read(rows: np.ndarray) -> Iterator[np.ndarray]:
            return (self.read(files[row]) for row in rows)

        if self.picture_shape is None:
            self.read(files[0])  # raises the error
        assert self.picture_shape
        return LazyImages(read, np.arange(len(files)), self.picture_shape)

    def _seen(self, images: Images) -> Images:
        """Images in the form that the network reads: pixels, or an encoder's features."""
        if self.encoder is None:
            return images
        squares = lazy_images.squares(images, self.encoder.side)
        return extraction.embeddings(self.encoder, squares, None)


def _no_model(folder: Path) -> InputError:
    """The error for a folder without a model; of a sweep, or in a workdir, with the one meant."""
    near = (folder / "chosen", folder.parent)
    meant = next((place for place in near if (place / _WEIGHTS).is_dir()), None)
    right = f"{cut(meant)}" if meant else "the workdir of a finished run with a student"
    return InputError(f"no model in {cut(folder)}; expected {right}")


def _kept_name(encoder: Encoder) -> str:
    """The name of the encoder's file beside the model; of the built-in encoder, its own name."""
    suffix = encoder.path.suffix.lower()
    return f"encoder{suffix}" if suffix else encoder.path.name


def _copy(file: Path, place: Path) -> None:
    if not place.exists():
        with open(file, "rb") as given, open_atomic(place, "wb") as kept:
            shutil.copyfileobj(given, kept)


def _encoder(folder: Path, described: dict | None, path: str) -> Encoder | None:
    """The encoder of a saved model: from the file beside it, or from its original path."""
    if described is None:
        return None
    name, digest = described["file"], described["digest"]
    used = Asked(*(described[field.name] for field in dataclasses.fields(Asked)))
    if name == classical.NAME:
        return opening.read(Path(name), used)
    if name not in (f"encoder{suffix}" for suffix in opening.NETWORKS):
        raise ValueError("the name of its encoder is invalid")
    places = [place for place in (folder / name, Path(path)) if place.is_file()]
    for place in places:
        encoder = opening.read(place, used)
        if encoder.digest == digest:
            return encoder
    gone = f"{cut(places[0])} is another" if places else f"there is no {cut(folder / name)}"
    raise InputError(
        f"the model in {cut(folder)} needs its encoder, and {gone}; expected the file that was "
        f"{cut(path)} when it was trained"
    )


def _described(meta: dict) -> tuple[Classifier, tuple[int, ...], tuple]:
    """The network, the shape of its images and its classes, from the record beside the weights;
    ValueError, or any error of Python, if this is not what `_description` writes."""
    facts = meta["model"]
    shape = tuple(facts["image_shape"])
    statistics = [np.array(facts[name], np.float32) for name in ("mean", "std")]
    classes, kinds = tuple(facts["classes"]), set(map(type, facts["classes"]))
    is_right = {
        "number of networks": facts["networks"] in range(1, 101),
        "dtype": meta["dtype"] in ("float32", "bfloat16"),
        "mean and std": all(x.shape == shape[-1:] and np.isfinite(x).all() for x in statistics),
        "classes": len(classes) > 1 and kinds in ({str}, {int}),
    }
    if "hidden" in facts:
        hidden = tuple(facts["hidden"])
        is_right |= {
            "image_shape": len(shape) == 1 and shape[0] in range(2, _MOST_FEATURES + 1),
            "hidden": len(hidden) <= 4 and set(hidden) <= set(range(2, 16385)),
        }
    else:
        sides = set(range(8, _LARGEST_SIDE + 1))
        is_right |= {
            "width": facts["width"] in range(1, 1025),
            "blocks": 1 <= len(facts["blocks"]) <= 4 and set(facts["blocks"]) <= set(range(1, 65)),
            "stem": facts["stem"] in ("cifar", "imagenet"),
            "block": facts.get("block", "basic") in ("basic", "bottleneck"),
            "image_shape": len(shape) == 3 and shape[2] == 3 and set(shape[:2]) <= sides,
        }
    for name, right in is_right.items():
        if not right:
            raise ValueError(f"invalid {name}")
    backbone: ResNet | MLP | None
    if "hidden" in facts:
        backbone = MLP(hidden) if hidden else None
    else:
        backbone = ResNet(
            facts["width"], facts["stem"], jnp.dtype(meta["dtype"]), tuple(facts["blocks"]),
            facts.get("block", "basic"),  # missing in models of older versions
        )  # fmt: skip
    return Classifier(backbone, Linear(len(classes)), *statistics), shape, classes


def _shapes(network: Classifier, image_shape: tuple[int, ...]) -> Weights:
    """The shapes and dtypes of a network's weights; computes nothing."""
    dtype = jnp.float32 if len(image_shape) == 1 else jnp.uint8
    example = jax.ShapeDtypeStruct((1, *image_shape), dtype)
    return jax.eval_shape(network.init, jax.random.key(0), example)


def _trees(weights: tuple[Weights, ...]) -> dict[str, dict]:
    """The weights in the form of a checkpoint: one item per network."""
    return {
        f"network{number}": {"params": one.params, "batch_stats": one.batch_stats}
        for number, one in enumerate(weights, 1)
    }
