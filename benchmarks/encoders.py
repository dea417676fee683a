"""Wrong labels and a classifier from an encoder's features: ours compared with cleanlab, using
logistic regression, on the same features in one run.

python benchmarks/encoders.py FEATURES.npz --labels human_aggre,human_random1 --seeds 0,1,2
    (needs cleanlab; FEATURES.npz holds x_train and x_test float [N, D], y_train, the true labels,
    y_test, and a label set under each name of --labels)

cleanlab is used in the usual way: probabilities of a standardised logistic regression in five
folds, its three scores, find_label_issues, and classifiers trained on all labels and on those that
it keeps. C takes each value of --decays, as the best one differs; ours has no such choice. Wall and
CPU seconds are from features to labels and classifier; ours include compilation.
"""

import argparse
import os
import time
import warnings
from pathlib import Path

import numpy as np
import ours
import stopwatch
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from configs import own_data
from rmdnet_jax.runs import single

_SCORES = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")


def theirs(data: dict, given: np.ndarray, c: float) -> dict:
    """cleanlab with logistic regression of inverse regularisation `c`."""
    is_wrong = given != data["y_train"]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=200))
    features, tests = data["x_train"], (data["x_test"], data["y_test"])
    clock = _Clock()
    said = cross_val_predict(model, features, given, cv=5, method="predict_proba")
    scores = {name: -get_label_quality_scores(given, said, method=name) for name in _SCORES}
    issues = find_label_issues(given, said, n_jobs=1)
    accuracy = model.fit(features, given).score(*tests)
    times = clock.told()
    pruned = model.fit(features[~issues], given[~issues]).score(*tests)
    found = {
        "auroc": max(roc_auc_score(is_wrong, score) for score in scores.values()),
        "ap": max(average_precision_score(is_wrong, score) for score in scores.values()),
    }
    order = np.argsort(-scores["self_confidence"])
    return found | {
        "p@n": is_wrong[order[: is_wrong.sum()]].mean(),
        "f1": f1_score(is_wrong, issues),
        "rate": issues.mean(),
        "accuracy": accuracy,
        "pruned": pruned,
        **times,
    }


def of_this_package(file: Path, labels: str, seed: int) -> dict:
    """This program with configs/own_data.py, without the page."""
    config = own_data.get_config()
    config.dataset.path, config.seed = str(file), seed
    config.noise.kind, config.noise.field = "human", labels
    clock = _Clock()
    found = single.run(config, None, "").results
    return {
        "auroc": found["label_issue_auroc"],
        "ap": found["label_issue_average_precision"],
        "p@n": found["label_issue_precision"],
        "f1": found["label_issue_f1"],
        "rate": found["noise_rate_estimated"],
        "accuracy": found["test_accuracy"],
        "best": found["best_test_accuracy"],
        **clock.told(),
    }


class _Clock:
    """Wall and CPU seconds since its creation."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def told(self) -> dict[str, float]:
        return {
            "wall": time.perf_counter() - self._wall,
            "cpu": time.process_time() - self._cpu,
        }


def main() -> None:
    """Reads the command line; prints one line per run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("features", type=Path)
    parser.add_argument("--labels", required=True)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--decays", default="0.01,0.001,0.0001", help="C of logistic regression")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    with np.load(given.features, allow_pickle=False) as held:
        data = dict(held)
    print(stopwatch.heading("cleanlab", "scikit-learn", "jax"), f"load {os.getloadavg()[0]:.1f}")
    for labels in given.labels.split(","):
        is_wrong = data[labels] != data["y_train"]
        print(f"{labels}: {is_wrong.mean():.4f} wrong", flush=True)
        runs = [(f"ours, seed {seed}", of_this_package, (given.features, labels, int(seed)))
                for seed in given.seeds.split(",") if seed]  # fmt: skip
        runs += [(f"cleanlab, C = {c}", theirs, (data, data[labels], float(c)))
                 for c in given.decays.split(",") if c]  # fmt: skip
        for name, run, arguments in runs:
            figures = "  ".join(f"{what} {figure:.4g}" for what, figure in run(*arguments).items())
            print(f"  {name}: {figures}", flush=True)


if __name__ == "__main__":
    ours.run(main)
