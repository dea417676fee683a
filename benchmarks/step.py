"""What a step of each stage costs beside the plain robust loss, as ratios taken in one run.

python benchmarks/step.py --width=12 --batch=64
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rmdnet_jax.losses import robust
from rmdnet_jax.methods.interface import Batch
from rmdnet_jax.methods.rgrl import RGRL, Teacher
from rmdnet_jax.methods.simsiam import SimSiam
from rmdnet_jax.models.heads import Linear, Predictor, Projector
from rmdnet_jax.models.resnet import ResNet
from rmdnet_jax.training import optimizers

HALF = np.full(3, 0.5, np.float32)


def methods(width: int) -> dict:
    """The two stages at one width, and stage RGRL without a teacher."""
    optimizer = optimizers.sgd(optimizers.constant(0.01), 0.9, 5e-4)
    simsiam = SimSiam(
        ResNet(width),
        Projector(32 * width),
        Predictor(8 * width, 32 * width),
        optimizer,
        HALF,
        HALF,
    )
    state = simsiam.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3), jnp.uint8))
    params, batch_stats = (
        jax.device_get({"backbone": tree["backbone"]}) for tree in (state.params, state.batch_stats)
    )
    teacher = Teacher(simsiam.backbone, None, params, batch_stats)
    student = ResNet(width), Linear(10), robust.get("ce"), optimizer, HALF, HALF
    return {"loss alone": RGRL(*student), "RGRL": RGRL(*student, teacher), "SimSiam": simsiam}


def seconds(method, batch: Batch, repeats: int) -> float:
    """Median time of a step, after compilation."""
    state = method.init(jax.random.key(0), batch.image[:1])
    step = jax.jit(method.step, donate_argnums=0)
    times = []
    for i in range(repeats + 1):
        started = time.perf_counter()
        state, metrics = step(state, batch, jax.random.key(i))
        jax.block_until_ready((state, metrics))
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def main() -> None:
    """Prints a line a method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (options.batch, 32, 32, 3), np.uint8)
    labels = jnp.arange(options.batch, dtype=jnp.int32) % 10
    batch = Batch(jnp.asarray(images), labels, labels)
    taken = {
        name: seconds(method, batch, options.repeats)
        for name, method in methods(options.width).items()
    }
    for name, time_taken in taken.items():
        ratio = time_taken / taken["loss alone"]
        print(f"{name:12} {options.batch / time_taken:10,.0f} img/s   {ratio:.2f} x loss alone")


if __name__ == "__main__":
    main()
