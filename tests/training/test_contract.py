"""What a method returns is what the interface asks for, or is named in one line."""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.methods.interface import State
from rmdnet_jax.training import contract


@flax.struct.dataclass
class Pooled(State):
    pool: dict


def state(**pool):
    return Pooled({"1": {"w": jnp.zeros((2, 3))}}, {}, (), pool)


BEFORE = state(sum=jnp.zeros((5, 2)), seen=jnp.zeros(5, jnp.int32))


@pytest.mark.parametrize(
    "pool",
    [
        {"sum": jnp.ones((5, 2)), "seen": jnp.ones(5, jnp.int32)},
        # What a NumPy array becomes on the devices is float32 and int32.
        {"sum": np.ones((5, 2)), "seen": np.arange(5)},
    ],
)
def test_a_decision_has_the_shapes_and_dtypes_that_it_was_given(pool):
    contract.decision("Mine", BEFORE, state(**pool))


@pytest.mark.parametrize(
    ("after", "found"),
    [
        (None, "None;"),
        ({}, "dict with other arrays than Pooled;"),
        (state(sum=BEFORE.pool["sum"]), "Pooled with other arrays than Pooled;"),
        (
            state(sum=jnp.zeros((3, 2)), seen=BEFORE.pool["seen"]),
            "pool['sum'] as float32[3, 2], which was float32[5, 2];",
        ),
        (
            state(sum=BEFORE.pool["sum"], seen=jnp.zeros(5)),
            "pool['seen'] as float32[5], which was int32[5];",
        ),
        (
            state(sum=BEFORE.pool["sum"], seen="five"),
            "pool['seen'] as str, which was int32[5];",
        ),
    ],
)
def test_another_decision_is_refused_and_what_differs_named(after, found):
    with pytest.raises(InputError) as refused:
        contract.decision("Mine", BEFORE, after)
    right = "expected a state of the shapes it was given"
    assert str(refused.value) == f"between_epochs of Mine returned {found} {right}"


ORDER = np.array([[0, 3, 2], [3, 1, 4]])


@pytest.mark.parametrize(
    ("positions", "is_remembered", "refusal"),
    [
        (ORDER, True, None),
        (np.array([[0, 1], [2, 2]]), False, None),
        (np.array([[0, 1], [2, 2]]), True, "an image twice in step 2; expected none twice, or"),
        (ORDER + 1, False, "positions from 1 to 5; expected 0 to 4, for 5 training images"),
        (ORDER - 1, False, "positions from -1 to 3; expected 0 to 4"),
    ],
)
def test_an_order_is_one_of_the_training_images(positions, is_remembered, refusal):
    if refusal is None:
        contract.order("Mine", positions, 5, is_remembered)
        return
    with pytest.raises(InputError, match=f"^order of Mine has {refusal}"):
        contract.order("Mine", positions, 5, is_remembered)


LOGITS = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
P = np.asarray(jax.nn.softmax(LOGITS))


@pytest.mark.parametrize(
    "rows", [P, np.eye(3), np.zeros((2, 3)), np.where(np.arange(6)[:, None] < 4, P, 0)]
)
def test_rows_of_zeros_are_of_images_of_which_nothing_is_known(rows):
    contract.probabilities("they", rows)


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (LOGITS, "-"),
        (np.log(P), "-"),
        (P / 2, "0"),
        (np.array([[1.5, -0.5]]), "-0.5 to 1.5, with sums from 1 to 1"),
        (np.array([[0.25, 0.5], [0.5, 0.5]]), "0.25 to 0.5, with sums from 0.75 to 1"),
        (np.array([[np.nan, 1.0]]), "nan to nan"),
    ],
)
def test_what_are_no_probabilities_is_refused(rows, found):
    with pytest.raises(InputError, match=rf"^they are from {found}.*; expected probabilities"):
        contract.probabilities("they", rows)
