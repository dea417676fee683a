"""The cost per epoch of each method, as a multiple of cross entropy's, compared with the number of
passes through a network that it needs; all in one run, in turns.

python benchmarks/method_cost.py

A training pass, forward and backward, counts as three forward passes. DivideMix and GSS-SSL divide
the images between epochs, with one forward pass of each network, which is included. The teacher of
KD, DFND and MODUL is a network like the student; MODUL trains on a view, a mixed view and four
rotations of an open image, or one rotation.
"""

import argparse
from collections.abc import Callable

import numpy as np
import ours
import stopwatch

from rmdnet_jax.methods import inference, registry
from rmdnet_jax.methods.dividemix import DivideMix
from rmdnet_jax.methods.interface import Method

_TRAINING = 3

# By name: a method of the registry, its fields, and the forward passes of all images in an epoch.
# Per network of DivideMix: four views to train on, four to predict, and two more by the other one;
# GSS-SSL's pools also use the other's predictions for all four, two of which exist already.
_DIVIDED = {"warmup": 1}
_PASSES_DIVIDED = 2 * (4 * _TRAINING + 4 + 2 + 1)
METHODS: dict[str, tuple[str, dict, int]] = {
    "CE": ("robust", {}, _TRAINING),
    "forward": ("forward", {}, _TRAINING),
    "ELR": ("elr", {}, _TRAINING),
    "GSS-SB": ("gss", {}, _TRAINING),
    "Co-teaching": ("coteaching", {"rate": 0.4}, 2 * _TRAINING),
    "JoCoR": ("jocor", {"rate": 0.4}, 2 * _TRAINING),
    "GSS-DB": ("gss", {"branches": "double"}, 2 * _TRAINING),
    "ELR+": ("elr_plus", {}, 2 * (_TRAINING + 1)),
    "DivideMix": ("dividemix", _DIVIDED, _PASSES_DIVIDED),
    "GSS-SSL": ("gss", {"branches": "ssl"} | _DIVIDED, _PASSES_DIVIDED + 2 * 2),
    "KD": ("kd", {}, _TRAINING + 1),
    "DFND": ("dfnd", {"accuracy": 0.9}, _TRAINING + 1),
    "MODUL": ("modul", {}, (1 + 1 + 4) * _TRAINING + 2),
    "MODUL, one turn": ("modul", {"rotations": 1}, (1 + 1 + 1) * _TRAINING + 2),
}


def epoch(method: Method, images: np.ndarray, labels: np.ndarray, batch: int) -> Callable:
    """An epoch of steps, including the inference that a method needs before it."""
    training = ours.Training(method, images, labels, batch)
    if not isinstance(method, DivideMix):
        return training
    predict = inference.predictor(method.network)

    def with_division() -> None:
        predict(training.networks(), images)
        training()

    return with_division


def main() -> None:
    """Prints one row per method."""
    on = stopwatch.on_backend
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=on(16, 64))
    parser.add_argument("--size", type=int, default=32, help="side of the images")
    parser.add_argument("--images", type=int, default=on(512, 50_000))
    parser.add_argument("--batch", type=int, default=on(64, 128))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    given = parser.parse_args()
    print(stopwatch.heading("jax"))
    data = ours.made_data(given.images, given.size)
    learner = ours.taught(ours.learner(given.width), data[0])
    names = dict.fromkeys(["CE", *given.methods])
    contestants = {
        name: epoch(registry.build(METHODS[name][0], learner, METHODS[name][1]), *data, given.batch)
        for name in names
    }
    times = stopwatch.alternate(contestants, given.rounds)
    print(
        f"\nResNet-18 of width {given.width}, {given.images:,} images of {given.size}, batches of "
        f"{given.batch}\n"
    )
    print("| method | an epoch | times CE | passes, times CE's | over them |")
    print("| --- | --- | --- | --- | --- |")
    for name, taken in times.items():
        ratio = taken.median / times["CE"].median
        passes = METHODS[name][2] / _TRAINING
        print(
            f"| {name} | {taken.median:.3g} s ± {100 * taken.spread:.0f} % | {ratio:.2f} | "
            f"{passes:.2f} | {ratio / passes:.2f} |"
        )


if __name__ == "__main__":
    ours.set_up()
    ours.run(main)
