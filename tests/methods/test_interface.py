"""What a method gets from the interface if it says nothing of it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rmdnet_jax.methods.interface import Look, Method, State, Task, permutation


class Plain(Method):
    """Says nothing."""


TASK = Task(np.zeros(11, np.int32), num_classes=3, batch_size=4, epochs=2)


def test_a_task_counts_its_images_and_the_whole_batches_of_them():
    assert (TASK.num_images, TASK.steps) == (11, 2)


@pytest.mark.parametrize(("size", "steps", "rows"), [(11, 2, 4), (8, 2, 4), (1, 1, 1), (5, 1, 3)])
def test_no_image_is_in_an_order_twice(size, steps, rows):
    order = permutation(jax.random.key(0), size, steps, rows)
    assert order.shape == (steps, rows)
    assert order.dtype == jnp.int32
    assert len(np.unique(order)) == steps * rows
    assert 0 <= order.min() <= order.max() < size


def test_by_default_an_order_is_a_permutation_that_its_key_draws():
    orders = [Plain().order(None, jax.random.key(seed), TASK) for seed in (0, 0, 1)]
    assert orders[0].shape == (2, 4)
    np.testing.assert_array_equal(orders[0], orders[1])
    assert (orders[0] != orders[2]).any()


def test_by_default_nothing_is_frozen_or_decided_and_the_memory_is_believed():
    state, remembered = object(), np.ones((11, 3))
    look = Look(np.arange(11), tuple, tuple, lambda: remembered, tuple)
    assert Plain().frozen == ()
    assert Plain().between_epochs(state, 3, None) is state
    assert Plain().belief(state, look) is remembered
    assert Plain().belief(state, dataclasses.replace(look, is_remembered=False)) is None
    assert Plain.learners == 1


def test_networks_are_the_states_in_the_order_of_their_names():
    names = "2", "1"
    state = State({n: {"w": n} for n in names}, {n: {"mean": n} for n in names}, None)
    first, second = Plain().networks(state)
    assert (first.params, first.batch_stats) == ({"w": "1"}, {"mean": "1"})
    assert (second.params, second.batch_stats) == ({"w": "2"}, {"mean": "2"})
