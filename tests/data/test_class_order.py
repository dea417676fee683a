"""Classes have one order, wherever their names come from."""

import random

import pytest

from rmdnet_jax.data.class_order import in_order

ORDERS = {
    "numbers by value": [str(number) for number in range(12)],
    "below zero": ["-10", "-2", "0", "3"],
    "the same number twice": ["0", "01", "1", "2"],
    "names": ["Bee", "ant", "cow"],
    "numbers among names": ["1", "10", "2", "cat"],
    "no whole numbers": ["1.5", "10", "9"],
    "numbers beyond Python's": ["1", "1" + "0" * 5000, "2"],
    "none": [],
}


@pytest.mark.parametrize("case", ORDERS)
def test_the_order_is_the_same_however_they_come(case):
    for seed in range(3):
        names = list(ORDERS[case])
        random.Random(seed).shuffle(names)
        assert in_order(iter(names)) == ORDERS[case]
        assert in_order(set(names)) == ORDERS[case]
