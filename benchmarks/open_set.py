"""Detecting images that show none of the classes by embeddings and given labels.

python benchmarks/open_set.py KNOWN.npz [OPEN.npz] [--classes=8] [--open-classes=2] [--images=10000]

KNOWN.npz and OPEN.npz have x_train [N, D] and y_train [N]; without OPEN.npz the open images are
other classes of KNOWN.npz. A quarter of the images is open and has labels drawn at random, a
quarter has the label of another class, and half is labelled correctly. The first table ranks
measures by AUROC; the second states what `is_open` flags among the labels that neighbours
contradict, on this data and on data without open images.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import ours
import stopwatch
from sklearn.covariance import EmpiricalCovariance
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor

from rmdnet_jax.evaluation import knn, open_set

_NEIGHBOURS = 50


class Mixed(NamedTuple):
    """Embeddings float32 [N, D], given labels int [N], and true labels, -1 for open images."""

    embeddings: np.ndarray
    given: np.ndarray
    true: np.ndarray


def read(path: Path, without: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Features float32 [N, D] and labels int [N] of a file, without these classes."""
    with np.load(path) as held:
        x, y = held["x_train"], held["y_train"].astype(np.int64)
    kept = ~np.isin(y, without)
    return x[kept], y[kept]


def mixed(
    known: tuple[np.ndarray, np.ndarray],
    others: tuple[np.ndarray, np.ndarray] | None,
    options: argparse.Namespace,
    seed: int,
    open_share: float,
) -> Mixed:
    """`options.images` images, or fewer if there are not enough: a share is open, and a third of
    the others has a wrong label."""
    rng = np.random.default_rng(seed)
    x, y = known
    order = rng.permutation(np.unique(y))
    classes = np.sort(order[: options.classes])
    of_classes = np.flatnonzero(np.isin(y, classes))
    if others is None:
        other = order[options.classes : options.classes + options.open_classes]
        pool = x[np.isin(y, other)]
    else:
        pool = others[0]
    size = min(options.images, int(len(of_classes) / (1 - open_share)))
    num_open = min(round(open_share * size), len(pool))
    inside = rng.choice(of_classes, size - num_open, replace=False)
    true = np.searchsorted(classes, y[inside])
    wrong = rng.random(len(true)) < 1 / 3
    shift = rng.integers(1, len(classes), len(true))
    given = np.where(wrong, (true + shift) % len(classes), true)
    outside = rng.choice(len(pool), num_open, replace=False)
    return Mixed(
        np.concatenate([x[inside], pool[outside]]).astype(np.float32),
        np.concatenate([given, rng.integers(0, len(classes), num_open)]),
        np.concatenate([true, np.full(num_open, -1)]),
    )


def neighbours(data: Mixed, classes: int) -> np.ndarray:
    """Votes float32 [N, C] of the nearest images' given labels."""
    labels = np.eye(classes, dtype=np.float32)[data.given]
    return knn.neighbours_mean(data.embeddings, labels, k=_NEIGHBOURS)


def measures(data: Mixed, classes: int) -> dict[str, np.ndarray]:
    """float [N] by the name of a measure; higher is more likely open."""
    x, given = data.embeddings, data.given
    rows = x / np.linalg.norm(x, axis=1, keepdims=True)
    means = np.stack([rows[given == label].mean(axis=0) for label in range(classes)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    votes = neighbours(data, classes)
    lof = LocalOutlierFactor(_NEIGHBOURS).fit(rows)
    nearest = lof.kneighbors()[0]
    components = PCA(min(256, len(x) // 10), random_state=0).fit_transform(rows)
    centres = np.stack([components[given == label].mean(axis=0) for label in range(classes)])
    within = EmpiricalCovariance(assume_centered=True).fit(components - centres[given])
    to_means = [within.mahalanobis(components - centre) for centre in centres]
    overall = EmpiricalCovariance().fit(components).mahalanobis(components)
    return {
        "distance to the 50 nearest images": (nearest**2).mean(axis=1),
        "local outlier factor": -lof.negative_outlier_factor_,
        "cosine distance to the nearest class mean": 1 - (rows @ means.T).max(axis=1),
        "entropy of the neighbours' labels": -(votes * np.log(votes + 1e-12)).sum(axis=1),
        "Mahalanobis": np.min(to_means, axis=0),
        "relative Mahalanobis, all given labels": np.min(to_means, axis=0) - overall,
        "ours: relative, trusted labels, cross-fitted": open_set.openness(x, given, classes),
    }


def main() -> None:
    """Prints both tables: means over seeds, and for the first also standard deviations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("known", type=Path)
    parser.add_argument("open", type=Path, nargs="?")
    parser.add_argument("--without", default="", help="classes of OPEN.npz to omit: 3,17")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--open-classes", type=int, default=2)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    print(stopwatch.heading("jax", "scikit-learn"))
    without = [int(label) for label in options.without.split(",") if label]
    known = read(options.known, [])
    others = read(options.open, without) if options.open else None
    found: dict[str, list] = {}
    flagged = []
    for seed in range(options.seeds):
        data = mixed(known, others, options, seed, 0.25)
        is_open, is_wrong = data.true < 0, data.given != data.true
        for name, values in measures(data, options.classes).items():
            both = (
                roc_auc_score(is_open, values),
                roc_auc_score(is_open[is_wrong], values[is_wrong]),
            )
            found.setdefault(name, []).append(both)
        flagged.append([])
        for part in (data, mixed(known, others, options, seed, 0)):
            contradicted = neighbours(part, options.classes).argmax(axis=1) != part.given
            flags = open_set.is_open(part.embeddings, part.given, options.classes, contradicted)
            flagged[-1] += [(part.true < 0)[flags].mean() if flags.any() else np.nan,
                            flags[part.true < 0].mean() if (part.true < 0).any() else np.nan,
                            flags.mean()]  # fmt: skip
    rows = []
    for name, values in found.items():
        mean, spread = np.mean(values, axis=0), np.std(values, axis=0)
        rows.append([name, *(f"{m:.3f} ± {s:.3f}" for m, s in zip(mean, spread, strict=True))])
    print(stopwatch.table(["", "open or not", "open or of another class"], rows))
    precision, recall, _, _, _, none = np.mean(flagged, axis=0)
    header = ["precision", "recall", "flagged where none is open"]
    print(stopwatch.table(header, [[f"{precision:.2f}", f"{recall:.2f}", f"{none:.4f}"]]))


if __name__ == "__main__":
    ours.set_up()
    ours.run(main)
