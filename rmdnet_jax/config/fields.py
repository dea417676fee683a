"""Every field of a config, stated once: its default, its type, what it may be and what it is for.

Files in configs/ start from `default()` and state what differs. The parameters of a loss or a
method are declared with it, and read from there.
"""

import itertools

from ml_collections import ConfigDict, config_dict

from rmdnet_jax.base.cache import cache_folder
from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.ranges import (
    AT_LEAST_0,
    BELOW_1,
    IS_POSITIVE,
    SHARE,
    Field,
    Rule,
    field,
    is_of,
    number,
    one_of,
    whole,
)
from rmdnet_jax.encoders.interface import NORMALISATION
from rmdnet_jax.losses import robust
from rmdnet_jax.methods import registry as methods
from rmdnet_jax.teachers import registry as teachers

_COUNT = whole(0, 10**9)
_EPOCHS = whole(0, 10**6)
_BATCH = Rule(
    "a whole number of 2 or more, up to 1,000,000 (batch statistics and relations need pairs)",
    whole(2, 10**6).fits,
)
_NAME = Rule("a name", lambda name: name.strip() and "\0" not in name)
_BLOCKS = Rule(
    "one to four whole numbers from 1 to 64",
    lambda stages: 1 <= len(stages) <= 4 and all(is_of(n, int) and 1 <= n <= 64 for n in stages),
)
_HIDDEN = Rule(
    "up to four whole numbers from 2 to 16,384",
    lambda units: len(units) <= 4 and all(is_of(n, int) and 2 <= n <= 16384 for n in units),
)
_CLASSES = Rule(
    "different class numbers from 0",
    lambda classes: (
        all(is_of(n, int) and n >= 0 for n in classes) and len(set(classes)) == len(classes)
    ),
)
_PAIR = Rule(
    "two class numbers", lambda pair: len(pair) == 2 and all(is_of(one, int) for one in pair)
)


def _is_increasing(drops: tuple) -> bool:
    """Whether these are increasing shares in (0, 1)."""
    are_numbers = all(is_of(drop, float) for drop in drops)
    return are_numbers and all(a < b for a, b in itertools.pairwise((0, *drops, 1)))


def _general() -> dict[str, Field]:
    return {
        "seed": field(0, "what all randomness comes from", whole(0, 2**32 - 1)),
        "checkpoint_every": field(1.0, "epochs; 0.25 is four times an epoch", IS_POSITIVE),
        "tensorboard": field(True, "also write TensorBoard files, where TensorFlow is there"),
    }


def _dataset() -> dict[str, Field]:
    side = Rule("0, or a whole number from 8 to 4,096", lambda n: n == 0 or 8 <= n <= 4096)
    open_share = number(0, 1, open_low=True, open_high=True)
    return {
        "name": field("cifar10", "digits, own, or a name of tensorflow-datasets"),
        "path": field("", "a folder or manifest of pictures, a .npz, or prepared TFDS sets"),
        "root": field("", "folder that a manifest's paths are in; empty: its own"),
        "corrections": field("", "a corrections.csv, or several: a,b (docs/corrections.md)"),
        "open_classes": field(
            (), "numbers of classes left out; noise may take their pictures as open ones", _CLASSES
        ),
        "skip": field(0, "training images left out at the start, before train_size", _COUNT),
        "train_size": field(0, "the first images only; 0 is all", _COUNT),
        "test_size": field(0, "the first test images only; 0 is all", _COUNT),
        "image_size": field(0, "side to resize pictures to; 0: all have one size", side),
        "test_fraction": field(0.2, "share to test on where there is no test split", open_share),
        "validation_fraction": field(
            0.0, "share of every given class held out of learning (docs/sweeps.md)", BELOW_1
        ),
        "max_broken": field(0.01, "share of the pictures that may be broken: left out", BELOW_1),
        "cache": field(cache_folder("pictures"), "folder for decoded pictures; empty: none"),
        "memory_budget": field(
            0.0,
            "GB of decoded images above which they stay on disk; 0: half of the device's memory "
            "and at most a quarter of the host's",
            AT_LEAST_0,
        ),
        "workers": field(
            -1,
            "processes that decode what stays on disk; 0: threads, -1: by cores",
            whole(-1, 1024),
        ),
    }


def _noise() -> dict[str, Field]:
    return {
        "kind": field("symmetric", "of rmdnet_jax/data/noise.py (docs/method.md), or human"),
        "rate": field(0.4, "share of wrong labels; of kind universal among all images", SHARE),
        "rho2": field(0.0, "share of kind universal's wrong labels that are of open ones", SHARE),
        "open_path": field(
            "", "open pictures, of none of the classes: a folder, or a .npz or .npy of images"
        ),
        "open_share": field(0.0, "of all images, open ones added; no kind universal", BELOW_1),
        "seed": field(0, "of the draw", whole(0, 2**63 - 1)),
        "exact": field(False, "flip exactly round(rate * n) of each class; no kind instance"),
        "field": field("", "of the data: the labels of kind human"),
        "map": field("", "CSV of true,given pairs for kind asymmetric"),
        "matrix": field("", ".npy or .csv [C, C] for kind matrix"),
    }


def _encoder() -> dict[str, Field]:
    side = Rule("0, or a whole number from 16 to 1,024", lambda n: n == 0 or 16 <= n <= 1024)
    return {
        "path": field(
            "", "a pretrained .onnx or .safetensors, hf://..., or a .npy or .npz of embeddings"
        ),
        "image_size": field(0, "side of its pictures; 0: the file's own, or 224", side),
        "normalisation": field(
            None, "of its pictures; None: as the file says, or as neighbours agree best",
            NORMALISATION, str,
        ),
        "output": field("", "name of an ONNX file's output; empty: the likeliest"),
        "cache": field(cache_folder("embeddings"), "folder for embeddings; empty: none"),
    }  # fmt: skip


def _model() -> dict[str, Field]:
    return {
        "kind": field(
            "resnet", "resnet on pictures, mlp on feature vectors", one_of("resnet", "mlp")
        ),
        "hidden": field((), "units of the mlp's layers; (): a linear model", _HIDDEN),
        # 1,024 channels are 3,000 million parameters.
        "width": field(64, "channels of the ResNet's first stage", whole(1, 1024)),
        "blocks": field((2, 2, 2, 2), "blocks of each stage; (1, 1, 1, 1) is ResNet-10", _BLOCKS),
        "block": field(
            "basic", "of the ResNet; bottleneck from ResNet-50 on", one_of("basic", "bottleneck")
        ),
        "stem": field("cifar", "cifar for small images, imagenet", one_of("cifar", "imagenet")),
        "precision": field(
            "auto", "of convolutions; auto is the faster", one_of("auto", "float32", "bfloat16")
        ),
    }


def _augment() -> dict[str, Field]:
    return {
        "flip": field(True, "mirror half of the views"),
        "pad": field(4, "pixels of the learner's random crop", whole(0, 4096)),
    }


def _teacher() -> dict[str, Field]:
    kinds = one_of(*teachers.kinds(), "none")
    return {
        "kind": field("simsiam", "where the teacher is from; none: no relation term", kinds),
        "path": field(
            "", "a finished teacher's workdir; supervised: also a saved model, .onnx, .npy or .npz"
        ),
        "width": field(0, "of the teacher's ResNet; 0 is model.width", whole(0, 1024)),
    }


def _rm() -> dict[str, Field]:
    return {
        "epochs": field(1000, "of stage RM, in which SimSiam learns", whole(1, 10**6)),
        "batch_size": field(64, "images of a step", _BATCH),
        "lr": field(0.03, "decays to 0 by a cosine", IS_POSITIVE),
        "momentum": field(0.9, "of SGD", BELOW_1),
        "weight_decay": field(5e-4, "coupled, on every parameter", AT_LEAST_0),
        "predictor_constant_lr": field(False, "the predictor's learning rate stays"),
        "min_area": field(0.2, "least share of the image in a view", number(0, 1, open_low=True)),
        "knn_every": field(10, "epochs between two kNN probes; 0 is never", _EPOCHS),
        "knn_k": field(200, "neighbours that vote", whole(1, 10**6)),
        "on_collapse": field("warn", "when all embeddings become one", one_of("warn", "stop")),
    }


def _train() -> dict[str, Field]:
    drops = Rule("increasing shares of training in (0, 1)", _is_increasing)
    return {
        "epochs": field(240, "of the learner; 0: stop after the teacher", _EPOCHS),
        "batch_size": field(64, "images of a step", _BATCH),
        "folds": field(
            1,
            "parts, each left out once to judge its labels by; 1 is none",
            whole(1, 20),
        ),
        "optimizer": field("sgd", "sgd or adam", one_of("sgd", "adam")),
        "lr": field(0.001, "at the start", IS_POSITIVE),
        "lr_decay": field(
            "steps", "steps: drops at lr_drops; cosine: to 0", one_of("steps", "cosine")
        ),
        "lr_drops": field((0.625, 0.75, 0.875), "shares of training at which lr drops", drops),
        "lr_drop": field(0.1, "what lr is multiplied by there", number(0, 1, open_low=True)),
        "momentum": field(0.9, "of SGD; Adam's beta1", BELOW_1),
        "weight_decay": field(5e-4, "coupled, on every parameter", AT_LEAST_0),
        "grad_clip": field(0.0, "largest global norm of the gradient; 0 is none", AT_LEAST_0),
    }


def _loss() -> dict[str, Field]:
    """A name, and every parameter that some loss has; None (not given) is the loss's default."""
    found = {"name": field("ce", f"{', '.join(robust.LOSSES)}, or my_module:my_loss", _NAME)}
    declared = {loss: robust.fields(loss) for loss in robust.LOSSES}
    for parameters in declared.values():
        for name, parameter in parameters.items():
            losses = [loss for loss, others in declared.items() if name in others]
            does = f"of {', '.join(losses)}; None is the loss's default"
            found[name] = field(None, does, kind=parameter.kind)
    return found


def _rgrl() -> dict[str, Field]:
    return {
        "k": field(1.0, "weight of the relation term; 0 is none", AT_LEAST_0),
        "alpha": field(0.8, "of the node loss in it", AT_LEAST_0),
        "beta": field(0.35, "of the edge loss in it", AT_LEAST_0),
        "relation_norm": field(
            "frobenius",
            "frobenius_per_sample is divided by the batch size",
            one_of("frobenius", "frobenius_per_sample"),
        ),
        "teacher_embedding": field(
            "backbone", "which of SimSiam's outputs relates", one_of("backbone", "projector")
        ),
        "teacher_view": field(
            "same", "the learner's augmented view, or one of its own", one_of("same", "own")
        ),
        "init_from_teacher": field(False, "the learner starts from the teacher's weights"),
    }


def _method() -> dict[str, Field]:
    names = ", ".join(methods.names())
    return {
        "name": field("robust", f"{names}, or my_module:MyMethod", _NAME),
        "baseline": field(
            "", "a method to train beside it without the relation term, same seed and budget"
        ),
    }


def _report() -> dict[str, Field]:
    return {
        "tsne_points": field(300, "a class; 0 is no t-SNE", whole(0, 10_000)),
        "remark": field("", "said at the end of a run and on its page"),
        # CIFAR-10's ship and truck, as the paper's Figures 5 to 7.
        "tsne_classes": field((-2, -1), "the two classes that t-SNE shows", _PAIR),
        "gallery": field(500, "most suspicious images on the page; 0 is none", whole(0, 10_000)),
        "audit": field(True, "look for duplicates, outliers and pictures that show nothing"),
    }


def groups() -> dict[str, dict[str, Field]]:
    """All fields by group; the group "" is of those without one. A method's own are a group of its
    name, which no other group may have."""
    general = {
        "": _general(),
        "dataset": _dataset(),
        "noise": _noise(),
        "encoder": _encoder(),
        "teacher": _teacher(),
        "model": _model(),
        "augment": _augment(),
        "rm": _rm(),
        "train": _train(),
        "loss": _loss(),
        "rgrl": _rgrl(),
        "method": _method(),
    }
    own = methods.groups()
    if clash := general.keys() & own.keys() | own.keys() & {"report"}:
        raise ValueError(f"a method cannot be called {min(clash)}, which is a group of the config")
    return general | own | {"report": _report()}


def all_fields() -> dict[str, Field]:
    """All fields by their whole names: "seed", "rgrl.k"."""
    return {
        f"{group}.{name}" if group else name: one
        for group, members in groups().items()
        for name, one in members.items()
    }


def default() -> ConfigDict:
    """The paper's recipe on CIFAR-10 (sections 3 and 4.3) under 40 % symmetric noise."""
    config = ConfigDict()
    for group, members in groups().items():
        part = config
        if group:
            part = config[group] = ConfigDict()
        for name, one in members.items():
            is_open = one.default is None
            part[name] = config_dict.placeholder(one.kind) if is_open else one.default
    return config


def set_loss(config: ConfigDict, name: str, recipes: dict[str, dict]) -> None:
    """Chooses a robust loss with the K and the parameters that `recipes` has for it."""
    if name not in recipes:
        raise InputError(f"no recipe for the loss {name!r} in this config; it has {list(recipes)}")
    recipe = dict(recipes[name])
    config.rgrl.k = recipe.pop("k")
    config.loss.name = name
    config.loss.update(recipe)


def set_method(config: ConfigDict, choice: str, recipes: dict[str, dict]) -> None:
    """Chooses a method with the fields of its own that `recipes` has for it, if any; a recipe's
    "name" is that of the method, where the choice is called otherwise.

    Raises:
      InputError: there is no such method.
    """
    recipe = dict(recipes.get(choice, {}))
    config.method.name = recipe.pop("name", choice)
    methods.get(config.method.name)
    if recipe:
        config[config.method.name].update(recipe)
