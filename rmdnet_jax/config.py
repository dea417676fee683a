"""Every field of a config with its default, and the check of its values. Files in configs/ start
from `default()` and state what differs."""

import difflib
import functools
import operator
import os
from collections.abc import Container, Mapping
from typing import Any

from ml_collections import ConfigDict, config_dict

from rmdnet_jax import config_rules
from rmdnet_jax.errors import InputError

# The robust losses' own parameters; None (not given) is the loss's default.
_LOSS_PARAMETERS = {
    "alpha": float,
    "beta": float,
    "a": float,
    "q": float,
    "t": int,
    "log_zero": float,
}


def default() -> ConfigDict:
    """The paper's recipe on CIFAR-10 (sections 3 and 4.3) under 40 % symmetric noise."""
    config = ConfigDict()
    config.seed = 0
    config.checkpoint_every = 1.0  # epochs; 0.25 is four times an epoch
    config.tensorboard = True

    config.dataset = ConfigDict()
    config.dataset.name = "cifar10"  # digits, own, or a name of tensorflow-datasets
    # A folder or a manifest of pictures, a .npz, or the folder of prepared TFDS sets.
    config.dataset.path = ""
    config.dataset.train_size = 0  # the first images only; 0 is all
    config.dataset.test_size = 0
    config.dataset.image_size = 0  # side to which pictures are resized; 0: all have one size
    config.dataset.held_out = 0.2  # share to test on of pictures without a test split
    # Share of every given class that stage RGRL does not see and is judged on (docs/sweeps.md).
    config.dataset.validation = 0.0
    config.dataset.max_broken = 0.01  # share of files that may be no pictures, and are left out
    config.dataset.cache = cache_folder("pictures")  # of decoded ones; "": none
    # GB of decoded images above which they stay on disk; 0 is half of the device's memory, and at
    # most a quarter of the host's.
    config.dataset.memory_budget = 0.0
    # Processes that decode what stays on disk; 0 is threads, -1 chooses by the number of cores, and
    # threads where the cache has it decoded.
    config.dataset.workers = -1

    config.noise = ConfigDict()
    config.noise.kind = "symmetric"  # rmdnet_jax/data/noise.py lists them; or "human"
    config.noise.rate = 0.4
    config.noise.seed = 0
    config.noise.exact = False  # flip exactly round(rate * n) of each class
    config.noise.field = ""  # of the data: the human labels of kind "human"
    config.noise.map = ""  # CSV of true,given pairs for kind "asymmetric"
    config.noise.matrix = ""  # .npy or .csv [C, C] for kind "matrix"

    config.model = ConfigDict()
    config.model.width = 64  # channels of ResNet-18's first stage
    config.model.stem = "cifar"  # or "imagenet"
    config.model.precision = "auto"  # float32, bfloat16; auto is the faster one

    config.augment = ConfigDict()
    config.augment.flip = True
    config.augment.pad = 4  # pixels, of stage RGRL's random crop

    config.teacher = ConfigDict()
    config.teacher.kind = "simsiam"  # random (Table 2's CE+RGRL), none (the robust loss alone)
    config.teacher.path = ""  # workdir of a finished teacher to use instead of training one
    config.teacher.width = 0  # 0 is model.width

    config.rm = ConfigDict()
    config.rm.epochs = 1000
    config.rm.batch_size = 64
    config.rm.lr = 0.03
    config.rm.momentum = 0.9
    config.rm.weight_decay = 5e-4
    config.rm.predictor_constant_lr = False
    config.rm.min_area = 0.2  # smallest share of the image in a view
    config.rm.knn_every = 10  # epochs between two kNN probes; 0 is never
    config.rm.knn_k = 200
    config.rm.on_collapse = "warn"  # or "stop", when SimSiam's embeddings become all the same

    config.rgrl = ConfigDict()
    config.rgrl.epochs = 240  # 0: stop after stage RM
    config.rgrl.batch_size = 64
    config.rgrl.lr = 0.001
    config.rgrl.lr_drops = (0.625, 0.75, 0.875)  # shares of training: epochs 150, 180, 210
    config.rgrl.momentum = 0.9
    config.rgrl.weight_decay = 5e-4
    config.rgrl.grad_clip = 0.0  # largest global norm; 0 is none
    config.rgrl.loss = ConfigDict({"name": "ce"})
    for name, kind in _LOSS_PARAMETERS.items():
        config.rgrl.loss[name] = config_dict.placeholder(kind)
    config.rgrl.k = 1.0
    config.rgrl.alpha = 0.8
    config.rgrl.beta = 0.35
    config.rgrl.relation_norm = "frobenius"  # or frobenius_per_sample
    config.rgrl.teacher_embedding = "backbone"  # or projector
    config.rgrl.teacher_view = "same"  # or own
    config.rgrl.init_from_teacher = False
    config.rgrl.baseline = False  # also train the loss alone, same seed and budget

    config.report = ConfigDict()
    config.report.tsne_points = 300  # a class; 0 is no t-SNE
    config.report.remark = ""  # said at the end of a run and on its page
    config.report.tsne_classes = (-2, -1)  # CIFAR-10's ship and truck, as Figures 5 to 7
    config.report.gallery = 100  # most suspicious images shown on the page; 0 is none
    return config


def cache_folder(*below: str) -> str:
    """The folder for what can be made again, or one `below` it; "" where the user has no home."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    # The ~ stays where there is no home, in some containers.
    return "" if home.startswith("~") else os.path.join(home, "rmdnet_jax", *below)


def set_loss(config: ConfigDict, name: str, recipes: dict[str, dict]) -> None:
    """Chooses a robust loss with the K and the parameters that `recipes` has for it."""
    if name not in recipes:
        raise InputError(f"no recipe for the loss {name!r} in this config; it has {list(recipes)}")
    recipe = dict(recipes[name])
    config.rgrl.k = recipe.pop("k")
    config.rgrl.loss.name = name
    config.rgrl.loss.update(recipe)


def check(config: ConfigDict, open_fields: Container[str] = ()) -> None:
    """Raises InputError for the first value that cannot be right, before anything else happens.

    Args:
      config: all of it.
      open_fields: may be None, to be filled from the data (rmdnet_jax/automatic.py).
    """
    base = flat(default().to_dict())
    there = flat(config.to_dict()) if isinstance(config, ConfigDict) else {}
    if missing := [field for field in base if field not in there]:
        raise InputError(
            f"the config has no field {missing[0]}; right is to start from "
            "rmdnet_jax.config.default() and set what differs"
        )
    for field in there.keys() - base.keys():
        check_field(default(), field, "config.")
    for field, standard in base.items():
        value = there[field]
        if value is None and (standard is None or field in open_fields):
            continue
        kind = _LOSS_PARAMETERS[field.rpartition(".")[2]] if standard is None else type(standard)
        if wrong := config_rules.wrong(field, value, kind):
            raise InputError(wrong)
    _check_together(config)


def _check_together(config: ConfigDict) -> None:
    """Raises InputError for a field that nothing would read beside the others."""
    teacher, rgrl = config.teacher, config.rgrl
    if rgrl.epochs == 0 and teacher.kind == "none":
        raise InputError("config.rgrl.epochs = 0 with config.teacher.kind = 'none' runs nothing")
    if teacher.path and teacher.kind != "simsiam":
        raise InputError(
            f"config.teacher.path with config.teacher.kind = {teacher.kind!r}; right is simsiam"
        )
    guided = teacher.kind != "none" and rgrl.k != 0
    for field in ("baseline", "init_from_teacher"):
        if rgrl[field] and rgrl.epochs and not guided:
            raise InputError(
                f"config.rgrl.{field} needs a teacher; right is a config.teacher.kind other than "
                "'none' and config.rgrl.k > 0"
            )
    width = config.model.width or teacher.width  # where it is open, to be filled
    if rgrl.init_from_teacher and teacher.width not in (0, width):
        raise InputError(
            f"config.rgrl.init_from_teacher with a teacher of width {teacher.width}; right is "
            f"config.model.width, {config.model.width}"
        )


def get(config: ConfigDict, field: str) -> Any:
    """The value of a field by its whole name, "rgrl.k"."""
    return functools.reduce(operator.getitem, field.split("."), config)


def check_field(config: ConfigDict, field: str, giver: str) -> None:
    """Raises InputError if there is no such field; `giver` begins the line."""
    fields = flat(config.to_dict())
    if field not in fields:
        near = difflib.get_close_matches(field, fields, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "--help lists them"
        raise InputError(f"{giver}{field}: the config has no such field; {hint}")


def with_values(config: ConfigDict, values: Mapping[str, Any], giver: str) -> ConfigDict:
    """A copy with the values of `values` by field ("rgrl.k").

    Raises:
      InputError: there is no such field, or a value is of another type; `giver` begins the line.
    """
    changed = config.copy_and_resolve_references()
    for field, value in values.items():
        check_field(config, field, giver)
        # The type of what is open is that of its default; what is open takes anything.
        kind = type(get(config, field))
        if kind is type(None):
            kind = type(flat(default().to_dict()).get(field))
        if kind is not type(None) and not config_rules.is_of(value, kind):
            raise InputError(f"{giver}{field}: {value!r} does not fit; right is {kind.__name__}")
        changed.update_from_flattened_dict({field: value})
    return changed


def flat(tree: dict, prefix: str = "") -> dict:
    """A config's fields by their whole names: {"rgrl.k": 1.0, ...}."""
    leaves: dict = {}
    for name, value in tree.items():
        is_tree = isinstance(value, dict)
        leaves |= flat(value, f"{prefix}{name}.") if is_tree else {prefix + name: value}
    return leaves


def loss_parameters(config: ConfigDict) -> dict[str, float]:
    """The parameters of the robust loss that the config gives."""
    given = {name: config.rgrl.loss[name] for name in _LOSS_PARAMETERS}
    return {name: value for name, value in given.items() if value is not None}
