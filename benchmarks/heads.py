"""An epoch of a linear head on features together with the heads of its folds: ours compared with
PyTorch as an expert would write it (stacked weights, one product per step, fused Adam).

python benchmarks/heads.py        (needs torch)

Both train 1 + 5 heads with GCE and coupled weight decay, from rows in memory, and return the loss
of the epoch. PyTorch gets standardised rows; ours standardises in the step, as a run does.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
import optax
import stopwatch
import torch

from rmdnet_jax.losses import robust
from rmdnet_jax.machine import sharding
from rmdnet_jax.methods import optimizers
from rmdnet_jax.methods.folds import Folded, parts
from rmdnet_jax.methods.forward import Forward
from rmdnet_jax.methods.interface import Task
from rmdnet_jax.methods.learner import Learner
from rmdnet_jax.methods.network import Classifier
from rmdnet_jax.models.heads import Linear
from rmdnet_jax.training import chunks
from rmdnet_jax.training.chunks import Carried

_FOLDS, _Q, _RATE, _DECAY = 5, 0.7, 1e-3, 6.4e-3


def ours(features: np.ndarray, labels: np.ndarray, classes: int, batch: int):
    """A turn is an epoch in the chunks of training/fit.py."""
    mean_std = features.mean(axis=0), features.std(axis=0)
    network = Classifier(None, Linear(classes, alone=True), *mean_std)
    adam = optimizers.adam(optax.constant_schedule(_RATE), 0.9, _DECAY)
    method = Folded(Forward(Learner(network, adam, robust.get("gce", q=_Q), "gce")), _FOLDS)
    task = Task(labels, classes, batch, 10, _FOLDS)
    mesh = sharding.mesh()
    state = method.init(jax.random.key(0), jnp.asarray(features[:1]), task)
    order = jax.jit(lambda state, key: method.order(state, key, task))
    shape = features.shape[1:]
    rows = batch * (_FOLDS + 1)
    step, frozen = chunks.traced(method), method.frozen
    _, metrics, _ = chunks.first_step(step, frozen, state, shape, features.dtype, rows)
    chunk = chunks.size(task.steps, rows, shape)
    with jax.set_mesh(mesh):
        begin = chunks.prepare(step, frozen, tuple(metrics), features, labels, mesh, chunk, -1)
        carried = sharding.replicate(Carried(state, {}), mesh)

    def epoch() -> float:
        nonlocal carried
        loss, start = 0.0, 0
        with jax.set_mesh(mesh):
            ordered = order(carried.state, jax.random.key(1))
            with begin(ordered, jax.random.key(2), 0) as advance:
                while start < task.steps:
                    stop = min(start + chunk, task.steps)
                    carried, sums = advance(carried, start, stop)
                    loss, start = loss + float(sums["loss"]), stop
        return loss / task.steps

    return epoch


def theirs(features: np.ndarray, labels: np.ndarray, classes: int, batch: int, compiled: bool):
    """A turn is an epoch of stacked heads."""
    torch.set_num_threads(stopwatch.cores())
    x = torch.from_numpy((features - features.mean(axis=0)) / features.std(axis=0))
    y = torch.from_numpy(labels.astype(np.int64))
    heads = _FOLDS + 1
    weight = torch.nn.Parameter(torch.zeros(heads, features.shape[1], classes))
    bias = torch.nn.Parameter(torch.zeros(heads, 1, classes))
    adam = torch.optim.Adam([weight, bias], lr=_RATE, weight_decay=_DECAY, fused=True)
    part = parts(labels, _FOLDS)
    seen = [np.arange(len(labels)), *(np.flatnonzero(part != n) for n in range(_FOLDS))]
    seen = [torch.from_numpy(rows) for rows in seen]
    steps = min(map(len, seen)) // batch

    def loss_of(rows, labels):
        probabilities = torch.softmax(torch.baddbmm(bias, rows, weight), dim=-1)
        given = probabilities.gather(2, labels[..., None])[..., 0]
        return ((1 - given**_Q) / _Q).mean(dim=1).sum()

    loss_of = torch.compile(loss_of) if compiled else loss_of

    def epoch() -> float:
        total = torch.zeros(())
        order = torch.stack([rows[torch.randperm(len(rows))[: steps * batch]] for rows in seen])
        for index in order.reshape(heads, steps, batch).unbind(1):
            loss = loss_of(x[index], y[index])
            adam.zero_grad(set_to_none=True)
            loss.backward()
            adam.step()
            total += loss.detach()
        return float(total) / steps / heads

    return epoch


def main() -> None:
    """Reads the command line; prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--features", type=int, default=1280)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compiled", action="store_true", help="also with torch.compile")
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    labels = rng.integers(0, given.classes, given.samples).astype(np.int32)
    centres = rng.normal(size=(given.classes, given.features)).astype(np.float32)
    features = centres[labels] + 3 * rng.normal(size=(given.samples, given.features))
    data = features.astype(np.float32), labels, given.classes, given.batch
    contestants = {"ours": ours(*data), "PyTorch": theirs(*data, compiled=False)}
    if given.compiled:
        contestants["PyTorch, torch.compile"] = theirs(*data, compiled=True)
    print(stopwatch.heading("jax", "torch"))
    times = stopwatch.alternate(contestants, given.rounds)
    base = times["ours"].median
    rows = [
        (name, f"{taken.median:.2f} s ± {taken.spread:.0%}", f"{taken.median / base:.2f}")
        for name, taken in times.items()
    ]
    print(stopwatch.table(["head and five folds, an epoch", "time", "over ours"], rows))


if __name__ == "__main__":
    main()
