"""The gradients of our losses are W (p_k - q_k), as GSS's Table 1 says of them (Yu et al. 2023),
with two signs of its print mended: of GCE W is p_y^q (printed (-p_y)^(q-1)), of SCE, there SL,
alpha - beta A p_y for A < 0 (printed +). ELR's row is in tests/methods/test_elr.py, Co-teaching's
in test_coteaching.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rmdnet_jax.losses import robust

A = -3.0  # stands for log 0

# The loss with its parameters -> its W of p_y.
WEIGHTS = {
    ("ce", ()): lambda p: np.ones_like(p),
    ("gce", (("q", 0.7),)): lambda p: p**0.7,
    ("gce", (("q", 0.2),)): lambda p: p**0.2,
    ("mae", ()): lambda p: 2 * p,
    ("rce", (("log_zero", A),)): lambda p: -A * p,
    ("sce", (("alpha", 0.3), ("beta", 2.0))): lambda p: 0.3 + 2.0 * -np.log(1e-4) * p,
}


@pytest.mark.parametrize("case", WEIGHTS, ids=str)
def test_the_gradient_is_the_weight_times_p_minus_q(case):
    name, parameters = case
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(scale=2, size=(32, 5)), jnp.float32)
    given = rng.integers(0, 5, 32)
    loss = robust.get(name, **dict(parameters))
    found = jax.grad(lambda x: loss(x, jnp.asarray(given, jnp.int32)).sum())(logits)
    p = np.asarray(jax.nn.softmax(logits), np.float64)
    weight = WEIGHTS[case](p[np.arange(32), given])
    np.testing.assert_allclose(found, weight[:, None] * (p - np.eye(5)[given]), atol=1e-5)
    assert (weight > 0).all()  # with the signs as printed some are not
