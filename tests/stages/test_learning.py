"""What a method believes of the labels is read only if it is probabilities."""

import sys

import numpy as np
import pytest

import rmdnet_jax
from rmdnet_jax.base.errors import InputError

VECTORS = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
LABELS = np.arange(40) % 2
METHODS = """
import numpy as np
from rmdnet_jax.methods.robust import Robust

class Silent(Robust):
    title = "Mine"

    def belief(self, state, look):
        return np.zeros((len(look.given), 2), np.float32)

class Logs(Silent):
    def belief(self, state, look):
        return np.log(look.remembered() + 1e-3)

class Short(Silent):
    def belief(self, state, look):
        return look.remembered()[1:]
"""


@pytest.fixture
def fit(tmp_path, monkeypatch, lenient_promotion):
    """Trains a class of a user's module for an epoch."""
    (tmp_path / "mods.py").write_text(METHODS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mods", raising=False)
    given = {"teacher.kind": "none", "model.hidden": (4,), "train.epochs": 1, "train.folds": 1}
    given |= {"train.batch_size": 8, "report.tsne_points": 0}
    return lambda name: rmdnet_jax.fit(VECTORS, LABELS, given | {"method.name": f"mods:{name}"})


def test_where_a_method_knows_nothing_the_networks_are_asked(fit):
    model = fit("Silent")
    assert len(model.label_issues()) == 40


@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        ("Logs", "^the beliefs of Mine are from -.*; expected probabilities, in .0, 1."),
        ("Short", r"^the belief of Mine has shape \(35, 2\); expected a row of probabilities"),
    ],
)
def test_a_belief_of_no_probabilities_is_refused(fit, name, refusal):
    with pytest.raises(InputError, match=refusal):
        fit(name)
