"""The figures of a run, from plain values to PNG files. No pyplot, no global state."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from rmdnet_jax.base.atomic import open_atomic

# Okabe and Ito's colours: distinguishable with any colour vision, and in greyscale.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#8A8A8A"

_STAGE_COLOURS = {"baseline": ORANGE, "student": BLUE, "teacher": GREEN}

# Maximum number of classes for which a heat map has names and numbers.
_NAMED = 12


class Point(NamedTuple):
    """A point at x, a number or a name: accuracies in percent of the last and the best epoch, one
    per seed; empty until it has been run."""

    x: float | str
    last: Sequence[float]
    best: Sequence[float]


def comparison(
    baseline: list[dict],
    student: list[dict],
    names: tuple[str, str],
    measure: str,
    noise: str,
    path: Path,
) -> None:
    """A loss alone against the same loss with RMDNet, on the test images, by epoch.

    Args:
      baseline, student: lines of metrics.jsonl with epoch and test_accuracy.
      names: of the two, in this order.
      measure: the name of test_accuracy.
      noise: the label noise, for the heading.
      path: the PNG.
    """
    figure, axes = _panels(1, width=5.6, height=3.6)
    for history, name, colour in zip((baseline, student), names, (ORANGE, BLUE), strict=True):
        epochs = [line["epoch"] for line in history]
        accuracy = [100 * line["test_accuracy"] for line in history]
        axes[0].plot(epochs, accuracy, color=colour, linewidth=2)
        axes[0].annotate(
            f"{name}\n{accuracy[-1]:.1f} %",
            (epochs[-1], accuracy[-1]),
            xytext=(8, 0),
            textcoords="offset points",
            color=colour,
            va="center",
            fontweight="bold",
        )
    axes[0].set(xlabel="epoch", ylabel=f"{measure}, %", title=noise)
    axes[0].margins(x=0.02)
    _save(figure, path)


def curve(
    history: list[dict],
    quantity: str,
    names: Mapping[str, str],
    title: str,
    path: Path,
    is_share: bool = False,
    levels: Mapping[float, str] = MappingProxyType({}),
) -> None:
    """One quantity by epoch, small enough to be readable on a phone.

    Args:
      history: lines of metrics.jsonl.
      quantity: a field that some of them have.
      names: of each stage to draw.
      title: the name of the quantity.
      path: the PNG.
      is_share: draw values in [0, 1] as per cent.
      levels: reference values and their meaning; always drawn and in view.
    """
    figure, (ax,) = _panels(1, width=3.6, height=2.7)
    for level, meaning in levels.items():
        ax.axhline(level, color=GREY, linewidth=1, linestyle="--")
        ax.text(1, level, meaning, transform=ax.get_yaxis_transform(), ha="right", va="bottom",
                fontsize=8, color="#555555")  # fmt: skip
    for stage, name in names.items():
        points = [(x["epoch"], x[quantity]) for x in history
                  if x["stage"] == stage and quantity in x]  # fmt: skip
        if points:
            ax.plot(*zip(*points, strict=True), color=_STAGE_COLOURS.get(stage, GREY), label=name,
                    linewidth=1.8, marker="." if len(points) < 12 else None)  # fmt: skip
    ax.set_title(textwrap.fill(title, 36), fontsize=11)
    ax.set_xlabel("epoch")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    if is_share:
        ax.yaxis.set_major_formatter(PercentFormatter(1))
    if len(ax.lines) - len(levels) > 1:
        ax.legend(frameon=False, fontsize=8)
    _save(figure, path)


def points(panels: Mapping[str, Sequence[Point]], title: str, measure: str, path: Path) -> None:
    """The mean accuracy of last and best epochs by a parameter or by name, with the standard
    deviation over seeds; all panels have the same scale.

    Args:
      panels: by heading, in the order of x; points that were not run keep their place.
      title: above all panels.
      measure: the name of the accuracy.
      path: the PNG.
    """
    figure, axes = _panels(len(panels), width=5.6, height=2.8)
    figure.suptitle(textwrap.fill(title, 80), fontsize=9, color="#555555")
    for ax, (heading, found) in zip(axes, panels.items(), strict=True):
        are_names = isinstance(found[0].x, str)
        places = [float(i if isinstance(x, str) else x) for i, (x, *_) in enumerate(found)]
        # The best first and larger, so that it stays visible where the last epoch is the best.
        for name, colour, size, fill in (("best", ORANGE, 8, "white"), ("last", BLUE, 5, BLUE)):
            values = [getattr(point, name) for point in found]
            known = [(x, np.mean(v), np.std(v, ddof=1) if len(v) > 1 else 0)
                     for x, v in zip(places, values, strict=True) if v]  # fmt: skip
            x, mean, spread = np.reshape(known, (-1, 3)).T
            line = "" if are_names else "-"
            ax.errorbar(x, mean, spread, color=colour, label=f"{name} epoch", linestyle=line,
                        marker="o", markersize=size, markerfacecolor=fill, capsize=3)  # fmt: skip
        ax.set_xticks(places, [x if isinstance(x, str) else f"{x:g}" for x, *_ in found])
        edge = 0.5 if are_names else 0.05 * (places[-1] - places[0])
        ax.set_xlim(places[0] - edge, places[-1] + edge)
        ax.grid(axis="y", color="#E4E4E4", linewidth=0.8)
        ax.set_axisbelow(True)
        ax.set_title(heading, fontsize=11, loc="left")
        ax.set_ylabel(f"{measure}, %")
    for ax in axes[1:]:
        ax.sharey(axes[0])
    axes[0].margins(y=0.15)
    axes[0].legend(frameon=False, fontsize=9, ncols=2, loc="lower right", bbox_to_anchor=(1.02, 1))
    _save(figure, path)


def heat_map(
    matrix: np.ndarray, class_names: Sequence[str], rows: str, columns: str, path: Path
) -> None:
    """Shares [C, C] as a heat map, always from white at 0 to dark at 1, for comparison.

    Args:
      matrix: float [C, C] in [0, 1].
      class_names: short, and drawable with Matplotlib's font.
      rows, columns: the axis labels.
      path: the PNG.
    """
    count = len(class_names)
    side = 5.4 if count > 6 else 4
    figure, (ax,) = _panels(1, width=side, height=side if count <= _NAMED else 0.83 * side)
    image = ax.imshow(matrix, cmap="Blues", vmin=0, vmax=1)
    if count <= _NAMED:
        ax.set_xticks(range(count), class_names, rotation=45, ha="right", parse_math=False)
        ax.set_yticks(range(count), class_names, parse_math=False)
        for i, j in np.ndindex(count, count):
            if matrix[i, j] >= 0.005:
                colour = "white" if matrix[i, j] > 0.5 else "black"
                ax.text(j, i, f"{100 * matrix[i, j]:.0f}", ha="center", va="center", fontsize=9,
                        color=colour)  # fmt: skip
        columns += " (numbers: %)"
    else:
        bar = figure.colorbar(image, ax=ax, shrink=0.8)
        bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        columns, rows = (f"{text} (class numbers)" for text in (columns, rows))
    ax.set(xlabel=columns, ylabel=rows)
    ax.spines[:].set_visible(False)
    _save(figure, path)


def embedding(
    points: np.ndarray,
    label: np.ndarray,
    is_wrong: np.ndarray,
    class_names: tuple[str, str],
    title: str,
    path: Path,
) -> None:
    """Clean and wrong labels of two classes in one embedding, as in the paper's Figures 5 to 7.

    Args:
      points: float [N, 2].
      label: [N] of 0 or 1, the given labels.
      is_wrong: bool [N].
      class_names: of the given labels 0 and 1; each has a panel.
      title: the name of the embedding.
      path: the PNG.
    """
    figure, axes = _panels(2, width=3.6, height=3.3)
    for row, (ax, name) in enumerate(zip(axes, class_names, strict=True)):
        for wrong, colour, marker, text in (
            (False, GREEN, "o", "right"),
            (True, ORANGE, "X", "wrong"),
        ):
            x, y = points[(label == row) & (is_wrong == wrong)].T
            ax.scatter(x, y, s=12, color=colour, marker=marker, alpha=0.7, linewidths=0,
                       label=f"{text} label ({len(x)})")  # fmt: skip
        ax.set(xticks=[], yticks=[])
        ax.set_ylabel(f"labelled {name}", parse_math=False)
        ax.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, 0),
                  ncols=2, markerscale=1.5)  # fmt: skip
    axes[0].set_title(textwrap.fill(title, 36), fontsize=11)
    _save(figure, path)


def tsne(embedding: np.ndarray, seed: int) -> np.ndarray:
    """t-SNE of [N, D] to float32 [N, 2], after PCA to 50 features; for N up to a few thousand."""
    # Imported here: scikit-learn takes a second to load, and not every run draws this figure.
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if min(embedding.shape) > 50:
        embedding = PCA(50, random_state=seed).fit_transform(embedding)
    perplexity = min(30, (len(embedding) - 1) / 3)
    return TSNE(init="pca", perplexity=perplexity, random_state=seed).fit_transform(embedding)


def _panels(count: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels of `width` x `height` inches each, one below the other."""
    figure = Figure(figsize=(width, height * count))
    # A margin: on the page every figure is a separate card.
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.08)
    axes = list(figure.subplots(count, 1, squeeze=False).flat)
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Figure, path: Path) -> None:
    with open_atomic(path, "wb") as file:
        figure.savefig(file, format="png", dpi=150)
