"""Labels from several annotators: the consensus compared with cleanlab's CROWDLAB and the majority.

python benchmarks/annotators.py --make=OUT.npz [--of=cifar10.npz] [--seed=0]
python benchmarks/annotators.py WORKDIR ...                                    (needs cleanlab)

The first command writes a data set with five annotators, who each label half of the images with
different error rates: of the built-in digits, or of a .npz with the label set human_random1. That
set is then the first annotator, and the others make errors with its confusion matrix. The second
command compares on runs on such data: all methods get the same labels and the run's own
probabilities (pred_probs.npz).
"""

import argparse
from pathlib import Path

import numpy as np
import ours
import pandas
import stopwatch
from cleanlab.multiannotator import get_label_quality_multiannotator
from label_errors import opened

from rmdnet_jax.data import annotators, noise, sources
from rmdnet_jax.export import pred_probs

_WRONG = (0.1, 0.2, 0.35, 0.5, 0.65)
_GAPS = 0.5
_HUMAN = "human_random1"


def make(out: Path, of: str, seed: int) -> None:
    """Writes the data set."""
    data = sources.load("npz", of) if of else sources.load("digits")
    rng = np.random.default_rng(seed)
    true, classes = data.train_labels, data.num_classes
    people = [data.label_sets[_HUMAN]] if of else []
    confusions = noise.realised(true, people[0], classes)[1] if of else np.ones((classes, classes))
    confusions = confusions * (1 - np.eye(classes)) + 1e-9
    cumulated = np.cumsum(confusions / confusions.sum(axis=1, keepdims=True), axis=1)
    for rate in _WRONG[len(people) :]:
        other = (rng.random((len(true), 1)) > cumulated[true]).sum(axis=1)
        people.append(np.where(rng.random(len(true)) < rate, other, true))
    said = np.stack(people, axis=1).astype(np.int32)
    is_gap = rng.random(said.shape) < _GAPS
    is_gap[np.arange(len(true)), rng.integers(0, said.shape[1], len(true))] = False
    said[is_gap] = annotators.GAP
    np.savez(
        out, x_train=data.train_images, x_test=data.test_images, y_test=data.test_labels,
        y_train_true=true, annotators=said, class_names=np.array(data.class_names),
    )  # fmt: skip


def compare(workdir: Path) -> dict[str, tuple[float, float]]:
    """The share of wrong labels in each consensus, and the mean error of its estimates of the
    annotators' shares of right labels."""
    run = opened(workdir)
    true, said = run.labels.true, annotators.of(run.data.label_sets).labels
    with np.load(workdir / pred_probs.NAME) as held:
        probabilities = held["pred_probs"].astype(np.float64)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    right = np.array([(column == true)[column >= 0].mean() for column in said.T])

    def row(chosen: np.ndarray, quality: np.ndarray) -> tuple[float, float]:
        return float((chosen != true).mean()), float(np.abs(quality - right).mean())

    people = annotators.consensus(said, run.data.num_classes)
    both = annotators.consensus(said, run.data.num_classes, probabilities)
    table = pandas.DataFrame(np.where(said < 0, np.nan, said))
    found = get_label_quality_multiannotator(table, probabilities, verbose=False)
    theirs = found["label_quality"]["consensus_label"].to_numpy()
    quality = found["annotator_stats"]["annotator_quality"].sort_index().to_numpy()
    model = probabilities.argmax(axis=1)
    return {
        "the model alone": row(model, np.full(len(right), np.nan)),
        "majority, agreement with others": row(both.majority, both.agreement),
        "consensus without a model": row(people.labels, people.annotator_quality),
        "consensus": row(both.labels, both.annotator_quality),
        "cleanlab, CROWDLAB": row(theirs, quality),
    }


def main() -> None:
    """Makes data, or prints a table: mean and standard deviation over the runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workdirs", type=Path, nargs="*")
    parser.add_argument("--make", type=Path)
    parser.add_argument("--of", default="")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.make:
        make(options.make, options.of, options.seed)
        return
    print(stopwatch.heading("jax", "cleanlab"))
    runs = [compare(workdir) for workdir in options.workdirs]
    rows = []
    for name in runs[0]:
        values = np.array([run[name] for run in runs])
        spread = values.std(axis=0, ddof=1) if len(runs) > 1 else np.zeros(values.shape[1])
        shares = zip(values.mean(axis=0), spread, strict=True)
        rows.append([name, *("" if np.isnan(m) else f"{m:.3f} ± {s:.3f}" for m, s in shares)])
    header = ["", "wrong labels", "annotators' quality is off by"]
    print(stopwatch.table(header, rows))


if __name__ == "__main__":
    ours.set_up()
    ours.run(main)
