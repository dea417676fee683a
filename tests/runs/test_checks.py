"""A run that cannot work is refused before it starts, and an error of own code has its line."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.config import default
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.losses import robust
from rmdnet_jax.runs import checks, preparation

VECTORS = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
LABELS = np.arange(40, dtype=np.int32) % 2
DATA = Dataset("made", VECTORS, LABELS, VECTORS, LABELS, {}, ("a", "b"))

METHODS = """
import jax, jax.numpy as jnp
from rmdnet_jax.methods.robust import Robust

class Good(Robust):
    title = "Mine"

class Fails(Robust):
    def step(self, state, batch, key, frozen):
        return self.helped(state)

    def helped(self, state):
        return jax.nn.softmax(state.absent)  # line 13

class Backwards(Robust):
    title = "Mine"

    def order(self, state, key, task):
        last = task.num_images - 1
        return last - super().order(state, key, task)

class Beyond(Backwards):
    def order(self, state, key, task):
        return 1 + super().order(state, key, task)

class Twice(Backwards):
    def order(self, state, key, task):
        return super().order(state, key, task) // 2

class Decides(Beyond):
    def between_epochs(self, state, epoch, look):
        return state

class SilentTwice(Twice):
    def step(self, state, batch, key, frozen):
        return *super().step(state, batch, key, frozen)[:2], None

class Half(Robust):
    def step(self, state, batch, key, frozen):
        state, metrics, said = super().step(state, batch, key, frozen)
        return state, metrics, said.astype(jnp.bfloat16)
"""


@pytest.fixture
def prepared(tmp_path, monkeypatch, lenient_promotion):
    """Prepares a run with a class of a user's module, on 40 feature vectors."""
    (tmp_path / "mods.py").write_text(METHODS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mods", raising=False)

    def prepare(name, **fields):
        config = default()
        config.model.kind, config.model.hidden = "mlp", (4,)
        config.noise.kind = config.teacher.kind = "none"
        config.report.tsne_classes = (0, 1)
        config.train.batch_size, config.method.name = 8, name
        config.train.update(fields)
        return preparation.prepare(config, None, DATA)

    return prepare


@pytest.mark.parametrize(
    ("name", "folds"),
    [("Good", 1), ("Good", 5), ("Backwards", 1), ("SilentTwice", 1), ("Decides", 1)],
)
def test_own_methods_are_prepared_on_feature_vectors(prepared, name, folds):
    """What between_epochs decides may be what makes an order right: `fit` checks that one."""
    assert prepared(f"mods:{name}", folds=folds).methods() == {"student": f"mods:{name}"}


@pytest.mark.parametrize("folds", [1, 5])
def test_an_error_in_own_code_is_told_with_its_last_line_there(prepared, folds):
    with pytest.raises(InputError) as refused:
        prepared("mods:Fails", folds=folds)
    where = "config.method.name: mods:Fails cannot take a step (mods.py, line 13: AttributeError: "
    assert str(refused.value).startswith(where)
    assert str(refused.value).endswith("'absent')")


@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        ("Beyond", "^order of Mine has positions from 1 to 40; expected 0 to 39"),
        ("Twice", "^order of Mine has an image twice in step"),
        ("Half", "expected float32 probabilities"),
    ],
)
def test_own_methods_that_would_be_wrong_without_a_word_are_refused(prepared, name, refusal):
    with pytest.raises(InputError, match=refusal):
        prepared(f"mods:{name}")


def test_a_batch_that_only_folds_cannot_fill_says_so(prepared):
    with pytest.raises(InputError) as refused:
        prepared("robust", folds=5, batch_size=33)
    assert str(refused.value) == (
        "config.train.batch_size is 33 but each of 5 folds learns from only 32 of 40 training "
        "images of made; expected a smaller --config.train.batch_size, or --config.train.folds=1"
    )
    prepared("robust", folds=5, batch_size=32)
    for folds in (1, 5):
        with pytest.raises(InputError, match="is 41 but made has only 40 training images"):
            prepared("robust", folds=folds, batch_size=41)


def check(function):
    """Checks a function as a user's own loss."""
    config = default()
    config.loss.name = "mods:loss"
    checks.loss(config, function, num_classes=3)


WITHOUT = {
    "errors": lambda logits, labels: (logits.argmax(axis=1) != labels).astype(jnp.int32),
    "stopped": lambda logits, labels: robust.ce(jax.lax.stop_gradient(logits), labels),
    "constant": lambda logits, labels: jnp.ones(len(labels)),
}


@pytest.mark.parametrize("name", WITHOUT)
def test_a_loss_without_a_gradient_is_refused(name):
    with pytest.raises(InputError, match=r"mods:loss has a gradient of zero at 64 random logits"):
        check(WITHOUT[name])


@pytest.mark.parametrize(
    "function",
    [
        robust.ce,
        # Flat but for the few where the loss is small, or large.
        lambda logits, labels: jnp.minimum(robust.ce(logits, labels), 0.01),
        lambda logits, labels: jnp.maximum(robust.ce(logits, labels), 5.0),
    ],
)
def test_a_loss_may_be_flat_for_most_examples(function):
    check(function)


def test_a_loss_that_fails_is_told_with_its_line(tmp_path, monkeypatch):
    (tmp_path / "mods.py").write_text("def loss(logits, labels):\n    return labels.shape[7]\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mods", raising=False)
    with pytest.raises(InputError) as refused:
        check(robust.get("mods:loss"))
    assert str(refused.value) == (
        "config.loss.name: mods:loss fails on logits [64, 3] and labels [64] (mods.py, line 2: "
        "IndexError: tuple index out of range)"
    )
