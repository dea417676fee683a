"""Classification losses that tolerate wrong labels, one value per example; `get` finds one by name.

Each loss is a pure function of the whole batch's logits and given labels, computed from
log-softmax in float32, and finite in value and gradient for logits of +-1e4. Hyperparameters
default to those for CIFAR-10; those for other data sets belong in the configs. To add a loss, write
the function with the range of each hyperparameter, and put it in LOSSES.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Annotated

import jax
import jax.numpy as jnp

from rmdnet_jax.base import by_name, ranges
from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.ranges import Field, number, whole

Loss = Callable[..., jax.Array]

# The upper ends keep float32 from overflowing.
Weight = Annotated[float, number(0, 1e6)]
Exponent = Annotated[float, number(0, 10, open_low=True)]
Positive = Annotated[float, number(0, 1000, open_low=True)]
AboveOne = Annotated[float, number(1, 1000, open_low=True)]
LogZero = Annotated[float, number(-1000, 0)]


def ce(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross entropy, -log p_y.

    Args:
      logits: float [B, C].
      labels: int [B], the given labels, in [0, C): a loss does not check them.

    Returns:
      float32 [B], at least 0. Log-softmax subtracts the largest logit: no exponential overflows.
    """
    return -_given_log_p(logits, labels)


def mae(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean absolute error, the L1 distance to one-hot: 2 (1 - p_y).

    Args:
      logits: float [B, C].
      labels: int [B], the given labels, in [0, C): a loss does not check them.

    Returns:
      float32 [B] in [0, 2]. 1 - p is -expm1(log p): no cancellation near p = 1.

    References:
      Ghosh et al. 2017, arXiv 1712.09482.
    """
    return -2 * jnp.expm1(_given_log_p(logits, labels))


def gce(
    logits: jax.Array,
    labels: jax.Array,
    *,
    q: Annotated[float, number(0, 1, open_low=True)] = 0.7,
) -> jax.Array:
    """Generalised cross entropy, (1 - p_y^q) / q.

    Args:
      logits: float [B, C].
      labels: int [B], the given labels, in [0, C): a loss does not check them.
      q: in (0, 1]; towards 0 it is ce, at 1 it is mae / 2.

    Returns:
      float32 [B] in [0, 1/q]. 1 - p^q is -expm1(q log p): no power of 0, no cancellation.

    References:
      Zhang and Sabuncu 2018, arXiv 1805.07836, equation 6.
    """
    return -jnp.expm1(q * _given_log_p(logits, labels)) / q


def rce(
    logits: jax.Array,
    labels: jax.Array,
    *,
    log_zero: LogZero = -9.210340371976182,
) -> jax.Array:
    """Reverse cross entropy, -A (1 - p_y), where A stands for log 0 of the one-hot label.

    Args:
      logits: float [B, C].
      labels: int [B], the given labels, in [0, C): a loss does not check them.
      log_zero: A, at most 0; log 1e-4 by default.

    Returns:
      float32 [B] in [0, -A]. 1 - p is -expm1(log p): no cancellation near p = 1.

    References:
      Wang et al. 2019, arXiv 1908.06112.
    """
    return log_zero * jnp.expm1(_given_log_p(logits, labels))


def sce(
    logits: jax.Array, labels: jax.Array, *, alpha: Weight = 0.1, beta: Weight = 1.0
) -> jax.Array:
    """Symmetric cross entropy, alpha ce + beta rce.

    Args:
      logits: float [B, C].
      labels: int [B], the given labels, in [0, C): a loss does not check them.
      alpha: weight of ce, at least 0.
      beta: weight of rce, at least 0.

    Returns:
      float32 [B], at least 0. As stable as its terms.

    References:
      Wang et al. 2019, arXiv 1908.06112.
    """
    return alpha * ce(logits, labels) + beta * rce(logits, labels)


def nce(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Normalised cross entropy, log p_y / sum_k log p_k.

    Args:
      logits: float [B, C].
      labels: int [B], the given labels, in [0, C): a loss does not check them.

    Returns:
      float32 [B] in [0, 1]. The denominator is at most -C log C: it never vanishes.

    References:
      Ma et al. 2020, arXiv 2006.13554.
    """
    log_p = _log_softmax(logits, labels)
    return _at(log_p, labels) / jnp.sum(log_p, axis=-1)


def agce(
    logits: jax.Array, labels: jax.Array, *, a: Positive = 0.6, q: Exponent = 0.6
) -> jax.Array:
    """Asymmetric generalised cross entropy, ((a + 1)^q - (a + p_y)^q) / q.

    Args:
      logits: float [B, C].
      labels: int [B], the given labels, in [0, C): a loss does not check them.
      a: above 0.
      q: above 0.

    Returns:
      float32 [B], at least 0. The difference of powers is one expm1: q towards 0 does not cancel.

    References:
      Zhou et al. 2021, arXiv 2106.03110.
    """
    p = jnp.exp(_given_log_p(logits, labels))
    log_ratio = jnp.log((a + p) / (a + jnp.ones_like(p)))  # exactly 0 at p = 1
    return -((a + 1) ** q) * jnp.expm1(q * log_ratio) / q


def aul(logits: jax.Array, labels: jax.Array, *, a: AboveOne = 5.5, q: Exponent = 3.0) -> jax.Array:
    """Asymmetric unhinged loss, ((a - p_y)^q - (a - 1)^q) / q.

    Args:
      logits: float [B, C].
      labels: int [B], the given labels, in [0, C): a loss does not check them.
      a: above 1; at 1 the gradient is singular at p_y = 1.
      q: above 0.

    Returns:
      float32 [B], at least 0. The difference of powers is one expm1 of the ratio, which is built
      from 1 - p = -expm1(log p): no cancellation near p = 1.

    References:
      Zhou et al. 2021, arXiv 2106.03110.
    """
    rest = -jnp.expm1(_given_log_p(logits, labels))
    margin = a - 1
    return -((margin + rest) ** q) * jnp.expm1(-q * jnp.log1p(rest / margin)) / q


def ael(logits: jax.Array, labels: jax.Array, *, a: Positive = 2.5) -> jax.Array:
    """Asymmetric exponential loss, exp(-p_y / a).

    Args:
      logits: float [B, C].
      labels: int [B], the given labels, in [0, C): a loss does not check them.
      a: above 0.

    Returns:
      float32 [B] in [exp(-1/a), 1]. The exponent lies in [-1/a, 0]: it cannot overflow.

    References:
      Zhou et al. 2021, arXiv 2106.03110.
    """
    return jnp.exp(-jnp.exp(_given_log_p(logits, labels)) / a)


def nce_rce(
    logits: jax.Array, labels: jax.Array, *, alpha: Weight = 1.0, beta: Weight = 1.0
) -> jax.Array:
    """Active and passive: alpha nce + beta rce.

    Args:
      logits: float [B, C].
      labels: int [B], the given labels, in [0, C): a loss does not check them.
      alpha: weight of nce, at least 0.
      beta: weight of rce, at least 0.

    Returns:
      float32 [B], at least 0. As stable as its terms.

    References:
      Ma et al. 2020, arXiv 2006.13554.
    """
    return alpha * nce(logits, labels) + beta * rce(logits, labels)


def nce_agce(
    logits: jax.Array,
    labels: jax.Array,
    *,
    alpha: Weight = 1.0,
    beta: Weight = 4.0,
    a: Positive = 6.0,
    q: Exponent = 1.5,
) -> jax.Array:
    """Active and passive: alpha nce + beta agce.

    Args:
      logits: float [B, C].
      labels: int [B], the given labels, in [0, C): a loss does not check them.
      alpha: weight of nce, at least 0.
      beta: weight of agce, at least 0.
      a: agce's, above 0.
      q: agce's, above 0.

    Returns:
      float32 [B], at least 0. As stable as its terms.

    References:
      Zhou et al. 2021, arXiv 2106.03110.
    """
    return alpha * nce(logits, labels) + beta * agce(logits, labels, a=a, q=q)


def nce_aul(
    logits: jax.Array,
    labels: jax.Array,
    *,
    alpha: Weight = 1.0,
    beta: Weight = 4.0,
    a: AboveOne = 6.3,
    q: Exponent = 1.5,
) -> jax.Array:
    """Active and passive: alpha nce + beta aul.

    Args:
      logits: float [B, C].
      labels: int [B], the given labels, in [0, C): a loss does not check them.
      alpha: weight of nce, at least 0.
      beta: weight of aul, at least 0.
      a: aul's, above 1.
      q: aul's, above 0.

    Returns:
      float32 [B], at least 0. As stable as its terms.

    References:
      Zhou et al. 2021, arXiv 2106.03110.
    """
    return alpha * nce(logits, labels) + beta * aul(logits, labels, a=a, q=q)


def nce_ael(
    logits: jax.Array,
    labels: jax.Array,
    *,
    alpha: Weight = 1.0,
    beta: Weight = 4.0,
    a: Positive = 5.0,
) -> jax.Array:
    """Active and passive: alpha nce + beta ael.

    Args:
      logits: float [B, C].
      labels: int [B], the given labels, in [0, C): a loss does not check them.
      alpha: weight of nce, at least 0.
      beta: weight of ael, at least 0.
      a: ael's, above 0.

    Returns:
      float32 [B], at least 0. As stable as its terms.

    References:
      Zhou et al. 2021, arXiv 2106.03110.
    """
    return alpha * nce(logits, labels) + beta * ael(logits, labels, a=a)


def taylor_ce(
    logits: jax.Array, labels: jax.Array, *, t: Annotated[int, whole(1, 10_000)] = 2
) -> jax.Array:
    """The first t terms of cross entropy's Taylor series, sum_{i=1..t} (1 - p_y)^i / i.

    Args:
      logits: float [B, C].
      labels: int [B], the given labels, in [0, C): a loss does not check them.
      t: order; 1 is mae / 2, and it tends to ce.

    Returns:
      float32 [B] in [0, 1 + 1/2 + ... + 1/t]. All terms are positive, from 1 - p = -expm1(log p):
      nothing cancels.

    References:
      Feng et al. 2020, "Can cross entropy loss be robust to label noise?", IJCAI.
    """
    rest = -jnp.expm1(_given_log_p(logits, labels))[:, None]
    order = jnp.arange(1, t + 1, dtype=rest.dtype)[None, :]
    return jnp.sum(rest**order / order, axis=-1)


LOSSES: dict[str, Loss] = {
    loss.__name__: loss
    for loss in (
        *(ce, mae, gce, sce, nce, rce, nce_rce, agce, aul, ael),
        *(nce_agce, nce_aul, nce_ael, taylor_ce),
    )
}


def get(name: str, **params: float) -> Loss:
    """The loss of that name with its hyperparameters filled in.

    Args:
      name: one of LOSSES, or "my_module:my_loss" for a user's own function of (logits [B, C],
        labels int [B]) that returns [B].
      **params: hyperparameters of the loss; those left out keep their defaults. A user's own
        function takes none.

    Returns:
      loss(logits float [B, C], labels int [B]) -> float32 [B].

    Raises:
      InputError: the name, a hyperparameter or its value is wrong, or the user's own function
        cannot be imported.

    Examples:
      >>> import jax.numpy as jnp
      >>> from rmdnet_jax.losses import robust
      >>> loss = robust.get("gce", q=0.5)
      >>> logits = jnp.array([[0.0, 0.0], [50.0, 0.0]])  # undecided; sure of class 0
      >>> print(loss(logits, jnp.array([1, 1])).round(2))  # at most 1 / q
      [0.59 2.  ]
    """
    if ":" in name:
        if params:
            raise InputError(
                f"loss {name!r} is given {', '.join(params)}; a function by import path takes no "
                "parameters here: set its own defaults"
            )
        return _imported(name)
    try:
        checked = ranges.checked(f"loss {name!r}", fields(name), params)
    except ValueError as error:
        raise InputError(str(error)) from error
    return functools.partial(LOSSES[name], **checked)


def fields(name: str) -> Mapping[str, Field]:
    """A loss's hyperparameters: defaults, types and ranges.

    Raises:
      InputError: there is no loss of that name.
    """
    if name not in LOSSES:
        raise by_name.unknown("loss", name, LOSSES)
    return ranges.declared(LOSSES[name])


def _imported(path: str) -> Loss:
    function = by_name.imported("loss", path)
    if not callable(function):
        raise InputError(f"loss {path!r} is {type(function).__name__}; expected a function")

    @functools.wraps(function)
    def per_example(logits: jax.Array, labels: jax.Array) -> jax.Array:
        losses = function(logits, labels)
        # A mean instead of [B] is the usual mistake, and would go unnoticed.
        if jnp.shape(losses) != labels.shape:
            raise InputError(
                f"loss {path!r} returned shape {jnp.shape(losses)}; expected one value per "
                f"example, {labels.shape}"
            )
        return losses

    return per_example


def _log_softmax(logits: jax.Array, labels: jax.Array) -> jax.Array:
    logits = jnp.asarray(logits)
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(
            f"logits have shape {logits.shape}, labels {labels.shape}; expected [B, C] and [B]"
        )
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"labels are {labels.dtype}; expected integers")
    # float64 stays as it is, so that gradients can be compared with finite differences.
    dtype = jnp.float64 if logits.dtype == jnp.float64 else jnp.float32
    return jax.nn.log_softmax(logits.astype(dtype))


def _at(log_p: jax.Array, labels: jax.Array) -> jax.Array:
    return jnp.take_along_axis(log_p, labels[:, None], axis=-1)[:, 0]


def _given_log_p(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return _at(_log_softmax(logits, labels), labels)
