"""Validation of a config, and access to its fields by their full names, such as "rgrl.k"."""

import difflib
import functools
import operator
from collections.abc import Container, Iterable, Mapping
from typing import Any

from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from rmdnet_jax.base import ranges
from rmdnet_jax.base.errors import InputError
from rmdnet_jax.config.fields import all_fields, default, groups
from rmdnet_jax.methods import registry as methods
from rmdnet_jax.teachers import registry as teachers

# Fields of 0.1.0, old name to current name.
RENAMED = {
    **{
        f"rgrl.{name}": f"train.{name}"
        for name in (
            "epochs", "batch_size", "lr", "lr_drops", "momentum", "weight_decay", "grad_clip",
        )
    },
    **{f"rgrl.loss.{name}": f"loss.{name}" for name in groups()["loss"]},
    "rgrl.loss": "loss.name",
    "rgrl.baseline": "method.baseline",
    "dataset.held_out": "dataset.test_fraction",
    "dataset.validation": "dataset.validation_fraction",
}  # fmt: skip


def check(config: ConfigDict, open_fields: Container[str] = ()) -> None:
    """Raises InputError for the first invalid value, before anything else happens.

    Args:
      config: the whole config.
      open_fields: names of fields that may be None, to be filled from the data
        (config/automatic.py).
    """
    fields = all_fields()
    there = flat(config.to_dict()) if isinstance(config, ConfigDict) else {}
    # An unknown field may be a missing one under its old name, so unknown fields come first.
    for name in sorted(there.keys() - fields.keys()):
        check_field(default(), name, "config.")
    if missing := [name for name in fields if name not in there]:
        raise InputError(
            f"the config has no field {missing[0]}; start from rmdnet_jax.config.default() and set "
            "what differs"
        )
    for name, field in fields.items():
        if there[name] is None and (field.default is None or name in open_fields):
            continue
        if wrong := field.wrong(f"config.{name}", there[name]):
            raise InputError(wrong)
    _check_together(config)


def unread(asked: Container[str], config: ConfigDict) -> list[str]:
    """A line on each value of the user's that nothing will read.

    Args:
      asked: names of the fields that the user set beyond the config file.
      config: every field has its value.
    """
    return [
        f"nothing reads config.{name} = {get(config, name)!r} with config.{why} = "
        f"{get(config, why)!r}"
        for name, why in unread_fields(config).items()
        # K = 0 asks for no relation term, and there is none.
        if name in asked and (name != "rgrl.k" or config.rgrl.k != 0)
    ]


def unread_fields(config: ConfigDict) -> dict[str, str]:
    """The fields that nothing reads, whatever their value, and the field that is the reason."""
    noise, teacher = config.noise, config.teacher.kind  # None: open, to be filled
    found: dict[str, str] = {}
    if noise.kind in ("none", "human"):
        found |= dict.fromkeys(("noise.rate", "noise.exact"), "noise.kind")
        if not noise.open_share:  # the seed also draws open images
            found["noise.seed"] = "noise.kind"
    if noise.kind == "matrix":
        found["noise.rate"] = "noise.kind"
    if config.model.kind == "mlp":
        of_resnet = ("width", "stem", "block", "blocks", "precision")
        found |= {f"model.{name}": "model.kind" for name in of_resnet}
        found |= {f"augment.{name}": "model.kind" for name in config.augment}
    if config.rgrl.k == 0:
        found |= dict.fromkeys(("rgrl.alpha", "rgrl.beta", "rgrl.relation_norm"), "rgrl.k")
    training = [f"rm.{name}" for name in config.rm]
    if teacher == "none":
        without = [f"rgrl.{name}" for name in config.rgrl]
        return found | dict.fromkeys((*without, *training, "teacher.width"), "teacher.kind")
    is_known = teacher is not None and None not in (config.rgrl.k, config.train.epochs)
    if is_known and not wants_teacher(config):
        of_teacher = "teacher.width", "rgrl.teacher_view", "rgrl.teacher_embedding"
        found |= dict.fromkeys((*training, *of_teacher), "rgrl.k")
    if teacher is not None and (config.teacher.path or not teachers.get(teacher).trains):
        training.remove("rm.knn_k")  # every teacher is judged by its neighbours
        found |= dict.fromkeys(training, "teacher.path" if config.teacher.path else "teacher.kind")
    return found


def _check_together(config: ConfigDict) -> None:
    """Raises InputError for a field that nothing would read, given the others."""
    teacher, rgrl, train, method = config.teacher, config.rgrl, config.train, config.method
    if train.epochs == 0 and teacher.kind == "none":
        raise InputError("config.train.epochs = 0 with config.teacher.kind = 'none' runs nothing")
    is_open = teacher.kind is None  # to be filled, and checked again
    source = None if is_open or teacher.kind == "none" else teachers.get(teacher.kind)
    if teacher.path and not is_open and not (source and source.reads_path):
        others = [kind for kind in teachers.kinds() if teachers.get(kind).reads_path]
        raise InputError(
            f"config.teacher.path with config.teacher.kind = {teacher.kind!r}; expected "
            f"{' or '.join(others)}"
        )
    if source and source.needs_path and not teacher.path:
        raise InputError(
            f"config.teacher.kind = {teacher.kind!r} without config.teacher.path; expected the "
            "workdir of a finished run, a folder that Model.save wrote, an .onnx classifier, or a "
            ".npy or .npz of logits"
        )
    guided = teacher.kind != "none" and rgrl.k != 0
    if rgrl.init_from_teacher and source and source.has_classifier:
        raise InputError(
            f"config.rgrl.init_from_teacher with config.teacher.kind = {teacher.kind!r}; expected "
            "False"
        )
    if rgrl.init_from_teacher and train.epochs and not guided:
        raise InputError(
            "config.rgrl.init_from_teacher needs a teacher; expected a config.teacher.kind other "
            "than 'none' and config.rgrl.k > 0"
        )
    kind = methods.get(method.name) if method.name else None
    for name, members in methods.groups().items() if kind else ():
        for field, one in members.items():
            if name not in (method.name, method.baseline) and config[name][field] != one.default:
                raise InputError(
                    f"config.{name}.{field} is {config[name][field]!r} with config.method.name = "
                    f"{method.name!r}, which does not read it; expected --config.method.name={name}"
                )
    if method.baseline:
        methods.get(method.baseline)
        if method.baseline == method.name and train.epochs and not guided:
            raise InputError(
                f"config.method.baseline = {method.baseline!r} is the method itself, which needs a "
                "teacher to differ; expected a config.teacher.kind other than 'none' and "
                "config.rgrl.k > 0"
            )
    if train.lr_decay == "cosine":
        for field, value in (("lr_drops", tuple(train.lr_drops)), ("lr_drop", train.lr_drop)):
            if value != (usual := all_fields()[f"train.{field}"].default):
                raise InputError(
                    f"config.train.{field} is {value} with config.train.lr_decay = 'cosine', "
                    f"which does not read it; expected {usual}, or 'steps'"
                )
    weighs = guided and not is_open and rgrl.k is not None and train.epochs
    if train.epochs and not is_open:
        for field in ("name", "baseline"):
            _check_classifier(config, field, source)
    if weighs and kind:
        _check_relation(config)
    if source and not source.has_network:
        right_values: dict[str, Any] = {"rgrl.teacher_embedding": "backbone", "teacher.width": 0}
        if not source.sees_views:
            right_values = {"rgrl.teacher_view": "same"} | right_values
        for name, right in right_values.items():
            if get(config, name) != right:
                raise InputError(
                    f"config.{name} is {get(config, name)!r} with a {source.title}, which does "
                    f"not read it; expected {right!r}"
                )
    _check_encoder(config)
    _check_open(config)
    if config.model.kind == "mlp":
        _check_features(config, guided)
    elif config.model.kind and (config.train.folds or 1) > 1:
        raise InputError(
            f"config.train.folds is {config.train.folds} with config.model.kind = "
            f"{config.model.kind!r}; expected 1, or config.model.kind = 'mlp'"
        )
    width = config.model.width or teacher.width  # model.width may be open, to be filled
    if rgrl.init_from_teacher and teacher.width not in (0, width):
        raise InputError(
            f"config.rgrl.init_from_teacher with a teacher of width {teacher.width}; expected "
            f"config.model.width, {config.model.width}"
        )


def carries_relation(method: Any) -> bool:
    """Whether the relation term, which needs a single network, can be added to a method."""
    return method.learners == 1 and method.takes_relation


def _check_relation(config: ConfigDict) -> None:
    """Raises InputError for a method that cannot carry the relation term."""
    method = built_method(config)
    if carries_relation(method):
        return
    reason = "cannot carry the relation term"
    if method.learners > 1:
        reason = f"trains {method.learners} networks, and the relation term needs just one"
    raise InputError(
        f"config.method.name = {config.method.name!r} {reason}; expected --config.rgrl.k=0"
    )


def _check_classifier(config: ConfigDict, field: str, source: Any) -> None:
    """Raises InputError for a method or baseline that learns from a classifier where there is none;
    `source` is the teacher's kind, None without a teacher."""
    name = config.method[field]
    is_there = source and source.has_classifier
    if name and not is_there and built_method(config, name).needs_classifier:
        right = [kind for kind in teachers.kinds() if teachers.get(kind).has_classifier]
        raise InputError(
            f"config.method.{field} = {name!r} needs a trained classifier and "
            f"config.teacher.kind is {config.teacher.kind!r}; expected "
            f"--config.teacher.kind={right[0]} --config.teacher.path=WORKDIR"
        )


def _check_encoder(config: ConfigDict) -> None:
    """Raises InputError for an encoder, or a setting of one, that nothing reads."""
    given, kind, teacher = config.encoder, config.model.kind, config.teacher.kind
    if given.path and kind not in ("mlp", None) and teacher not in ("encoder", None):
        raise InputError(
            f"config.encoder.path is {given.path} with config.teacher.kind = {teacher!r} and "
            f"config.model.kind = {kind!r}, which do not read it; expected "
            "--config.teacher.kind=encoder to use it as the teacher, or --config.model.kind=mlp to "
            "learn from its features"
        )
    for name in ("image_size", "normalisation", "output"):
        if given[name] and given.path == "":
            raise InputError(
                f"config.encoder.{name} is {given[name]!r} without config.encoder.path; expected "
                "both, or neither"
            )
    if config.model.hidden and kind == "resnet":
        raise InputError(
            f"config.model.hidden is {config.model.hidden} with config.model.kind = 'resnet'; "
            "expected (), or config.model.kind = 'mlp'"
        )


def _check_open(config: ConfigDict) -> None:
    """Raises InputError for open-set images from two sources, or that nothing uses."""
    noise, classes = config.noise, tuple(config.dataset.open_classes)
    if noise.open_path and classes:
        raise InputError(
            f"config.noise.open_path is {noise.open_path} with config.dataset.open_classes = "
            f"{classes}; expected only one of the two"
        )
    if noise.open_path and noise.kind != "universal" and not noise.open_share:
        raise InputError(
            f"config.noise.open_path is {noise.open_path} with config.noise.kind = "
            f"{noise.kind!r} and config.noise.open_share = 0, which use none; expected "
            "config.noise.open_share > 0, or config.noise.kind = 'universal'"
        )


def _check_features(config: ConfigDict, guided: bool) -> None:
    """Raises InputError for what does not fit a network on feature vectors."""
    kind = config.teacher.kind
    right = [name for name in teachers.kinds() if not teachers.get(name).has_network]
    if kind not in (*right, "none", None):
        raise InputError(
            f"config.teacher.kind = {kind!r} with config.model.kind = 'mlp', which reads no "
            f"images; expected {', '.join(right)} or none"
        )
    if config.rgrl.init_from_teacher:
        raise InputError("config.rgrl.init_from_teacher with config.model.kind = 'mlp'; expected "
                         "False")  # fmt: skip
    is_weighed = config.rgrl.k is not None and config.train.epochs
    if guided and is_weighed and not config.model.hidden:
        raise InputError(
            "config.rgrl.k > 0 with config.model.hidden = (), a linear model, whose embedding is "
            "the features themselves; expected config.rgrl.k = 0, or hidden layers"
        )


def wants_teacher(config: ConfigDict) -> bool:
    """Whether anything will read a teacher. K = 0 is the method alone, unless it learns from a
    classifier; a teacher that costs nothing is judged in any case."""
    kind = config.teacher.kind
    if kind == "none":
        return False
    is_read = config.rgrl.k > 0 or not config.train.epochs or teachers.get(kind).is_free
    names = filter(None, (config.method.name, config.method.baseline))
    return is_read or any(built_method(config, name).needs_classifier for name in names)


def get(config: ConfigDict, field: str) -> Any:
    """The value of a field by its full name."""
    return functools.reduce(operator.getitem, field.split("."), config)


def check_field(config: ConfigDict, field: str, giver: str) -> None:
    """Raises InputError if there is no such field; `giver` starts the message."""
    fields = flat(config.to_dict())
    if field not in fields:
        raise InputError(f"{giver}{field}: the config has no such field; {hint(field, fields)}")


def hint(field: str, fields: Iterable[str] | None = None) -> str:
    """A hint at which field may be meant by an unknown name."""
    if field in RENAMED:
        return f"it is now called {RENAMED[field]}"
    known = list(fields or all_fields())
    group, _, leaf = field.lower().rpartition(".")
    # A name without its group, or in capitals: the learner's, if several groups have it.
    same = [
        name
        for name in known
        if name.lower().startswith(group) and name.lower().rpartition(".")[2] == leaf
    ]
    near = [name for name in same if name.endswith(f"train.{leaf}")] or same
    near = near or difflib.get_close_matches(field.lower(), known, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    if group and not any(name.startswith(f"{group}.") for name in known):
        return (
            "--help lists them; a method given by import path has none, its parameters are the "
            "defaults of its class (docs/extending.md)"
        )
    return "--help lists them"


def with_values(config: ConfigDict, values: Mapping[str, Any], giver: str) -> ConfigDict:
    """A copy with the values of `values` by field ("rgrl.k"); a list, as in JSON, is a tuple.

    Raises:
      InputError: there is no such field, or a value has the wrong type; `giver` starts the message.
    """
    changed = config.copy_and_resolve_references()
    known = all_fields()
    for field, value in values.items():
        check_field(config, field, giver)
        kind = known[field].kind if field in known else type(get(config, field))
        value = tuple(value) if kind is tuple and isinstance(value, list) else value
        if not ranges.is_of(value, kind):
            rule = known[field].rule if field in known else ranges.OF_TYPE[kind]
            raise InputError(f"{giver}{field} is {value!r}; expected {rule}")
        changed.update_from_flattened_dict({field: value})
    return changed


def flat(tree: dict) -> dict:
    """A config's fields by their full names: {"rgrl.k": 1.0, ...}."""
    return flatten_dict(tree, sep=".")


def loss_parameters(config: ConfigDict) -> dict[str, float]:
    """The parameters of the robust loss that the config sets."""
    given = config.loss.to_dict()
    del given["name"]
    return {name: value for name, value in given.items() if value is not None}


def method_parameters(config: ConfigDict, name: str) -> dict[str, Any]:
    """The parameters of a method: its group in the config, if it has one."""
    return config[name].to_dict() if name in config else {}


def built_method(config: ConfigDict, name: str = "") -> Any:
    """The config's method, or the one of that name, without a learner: for reading its properties
    only.

    Raises:
      InputError: there is no such method, or its fields do not fit together.
    """
    name = name or config.method.name
    return methods.build(name, None, method_parameters(config, name))


def text() -> str:
    """A listing of all fields for --help: default, purpose and allowed values."""
    lines = []
    for name, field in all_fields().items():
        shown = "not given" if field.default is None else repr(field.default)
        lines += [f"{name} = {shown}", f"    {field.does}; {field.rule}"]
    return "\n".join(lines)
