"""The backbones: the standard CIFAR ResNet-18, at any width, with either stem."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rmdnet_jax.models.heads import Linear, Predictor, Projector
from rmdnet_jax.models.resnet import ResNet


def shapes(module, *inputs, **options):
    """Variables and output as shapes; nothing is computed."""
    return jax.eval_shape(
        lambda key: module.init_with_output(key, *inputs, **options), jax.random.key(0)
    )


def count(tree):
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


def test_full_model_has_the_standard_parameter_count():
    _, backbone = shapes(ResNet(), jnp.zeros((1, 32, 32, 3)), train=False)
    _, classifier = shapes(Linear(10), jnp.zeros((1, 512)))
    assert count(backbone["params"]) + count(classifier["params"]) == 11_173_962


@pytest.mark.usefixtures("lenient_promotion")  # Flax's batch norm mixes its two dtypes
@pytest.mark.parametrize(("stem", "side"), [("cifar", 32), ("imagenet", 224)])
@pytest.mark.parametrize("width", [3, 64])
def test_embedding_is_float32_of_eight_widths(stem, side, width):
    module = ResNet(width, stem, jnp.bfloat16)
    embedding, variables = shapes(module, jnp.zeros((2, side, side, 3)), train=False)
    assert embedding.shape == (2, 8 * width) == (2, module.embedding_size)
    kept = {leaf.dtype for leaf in jax.tree.leaves((variables, embedding))}
    assert kept == {jnp.dtype("float32")}


def test_stems_differ_in_what_the_first_stage_sees():
    for stem, kernel in (("cifar", 3), ("imagenet", 7)):
        _, variables = shapes(ResNet(2, stem), jnp.zeros((1, 64, 64, 3)), train=False)
        assert variables["params"]["Conv_0"]["kernel"].shape == (kernel, kernel, 3, 2)


def test_weights_start_as_pytorchs_do():
    module = ResNet(8)
    variables = jax.jit(lambda key: module.init(key, jnp.zeros((1, 16, 16, 3)), train=False))(
        jax.random.key(0)
    )
    kernel = np.asarray(variables["params"]["BasicBlock_7"]["Conv_0"]["kernel"])
    bound = 1 / np.sqrt(np.prod(kernel.shape[:3]))
    assert np.abs(kernel).max() <= bound
    np.testing.assert_allclose(kernel.std(), bound / np.sqrt(3), rtol=0.02)


def test_simsiams_heads_have_the_papers_sizes():
    """Weights 512 x 2048 + 2048 x 2048 and two batch norms; 2048 x 512, a norm, 512 x 2048 + bias
    (Chen and He 2021, appendix D)."""
    projection, projector = shapes(Projector(), jnp.zeros((4, 512)), train=True)
    prediction, predictor = shapes(Predictor(), jnp.zeros((4, 2048)), train=True)
    assert projection.shape == prediction.shape == (4, 2048)
    assert count(projector["params"]) == 512 * 2048 + 2048 * 2048 + 4 * 2048
    assert count(predictor["params"]) == 2048 * 512 + 2 * 512 + 512 * 2048 + 2048


def test_projectors_output_is_normalised_and_not_cut_at_zero():
    module, x = Projector(16), jax.random.normal(jax.random.key(1), (64, 8))
    variables = module.init(jax.random.key(0), x, train=True)
    y, _ = module.apply(variables, x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(axis=0), 1, atol=1e-2)
    assert (y < 0).any()
