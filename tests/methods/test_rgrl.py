"""The relation term is K (alpha node + beta edge), of embeddings that an adapter makes equally
wide."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rmdnet_jax.losses import relation
from rmdnet_jax.methods.rgrl import ADAPTER, Relation


@dataclasses.dataclass(frozen=True)
class Wide:
    """A teacher of whom only the width is asked."""

    size: int


rng = np.random.default_rng(0)
TARGET, EMBEDDING = (jnp.asarray(rng.normal(size=(8, 5)), jnp.float32) for _ in range(2))
NARROW = EMBEDDING[:, :3]


def test_it_is_the_regulariser_of_equation_11_with_its_parts():
    term, parts = Relation(Wide(5), 5, k=0.7, alpha=0.5, beta=0.25)({}, TARGET, EMBEDDING)
    assert set(parts) == {"node_loss", "edge_loss"}
    np.testing.assert_allclose(parts["node_loss"], relation.node_loss(TARGET, EMBEDDING), rtol=1e-6)
    np.testing.assert_allclose(parts["edge_loss"], relation.edge_loss(TARGET, EMBEDDING), rtol=1e-6)
    expected = 0.7 * (0.5 * parts["node_loss"] + 0.25 * parts["edge_loss"])
    np.testing.assert_allclose(term, expected, rtol=1e-6)


def test_by_default_it_weighs_as_the_paper_does():
    term, _ = Relation(Wide(5), 5)({}, TARGET, EMBEDDING)
    np.testing.assert_allclose(term, relation.rmd_loss(TARGET, EMBEDDING, 0.8, 0.35), rtol=1e-6)


def test_per_sample_norm_divides_the_term_by_the_batch_and_not_its_parts():
    (whole, parts), (shared, same) = (
        Relation(Wide(5), 5, norm=norm)({}, TARGET, EMBEDDING)
        for norm in ("frobenius", "frobenius_per_sample")
    )
    assert parts == same
    np.testing.assert_allclose(whole / 8, shared, rtol=1e-6)


def test_equally_wide_embeddings_need_no_adapter():
    assert Relation(Wide(5), 5).init(jax.random.key(0)) == {}


@pytest.mark.parametrize("size", [5, 2])
def test_unequal_embeddings_meet_through_a_linear_layer(size):
    term = Relation(Wide(size), 3)
    params = term.init(jax.random.key(0))
    layer = params[ADAPTER]["Dense_0"]
    assert layer["kernel"].shape == (3, size)
    mapped = np.asarray(NARROW) @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])
    target = TARGET[:, :size]
    _, parts = term(params, target, NARROW)
    np.testing.assert_allclose(parts["node_loss"], relation.node_loss(target, mapped), rtol=1e-5)
    np.testing.assert_allclose(parts["edge_loss"], relation.edge_loss(target, mapped), rtol=1e-5)


def test_the_adapter_and_the_embedding_learn_and_the_target_does_not():
    term = Relation(Wide(5), 3)
    params = term.init(jax.random.key(0))
    gradient = jax.grad(lambda *arguments: term(*arguments)[0], argnums=(0, 1, 2))
    of_params, of_target, of_embedding = gradient(params, TARGET, NARROW)
    assert np.abs(of_params[ADAPTER]["Dense_0"]["kernel"]).max() > 0
    assert np.abs(of_embedding).max() > 0
    np.testing.assert_array_equal(of_target, np.zeros_like(TARGET))
