"""How well a trained classifier divides labels into right ones, labels of another class, and labels
of images of no class: by MODUL's mixture over subjective-logic losses, and by the classifier's own
confidence. Nothing is trained.

python benchmarks/division.py configs/modul_digits.py:modul --seeds 0,1,2 --flags teacher.path=DIR
python benchmarks/division.py configs/modul_cifar10.py:modul,small --flags teacher.path=DIR \\
    noise.open_path=PICTURES
"""

import argparse
import statistics

import numpy as np
import ours
import stopwatch
from ml_collections import ConfigDict

from rmdnet_jax.config import checking
from rmdnet_jax.data import label_kinds
from rmdnet_jax.evaluation import kinds, label_issues
from rmdnet_jax.methods.division import DIVISIONS
from rmdnet_jax.runs import preparation
from rmdnet_jax.stages.teaching import teaching


def divided(config: ConfigDict) -> tuple[float | None, dict[str, dict]]:
    """The teacher's test accuracy, and the quality of each division."""
    run = preparation.prepare(config, None)
    if run.complete:
        run = run.complete()
    teacher, given, true = teaching(run), run.labels.given, run.labels.true
    found = {}
    for name, divide in DIVISIONS.items():
        division = divide(teacher.train_logits, given)
        none = np.full((len(given), run.data.num_classes), 0.5, np.float32)
        issues = label_issues.divided(division, none, None, given)
        found[name] = kinds.quality(issues, true)
    return teacher.verdict.test_accuracy, found


def main() -> None:
    """Prints one row per division: means over seeds, and the confusion matrix of the first seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="a file in configs/: FILE.py or FILE.py:ARGUMENT")
    parser.add_argument("--seeds", default="0,1,2", help="of the noise")
    parser.add_argument("--flags", nargs="*", default=[], help="FIELD=VALUE for the config")
    given = parser.parse_args()
    base, flags = ours.config(given.config), ours.flags(given.flags)
    print(stopwatch.heading("jax"))
    runs = [
        divided(checking.with_values(base, flags | {"noise.seed": int(seed)}, "--flags "))
        for seed in given.seeds.split(",")
    ]
    print(f"\nteacher's test accuracy {runs[0][0]:.3f}; precision / recall; seeds {given.seeds}\n")
    rows = []
    for name in DIVISIONS:
        of = [found[name] for _, found in runs]
        cells = [_mean([one["accuracy"] for one in of])]
        for kind in label_kinds.KINDS:
            pair = (_mean([one[part][kind] for one in of]) for part in ("precision", "recall"))
            cells.append(" / ".join(pair))
        cells += [_mean([one["refined"] for one in of]), str(of[0]["confusion"])]
        rows.append([name, *cells])
    last = "closed refined to the truth", "confusion, first seed"
    print(stopwatch.table(["division", "right", *label_kinds.KINDS, *last], rows))


def _mean(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.mean(known):.3f}" if known else "-"


if __name__ == "__main__":
    ours.set_up()
    ours.run(main)
