"""Every value is checked, and what cannot be expected named in one line."""

import json
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.config import checking, default
from rmdnet_jax.config.fields import all_fields


def with_value(field, value):
    """As a config file may leave it, whatever the type."""
    config = default()
    group, _, leaf = field.rpartition(".")
    (checking.get(config, group) if group else config)._fields[leaf] = value
    return config


def config(**fields):
    changed = default()
    changed.update_from_flattened_dict(fields)
    return changed


def test_the_defaults_pass():
    checking.check(default())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dataset.image_size", 7),
        ("dataset.test_fraction", 0.0),
        ("dataset.test_fraction", 1.0),
        ("dataset.max_broken", 1.0),
        ("dataset.max_broken", -0.1),
        ("dataset.validation_fraction", 1.0),
        ("dataset.memory_budget", -1.0),
        ("dataset.workers", -2),
        ("noise.rate", 1.01),
        ("noise.rate", math.nan),
        ("seed", -1),
        ("model.width", 0),
        ("model.stem", "vgg"),
        ("rm.batch_size", 1),
        ("rm.lr", 0.0),
        ("rm.lr", math.inf),
        ("rm.min_area", 0.0),
        ("train.momentum", 1.0),
        ("train.optimizer", "lion"),
        ("train.lr_drop", 0.0),
        ("rgrl.k", -1.0),
        ("rgrl.k", None),
        ("loss.name", ""),
        ("method.name", " "),
        ("elr.beta", 1.0),
        ("elr.weight", -1.0),
        ("coteaching.rate", 1.1),
        ("coteaching.ramp", 0),
        ("coteaching.ramp", None),
        ("train.lr_drops", (0.5, 0.4)),
        ("train.lr_drops", (0.5, 1.0)),
        ("train.lr_drops", ("a", "b")),
        ("rm.epochs", "many"),
        ("rgrl.relation_norm", "l2"),
        ("teacher.kind", "moco"),
        ("report.tsne_classes", (1,)),
        ("report.tsne_classes", "ab"),
        ("train.lr_drops", "ab"),
        ("train.lr_drops", (0.5, math.nan)),
        ("rm.epochs", 1.5),
        ("rm.epochs", True),
        ("rm.epochs", 10**12),
        ("rgrl.k", 10**400),
        pytest.param("seed", 10**5000, id="more digits than Python writes"),
        ("loss.q", 10**400),
        ("noise.exact", 1),
        ("augment.flip", "False"),
        ("dataset.path", 3),
        ("dataset.path", "a\0b"),
        ("dataset.path", None),
    ],
)
def test_a_value_that_cannot_be_right_is_named(field, value):
    with pytest.raises(InputError, match=re.escape(f"config.{field} is")):
        checking.check(with_value(field, value))


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**400, -(10**5000), 2**31, 2**63, 1e300, np.int64(3), np.zeros(2)]),
    st.floats(),
    st.text(max_size=8),
    st.binary(max_size=3),
    st.complex_numbers(),
    st.lists(st.floats() | st.text(max_size=2), max_size=3),
    st.lists(st.floats() | st.integers(-3, 3), max_size=3).map(tuple),
    st.builds(object),
)


@given(field=st.sampled_from(sorted(all_fields())), value=ANYTHING)
def test_whatever_a_field_is_it_passes_or_is_refused_in_one_line(field, value):
    config, refusal = with_value(field, value), ""
    try:
        checking.check(config)
    except InputError as error:
        refusal = str(error)
    assert "\n" not in refusal
    assert len(refusal) < 500
    if not refusal:
        json.dumps(config.to_dict())  # as the workdir's config.json


def test_a_field_that_a_config_file_invents_or_takes_away_is_named():
    changed = default()
    changed.train.epoch = 3
    with pytest.raises(InputError, match=r"config\.train\.epoch: .* did you mean 'train\.epochs'"):
        checking.check(changed)
    del changed.train.epoch, changed.rm.lr
    with pytest.raises(InputError, match=r"no field rm\.lr; start from"):
        checking.check(changed)
    for nothing in (None, 3, {}):
        with pytest.raises(InputError, match="the config has no field"):
            checking.check(nothing)


@pytest.mark.parametrize(("old", "new"), checking.RENAMED.items())
def test_a_field_of_an_older_version_is_refused_with_its_new_name(old, new):
    says = rf"{re.escape(old)}: the config has no such field; it is now called {re.escape(new)}"
    assert new in all_fields()
    with pytest.raises(InputError, match=rf"^fields: {says}"):
        checking.with_values(default(), {old: 1}, "fields: ")
    if old != "rgrl.loss":  # is a group, whose fields are named
        changed = default()
        group, _, leaf = old.rpartition(".")
        if group == "rgrl.loss":
            changed.rgrl.loss = {}
        checking.get(changed, group)[leaf] = 1
        with pytest.raises(InputError, match=rf"^config\.{says}"):
            checking.check(changed)


BASELINES = {
    # What is asked for -> what the line must say; "" is nothing.
    ("robust", "robust", "simsiam", 1.0): "",
    ("robust", "robust", "none", 1.0): "is the method itself, which needs a teacher",
    ("robust", "robust", "simsiam", 0.0): "is the method itself, which needs a teacher",
    ("elr", "robust", "none", 1.0): "",
    ("elr", "elr", "none", 1.0): "is the method itself, which needs a teacher",
    ("robust", "coteaching", "simsiam", 1.0): "",
    ("robust", "baseline", "simsiam", 1.0): "unknown method 'baseline'",
    ("mixmatch", "", "simsiam", 1.0): "unknown method 'mixmatch'",
    ("coteaching", "", "simsiam", 1.0): "trains 2 networks, and the relation term needs just one",
    ("coteaching", "", "simsiam", 0.0): "",
    ("coteaching", "robust", "none", 1.0): "",
    ("gss", "", "simsiam", 1.0): "",
}


@pytest.mark.parametrize("case", BASELINES, ids=str)
def test_a_method_and_its_baseline_differ_by_something(case):
    method, baseline, teacher, k = case
    made = config(**{"method.name": method, "method.baseline": baseline,
                     "teacher.kind": teacher, "rgrl.k": k})  # fmt: skip
    if not BASELINES[case]:
        checking.check(made)
        return
    with pytest.raises(InputError, match=BASELINES[case]):
        checking.check(made)


def test_a_method_whose_fields_say_how_many_networks_it_trains():
    made = {"method.name": "gss", "method.baseline": "", "gss.branches": "double"}
    checking.check(config(**made, **{"teacher.kind": "none"}))
    checking.check(config(**made, **{"rgrl.k": 0.0}))
    with pytest.raises(InputError, match="'gss' trains 2 networks, and the relation term needs"):
        checking.check(config(**made))


def test_a_parameter_of_a_method_that_is_not_run_is_refused():
    says = r"config\.elr\.beta is 0\.5 with .* which does not read it; expected .*name=elr"
    with pytest.raises(InputError, match=says):
        checking.check(config(**{"elr.beta": 0.5}))
    checking.check(config(**{"elr.beta": 0.5, "method.baseline": "elr"}))


def test_a_baseline_that_is_no_name_is_refused():
    with pytest.raises(InputError, match=r"config\.method\.baseline is True; expected text"):
        checking.check(with_value("method.baseline", True))


def test_an_encoder_has_no_network_that_sees_views():
    table = {"teacher.kind": "encoder"}
    checking.check(config(**table))
    for field, value in {
        "rgrl.teacher_view": "own",
        "rgrl.teacher_embedding": "projector",
        "teacher.width": 8,
    }.items():
        with pytest.raises(InputError, match=rf"config\.{field} is .* which does not read it"):
            checking.check(config(**table, **{field: value}))


def test_a_trained_classifier_has_a_path_and_sees_views():
    known = {"teacher.kind": "supervised", "teacher.path": "runs/t"}
    checking.check(config(**known, **{"rgrl.teacher_view": "own"}))
    checking.check(config(**known, **{"model.kind": "mlp", "model.hidden": (8,)}))
    for fields, says in (
        ({"teacher.path": ""}, "'supervised' without config.teacher.path; expected the workdir"),
        ({"teacher.width": 8}, "teacher.width is 8 with a trained classifier, which does not read"),
        ({"rgrl.init_from_teacher": True}, "init_from_teacher with .*'supervised'; expected False"),
    ):
        with pytest.raises(InputError, match=says):
            checking.check(config(**known | fields))


def test_a_method_that_learns_from_a_classifier_has_one_and_no_relation_term():
    known = {"teacher.kind": "supervised", "teacher.path": "runs/t"}
    checking.check(config(**known, **{"method.name": "kd", "rgrl.k": 0.0}))
    with pytest.raises(InputError, match=r"'kd' cannot carry .*; expected --config.rgrl.k=0"):
        checking.check(config(**known, **{"method.name": "kd"}))
    for kind in ("none", "simsiam", "encoder"):
        for field in ("name", "baseline"):
            made = config(**{"teacher.kind": kind, f"method.{field}": "kd"})
            says = rf"method\.{field} = 'kd' needs a trained classifier .* is '{kind}'; expected"
            with pytest.raises(InputError, match=says):
                checking.check(made)
    checking.check(config(**{"method.name": "kd", "train.epochs": 0}))  # nothing learns


@pytest.mark.parametrize("kind", ["random", "none"])
def test_a_path_belongs_to_a_teacher_that_is_there_already(kind):
    made = config(**{"teacher.kind": kind, "teacher.path": "x"})
    with pytest.raises(InputError, match=rf"teacher\.path with .* = '{kind}'; expected simsiam"):
        checking.check(made)


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, True),
        ({"teacher.kind": "random"}, True),
        ({"teacher.kind": "none"}, False),
        ({"rgrl.k": 0.0}, False),
        ({"rgrl.k": 0.0, "train.epochs": 0}, True),  # stage RM alone
        ({"rgrl.k": 0.0, "teacher.kind": "supervised"}, False),
        ({"rgrl.k": 0.0, "teacher.kind": "supervised", "method.name": "kd"}, True),
        ({"rgrl.k": 0.0, "teacher.kind": "supervised", "method.baseline": "kd"}, True),
        ({"rgrl.k": 0.0, "teacher.kind": "none", "method.baseline": "kd"}, False),
    ],
)
def test_a_teacher_is_wanted_where_somebody_reads_it(fields, wanted):
    assert checking.wants_teacher(config(**fields)) is wanted


@pytest.mark.parametrize("field", ["model.width", "rgrl.k"])
def test_true_is_no_number(field):
    with pytest.raises(InputError, match=f"{field} is True; expected a (whole )?number"):
        checking.with_values(default(), {field: True}, "fields: ")


def test_values_that_are_given_leave_the_config_as_it_was():
    before = default()
    changed = checking.with_values(before, {"rgrl.k": 2, "loss.q": 0.5, "seed": 3}, "")
    assert (changed.rgrl.k, changed.loss.q, changed.seed) == (2, 0.5, 3)
    assert before.to_dict() == default().to_dict()


def test_a_list_is_taken_as_in_json():
    lists = {"model.hidden": [16], "train.lr_drops": [0.5]}
    changed = checking.with_values(default(), lists, "fields: ")
    assert (changed.model.hidden, changed.train.lr_drops) == ((16,), (0.5,))
    with pytest.raises(InputError, match=r"model\.width is \[16\]; expected a whole number"):
        checking.with_values(default(), {"model.width": [16]}, "fields: ")


# An unknown name -> what is hinted at.
HINTS = {
    "lr": "did you mean 'train.lr'?",
    "K": "did you mean 'rgrl.k'?",
    "rgrl.K": "did you mean 'rgrl.k'?",
    "Train.LR": "did you mean 'train.lr'?",
    "train.epoch": "did you mean 'train.epochs'?",
    "rm.epoch": "did you mean 'rm.epochs'?",
    "xyzzyxyzzy": "--help lists them",
    "rgrl.xyzzyxyzzyxyzzy": "--help lists them",
    "bootstrapping.given": "--help lists them; a method given by import path has none, its "
    "parameters are the defaults of its class (docs/extending.md)",
}


@pytest.mark.parametrize("name", HINTS)
def test_an_unknown_name_gets_a_hint(name):
    assert checking.hint(name) == HINTS[name]


def test_the_hint_of_a_tables_field_stays_in_its_group():
    known = ["cifar10.rm.lr", "cifar10.train.lr", "cifar100.train.lr", "losses.cifar10.gce.k"]
    assert checking.hint("cifar10.lr", known) == "did you mean 'cifar10.train.lr'?"
    assert checking.hint("losses.cifar10.gce.K", known) == "did you mean 'losses.cifar10.gce.k'?"


def test_a_value_that_is_not_given_may_be_given():
    """Of a loss or a method: None stands there, and still has a type."""
    with pytest.raises(InputError, match=r"coteaching\.rate is 'half'; expected a number"):
        checking.with_values(default(), {"coteaching.rate": "half"}, "")
    assert checking.with_values(default(), {"coteaching.rate": 0.5}, "").coteaching.rate == 0.5


def test_parameters_not_given_are_left_to_the_loss():
    changed = default()
    assert checking.loss_parameters(changed) == {}
    changed.loss.t = 3
    assert checking.loss_parameters(changed) == {"t": 3}


def test_a_methods_parameters_are_its_group():
    assert checking.method_parameters(default(), "elr") == {"beta": 0.7, "weight": 3.0}
    assert checking.method_parameters(default(), "robust") == {}
    assert checking.method_parameters(default(), "my_module:MyMethod") == {}


# Fields that are set -> what nothing reads of them, and why.
UNREAD = [
    ({"noise.kind": "none", "noise.rate": 0.2}, {"noise.rate": "noise.kind = 'none'"}),
    ({"noise.kind": "none", "noise.seed": 3, "noise.exact": True},
     {"noise.seed": "noise.kind = 'none'", "noise.exact": "noise.kind = 'none'"}),
    ({"noise.kind": "human", "noise.seed": 3}, {"noise.seed": "noise.kind = 'human'"}),
    ({"noise.kind": "matrix", "noise.rate": 0.2, "noise.exact": True},
     {"noise.rate": "noise.kind = 'matrix'"}),
    ({"noise.kind": "none", "noise.seed": 3, "noise.open_share": 0.1}, {}),  # of the open images
    ({"noise.kind": "symmetric", "noise.rate": 0.2, "noise.seed": 3, "noise.exact": True}, {}),
    ({"model.kind": "mlp", "model.width": 99, "model.precision": "bfloat16"},
     {"model.width": "model.kind = 'mlp'", "model.precision": "model.kind = 'mlp'"}),
    ({"model.kind": "mlp", "augment.flip": False}, {"augment.flip": "model.kind = 'mlp'"}),
    ({"model.kind": "resnet", "model.width": 99, "augment.flip": False}, {}),
    ({"teacher.kind": "none", "rgrl.k": 3.0, "rgrl.alpha": 2.0, "rgrl.teacher_view": "own",
      "teacher.width": 8, "rm.epochs": 9, "rm.knn_k": 5},
     dict.fromkeys(("rgrl.k", "rgrl.alpha", "rgrl.teacher_view", "teacher.width", "rm.epochs",
                    "rm.knn_k"), "teacher.kind = 'none'")),
    ({"teacher.kind": "none", "rgrl.k": 0.0}, {}),  # asks for what is so
    ({"teacher.kind": "random", "rm.epochs": 9, "rm.knn_k": 5, "teacher.width": 8},
     {"rm.epochs": "teacher.kind = 'random'"}),
    ({"teacher.kind": "simsiam", "rm.epochs": 9, "rgrl.k": 3.0, "rgrl.alpha": 2.0}, {}),
    ({"teacher.kind": "simsiam", "teacher.path": "runs/x", "rm.epochs": 9, "rm.knn_k": 5},
     {"rm.epochs": "teacher.path = 'runs/x'"}),
    ({"rgrl.k": 0.0, "rm.epochs": 9, "teacher.width": 8},  # K = 0 reads no teacher
     {"rm.epochs": "rgrl.k = 0.0", "teacher.width": "rgrl.k = 0.0"}),
    ({"rgrl.k": 0.0, "rm.epochs": 9, "train.epochs": 0}, {}),  # the teacher alone
    ({"rgrl.k": 0.0, "rgrl.beta": 2.0, "rgrl.relation_norm": "frobenius_per_sample"},
     {"rgrl.beta": "rgrl.k = 0.0", "rgrl.relation_norm": "rgrl.k = 0.0"}),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "told"), UNREAD)
def test_a_value_of_the_users_that_nothing_reads_is_told(fields, told):
    made = config(**fields)
    assert sorted(checking.unread(fields, made)) == sorted(
        f"nothing reads config.{name} = {fields[name]!r} with config.{why}"
        for name, why in told.items()
    )
    assert checking.unread((), made) == []  # a config file's own values


def test_all_fields_are_told_with_their_default_range_and_purpose():
    lines = checking.text().splitlines()
    told = dict(zip(lines[::2], lines[1::2], strict=True))
    for name, field in all_fields().items():
        default_of = "not given" if field.default is None else repr(field.default)
        assert told[f"{name} = {default_of}"] == f"    {field.does}; {field.rule}"
    assert len(told) == len(all_fields())
