"""The benefit of a reviewer's time: a run, a review of --looks labels, and the run again.

python benchmarks/review.py FILE.npz --labels=human_random1 [--images=5000] [--looks=200]
    [--seeds=0,1,2] [--out=runs/review]                          (needs cleanlab)

FILE.npz has features x_train and x_test, true labels y_train and y_test, and given labels under the
name of --labels. Images are drawn by the seed. A perfect reviewer checks the first labels of an
order: ours (label_issues.csv of the first run), cleanlab's (self-confidence by five folds of
logistic regression on the same features), or a random one; the second run uses the corrections. In
the last row every wrong label is corrected.
"""

import argparse
import csv
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import ours
import stopwatch
from cleanlab.rank import get_label_quality_scores
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from configs import own_data
from rmdnet_jax.config import checking
from rmdnet_jax.evaluation import label_issues
from rmdnet_jax.runs import single

_HEADER = ("index", "path", "given_class", "verdict", "class")


def drawn(file: Path, labels: str, images: int, seed: int, target: Path) -> None:
    """Writes a part of the file's training images with their given and true labels."""
    with np.load(file) as held:
        arrays = {name: held[name] for name in ("x_train", "y_train", "x_test", "y_test", labels)}
    rows = np.random.default_rng(seed).permutation(len(arrays["y_train"]))[:images]
    np.savez(
        target, x_train=arrays["x_train"][rows], y_train=arrays[labels][rows],
        y_train_true=arrays["y_train"][rows], x_test=arrays["x_test"], y_test=arrays["y_test"],
    )  # fmt: skip


def run(data: Path, workdir: Path, flags: dict, seed: int, corrections: str = "") -> dict:
    """results.json of a run on the data, with labels corrected by a file."""
    usual = {
        "dataset.path": str(data), "dataset.corrections": corrections, "seed": seed,
        "report.gallery": 0, "report.tsne_points": 0, "tensorboard": False, "method.baseline": "",
    }  # fmt: skip
    config = checking.with_values(own_data.get_config(), usual | flags, "--flags ")
    single.run(config, workdir, "")
    return json.loads((workdir / "results.json").read_text())


def by_cleanlab(data: Path) -> np.ndarray:
    """The training images from the most to the least suspicious."""
    with np.load(data) as held:
        x, given = held["x_train"], held["y_train"]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))
    probabilities = cross_val_predict(model, x, given, cv=5, method="predict_proba")
    scores = get_label_quality_scores(given, probabilities, method="self_confidence")
    return np.argsort(scores, kind="stable")


def reviewed(data: Path, order: np.ndarray, target: Path) -> int:
    """Writes the verdicts of a perfect reviewer on these images; returns how many were wrong."""
    with np.load(data) as held:
        given, true = held["y_train"], held["y_train_true"]
    with open(target, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_HEADER)
        for row in order:
            verdict = "keep" if given[row] == true[row] else "class"
            writer.writerow([row, "", given[row], verdict, true[row]])
    return int((given != true)[order].sum())


def found_by(data: Path, order: np.ndarray) -> np.ndarray:
    """Share of the wrong labels that a reviewer has found after each label, float64 [N]."""
    with np.load(data) as held:
        is_wrong = held["y_train"] != held["y_train_true"]
    return np.cumsum(is_wrong[order]) / is_wrong.sum()


def draw(path: Path, curves: dict[str, np.ndarray], wrong: float, looks: int) -> None:
    """Draws the share of the wrong labels that a reviewer finds in each order.

    Args:
      path: of the figure, a PNG.
      curves: by order, the result of `found_by`, float64 [N].
      wrong: share of labels that are wrong, in (0, 1).
      looks: the budget to mark.
    """
    figure, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
    size = len(next(iter(curves.values())))
    reviewed_labels = np.arange(size + 1)
    ideal = np.minimum(reviewed_labels / (wrong * size), 1)
    ax.plot(reviewed_labels, ideal, color="0.6", ls=":", label="wrong labels alone (ideal)")
    for name, curve in curves.items():
        ax.plot(reviewed_labels, np.concatenate([[0], curve]), label=name)
    ax.axvline(looks, color="0.3", lw=0.8, ls="--")
    ax.text(looks, 0.02, f" {looks} looks", color="0.3")
    ax.set(xlabel="labels reviewed", ylabel="share of the wrong labels found", ylim=(0, 1.01))
    ax.set_xlim(0, 3 * wrong * size)
    ax.grid(alpha=0.3)
    ax.legend(loc="lower right")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def compare(options: argparse.Namespace, flags: dict, seed: int) -> dict[str, list[float]]:
    """By order: the number of wrong labels found, the share of wrong labels left, test accuracy.
    Draws SEED/found.png."""
    folder = options.out.resolve() / f"seed{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "data.npz"
    drawn(options.file, options.labels, options.images, seed, data)
    first = run(data, folder / "before", flags, seed)
    issues, _ = label_issues.read_csv(folder / "before" / "label_issues.csv")
    size = len(issues.given)
    wrong = first["noise_rate_realised"]
    rows = {"before": [0.0, wrong, first["test_accuracy"]]}
    orders = {
        "random": np.random.default_rng(seed).permutation(size),
        "cleanlab's order": by_cleanlab(data),
        "ours": issues.index[label_issues.ranking(issues)],
    }
    curves = {name: found_by(data, order) for name, order in orders.items()}
    draw(folder / "found.png", curves, wrong, options.looks)
    looks = dict.fromkeys(orders, options.looks) | {"every wrong label": size}
    orders["every wrong label"] = np.arange(size)
    for name, order in orders.items():
        file = folder / f"{name}.csv"
        found = reviewed(data, order[: looks[name]], file)
        done = run(data, folder / name, flags, seed, str(file))
        rows[name] = [found, wrong - found / size, done["test_accuracy"]]
    return rows


def main() -> None:
    """Prints a table: mean and standard deviation over the seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--labels", required=True)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--looks", type=int, default=200)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--out", type=Path, default=Path("runs/review"))
    parser.add_argument("--flags", nargs="*", default=[], help="FIELD=VALUE of configs/own_data.py")
    options = parser.parse_args()
    flags = ours.flags(options.flags)
    print(stopwatch.heading("jax", "cleanlab"))
    found = [compare(options, flags, int(seed)) for seed in options.seeds.split(",")]
    rows = []
    for name in found[0]:
        values = np.array([one[name] for one in found])
        spread = values.std(axis=0, ddof=1) if len(found) > 1 else np.zeros(3)
        pairs = zip(values.mean(axis=0), spread, strict=True)
        shown = [f"{mean:.4g} ± {deviation:.2g}" for mean, deviation in pairs]
        rows.append([name, *shown])
    header = [f"{options.looks} looks", "wrong labels found", "wrong labels left", "test accuracy"]
    print(stopwatch.table(header, rows))


if __name__ == "__main__":
    ours.set_up()
    ours.run(main)
