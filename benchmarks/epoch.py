"""Wall-clock time of a real epoch of training/fit.py, from uint8 in memory to updated parameters,
including evaluation, log and checkpoint.

python benchmarks/epoch.py

FLOP utilisation is the count of flops.py per second, relative to the fastest matrix product on this
device in the same run, in the dtype of the convolutions.
"""

import argparse
import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import flops
import jax
import jax.numpy as jnp
import numpy as np
import ours
import stopwatch

from rmdnet_jax.evaluation import classification, knn
from rmdnet_jax.machine import devices
from rmdnet_jax.methods import inference
from rmdnet_jax.methods.interface import Method, State
from rmdnet_jax.training.checkpoints import Checkpoints
from rmdnet_jax.training.fit import fit
from rmdnet_jax.training.logging import RunLog


def matrix_peak(dtype: jnp.dtype, sides: list[int], rounds: int) -> float:
    """The highest FLOP/s of a square matrix product on this device."""

    def product(side):
        matrix = jax.random.normal(jax.random.key(0), (side, side), jnp.float32).astype(dtype)
        multiply = jax.jit(lambda a, b: a @ b)
        repeats = max(1, round(2 * max(sides) ** 3 / (2 * side**3)))

        def work():
            out = matrix
            for _ in range(repeats):
                out = multiply(matrix, matrix)
            out.block_until_ready()

        return work, 2 * side**3 * repeats

    works = {str(side): product(side) for side in sides}
    times = stopwatch.alternate({name: work for name, (work, _) in works.items()}, rounds)
    return max(works[name][1] / min(taken.seconds) for name, taken in times.items())


def evaluation(method: Method, train, test, classes: int) -> Callable[[State, int], dict]:
    """The evaluation of experiment.py after an epoch: test accuracy, or a teacher's kNN probe."""
    predict = inference.predictor(method.network)
    (images, labels), (test_images, test_labels) = train, test

    def accuracy(state, epoch, metrics):
        logits = predict(method.networks(state), test_images).logits
        return {"test_accuracy": classification.accuracy(logits, test_labels)}

    def probe(state, epoch, metrics):
        networks = method.networks(state)
        bank, queries = (predict(networks, split).embedding for split in (images, test_images))
        return {"knn_accuracy": knn.accuracy(bank, labels, queries, test_labels, classes)}

    return accuracy if hasattr(method.network, "classifier") else probe


def epochs(method: Method, batch_size: int, count: int, train, evaluate) -> list[dict[str, float]]:
    """The lines that `fit` logs for `count` epochs after a first one, which compiles; "wall" is the
    time in seconds from one line to the next, including the checkpoint."""
    images, labels = train
    with tempfile.TemporaryDirectory() as folder:
        run_log = RunLog(Path(folder), tensorboard=False)
        task = ours.task(method, labels, batch_size, count + 1)
        with Checkpoints(Path(folder) / "stage") as saved:
            fit(
                method, method.init(jax.random.key(0), jnp.asarray(images[:1]), task), images, task,
                key=jax.random.key(1), checkpoints=saved, log=run_log.stage("stage"),
                evaluate=evaluate, learning_rate=lambda _: 0.0,
            )  # fmt: skip
        lines = run_log.history("stage")
    for before, line in itertools.pairwise(lines):
        line["wall"] = line["time"] - before["time"]
        line["with_evaluation"] = line["seconds"] - before["seconds"]
    return lines[1:]


def measure(stage: str, batch_size: int, options: argparse.Namespace, peak: float) -> list[str]:
    """A row of the table."""
    train = ours.made_data(options.images, options.size)
    test = ours.made_data(options.test_images, options.size, seed=1)
    method = ours.method(stage, options.width)
    evaluate = evaluation(method, train, test, classes=10)
    lines = epochs(method, batch_size, options.epochs, train, evaluate)
    steps = options.images // batch_size
    trained = steps * batch_size
    wall = stopwatch.Times(tuple(line["wall"] for line in lines))
    training = float(np.median([trained / line["images_per_second"] for line in lines]))
    evaluated = float(np.median([line["with_evaluation"] for line in lines])) - training
    operations = steps * flops.step(stage, options.width, options.size, batch_size)
    return [
        stage,
        str(batch_size),
        f"{wall.median:.2f} s ± {100 * wall.spread:.0f} %",
        f"{evaluated / wall.median:.1%}",
        f"{trained / training:,.0f}",
        f"{trained / wall.median:,.0f}",
        f"{operations / training / 1e12:.3g}",
        f"{operations / training / peak:.1%}",
    ]


def main() -> None:
    """Prints one row per stage and batch size."""
    on = stopwatch.on_backend
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=on(16, 64))
    parser.add_argument("--size", type=int, default=32, help="side of the images")
    parser.add_argument("--images", type=int, default=on(2000, 50_000))
    parser.add_argument("--test-images", type=int, default=on(400, 10_000))
    parser.add_argument("--batch", type=int, nargs="+", default=on([64], [64, 512]))
    parser.add_argument("--stage", nargs="+", default=["RGRL", "SimSiam"], choices=ours.STAGES)
    parser.add_argument("--epochs", type=int, default=5, help="measured, after one that compiles")
    sides = on([1024, 2048], [4096, 8192, 16384])
    parser.add_argument("--sides", type=int, nargs="+", default=sides, help="of matrix products")
    options = parser.parse_args()
    dtype = devices.fast_dtype()
    print(stopwatch.heading("jax"))
    peak = matrix_peak(dtype, options.sides, rounds=5)
    rows = [
        measure(stage, size, options, peak) for stage in options.stage for size in options.batch
    ]
    print(
        f"\nResNet-18 of width {options.width}, {options.images:,} images of {options.size}, "
        f"{options.test_images:,} to evaluate on; a {dtype} matrix product reaches "
        f"{peak / 1e12:.3g} TFLOP/s\n"
    )
    header = ["stage", "batch", "epoch", "of it evaluation", "images/s in training"]
    header += ["images/s in all", "TFLOP/s in training", "of the matrix product's"]
    print(stopwatch.table(header, rows))


if __name__ == "__main__":
    ours.set_up()
    ours.run(main)
