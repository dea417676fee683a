"""Values for the open fields of a config, chosen from the data's size and the training machine.

A field is open if it is None (configs/own_data.py). The same data on the same kind of machine give
the same values, so a restarted run is the same run. Nothing here reads a file.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict, config_dict

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.config import checking as configuration
from rmdnet_jax.config.fields import all_fields
from rmdnet_jax.encoders import classical
from rmdnet_jax.losses import robust
from rmdnet_jax.methods.interface import Method, learned_from


@dataclasses.dataclass(frozen=True)
class Means:
    """What a kind of machine can do in one to a few hours.

    Attributes:
      name: as printed in a reason.
      largest_side: upper limit of the side of resized images, in pixels.
      width: channels of ResNet-18's first stage.
      rm_views, train_views: training images that the teacher and the learner see over all epochs.
      saved_every: such images between two checkpoints.
      train_lr: depends on the number of steps: fewer steps need a larger one.
    """

    name: str
    largest_side: int
    width: int
    rm_views: int
    train_views: int
    saved_every: int
    train_lr: float


CPU = Means("a CPU", 64, 16, 400_000, 100_000, 20_000, 0.02)
ACCELERATOR = Means("an accelerator", 224, 64, 10_000_000, 5_000_000, 500_000, 0.01)

SIDES = (32, 64, 128, 224)  # of resized images
IMAGENET_STEM_FROM = 64  # pixels
FEWEST_EPOCHS = 20
MOST_EPOCHS = {"rm": 1000, "train": 240}  # the paper's
BATCHES = (64, 32, 16)  # the first that gives enough steps per epoch
STEPS_AN_EPOCH = 8
LOSS = "gce"  # robust, and needs no noise rate
K_NCE_FAMILY = 0.001  # configs/rgrl_cifar10.py gives the reason
NEIGHBOURS = 200  # at most, and at most a fifth of a class
NEIGHBOURS_SHARE = 1 / 5

# A network on feature vectors is a thousandth of the work: its recipe depends on the numbers of
# samples, features and classes (docs/encoders.md states the data it was tuned on).
FEATURES_STEPS = 1500
FEATURES_EPOCHS = 10, 50
FEATURES_BATCHES = (256, 64, 16, 4)
FEATURES_LR, FEATURES_LR_MOST = 0.036, 0.02  # over the root of the number of features
FEATURES_SAVED = 2_000_000
FEATURES_DECAY = 0.25  # times features over samples
FEATURES_DECAYS = 0.001, 0.3
# GCE's gradient is small where the label's probability is, as it is with many classes, and the same
# decay then keeps a network from learning. Above so many, the decay is less. CE needs no less.
FEATURES_DECAY_CLASSES = 10
FOLDS = 5

FIELDS = (
    "checkpoint_every", "dataset.image_size", "encoder.path", "model.kind", "model.stem",
    "method.name", "model.width", "teacher.kind", "rm.batch_size", "rm.epochs", "rm.knn_k",
    "train.batch_size", "train.epochs", "train.folds", "train.lr", "train.optimizer",
    "train.weight_decay", "loss.name", "rgrl.k",
)  # fmt: skip


# The advice in place of a pretrained encoder.
_PRETRAINED = (
    "a pretrained encoder finds far more wrong labels, in minutes: pip install onnxruntime, and "
    "--config.encoder.path=FILE.onnx (docs/encoders.md)"
)

# Open fields that only a network on images, or its teacher, reads: setting one asks for these.
OF_PICTURES = ("model.stem", "model.width", "rgrl.k", "rm.batch_size", "rm.epochs")


def leave_open(config: ConfigDict) -> ConfigDict:
    """A copy of the config in which every field of `FIELDS` is open. Fields without a default keep
    their type, which a plain copy would lose."""
    config = config.copy_and_resolve_references()
    not_given = [name for name in all_fields() if configuration.get(config, name) is None]
    for field in (*FIELDS, *not_given):
        name, _, leaf = field.rpartition(".")
        group = configuration.get(config, name) if name else config
        del group[leaf]
        group[leaf] = config_dict.placeholder(all_fields()[field].kind)
    return config


def means(backend: str) -> Means:
    """The means of a JAX platform, "cpu" or another."""
    return CPU if backend == "cpu" else ACCELERATOR


def fill(
    config: ConfigDict,
    num_train: int,
    num_classes: int,
    short_sides: np.ndarray,
    backend: str,
    resizable: bool = True,
    devices: int = 1,
    num_features: int = 0,
) -> tuple[ConfigDict, dict[str, str]]:
    """The config with every open field of `FIELDS` filled.

    Args:
      config: not modified; a field with a value keeps it.
      num_train: training images.
      num_classes: C.
      short_sides: int [N], the images' current shorter sides in pixels.
      backend: JAX's name of the platform, "cpu" or another.
      resizable: whether images can be resized when they are read; arrays cannot.
      devices: number that a batch is split over, in equal parts.
      num_features: D of the feature vectors that make up the data, or that an encoder computes
        from its images; 0 for images alone.

    Returns:
      The config, and the reason for each value that was chosen here, by field.

    Raises:
      InputError: K is open and the loss is not a built-in one.
    """
    given = means(backend)
    config = config.copy_and_resolve_references()
    reasons: dict[str, str] = {}

    def choose(field: str, value: Any, reason: str) -> None:
        if configuration.get(config, field) is None:
            config.update_from_flattened_dict({field: value})
            if field not in configuration.unread_fields(config):
                reasons[field] = reason

    def batch_size(stage: str, sizes: Sequence[int], reason: str) -> None:
        enough = (size for size in sizes if num_train >= STEPS_AN_EPOCH * size)
        # With few images, or with folds that leave some out, as many as there are.
        folds = config.train.folds if stage == "train" else None
        most = learned_from(num_train, folds or 1)
        size = next(enough, max(min(sizes[-1], most), 2))
        if size % devices:
            size += -size % devices
            if size > most >= devices:
                size -= devices
            reason += f", and the next multiple of {devices} devices"
        choose(f"{stage}.batch_size", size, reason)

    if config.encoder.path is None:
        # What SimSiam learns from a few thousand images in hours is worth less.
        is_possible = not num_features and backend == "cpu" and not config.teacher.path
        is_possible = is_possible and config.teacher.kind in (None, "encoder")
        is_possible = is_possible and config.model.kind != "resnet"
        asked = [name for name in OF_PICTURES if configuration.get(config, name) is not None]
        is_taken = is_possible and not asked
        config.encoder.path = classical.NAME if is_taken else ""
        if is_possible and asked:
            reasons["encoder.path"] = (
                f"{asked[0]} is for a network on images, which takes far longer than one on the "
                "built-in features"
            )
        if is_taken:
            side = config.encoder.image_size or classical.ClassicalEncoder.side
            num_features = classical.ClassicalEncoder(side).size
            reasons["encoder.path"] = f"built in, since none is given; {_PRETRAINED}"
    encoder = bool(config.encoder.path)
    what = "an encoder's features" if encoder else "feature vectors"
    if num_features:
        choose("model.kind", "mlp", what)
    else:
        choose("model.kind", "resnet", "images")
    kind = "encoder" if encoder or config.model.kind == "mlp" else "simsiam"
    choose("teacher.kind", kind, what if kind == "encoder" else f"images; {_PRETRAINED}")

    median = int(np.median(short_sides))
    if resizable:
        side = image_size(median, given.largest_side)
        reason = f"the images' median shorter side is {median} pixels"
        if side == given.largest_side < median:
            reason += f"; at most {side} on {given.name}"
        choose("dataset.image_size", side, reason)
    else:
        choose("dataset.image_size", 0, "images in memory keep their size")
    side = config.dataset.image_size or median
    is_large = side >= IMAGENET_STEM_FROM
    choose("model.stem", "imagenet" if is_large else "cifar", f"images of {side} pixels")
    choose("model.width", given.width, f"on {given.name}")

    choose("loss.name", LOSS, "robust at any rate of wrong labels")
    on_pictures = {"rm": given.rm_views, "train": given.train_views}
    if config.model.kind == "mlp" and not num_features:
        raise InputError(
            "config.model.kind = 'mlp' on images; expected resnet, or an encoder "
            "(config.encoder.path)"
        )
    if config.model.kind == "mlp":
        del on_pictures["train"]
        choose("method.name", "forward", "corrects for directed confusions of classes")
        names = filter(None, (config.method.name, config.method.baseline))
        ordered = [name for name in names if _has_order(config, name)]
        if not ordered:
            choose("train.folds", FOLDS, "labels are judged by networks that have not seen them")
        choose("train.folds", 1, f"{' and '.join(ordered)} sets its own order of images")
        _fill_features(choose, batch_size, config, num_train, num_features, num_classes)
    for stage, views in on_pictures.items():
        batch_size(stage, BATCHES, f"{num_train:,} training images")
        most = MOST_EPOCHS[stage]
        epochs = min(max(round(views / num_train), FEWEST_EPOCHS), most)
        bound = {FEWEST_EPOCHS: "the minimum", most: "the maximum"}.get(epochs)
        reason = bound or f"{epochs * num_train:,} images seen"
        choose(f"{stage}.epochs", epochs, f"{reason}, for {num_train:,} images on {given.name}")
    choose("method.name", "robust", "a loss on the given labels")
    choose("train.folds", 1, "on images, each fold would take as long as a whole training")
    choose("train.optimizer", "sgd", "as in the paper")
    choose("train.weight_decay", 5e-4, "as in the paper")
    saved_every = FEATURES_SAVED if config.model.kind == "mlp" else given.saved_every
    choose(
        "checkpoint_every",
        float(f"{max(saved_every / num_train, 1e-3):.2g}"),
        f"epochs between checkpoints, {saved_every:,} images seen",
    )

    of_class = num_train / num_classes
    neighbours = min(max(round(NEIGHBOURS_SHARE * of_class), 1), NEIGHBOURS)
    choose("rm.knn_k", neighbours, f"{of_class:,.0f} training images per class")
    choose("train.lr", given.train_lr, f"for training of this length on {given.name}")
    if config.rgrl.k is None:
        choose("rgrl.k", *_relation(config, num_classes))
    return config, reasons


def _relation(config: ConfigDict, num_classes: int) -> tuple[float, str]:
    """K of a config that leaves it open, and the reason."""
    if config.model.kind == "mlp":
        return 0.0, "a network on the features learns nothing from their relations"
    if config.teacher.kind == "none":
        return 0.0, "there is no teacher"
    if not configuration.carries_relation(configuration.built_method(config)):
        return 0.0, f"{config.method.name} cannot carry the relation term"
    of = f"for {config.loss.name} and {num_classes} classes"
    return relation_weight(config, num_classes), f"{of}: the weight of K = 1 beside cross entropy"


def _has_order(config: ConfigDict, method: str) -> bool:
    """Whether a method sets its own order of images."""
    return type(configuration.built_method(config, method)).order is not Method.order


def _fill_features(
    choose: Callable, batch_size: Callable, config: ConfigDict, num_train: int, num_features: int,
    num_classes: int,
) -> None:  # fmt: skip
    """Fills the fields that a network on feature vectors leaves open."""
    size = f"{num_train:,} samples"
    batch_size("train", FEATURES_BATCHES, size)
    steps = max(1, learned_from(num_train, config.train.folds) // config.train.batch_size)
    low, high = FEATURES_EPOCHS
    epochs = min(max(round(FEATURES_STEPS / steps), low), high)
    choose("train.epochs", epochs, f"{epochs * steps:,} steps")
    choose("train.optimizer", "adam", "for feature vectors")
    least, most = FEATURES_DECAYS
    decay = min(max(FEATURES_DECAY * num_features / num_train, least), most)
    reason = f"{size} of {num_features:,} features"
    if num_classes > FEATURES_DECAY_CLASSES and config.loss.name == LOSS:
        decay *= (FEATURES_DECAY_CLASSES / num_classes) ** 0.5
        reason += f" in {num_classes:,} classes, for {LOSS}"
    choose("train.weight_decay", float(f"{decay:.2g}"), reason)
    rate = min(FEATURES_LR / num_features**0.5, FEATURES_LR_MOST)
    choose("train.lr", float(f"{rate:.2g}"), f"{num_features:,} features")


def image_size(short_side: int, largest: int) -> int:
    """The nearest of `SIDES` up to `largest`, by ratio, to an image's shorter side in pixels."""
    sides = [side for side in SIDES if side <= largest]
    return min(sides, key=lambda side: abs(np.log(side / short_side)))


def relation_weight(config: ConfigDict, num_classes: int) -> float:
    """K for the config's loss that gives the relation loss the same weight as K = 1 beside CE.

    It is the ratio of the logit gradients at a uniform output, as in configs/. That K would harm
    the NCE family, which gets a safe one (the paper's Tables 3 and 4).
    """
    name = config.loss.name
    if name.startswith("nce_"):
        return K_NCE_FAMILY
    if ":" in name:
        raise InputError(
            f"config.rgrl.k is not given and cannot be chosen for a user's own loss, {name}; "
            "expected --config.rgrl.k=NUMBER"
        )
    loss = robust.get(name, **configuration.loss_parameters(config))
    label = jnp.zeros(1, jnp.int32)

    def gradient(loss: robust.Loss) -> float:
        of_logits = jax.grad(lambda logits: loss(logits, label)[0])(jnp.zeros((1, num_classes)))
        return float(jnp.linalg.norm(of_logits))

    return float(f"{gradient(loss) / gradient(robust.get('ce')):.2g}")
