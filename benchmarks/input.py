"""The cost of everything around the network: augmentation and the relation loss as shares of a
step, log and checkpoint as shares of an epoch.

python benchmarks/input.py

The share of the augmentation is the difference to the same step without it. The relation loss is
also timed alone with its gradient. A checkpoint's share is the difference between epochs after a
save (which continues in the background) and epochs without one, in turns. Differences below the
spread beside them are not significant.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import ours
import stopwatch

from rmdnet_jax.losses import relation
from rmdnet_jax.training.checkpoints import Checkpoints
from rmdnet_jax.training.fit import fit
from rmdnet_jax.training.logging import RunLog, StageLog


def augmentation(stage: str, batch_size: int, options: argparse.Namespace) -> list[str]:
    """A row: a step with augmentation, and the share of the augmentation."""
    data = *ours.made_data(options.steps * batch_size, options.size), batch_size
    method = ours.method(stage, options.width)
    with_it, without = ours.Training(method, *data), ours.Training(method, *data)
    with ours.without_augmentation():
        without()  # compiles
    times = stopwatch.alternate({"with": with_it, "without": without}, options.rounds)
    share = 1 - times["without"].median / times["with"].median
    spread = max(taken.spread for taken in times.values())
    step = 1000 * times["with"].median / options.steps
    return [stage, str(batch_size), f"{step:.2f} ms", f"{share:.1%}", f"± {spread:.1%}"]


class RelationLoss:
    """The relation loss and its gradient on embeddings [B, D], `repeats` times in a row."""

    def __init__(self, batch_size: int, embedding: int, repeats: int):
        normal = np.random.default_rng(0).standard_normal((2, batch_size, embedding))
        self.teacher, self.student = jnp.asarray(normal, jnp.float32)
        gradient = jax.grad(relation.rmd_loss, argnums=1)

        def descend(teacher, student):
            return student - gradient(teacher, student)

        def scan(teacher, student):
            def once(x, _):
                return descend(teacher, x), None

            return jax.lax.scan(once, student, length=repeats)[0]

        on_cpu = jax.default_backend() == "cpu"  # as training: no scan there
        self.run, self.calls = jax.jit(descend if on_cpu else scan), repeats if on_cpu else 1

    def __call__(self) -> None:
        """All repeats."""
        student = self.student
        for _ in range(self.calls):
            student = self.run(self.teacher, student)
        student.block_until_ready()


def relations(batch_size: int, options: argparse.Namespace) -> list[str]:
    """A row: a step of the student, what the regulariser adds, and the relation loss alone."""
    data = *ours.made_data(options.steps * batch_size, options.size), batch_size
    repeats = 20
    contestants = {
        stage: ours.Training(ours.method(stage, options.width), *data)
        for stage in ("RGRL", "loss alone")
    }
    contestants["relation"] = RelationLoss(batch_size, 8 * options.width, repeats)
    times = stopwatch.alternate(contestants, options.rounds)
    step, alone = (times[stage].median / options.steps for stage in ("RGRL", "loss alone"))
    loss = times["relation"].median / repeats
    spread = max(taken.spread for taken in times.values())
    return [
        str(batch_size),
        f"{1000 * step:.2f} ms",
        f"{step / alone:.2f}",
        f"{1000 * loss:.3f} ms",
        f"{loss / step:.1%}",
        f"± {spread:.1%}",
    ]


class TimedLog:
    """A stage's log that records the time of its calls, in seconds per epoch."""

    def __init__(self, log: StageLog):
        self.log, self.spent, self.running = log, [], 0.0

    def __enter__(self):
        return self.log.__enter__() and self

    def __exit__(self, *error):
        self.log.__exit__(*error)

    def __getattr__(self, name):
        def timed(*arguments):
            started = time.perf_counter()
            getattr(self.log, name)(*arguments)
            self.running += time.perf_counter() - started
            if name == "epoch":
                self.spent.append(self.running)
                self.running = 0.0

        return timed


def bookkeeping(stage: str, batch_size: int, options: argparse.Namespace) -> list[str]:
    """A row: an epoch without evaluation, and what log and checkpoint add to it."""
    images, labels = ours.made_data(options.images, options.size)
    method = ours.method(stage, options.width)
    with tempfile.TemporaryDirectory() as folder, RunLog(Path(folder)) as run_log:
        log = TimedLog(run_log.stage("stage"))
        task = ours.task(method, labels, batch_size, 2 * options.rounds + 4)
        with Checkpoints(Path(folder) / "stage") as saved:
            fit(
                method, method.init(jax.random.key(0), jnp.asarray(images[:1]), task), images, task,
                key=jax.random.key(1), checkpoints=saved, log=log, evaluate=lambda *_: {},
                checkpoint_every=2, learning_rate=lambda _: 0.0,
            )  # fmt: skip
        stamps = [line["time"] for line in run_log.history("stage")]
    # walls[i] is the time from the end of epoch i + 1 to the end of epoch i + 2: with the save of
    # epoch i + 1 if that is even. The first save creates the folder and is not counted.
    walls = [after - before for before, after in itertools.pairwise(stamps)][2:-1]
    quiet, saving = stopwatch.Times(tuple(walls[::2])), stopwatch.Times(tuple(walls[1::2]))
    logging = statistics.median(log.spent[2:])
    return [
        stage,
        str(batch_size),
        f"{quiet.median:.3f} s",
        f"{saving.median / quiet.median - 1:.1%}",
        f"± {max(quiet.spread, saving.spread):.1%}",
        f"{1000 * logging:.2f} ms",
        f"{logging / quiet.median:.2%}",
    ]


def main() -> None:
    """Prints three tables."""
    on = stopwatch.on_backend
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=on(16, 64))
    parser.add_argument("--size", type=int, default=32, help="side of the images")
    parser.add_argument("--batch", type=int, nargs="*", default=on([64], [64, 512]))
    sizes = on([64, 256, 1024], [64, 128, 256, 512, 1024, 2048, 4096])
    parser.add_argument("--relation-batch", type=int, nargs="*", default=sizes)
    parser.add_argument("--images", type=int, default=on(2000, 50_000), help="images per epoch")
    parser.add_argument("--steps", type=int, default=on(4, 30), help="steps per turn")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each contestant")
    options = parser.parse_args()
    stages = ("RGRL", "SimSiam")
    print(stopwatch.heading("jax"))
    rows = [augmentation(stage, size, options) for stage in stages for size in options.batch]
    header = ["stage", "batch", "step", "augmentation's share", "spread"]
    print(stopwatch.table(header, rows), flush=True)
    header = ["batch", "RGRL step", "x loss alone", "relation loss", "its share", "spread"]
    rows = [relations(size, options) for size in options.relation_batch]
    print(stopwatch.table(header, rows), flush=True)
    rows = [bookkeeping(stage, size, options) for stage in stages for size in options.batch]
    header = ["stage", "batch", "epoch", "a checkpoint adds", "spread", "log", "its share"]
    print("\n" + stopwatch.table(header, rows))


if __name__ == "__main__":
    ours.set_up()
    ours.run(main)
