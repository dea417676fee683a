"""What every method makes of the same wrong labels with the same budget: several noises and seeds,
and a table of means and spreads.

python benchmarks/methods.py configs/own_data.py --out runs/features --seeds 0,1,2 \\
    --noise human:human_aggre,symmetric:0.4 --flags dataset.path=FEATURES.npz train.epochs=30
python benchmarks/methods.py configs/digits.py --out runs/digits --noise symmetric:0.4
python benchmarks/methods.py configs/modul_digits.py:robust --out runs/modul --noise universal:0.5
python benchmarks/methods.py configs/modul_cifar10.py:robust,small --out runs/modul-cifar10 \\
    --noise universal:0.5 --flags noise.open_path=PICTURES

Every run has a folder under --out, and what is finished there is not done again. Fields of a method
are its defaults, for all data, and none was chosen by these labels: rates of wrong labels are
estimated, and dividemix.lambda_u is 0. But modul.rotations is 1, a quarter of the cost. Last (best)
is the test accuracy after the last epoch, and the highest after any, which nobody can choose
without true labels. Images of the batches are the same for all; DivideMix and GSS-SSL learn four
views of them for each network.
"""

import argparse
import contextlib
import io
import itertools
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import ours
import stopwatch
from ml_collections import ConfigDict

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.config import checking
from rmdnet_jax.runs import grid, preparation
from rmdnet_jax.runs.grid import Cell

_ALONE = {"method.baseline": "", "report.tsne_points": 0, "report.gallery": 0, "tensorboard": False}

# A loss alone, or a method, whose loss is cross entropy as its authors have it.
ROWS: dict[str, dict] = {
    "CE": {},
    "GCE": {"loss.name": "gce"},
    "NCE+AGCE": {"loss.name": "nce_agce"},
    "forward GCE": {"method.name": "forward", "loss.name": "gce"},
    "ELR": {"method.name": "elr"},
    "ELR+": {"method.name": "elr_plus"},
    "Co-teaching": {"method.name": "coteaching"},
    "JoCoR": {"method.name": "jocor"},
    "DivideMix": {"method.name": "dividemix"},
    "GSS-SB": {"method.name": "gss"},
    "GSS-DB": {"method.name": "gss", "gss.branches": "double"},
    "GSS-SSL": {"method.name": "gss", "gss.branches": "ssl"},
}

# Of a trained classifier: the teacher of these, whose control is KD.
TAUGHT: dict[str, dict] = {
    "CE": {},
    "KD": {"method.name": "kd"},
    "VKD": {"method.name": "kd", "kd.weight": 0.1},
    "DFND": {"method.name": "dfnd"},
    "MODUL": {"method.name": "modul", "modul.rotations": 1},
    "MODUL, division by the teacher": {
        "method.name": "modul",
        "modul.rotations": 1,
        "modul.division": "teacher",
    },
}

# Of results.json, by their headings.
_FIGURES = {
    "last": "test_accuracy",
    "best": "best_test_accuracy",
    "AUROC": "label_issue_auroc",
    "AP": "label_issue_average_precision",
    "F1": "label_issue_f1",
    "rate": "noise_rate_estimated",
    "ECE": "expected_calibration_error",
    "seconds": "train_seconds",
}

# The same of pictures that show none of the classes.
_KINDS = {
    "kinds": "label_kinds.accuracy",
    "clean": "label_kinds.recall.clean",
    "closed": "label_kinds.recall.closed",
    "open": "label_kinds.recall.open",
    "called open": "label_kinds.precision.open",
    "refined": "label_kinds.refined",
}


def configured(base: ConfigDict, row: str, noise: str, seed: int, flags: dict) -> ConfigDict:
    """The config of a row under a noise, "symmetric:0.4", "human:FIELD" or "universal:RHO1"."""
    if set_by_row := flags.keys() & (own := (ROWS | TAUGHT)[row]).keys():
        raise InputError(f"--flags sets {min(set_by_row)}, which the row {row} sets to {own}")
    kind, _, which = noise.partition(":")
    of_noise = {"noise.field": which} if kind == "human" else {"noise.rate": float(which)}
    usual = {"method.name": "robust", "loss.name": "ce", "train.folds": 1}
    seeds = {"seed": seed, "noise.seed": seed, "noise.kind": kind}
    values = _ALONE | usual | seeds | of_noise | flags | own
    return checking.with_values(base, values, "--flags ")


def line(row: str, runs: Sequence[dict | None], figures: Iterable[str]) -> str:
    """A row of the table: means over seeds and their standard deviation, of what is known; and the
    number of seeds in which it is not, or that diverged."""
    cells = []
    for name in figures:
        values = [value for one in runs if (value := _value(one, name)) is not None]
        text = f"{statistics.mean(values):.4g}" if values else "-"
        if len(values) > 1:
            text += f" ± {statistics.stdev(values):.2g}"
        if unknown := len(runs) - len(values):
            text += f" (not in {unknown} of {len(runs)})"
        cells.append(text)
    return f"| {row} | {' | '.join(cells)} |"


def _value(results: dict | None, name: str) -> float | None:
    """That of a dotted name; None where there is none."""
    found: Any = results
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def main() -> None:
    """Reads the command line; a table a noise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="a file in configs/, and its argument: FILE.py:ARGUMENT")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", help="all that go with the config's teacher, if not given")
    parser.add_argument("--noise", default="symmetric:0.4")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--flags", nargs="*", default=[], help="FIELD=VALUE of the config")
    given = parser.parse_args()
    base, flags = ours.config(given.config), ours.flags(given.flags)
    print(stopwatch.heading("jax"), flush=True)
    seeds = [int(seed) for seed in given.seeds.split(",")]
    usual = TAUGHT if base.teacher.kind == "supervised" else ROWS
    rows = given.rows.split(",") if given.rows else list(usual)
    noises = given.noise.split(",")
    fill = preparation.filling(configured(base, rows[0], noises[0], seeds[0], flags))
    cells: dict[tuple[str, str], list[Cell]] = {}
    for row, noise, seed in itertools.product(rows, noises, seeds):
        filled, _ = fill(configured(base, row, noise, seed, flags))
        name = f"{row} {noise} {seed}".replace(":", "-")
        cells.setdefault((row, noise), []).append(Cell(name, filled, given.out.resolve() / name))
    grid.check([one for many in cells.values() for one in many])
    for noise in noises:
        configs = [one.config.noise for row in rows for one in cells[row, noise]]
        has_open = any(one.kind == "universal" or one.open_share for one in configs)
        figures = _FIGURES | (_KINDS if has_open else {})
        print(f"\n{noise}\n\n| | {' | '.join(figures)} |\n{'| --- ' * (len(figures) + 1)}|")
        for row in rows:
            with contextlib.redirect_stdout(io.StringIO()):
                for _ in grid.run(cells[row, noise], ""):
                    pass
            done = [one.results() for one in cells[row, noise]]
            print(line(row, done, figures.values()), flush=True)


if __name__ == "__main__":
    main()
