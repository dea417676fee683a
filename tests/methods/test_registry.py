"""A method is named by its file or by an import path, and its parameters are its own fields."""

import dataclasses
import sys
import types
from typing import Annotated

import pytest

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.ranges import number
from rmdnet_jax.methods import registry
from rmdnet_jax.methods.interface import Method
from rmdnet_jax.methods.robust import Robust


@dataclasses.dataclass(frozen=True)
class Theirs(Method):
    """A user's own."""

    learner: object
    share: Annotated[float, number(0, 1), "of something"] = 0.5

    title = "Theirs"

    @property
    def network(self):
        return self.learner

    def init(self, key, example, task):
        return None

    def step(self, state, batch, key, frozen):
        return state, {}, None


@pytest.fixture
def my_methods(monkeypatch):
    """A module of a user's."""
    module = types.ModuleType("my_methods")
    module.Theirs = Theirs
    module.nothing, module.number = object(), 3

    def refuses(learner):
        raise ValueError("a learner of this kind is no use")

    refuses.init = refuses.step = refuses.networks = refuses.learners = None
    module.refuses = refuses
    monkeypatch.setitem(sys.modules, "my_methods", module)


def test_those_of_the_folder_go_by_their_files_names():
    assert {"robust", "elr", "coteaching"} <= set(registry.names())
    assert "simsiam" not in registry.names()  # learns without labels
    assert registry.get("robust") is Robust
    assert list(registry.names()) == sorted(registry.names())


def test_every_one_has_a_title_and_makes_what_its_fields_say():
    for name in registry.names():
        learner = types.SimpleNamespace(loss_name="ce", network="n", frozen=())
        method = registry.build(name, learner, {})
        assert method.title
        assert method.network == "n"
        assert method.learners in (1, 2)


def test_parameters_are_those_that_state_their_range():
    groups = registry.groups()
    assert "robust" not in groups
    assert groups["elr"]["beta"].default == 0.7
    assert groups["coteaching"]["rate"].default is None


def test_parameters_reach_their_fields_and_none_is_the_default():
    method = registry.build("elr", None, {"beta": 0.5, "weight": None})
    assert (method.beta, method.weight) == (0.5, 3.0)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"beta": 1.5}, r"method 'elr' has beta = 1.5; expected a number in \[0, 1\)"),
        ({"gamma": 1}, "method 'elr' has no parameter 'gamma'; it takes beta, weight"),
    ],
)
def test_parameters_that_cannot_be_right_are_refused(parameters, says):
    with pytest.raises(InputError, match=says):
        registry.build("elr", None, parameters)


def test_a_name_that_is_none_is_told_with_the_nearest():
    with pytest.raises(InputError, match="unknown method 'erl'; did you mean 'elr'"):
        registry.get("erl")


@pytest.mark.usefixtures("my_methods")
def test_a_users_own_is_made_with_the_learner_and_its_defaults():
    method = registry.build("my_methods:Theirs", "learner", {})
    assert isinstance(method, Theirs)
    assert (method.learner, method.share) == ("learner", 0.5)


@pytest.mark.usefixtures("my_methods")
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nothing", "has no init, step, networks, learners; expected a class that derives from"),
        ("number", "has no init, step, networks"),
        ("missing", "module my_methods has no 'missing'"),
        ("refuses", r"cannot be made \(a learner of this kind is no use\)"),
    ],
)
def test_a_users_own_that_is_no_method_is_refused(name, says):
    with pytest.raises(InputError, match=says):
        registry.build(f"my_methods:{name}", None, {})
