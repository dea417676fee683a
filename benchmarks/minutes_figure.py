"""Test accuracy of the last epoch against minutes of training, one point per row of methods.py."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt

# By the guide at the end of a row's name; other rows have none.
_MARKERS = {"(simsiam)": "s", "(encoder)": "^"}
# The ten dark colours of tab20 before its light ones.
_COLOURS = [plt.get_cmap("tab20")(i) for i in (*range(0, 20, 2), *range(1, 20, 2))]


def draw(path: Path, title: str, rows: Mapping[str, Sequence[dict | None]]) -> None:
    """Draws the finished runs; writes nothing if there are none.

    Args:
      path: of the figure, a PNG.
      title: the title of the figure.
      rows: by name, the results of its seeds, None for a run that is not finished. A method has one
        colour, alone and guided ("NAME + RMDNet (KIND)").
    """
    points = {
        name: done
        for name, runs in rows.items()
        if (done := [one for one in runs if one and one["test_accuracy"] is not None])
    }
    if not points:
        return
    names = list(dict.fromkeys(name.partition(" + RMDNet")[0] for name in points))
    figure, ax = plt.subplots(figsize=(9, 5), layout="constrained")
    for name, runs in points.items():
        accuracies = [one["test_accuracy"] for one in runs]
        ax.errorbar(
            statistics.mean(one["train_seconds"] for one in runs) / 60,
            statistics.mean(accuracies),
            statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0,
            fmt=_MARKERS.get(name.rpartition(" ")[2], "o"),
            color=_COLOURS[names.index(name.partition(" + RMDNet")[0]) % 20],
            capsize=2,
            label=name,
        )
    ax.set(xscale="log", title=title, ylabel="test accuracy, last epoch")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.set_xlabel("minutes of training (without the guide's own)")
    ax.grid(alpha=0.3, which="both")
    figure.legend(loc="outside right upper", fontsize="small")
    figure.savefig(path, dpi=120)
    plt.close(figure)
