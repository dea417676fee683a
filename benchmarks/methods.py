"""Compares all methods on the same wrong labels with the same budget: several noises and seeds, and
a table of means and standard deviations.

python benchmarks/methods.py configs/own_data.py --out runs/features --seeds 0,1,2 \\
    --noise human:human_aggre,symmetric:0.4 --flags dataset.path=FEATURES.npz train.epochs=30
python benchmarks/methods.py configs/cifar10_small.py --out runs/pictures --seeds 0,1,2 \\
    --noise human:human_random1,symmetric:0.4 --guides simsiam encoder=EMBEDDINGS.npz --k 1 \\
    --flags dataset.name=npz dataset.path=CIFAR10.npz augment.pad=4 train.epochs=15
python benchmarks/methods.py configs/digits.py --out runs/digits --noise symmetric:0.4
python benchmarks/methods.py configs/modul_digits.py:robust --out runs/modul --noise universal:0.5
python benchmarks/methods.py configs/modul_cifar10.py:robust,small --out runs/modul-cifar10 \\
    --noise universal:0.5 --flags noise.open_path=PICTURES

Every run has a folder under --out, and finished runs are not repeated; --report runs nothing,
prints finished results, and prints "not run" for the rest. Each table is also drawn as accuracy
against minutes (OUT/NOISE.png). With configs/rgrl_cifar10.py in place of cifar10_small.py it runs
at full size, for an accelerator.

--guides adds RMDNet: the relation term with each method that trains one network, and as teacher
SimSiam (trained once, or simsiam=WORKDIR) or an encoder. For feature vectors use `encoder` without
a path: the features themselves are the embeddings (model.hidden=(256,) gives the student its own).
--k is K beside CE; other losses get the K of the same weight (config/automatic.py).

The fields of a method are its defaults for all data, and none was selected on these labels: rates
of wrong labels are estimated, and dividemix.lambda_u is 0. Only modul.rotations is set to 1, a
quarter of the cost. Last (best) is the test accuracy after the last epoch, and the highest after
any epoch, which cannot be selected without true labels. All methods get the same images per batch;
DivideMix and GSS-SSL train on four views of them for each network.
"""

import argparse
import contextlib
import io
import itertools
import statistics
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import minutes_figure
import ours
import stopwatch
from ml_collections import ConfigDict

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.config import automatic, checking
from rmdnet_jax.runs import grid, preparation
from rmdnet_jax.runs.grid import Cell

_COMMON = {
    "method.baseline": "",
    "report.tsne_points": 0,
    "report.gallery": 0,
    "tensorboard": False,
}

# A loss alone, or a method with the cross entropy of its authors.
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

# The rows above that can use the relation term: those with one network.
_ONE_NETWORK = ("CE", "GCE", "NCE+AGCE", "forward GCE", "ELR", "GSS-SB")
# The values of --guides, and the field for the path after each.
_GUIDES = {"simsiam": "teacher.path", "encoder": "encoder.path"}

# Rows with a trained classifier as the teacher; KD is their control.
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

# Fields of results.json, by heading.
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

# The same for images of none of the classes.
_KINDS = {
    "kinds": "label_kinds.accuracy",
    "clean": "label_kinds.recall.clean",
    "closed": "label_kinds.recall.closed",
    "open": "label_kinds.recall.open",
    "called open": "label_kinds.precision.open",
    "refined": "label_kinds.refined",
}


def guided(guides: Iterable[str]) -> dict[str, dict]:
    """Rows of RMDNet with each teacher: "simsiam", "encoder", or either with "=PATH".

    Raises:
      InputError: a guide is none of these, or a kind is there twice.
    """
    rows: dict[str, dict] = {}
    for guide in guides:
        kind, _, path = guide.partition("=")
        if kind not in _GUIDES or f"{_ONE_NETWORK[0]} + RMDNet ({kind})" in rows:
            raise InputError(
                f"--guides has {guide}; expected {' or '.join(_GUIDES)}, or KIND=PATH, each once"
            )
        fields = {"teacher.kind": kind} | ({_GUIDES[kind]: path} if path else {})
        rows |= {f"{name} + RMDNet ({kind})": ROWS[name] | fields for name in _ONE_NETWORK}
    return rows


def configured(base: ConfigDict, own: dict, noise: str, seed: int, flags: dict) -> ConfigDict:
    """The config of a row with the fields `own` and a noise: "symmetric:0.4", "human:FIELD" or
    "universal:RHO1"."""
    if set_by_row := flags.keys() & own.keys():
        raise InputError(f"--flags sets {min(set_by_row)}, which a row also sets: {own}")
    kind, _, which = noise.partition(":")
    of_noise = {"noise.field": which} if kind == "human" else {"noise.rate": float(which)}
    usual = {"method.name": "robust", "loss.name": "ce", "train.folds": 1}
    seeds = {"seed": seed, "noise.seed": seed, "noise.kind": kind}
    values = _COMMON | usual | seeds | of_noise | flags | own
    return checking.with_values(base, values, "--flags ")


def line(row: str, seeds: Sequence[Cell], figures: Collection[str]) -> str:
    """A row of the table: means and standard deviations over the finished seeds, and the number of
    seeds without a value, which diverged or were not run."""
    runs = [one.results() for one in seeds]
    if not any(runs):
        why = "diverged" if any(one.divergence() for one in seeds) else "not run"
        return f"| {row} | {why} {'| ' * (len(figures) - 1)}|"
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
    """The value of a dotted name; None if there is none."""
    found: Any = results
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def main() -> None:
    """Reads the command line; prints one table per noise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="a file in configs/: FILE.py or FILE.py:ARGUMENT")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", help="default: all that fit the config's teacher")
    parser.add_argument("--noise", default="symmetric:0.4")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--guides", nargs="*", default=[], help="simsiam encoder, or KIND=PATH")
    parser.add_argument("--k", type=float, default=1.0, help="K of --guides, relative to CE")
    parser.add_argument("--report", action="store_true", help="run nothing, print finished results")
    parser.add_argument("--flags", nargs="*", default=[], help="FIELD=VALUE for the config")
    given = parser.parse_args()
    base, flags = ours.config(given.config), ours.flags(given.flags)
    print(stopwatch.heading("jax"), flush=True)
    seeds = [int(seed) for seed in given.seeds.split(",")]
    is_taught = base.teacher.kind == "supervised"
    alone = {"teacher.kind": "none"}
    usual = TAUGHT if is_taught else {name: alone | own for name, own in ROWS.items()}
    usual |= (rmdnet := guided(given.guides))
    rows, noises = given.rows.split(",") if given.rows else list(usual), given.noise.split(",")
    if unknown := set(rows) - usual.keys():
        raise InputError(f"--rows has {min(unknown)}; expected some of {', '.join(usual)}")
    # One filling per kind of teacher: it determines which data is read.
    out, fillings, cells = given.out.resolve(), {}, {}
    classes = 0
    if rmdnet.keys() & set(rows):
        data = preparation.find(checking.with_values(base, flags, "--flags "))
        classes = len(data.class_names)
    for row, noise, seed in itertools.product(rows, noises, seeds):
        config = configured(base, usual[row], noise, seed, flags)
        if row in rmdnet:
            config.rgrl.k = given.k * automatic.relation_weight(config, classes)
        if (kind := config.teacher.kind) not in fillings:
            fillings[kind] = preparation.filling(config)
        filled, _ = fillings[kind](config)
        name = f"{row} {noise} {seed}".replace(":", "-")
        (cell,) = grid.with_teachers([Cell(name, filled, out / name)], out / "teachers", base.seed)
        cells.setdefault((row, noise), []).append(cell)
    if not given.report:
        grid.check([one for many in cells.values() for one in many])
    for noise in noises:
        configs = [one.config.noise for row in rows for one in cells[row, noise]]
        has_open = any(one.kind == "universal" or one.open_share for one in configs)
        figures = _FIGURES | (_KINDS if has_open else {})
        print(f"\n{noise}\n\n| | {' | '.join(figures)} |\n{'| --- ' * (len(figures) + 1)}|")
        finished = {}
        for row in rows:
            if not given.report:
                with contextlib.redirect_stdout(io.StringIO()):
                    for _ in grid.run(cells[row, noise], ""):
                        pass
            finished[row] = [one.results() for one in cells[row, noise]]
            print(line(row, cells[row, noise], figures.values()), flush=True)
        minutes_figure.draw(out / f"{noise.replace(':', '-')}.png", noise, finished)


if __name__ == "__main__":
    ours.run(main)
