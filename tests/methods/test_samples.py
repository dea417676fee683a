"""What is said of every image is kept as a mean in which later epochs weigh more, or as an
average that forgets."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.methods import samples
from rmdnet_jax.methods.interface import Task


def test_weights_grow_as_the_cube_of_the_epoch():
    said = np.random.default_rng(0).dirichlet(np.ones(3), (6, 1)).astype(np.float32)
    kept = samples.empty(2, 3)
    for probabilities in said:
        kept = jax.jit(samples.remember)(kept, jnp.array([1]), jnp.asarray(probabilities))
    # The weights of polynomial-decay averaging with eta = 3: epoch (epoch + 1) (epoch + 2).
    weights = np.array([n * (n + 1) * (n + 2) for n in range(1, 7)], float)
    expected = np.average(said[:, 0], axis=0, weights=weights)
    np.testing.assert_allclose(kept["probabilities"][1], expected, rtol=1e-5)
    assert kept["visits"].tolist() == [0, 6]


def test_an_image_that_was_never_seen_is_recalled_as_zeros():
    kept = samples.remember(samples.empty(3, 2), jnp.array([2]), jnp.array([[0.25, 0.75]]))
    recalled = samples.recalled(kept)
    assert isinstance(recalled, np.ndarray)
    np.testing.assert_array_equal(recalled, [[0, 0], [0, 0], [0.25, 0.75]])


def test_where_nothing_is_known_the_other_word_counts():
    belief = np.array([[0, 0], [0.25, 0.75], [0, 1]], np.float32)
    otherwise = np.array([[0.9, 0.1], [1, 0], [0.5, 0.5]], np.float32)
    known = samples.known(belief, otherwise)
    np.testing.assert_array_equal(known, np.float32([[0.9, 0.1], [0.25, 0.75], [0, 1]]))
    np.testing.assert_array_equal(samples.known(np.zeros((3, 2)), otherwise), otherwise)


def test_what_is_too_large_is_not_kept():
    assert samples.fits(50_000, 100)
    assert not samples.fits(1_281_167, 1000)


@pytest.mark.parametrize(("folds", "arrays"), [(1, 1), (1, 2), (5, 1)])
def test_every_array_of_every_training_counts(folds, arrays):
    known = Task(np.zeros(50_000, np.int32), 1000, 64, 1, folds)  # 0.19 GiB an array
    samples.check("ELR", arrays, dataclasses.replace(known, folds=1))
    many = dataclasses.replace(known, given=np.zeros(200_000, np.int32))
    with pytest.raises(InputError, match=r"ELR keeps 200,000 images times 1,000 classes \d+ times"):
        samples.check("ELR", 2 * arrays, many)
    if folds > 1:
        with pytest.raises(InputError, match=r"classes 6 times, 1\.12 GiB on every device"):
            samples.check("ELR", arrays, known)


def test_an_average_forgets_by_its_beta():
    """From zeros: 0.3 p, then 0.7 * 0.3 p + 0.3 q; the others stay."""
    p, q = np.float32([[0.2, 0.8]]), np.float32([[0.6, 0.4]])
    mean, rows = samples.average(jnp.zeros((3, 2)), jnp.array([1]), jnp.asarray(p), 0.7)
    np.testing.assert_allclose(rows, 0.3 * p, rtol=1e-6)
    mean, rows = samples.average(mean, jnp.array([1]), jnp.asarray(q), 0.7)
    np.testing.assert_allclose(rows, 0.21 * p + 0.3 * q, rtol=1e-6)
    np.testing.assert_array_equal(mean, [[0, 0], rows[0], [0, 0]])


@pytest.mark.parametrize("beta", [0.0, 0.7])
@given(st.data())
def test_an_averages_rows_lie_where_their_images_do(beta, data):
    index = data.draw(st.lists(st.integers(0, 5), min_size=4, max_size=4, unique=True))
    seed = data.draw(st.integers(0, 99))
    before, p = np.random.default_rng(seed).random((2, 6, 3)).astype(np.float32)
    mean, rows = jax.jit(samples.average)(before, jnp.array(index), p[:4], np.float32(beta))
    expected = before.copy()
    for place, said in zip(index, p[:4], strict=True):
        expected[place] = beta * before[place] + (1 - beta) * said
    np.testing.assert_allclose(mean, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(rows, np.asarray(mean)[index])
