"""The pictures of a run, from plain values to PNG files. No pyplot, no global state."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rmdnet_jax.atomic import open_atomic

# Okabe and Ito's colours: told apart with any colour vision, and in grey.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#8A8A8A"

_STAGE_COLOURS = {"baseline": ORANGE, "student": BLUE, "teacher": GREEN}


def comparison(
    baseline: list[dict], student: list[dict], names: tuple[str, str], noise: str, path: Path
) -> None:
    """Test accuracy by epoch of a loss alone against the same loss with RMDNet.

    Args:
      baseline, student: lines of metrics.jsonl with epoch and test_accuracy.
      names: what to call the two, in this order.
      noise: what the labels suffered, for the heading.
      path: the PNG.
    """
    figure, axes = _panels(1, width=6.4, height=4)
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
    axes[0].set(xlabel="epoch", ylabel="test accuracy, %", title=noise)
    axes[0].margins(x=0.02)
    _save(figure, path)


def curves(history: list[dict], path: Path) -> None:
    """What every stage's epochs measured, one panel a quantity.

    Args:
      history: lines of metrics.jsonl, of any stages.
      path: the PNG.
    """
    quantities = {
        "loss": "loss",
        "test_accuracy": "test accuracy",
        "train_accuracy": "agreement with given labels",
        "node_loss": "node loss",
        "edge_loss": "edge loss",
        "spread": "spread (0 is collapsed)",
        "knn_accuracy": "teacher's kNN accuracy",
    }
    stages = list(dict.fromkeys(line["stage"] for line in history))
    panels = [
        (stage_group, quantity)
        for stage_group in (("teacher",), ("baseline", "student"))
        for quantity in quantities
        if any(line["stage"] in stage_group and quantity in line for line in history)
    ]
    figure, axes = _panels(len(panels), width=3.4, height=2.6, columns=4)
    for ax, (stage_group, quantity) in zip(axes, panels, strict=False):
        for stage in (stage for stage in stages if stage in stage_group):
            points = [(x["epoch"], x[quantity]) for x in history
                      if x["stage"] == stage and quantity in x]  # fmt: skip
            if points:
                ax.plot(*zip(*points, strict=True), color=_STAGE_COLOURS[stage], label=stage,
                        marker="." if len(points) < 12 else None)  # fmt: skip
        ax.set(title=quantities[quantity], xlabel="epoch")
        ax.legend(frameon=False, fontsize=8)
    _save(figure, path)


def transition(matrix: np.ndarray, class_names: tuple[str, ...], path: Path) -> None:
    """A transition matrix [C, C], true class by given label, as a heat map."""
    count = len(class_names)
    side = min(4 + 0.35 * count, 9)
    figure, (ax,) = _panels(1, width=side, height=side)
    image = ax.imshow(matrix, cmap="Blues", vmin=0, vmax=1)
    if count <= 12:
        ax.set_xticks(range(count), class_names, rotation=45, ha="right")
        ax.set_yticks(range(count), class_names)
        for i, j in np.ndindex(count, count):
            if matrix[i, j] >= 0.005:
                colour = "white" if matrix[i, j] > 0.5 else "black"
                ax.text(j, i, f"{matrix[i, j]:.2f}".lstrip("0"), ha="center", va="center",
                        fontsize=8, color=colour)  # fmt: skip
    else:
        figure.colorbar(image, ax=ax, shrink=0.8)
    ax.set(xlabel="given label", ylabel="true class")
    ax.spines[:].set_visible(False)
    _save(figure, path)


def embeddings(panels: list[tuple], class_names: tuple[str, str], path: Path) -> None:
    """Clean and wrong labels of two classes in each embedding, as in the paper's Figures 5 to 7.

    Args:
      panels: (title, points [N, 2], label [N] of 0 or 1, is_wrong bool [N]) an embedding.
      class_names: of the given labels 0 and 1: one row each.
      path: the PNG.
    """
    figure = Figure(figsize=(3.4 * len(panels), 6.6), layout="constrained")
    axes = figure.subplots(2, len(panels), squeeze=False)
    for column, (title, points, label, is_wrong) in enumerate(panels):
        for row, name in enumerate(class_names):
            ax = axes[row, column]
            for wrong, colour, text in ((False, GREEN, "right"), (True, ORANGE, "wrong")):
                shown = points[(label == row) & (is_wrong == wrong)]
                ax.scatter(*shown.T, s=8, color=colour, alpha=0.7, linewidths=0,
                           label=f"{text} label ({len(shown)})")  # fmt: skip
            ax.set(xticks=[], yticks=[])
            ax.legend(frameon=False, fontsize=8, loc="best", markerscale=2)
            if row == 0:
                ax.set_title(title)
            if column == 0:
                ax.set_ylabel(f"labelled {name}")
    _save(figure, path)


def tsne(embedding: np.ndarray, seed: int) -> np.ndarray:
    """t-SNE of [N, D] to float32 [N, 2], after PCA to 50 features; N of a few thousand at most."""
    # Imported here: scikit-learn takes a second that runs without this figure need not pay.
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if min(embedding.shape) > 50:
        embedding = PCA(50, random_state=seed).fit_transform(embedding)
    perplexity = min(30, (len(embedding) - 1) / 3)
    return TSNE(init="pca", perplexity=perplexity, random_state=seed).fit_transform(embedding)


def _panels(count: int, width: float, height: float, columns: int = 4) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels of `width` x `height` inches each."""
    columns = min(count, columns)
    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in axes[count:]:
        spare.remove()
    for ax in axes[:count]:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes[:count]


def _save(figure: Figure, path: Path) -> None:
    with open_atomic(path, "wb") as file:
        figure.savefig(file, format="png", dpi=150)
