"""The cost of a training step, ours and PyTorch's, in turns within one run.

python benchmarks/step.py            (needs PyTorch, and Pillow if torchvision is missing)

PyTorch is measured in two forms: as a user would write it (eager, DataLoader, transforms of single
images) and as an expert would (torch_training.py). All run from uint8 images in memory to updated
parameters, including augmentation.
"""

import argparse

import ours
import stopwatch
import torch
import torch_training
import torch_transforms

from rmdnet_jax.machine import devices


def measure(stage: str, batch_size: int, options: argparse.Namespace) -> list[str]:
    """A row of the table: images per second of the three, and ours as a multiple of the others."""
    images, labels = ours.made_data(options.steps * batch_size, options.size)
    data = images, labels, batch_size
    contestants = {"ours": ours.Training(ours.method(stage, options.width), *data)}
    if "user" in options.forms:
        arguments = stage, options.width, *data
        contestants["user"] = torch_training.AsUser(*arguments, workers=options.workers)
    if "expert" in options.forms:
        contestants["expert"] = torch_training.fastest_expert(
            stage, options.width, *data, modes=options.modes
        )
    times = stopwatch.alternate(contestants, options.rounds)
    row = [stage, str(batch_size), f"{1000 * times['ours'].median / options.steps:.2f} ms"]
    for name in ("ours", "user", "expert"):
        if name in times:
            speed = len(images) / times[name].median
            row.append(f"{speed:,.0f} ± {100 * times[name].spread:.0f} %")
        else:
            row.append("-")
    for name in ("user", "expert"):
        ratio = f"{times[name].median / times['ours'].median:.2f}" if name in times else "-"
        row.append(ratio)
    return row


def main() -> None:
    """Prints one row per stage and batch size."""
    on = stopwatch.on_backend
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=on(16, 64))
    parser.add_argument("--size", type=int, default=32, help="side of the images")
    parser.add_argument("--batch", type=int, nargs="+", default=on([64], [64, 128, 512]))
    parser.add_argument("--stage", nargs="+", default=["RGRL", "SimSiam"], choices=ours.STAGES)
    parser.add_argument("--steps", type=int, default=on(4, 50), help="steps per turn")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each contestant")
    parser.add_argument("--workers", type=int, default=min(8, stopwatch.cores()))
    parser.add_argument(
        "--forms", nargs="*", default=["user", "expert"], choices=["user", "expert"]
    )
    parser.add_argument(
        "--modes", nargs="+", default=torch_training.expert_modes(), help="of torch.compile"
    )
    options = parser.parse_args()
    torch_training.use_all_cores()
    print(stopwatch.heading("jax", "torch"))
    dtype = devices.fast_dtype()
    print(
        f"ResNet-18 of width {options.width}, images of {options.size}, convolutions in {dtype}; "
        f"PyTorch with {torch.get_num_threads()} threads, as a user with {options.workers} workers "
        f"and transforms of {torch_transforms.SOURCE}\n"
    )
    rows = [measure(stage, size, options) for stage in options.stage for size in options.batch]
    header = ["stage", "batch", "our step", "ours, images/s", "user's", "expert's"]
    print("\n" + stopwatch.table([*header, "ours / user's", "ours / expert's"], rows))


if __name__ == "__main__":
    ours.set_up()
    main()
