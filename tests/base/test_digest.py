"""The same numbers, the same hash; one bit elsewhere, another."""

import jax.numpy as jnp
import numpy as np
import pytest

from rmdnet_jax.base.digest import fingerprint, text_digest

TREE = {"a": {"w": np.arange(6, dtype=np.float32).reshape(2, 3)}, "b": np.ones(2, np.int32)}


def test_it_is_of_the_values_wherever_they_lie():
    on_device = {"b": jnp.ones(2, jnp.int32), "a": {"w": jnp.arange(6.0).reshape(2, 3)}}
    assert fingerprint(TREE) == fingerprint(on_device)
    assert len(fingerprint(TREE)) == 64
    strided = np.arange(12, dtype=np.float32)[::2]
    assert fingerprint(strided) == fingerprint(strided.copy())


@pytest.mark.parametrize(
    "other",
    [
        TREE | {"b": np.array([1, 2], np.int32)},
        TREE | {"b": np.ones(2, np.int64)},
        {"a": TREE["a"]},
        TREE | {"a": {"w": np.nextafter(TREE["a"]["w"], np.float32(9))}},
    ],
)
def test_other_values_have_another(other):
    assert fingerprint(other) != fingerprint(TREE)


def test_a_texts_is_short_and_knows_where_one_ends_and_the_next_begins():
    assert text_digest("ab", "c") == text_digest("ab", "c")
    names = {text_digest(*texts) for texts in (("ab", "c"), ("a", "bc"), ("abc",), ("c", "ab"))}
    assert len(names) == 4
    assert all(len(name) == 16 and name.isalnum() for name in names)
