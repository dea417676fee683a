"""Every field of a config, declared once: its default, type, allowed values and purpose.

Files in configs/ start from `default()` and set what differs. The parameters of a loss or a method
are declared next to it and read from there.
"""

import functools
import itertools
from collections.abc import Mapping

from ml_collections import ConfigDict, config_dict

from rmdnet_jax.base.cache import cache_folder
from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.ranges import (
    AT_LEAST_0,
    BELOW_1,
    IS_POSITIVE,
    OF_TYPE,
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
    "distinct class numbers, from 0 up",
    lambda classes: (
        all(is_of(n, int) and n >= 0 for n in classes) and len(set(classes)) == len(classes)
    ),
)
_PAIR = Rule(
    "two class numbers", lambda pair: len(pair) == 2 and all(is_of(one, int) for one in pair)
)


def _is_increasing(drops: tuple) -> bool:
    """Whether these are increasing fractions in (0, 1)."""
    are_numbers = all(is_of(drop, float) for drop in drops)
    return are_numbers and all(a < b for a, b in itertools.pairwise((0, *drops, 1)))


def _general() -> dict[str, Field]:
    return {
        "seed": field(0, "seed of all randomness", whole(0, 2**32 - 1)),
        "checkpoint_every": field(1.0, "in epochs; 0.25 is four per epoch", IS_POSITIVE),
        "tensorboard": field(True, "also write TensorBoard files, if TensorFlow is installed"),
    }


def _dataset() -> dict[str, Field]:
    side = Rule("0, or a whole number from 8 to 4,096", lambda n: n == 0 or 8 <= n <= 4096)
    open_share = number(0, 1, open_low=True, open_high=True)
    return {
        "name": field("cifar10", "digits, own, npz, or a name in tensorflow-datasets"),
        "path": field("", "a folder or manifest of pictures, a .npz, or prepared TFDS data"),
        "root": field("", "folder that a manifest's paths are relative to; empty: its own"),
        "corrections": field("", "a corrections.csv, or several as a,b (docs/corrections.md)"),
        "open_classes": field(
            (), "numbers of the classes left out; their images may serve as open-set ones", _CLASSES
        ),
        "skip": field(0, "training images skipped at the start, before train_size applies", _COUNT),
        "train_size": field(0, "use only the first training images; 0: all", _COUNT),
        "test_size": field(0, "use only the first test images; 0: all", _COUNT),
        "image_size": field(0, "side to resize to; 0: all have one size already", side),
        "test_fraction": field(
            0.2, "share of each class to test on, if the data has no test split", open_share
        ),
        "validation_fraction": field(
            0.0, "share of each given class held out of training (docs/sweeps.md)", BELOW_1
        ),
        "max_broken": field(0.01, "largest share of broken files, which are left out", BELOW_1),
        "cache": field(cache_folder("pictures"), "folder for decoded pictures; empty: no cache"),
        "memory_budget": field(
            0.0,
            "GB of decoded images above which they stay on disk; 0: half of the device's memory "
            "and at most a quarter of the host's",
            AT_LEAST_0,
        ),
        "workers": field(
            -1,
            "processes that decode images on disk; 0: threads, -1: by number of cores",
            whole(-1, 1024),
        ),
    }


def _noise() -> dict[str, Field]:
    return {
        "kind": field("symmetric", "one in rmdnet_jax/data/noise.py (docs/method.md), or human"),
        "rate": field(0.4, "share of wrong labels; for universal, of all images", SHARE),
        "rho2": field(0.0, "for universal, share of the wrong labels on open-set images", SHARE),
        "open_path": field(
            "", "open-set images, of none of the classes: a folder, or a .npz or .npy"
        ),
        "open_share": field(
            0.0, "share of all images, for added open-set ones; not for universal", BELOW_1
        ),
        "seed": field(0, "seed of the draw", whole(0, 2**63 - 1)),
        "exact": field(False, "flip exactly round(rate * n) labels per class; not for instance"),
        "field": field("", "for human, the field of the data that has the labels"),
        "map": field("", "for asymmetric, a CSV of true,given pairs"),
        "matrix": field("", "for matrix, a .npy or .csv [C, C]"),
    }


def _encoder() -> dict[str, Field]:
    side = Rule("0, or a whole number from 16 to 1,024", lambda n: n == 0 or 16 <= n <= 1024)
    return {
        "path": field(
            "",
            "a pretrained .onnx, .safetensors or hf://..., a .npy or .npz of embeddings, or the "
            "built-in classical",
        ),
        "image_size": field(0, "side of its input in pixels; 0: the file's own, or 224", side),
        "normalisation": field(
            None, "of its input; None: as the file states, or with best neighbour agreement",
            NORMALISATION, str,
        ),
        "output": field("", "name of an ONNX file's output; empty: the most likely one"),
        "cache": field(cache_folder("embeddings"), "folder for embeddings; empty: no cache"),
    }  # fmt: skip


def _model() -> dict[str, Field]:
    return {
        "kind": field(
            "resnet", "resnet for images, mlp for feature vectors", one_of("resnet", "mlp")
        ),
        "hidden": field((), "units of the mlp's hidden layers; (): a linear model", _HIDDEN),
        # 1,024 channels make 3,000 million parameters.
        "width": field(64, "channels of the ResNet's first stage", whole(1, 1024)),
        "blocks": field((2, 2, 2, 2), "blocks per stage; (1, 1, 1, 1) is ResNet-10", _BLOCKS),
        "block": field(
            "basic", "block type; bottleneck from ResNet-50 up", one_of("basic", "bottleneck")
        ),
        "stem": field("cifar", "cifar for small images, or imagenet", one_of("cifar", "imagenet")),
        "precision": field(
            "auto", "of the convolutions; auto: the faster", one_of("auto", "float32", "bfloat16")
        ),
    }


def _augment() -> dict[str, Field]:
    return {
        "flip": field(True, "mirror half of the views"),
        "pad": field(4, "padding in pixels of the learner's random crop", whole(0, 4096)),
    }


def _teacher() -> dict[str, Field]:
    kinds = one_of(*teachers.kinds(), "none")
    return {
        "kind": field("simsiam", "where the teacher comes from; none: no relation term", kinds),
        "path": field(
            "", "a finished teacher's workdir; supervised: also a saved model, .onnx, .npy or .npz"
        ),
        "width": field(0, "width of the teacher's ResNet; 0: model.width", whole(0, 1024)),
    }


def _rm() -> dict[str, Field]:
    return {
        "epochs": field(1000, "epochs of training the SimSiam teacher", whole(1, 10**6)),
        "batch_size": field(64, "images per step", _BATCH),
        "lr": field(0.03, "initial learning rate; decays to 0 along a cosine", IS_POSITIVE),
        "momentum": field(0.9, "momentum of SGD", BELOW_1),
        "weight_decay": field(5e-4, "coupled weight decay, on every parameter", AT_LEAST_0),
        "predictor_constant_lr": field(False, "keep the predictor's learning rate constant"),
        "min_area": field(0.2, "smallest share of an image in a view", number(0, 1, open_low=True)),
        "knn_every": field(10, "epochs between kNN probes; 0: never", _EPOCHS),
        "knn_k": field(200, "neighbours that vote in kNN", whole(1, 10**6)),
        "on_collapse": field("warn", "when all embeddings become the same", one_of("warn", "stop")),
    }


def _train() -> dict[str, Field]:
    drops = Rule("increasing fractions of training in (0, 1)", _is_increasing)
    return {
        "epochs": field(240, "epochs of training the learner; 0: stop after the teacher", _EPOCHS),
        "batch_size": field(64, "images per step", _BATCH),
        "folds": field(
            1,
            "folds, each left out of a training that then judges its labels; 1: none",
            whole(1, 20),
        ),
        "optimizer": field("sgd", "the learner's optimiser", one_of("sgd", "adam")),
        "lr": field(0.001, "initial learning rate", IS_POSITIVE),
        "lr_decay": field(
            "steps", "steps: drops at lr_drops; cosine: decays to 0", one_of("steps", "cosine")
        ),
        "lr_drops": field((0.625, 0.75, 0.875), "fractions of training at which lr drops", drops),
        "lr_drop": field(0.1, "factor on lr at each drop", number(0, 1, open_low=True)),
        "momentum": field(0.9, "momentum of SGD; Adam's beta1", BELOW_1),
        "weight_decay": field(5e-4, "coupled weight decay, on every parameter", AT_LEAST_0),
        "grad_clip": field(0.0, "largest global norm of the gradient; 0: no clipping", AT_LEAST_0),
    }


@functools.cache
def _loss() -> Mapping[str, Field]:
    """The name, and every parameter of any loss; None (not given) is the loss's default."""
    found = {"name": field("ce", f"{', '.join(robust.LOSSES)}, or my_module:my_loss", _NAME)}
    declared = {loss: robust.fields(loss) for loss in robust.LOSSES}
    for parameters in declared.values():
        for name, parameter in parameters.items():
            losses = [loss for loss, others in declared.items() if name in others]
            does = f"parameter of {', '.join(losses)}; None: the loss's default"
            found[name] = field(None, does, _any_of(name, declared), parameter.kind)
    return found


def _any_of(name: str, declared: Mapping[str, Mapping[str, Field]]) -> Rule:
    """The ranges of a parameter by loss. `robust.get` checks the loss's own; a user's loss may have
    another one for the same name, so any value of the type fits here."""
    losses: dict[str, list[str]] = {}
    for loss, parameters in declared.items():
        if name in parameters:
            losses.setdefault(parameters[name].rule.right, []).append(loss)
            kind = parameters[name].kind
    of_losses = [f"{right} for {', '.join(names)}" for right, names in losses.items()]
    right = "; ".join(of_losses) if len(losses) > 1 else next(iter(losses))
    return Rule(right, OF_TYPE[kind].fits)


def _rgrl() -> dict[str, Field]:
    return {
        "k": field(1.0, "weight of the relation term; 0: no such term", AT_LEAST_0),
        "alpha": field(0.8, "weight of the node loss in it", AT_LEAST_0),
        "beta": field(0.35, "weight of the edge loss in it", AT_LEAST_0),
        "relation_norm": field(
            "frobenius",
            "norm of the relations; frobenius_per_sample divides by the batch size",
            one_of("frobenius", "frobenius_per_sample"),
        ),
        "teacher_embedding": field(
            "backbone", "SimSiam's output that the term uses", one_of("backbone", "projector")
        ),
        "teacher_view": field(
            "same", "the learner's view, or one of its own", one_of("same", "own")
        ),
        "init_from_teacher": field(False, "start the learner from the teacher's weights"),
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
        "tsne_points": field(300, "points per class; 0: no t-SNE", whole(0, 10_000)),
        "remark": field("", "printed at the end of a run and on its page"),
        # CIFAR-10's ship and truck, as the paper's Figures 5 to 7.
        "tsne_classes": field((-2, -1), "the two classes that t-SNE shows", _PAIR),
        "gallery": field(500, "number of suspicious images on the page; 0: none", whole(0, 10_000)),
        "audit": field(True, "check for duplicates, outliers and faulty images"),
    }


def groups() -> dict[str, Mapping[str, Field]]:
    """All fields by group; the group "" holds those without one. A method's own fields are a group
    under its name, which no other group may have."""
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
        raise ValueError(f"a method cannot be called {min(clash)}, the name of a config group")
    return general | own | {"report": _report()}


def all_fields() -> dict[str, Field]:
    """All fields by their full names: "seed", "rgrl.k"."""
    return {
        f"{group}.{name}" if group else name: one
        for group, members in groups().items()
        for name, one in members.items()
    }


def default() -> ConfigDict:
    """The paper's recipe on CIFAR-10 (sections 3 and 4.3) under 40 % symmetric noise.

    Examples:
      >>> from rmdnet_jax.config import default
      >>> config = default()
      >>> config.train.epochs, config.noise.kind, config.noise.rate
      (240, 'symmetric', 0.4)
    """
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
    """Sets a robust loss, with the K and the parameters that `recipes` has for it.

    Examples:
      >>> from rmdnet_jax.config import default, set_loss
      >>> config = default()
      >>> set_loss(config, "gce", {"ce": {"k": 1.0}, "gce": {"k": 0.5, "q": 0.7}})
      >>> config.loss.name, config.loss.q, config.rgrl.k
      ('gce', 0.7, 0.5)
    """
    if name not in recipes:
        raise InputError(f"no recipe for the loss {name!r} here; expected one of {list(recipes)}")
    recipe = dict(recipes[name])
    config.rgrl.k = recipe.pop("k")
    config.loss.name = name
    config.loss.update(recipe)


def set_method(config: ConfigDict, choice: str, recipes: dict[str, dict]) -> None:
    """Sets a method, with those of its own fields that `recipes` has for it, if any; a recipe's
    "name" is the method's, where the choice has a different name.

    Raises:
      InputError: there is no such method.

    Examples:
      >>> from rmdnet_jax.config import default, set_method
      >>> config = default()
      >>> recipes = {"elr_asymmetric": {"name": "elr", "beta": 0.9}}
      >>> set_method(config, "elr_asymmetric", recipes)
      >>> config.method.name, config.elr.beta
      ('elr', 0.9)
    """
    if choice in robust.LOSSES:
        raise InputError(
            f"{choice!r} is a loss, not a method; expected :robust --config.loss.name={choice}"
        )
    recipe = dict(recipes.get(choice, {}))
    config.method.name = recipe.pop("name", choice)
    methods.get(config.method.name)
    if recipe:
        config[config.method.name].update(recipe)
