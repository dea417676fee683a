"""Contrasts on the unit sphere: as cross entropies, at their limits, and without NaN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from rmdnet_jax.losses import contrastive
from rmdnet_jax.losses.relation import unit_rows

RNG = np.random.default_rng(0)


def sphere(*shape):
    x = RNG.normal(size=shape)
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def test_the_prototype_of_its_class_is_nearest():
    prototypes = sphere(4, 8)
    target = np.eye(4, dtype=np.float32)
    own = contrastive.prototype(prototypes, prototypes, target, 0.3)
    expected = -np.diagonal(log_softmax(prototypes.astype(np.float64) @ prototypes.T / 0.3, axis=1))
    np.testing.assert_allclose(own, expected, rtol=1e-5)
    for other in sphere(200, 4, 8):
        assert (contrastive.prototype(other, prototypes, target, 0.3) >= own - 1).all()
    nearer = unit_rows(jnp.asarray(prototypes + 0.3 * sphere(4, 8)))
    assert (contrastive.prototype(nearer, prototypes, target, 1e-2) >= -1e-6).all()


def test_a_mixed_target_is_the_sum_of_its_parts():
    """Equation 15 with lam = 0.7, and equation 11 at lam = 1."""
    z, prototypes = sphere(5, 8), sphere(3, 8)
    one, two = np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1]], np.eye(3, dtype=np.float32)[[2] * 5]

    def of(target):
        return np.asarray(contrastive.prototype(z, prototypes, target, 0.3))

    mixed = np.float32(0.7) * one + np.float32(0.3) * two
    np.testing.assert_allclose(of(mixed), 0.7 * of(one) + 0.3 * of(two), rtol=1e-5)


def test_npair_is_the_cross_entropy_of_the_similarities():
    student, teacher = sphere(6, 8), sphere(6, 8)
    similar = student.astype(np.float64) @ teacher.T
    others = np.exp(similar - np.diagonal(similar)[:, None])
    np.fill_diagonal(others, 0)
    found = contrastive.npair(student, teacher)
    np.testing.assert_allclose(found, np.log(1 + others.sum(axis=1)), rtol=1e-5)
    np.testing.assert_allclose(contrastive.npair(student[:1], teacher[:1]), [0], atol=1e-7)


def test_infonce_by_its_definition():
    student, teacher = sphere(4, 8), sphere(4, 8)
    s, t = student.astype(np.float64), teacher.astype(np.float64)
    expected = []
    for i in range(4):
        across = np.exp(t @ s[i] / 0.3)
        within = np.exp(np.delete(s, i, axis=0) @ s[i] / 0.3)
        expected.append(-np.log(across[i] / (across.sum() + within.sum())))
    np.testing.assert_allclose(contrastive.infonce(student, teacher, 0.3), expected, rtol=1e-5)
    gradient = jax.grad(lambda s: contrastive.infonce(s, teacher, 0.3).sum())(jnp.asarray(student))
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("name", ["npair", "infonce"])
def test_what_belongs_together_is_drawn_together(name):
    loss = {"npair": contrastive.npair, "infonce": lambda s, t: contrastive.infonce(s, t, 0.3)}
    teacher = sphere(8, 8)
    same = loss[name](teacher, teacher).mean()
    assert same < loss[name](sphere(8, 8), teacher).mean()
    assert same < loss[name](np.roll(teacher, 1, axis=0), teacher).mean()
