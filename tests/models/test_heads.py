"""The linear layer's own product is a product, and its gradient that of one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rmdnet_jax.models.heads import Linear

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(7, 5, 3), (1, 2, 40), (64, 300, 2)])
@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("alone", [False, True])
def test_logits_and_gradients_are_those_by_hand(rows, inputs, outputs, stacked, alone):
    """In float64; `stacked` as the trainings of folds are, under vmap."""
    x = RNG.normal(size=(3, rows, inputs)).astype(np.float32)
    weigh = RNG.normal(size=(3, rows, outputs)).astype(np.float32)
    layer = Linear(outputs, alone)
    params = layer.init(jax.random.key(0), jnp.asarray(x[0]))["params"]
    dense = jax.tree.map(np.float64, params["Dense_0"])

    def loss(params, x, weigh):
        logits = layer.apply({"params": params}, x)
        return (weigh * logits**2).sum(), logits

    gradient = jax.grad(loss, argnums=(0, 1), has_aux=True)
    if stacked:
        (of_params, of_x), logits = jax.jit(jax.vmap(gradient, (None, 0, 0)))(params, x, weigh)
    else:
        told = [jax.jit(gradient)(params, *pair) for pair in zip(x, weigh, strict=True)]
        (of_params, of_x), logits = jax.tree.map(lambda *arrays: np.stack(arrays), *told)
    expected = x.astype(np.float64) @ dense["kernel"] + dense["bias"]
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    g = 2 * weigh * expected
    np.testing.assert_allclose(of_x, g @ dense["kernel"].T, rtol=1e-3, atol=1e-4)
    of_kernel = np.swapaxes(x, 1, 2).astype(np.float64) @ g
    np.testing.assert_allclose(of_params["Dense_0"]["kernel"], of_kernel, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(of_params["Dense_0"]["bias"], g.sum(axis=1), rtol=1e-3, atol=1e-4)
