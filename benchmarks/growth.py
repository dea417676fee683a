"""How the time per epoch grows with the number of images, their size and the number of classes.

python benchmarks/growth.py

Every epoch is run by training/fit.py and followed by the test accuracy. "x" is the training time
per image relative to the first row: 1.00 if time grows linearly with the images.
"""

import argparse
import statistics

import epoch
import ours
import stopwatch


def measure(
    options: argparse.Namespace, images: int, size: int, classes: int
) -> tuple[float, float]:
    """Median seconds per epoch with evaluation, and per image in training."""
    train = ours.made_data(images, size, classes)
    test = ours.made_data(options.test_images, size, classes, seed=1)
    method = ours.method(options.stage, options.width, classes=classes)
    evaluate = epoch.evaluation(method, train, test, classes)
    lines = epoch.epochs(method, options.batch, options.epochs, train, evaluate)
    taken = statistics.median(line["with_evaluation"] for line in lines)
    return taken, statistics.median(1 / line["images_per_second"] for line in lines)


def growth(name: str, options: argparse.Namespace, cases: list[tuple[int, int, int]]) -> str:
    """A table over cases of (images, size, classes) that differ in `name`."""
    column = ("images", "size", "classes").index(name)
    rows, first = [], 0.0
    for case in cases:
        taken, each = measure(options, *case)
        first = first or each
        rows.append([f"{case[column]:,}", f"{taken:.2f} s", f"{1e6 * each:.1f} us"])
        rows[-1].append(f"{each / first:.2f}")
        print(f"{name} {case[column]:,}: {taken:.2f} s", flush=True)
    return stopwatch.table([name, "epoch", "an image in training", "x"], rows)


def main() -> None:
    """Prints one table per dimension."""
    on = stopwatch.on_backend
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stage", default="RGRL", choices=ours.STAGES)
    parser.add_argument("--width", type=int, default=on(8, 64))
    parser.add_argument("--batch", type=int, default=on(64, 512))
    images = on([1000, 4000, 16_000], [10_000, 100_000, 1_000_000])
    parser.add_argument("--images", type=int, nargs="*", default=images)
    parser.add_argument("--size", type=int, nargs="*", default=on([16, 32, 64], [32, 64, 128, 224]))
    parser.add_argument("--classes", type=int, nargs="*", default=[10, 100, 1000, 10_000])
    parser.add_argument("--test-images", type=int, default=on(200, 10_000))
    parser.add_argument("--epochs", type=int, default=3, help="measured, after one that compiles")
    options = parser.parse_args()
    few = min(options.images, default=1000)
    print(stopwatch.heading("jax"))
    cases = {
        "images": [(images, 32, 10) for images in options.images],
        "size": [(few, size, 10) for size in options.size],
        "classes": [(few, 32, classes) for classes in options.classes],
    }
    tables = [growth(name, options, some) for name, some in cases.items() if some]
    print("\n" + "\n".join(tables))


if __name__ == "__main__":
    ours.set_up()
    ours.run(main)
