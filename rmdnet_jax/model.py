"""A trained classifier to use: predictions, embeddings, the labels it doubts; saved and loaded.

Training it is experiment.py's; every run with a student leaves one in its workdir.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from rmdnet_jax.base.digest import fingerprint
from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import one_line, shown
from rmdnet_jax.data import pictures
from rmdnet_jax.data.dataset import check_labels, with_three_channels
from rmdnet_jax.data.lazy_images import Images, LazyImages
from rmdnet_jax.evaluation import classification, label_issues
from rmdnet_jax.evaluation.label_issues import LabelIssues
from rmdnet_jax.machine import devices, hosts
from rmdnet_jax.methods import inference
from rmdnet_jax.methods.interface import Weights
from rmdnet_jax.methods.network import Classifier
from rmdnet_jax.models.heads import Linear
from rmdnet_jax.models.resnet import ResNet
from rmdnet_jax.training.checkpoints import Checkpoints

# In a saved model's folder, which may be a run's workdir.
_WEIGHTS = "model"
_ISSUES = "label_issues.csv"

_CHOSEN_IN_REPR = 6  # class names

_LARGEST_SIDE = 1 << 14  # of images, in pixels


@dataclasses.dataclass(frozen=True, repr=False)
class Model:
    """A trained classifier.

    Attributes:
      network: its architecture, with the mean and standard deviation of its training images.
      weights: of each of its networks, whose predictions are averaged; float32, on the host.
      image_shape: (H, W, 3), what it was trained on.
      classes: what each class is called, names or the integers of the user's own labels.
      issues: what it and its teacher say of every training label; None where that was not kept.
      files: the path of each image that `issues` judges, or None.
    """

    network: Classifier
    weights: tuple[Weights, ...]
    image_shape: tuple[int, int, int]
    classes: tuple[str, ...] | tuple[int, ...]
    issues: LabelIssues | None = None
    files: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for other files than are judged."""
        if self.files and self.issues and len(self.files) != len(self.issues.index):
            raise ValueError(f"{len(self.files)} files of {len(self.issues.index)} label issues")

    def predict(self, images: np.ndarray | Sequence[str | Path]) -> np.ndarray:
        """The class of every image: [N] of `classes`.

        Args:
          images: uint8 [N, H, W, 3] or grey [N, H, W] of the model's size, or the paths of
            pictures, which are brought to that size.

        Raises:
          InputError: they have another shape or dtype, or a file is no picture.
        """
        return np.asarray(self.classes)[self.predict_proba(images).argmax(axis=1)]

    def predict_proba(self, images: np.ndarray | Sequence[str | Path]) -> np.ndarray:
        """Probabilities float64 [N, C] in the order of `classes`; rows sum to 1. See `predict`."""
        return classification.softmax(self._predictor(self.weights, self._images(images)).logits)

    def embed(self, images: np.ndarray | Sequence[str | Path]) -> np.ndarray:
        """Embeddings float32 [N, D] of the backbone; those of several networks stand side by side,
        [N, 2 D] of two. See `predict`."""
        return self._predictor(self.weights, self._images(images)).embedding

    def read(self, file: str | Path) -> np.ndarray:
        """The pixels of a picture as the model takes them: uint8 [H, W, 3].

        Raises:
          InputError: it is no picture, or has another size and the model's is not square.
        """
        height, width, _ = self.image_shape
        # What is not square was not resized in training either.
        return pictures.decode(str(file), str(file), self.image_shape, resize=height == width)

    def label_issues(self) -> np.ndarray:
        """Every training sample, the most suspicious label first; pandas.DataFrame takes it.

        Returns:
          A record array [N] of index (its place in the training set), given and suggested (of
          `classes`), score in [0, 1], its parts student_score and, with a teacher, neighbour_score,
          is_issue (those to look at), and path, where images have one.

        Raises:
          InputError: the model was saved without them.
        """
        if self.issues is None:
            raise InputError(
                f"this model has no label issues; right is a folder that holds {_ISSUES} too"
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
        if self.files is not None:
            columns["path"] = np.asarray(self.files)
        order = label_issues.ranking(issues)
        dtype = np.dtype([(name, column.dtype) for name, column in columns.items()])
        records = np.recarray(len(order), dtype)
        for name, column in columns.items():
            records[name] = column[order]
        return records

    def save(self, folder: str | Path) -> None:
        """Writes the model into `folder`, which is made; `load` reads it anywhere.

        Raises:
          InputError: the folder holds another model, or cannot be written.
        """
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            backbone = self.network.backbone
            with Checkpoints(folder / _WEIGHTS, self._description()) as saved:
                saved.check()
                is_new = saved.latest() is None
                hosts.meet("looked for a model")  # all look before one writes
                if is_new:
                    saved.save(0, _trees(self.weights), {"dtype": str(jnp.dtype(backbone.dtype))})
            if self.issues is not None:
                label_issues.write_csv(
                    folder / _ISSUES, self.issues, tuple(map(str, self.classes)), self.files
                )
        except OSError as error:
            raise InputError(f"cannot write the model to {folder} ({error.strerror})") from error

    @classmethod
    def load(cls, folder: str | Path) -> "Model":
        """The model that `save`, or a run with this workdir, has left in `folder`.

        Only numbers and JSON are read, nothing that could run: the folder may be anybody's.

        Raises:
          InputError: there is none, or it is damaged.
        """
        devices.check()
        folder = Path(folder)
        with Checkpoints(folder / _WEIGHTS) as saved:
            try:
                if saved.latest() is None:
                    raise InputError(
                        f"no model in {folder}; right is the workdir of a finished run with a "
                        "student"
                    )
                meta = saved.meta()
                network, shape, classes = _described(meta)
                like = _trees((_shapes(network, shape),) * meta["model"]["networks"])
                trees = jax.device_get(saved.restore(like))
                weights = tuple(Weights(**trees[name]) for name in like)
                if fingerprint(weights) != meta["weights"]:
                    raise ValueError("its weights are not those that were saved")
            except InputError:
                raise
            except Exception as error:  # whatever somebody's files make the readers raise
                reason = one_line(error)
                raise InputError(
                    f"the model in {folder} cannot be read ({type(error).__name__}: {reason}); "
                    "right is the workdir of a finished run with a student, whole"
                ) from error
        path = folder / _ISSUES
        issues, files = label_issues.read_csv(path) if path.is_file() else (None, None)
        if issues is not None:
            for labels in (issues.given, issues.suggested):
                check_labels(labels, len(issues.index), len(classes), f"labels in {path}")
        return cls(network, weights, shape, classes, issues, files)

    def __repr__(self) -> str:
        names = ", ".join(shown(str(name)) for name in self.classes[:_CHOSEN_IN_REPR])
        names += ", ..." if len(self.classes) > _CHOSEN_IN_REPR else ""
        height, width, _ = self.image_shape
        several = f"{len(self.weights)} networks, " if len(self.weights) > 1 else ""
        text = (
            f"Model({several}ResNet of width {self.network.backbone.width}, "
            f"{height}x{width} pixels, "
            f"{len(self.classes)} classes: {names}"
        )
        if self.issues is not None:
            doubted, total = int(self.issues.is_issue.sum()), len(self.issues.given)
            text += f"; doubts {doubted:,} of {total:,} training labels"
        return text + ")"

    def _description(self) -> dict:
        backbone = self.network.backbone
        return {
            "model": {
                "networks": len(self.weights),
                "width": backbone.width,
                "stem": backbone.stem,
                "blocks": list(backbone.blocks),
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

    def _images(self, images: np.ndarray | Sequence[str | Path]) -> Images:
        """Arrays as they are, paths as pictures that are decoded when they are read."""
        if not len(images):
            raise InputError("no images; right is one at least")
        if not isinstance(images, np.ndarray):
            files = list(images)

            def read(rows: np.ndarray) -> Iterator[np.ndarray]:
                return (self.read(files[row]) for row in rows)

            return LazyImages(read, np.arange(len(files)), self.image_shape)
        images = with_three_channels(images)
        if images.dtype != np.uint8 or images.shape[1:] != self.image_shape:
            height, width, _ = self.image_shape
            raise InputError(
                f"images are {images.dtype} {images.shape}; right is uint8 [N, {height}, {width}, "
                "3], or the paths of pictures"
            )
        return images


def _described(meta: dict) -> tuple[Classifier, tuple[int, int, int], tuple]:
    """The network, the shape of its images and its classes, from what was saved beside the weights;
    ValueError, or what Python raises, where that is not what `_description` writes."""
    facts = meta["model"]
    height, width, channels = facts["image_shape"]
    channel_statistics = [np.array(facts[name], np.float32) for name in ("mean", "std")]
    classes, kinds = tuple(facts["classes"]), set(map(type, facts["classes"]))
    is_right = {
        "number of networks": facts["networks"] in range(1, 101),
        "width": facts["width"] in range(1, 1025),
        "blocks": 1 <= len(facts["blocks"]) <= 4 and set(facts["blocks"]) <= set(range(1, 65)),
        "stem": facts["stem"] in ("cifar", "imagenet"),
        "dtype": meta["dtype"] in ("float32", "bfloat16"),
        "image_shape": channels == 3 and {height, width} <= set(range(8, _LARGEST_SIDE + 1)),
        "mean and std": all(x.shape == (3,) and np.isfinite(x).all() for x in channel_statistics),
        "classes": len(classes) > 1 and kinds in ({str}, {int}),
    }
    for name, right in is_right.items():
        if not right:
            raise ValueError(f"its {name} cannot be right")
    backbone = ResNet(
        facts["width"], facts["stem"], jnp.dtype(meta["dtype"]), tuple(facts["blocks"])
    )
    network = Classifier(backbone, Linear(len(classes)), *channel_statistics)
    return network, (height, width, channels), classes


def _shapes(network: Classifier, image_shape: tuple[int, int, int]) -> Weights:
    """The shapes and dtypes of a network's weights; computes nothing."""
    example = jax.ShapeDtypeStruct((1, *image_shape), jnp.uint8)
    return jax.eval_shape(network.init, jax.random.key(0), example)


def _trees(weights: tuple[Weights, ...]) -> dict[str, dict]:
    """As a checkpoint holds them: an item a network."""
    return {
        f"network{number}": {"params": one.params, "batch_stats": one.batch_stats}
        for number, one in enumerate(weights, 1)
    }
