"""A whole run on pictures with planted faults writes what is wrong with them."""

import csv
import json

import numpy as np
from command import TINY, run_here, write_npz


def test_planted_duplicates_are_listed_counted_and_on_the_page(tmp_path):
    rng = np.random.default_rng(0)
    train, test = (
        rng.integers(0, 256, (count, 4, 4, 3), np.uint8).repeat(4, axis=1).repeat(4, axis=2)
        for count in (64, 32)
    )
    train[9] = train[4]  # labels 1 and 0
    test[3] = train[20][:, ::-1]
    test[5] = 200
    write_npz(tmp_path / "data.npz", x_train=train, x_test=test)
    flags = (
        "--config.dataset.name=own", f"--config.dataset.path={tmp_path}/data.npz",
        "--config.noise.kind=none", "--config.method.baseline=",
        "--config.teacher.kind=random", "--config.train.epochs=1",
    )  # fmt: skip
    folder = tmp_path / "run"
    done = run_here(*TINY, *flags, f"--workdir={folder}")
    assert done.returncode == 0, done.stderr
    with open(folder / "data_issues.csv", newline="") as file:
        rows = [(r["issue"], r["split"], r["index"], r["group"]) for r in csv.DictReader(file)]
    assert [row for row in rows if row[0] != "outlier"] == [
        ("exact_duplicate", "train", "4", "0"),
        ("exact_duplicate", "train", "9", "0"),
        ("near_duplicate", "train", "20", "1"),
        ("near_duplicate", "test", "3", "1"),
        ("leak", "test", "3", "1"),
        ("label_conflict", "train", "4", "0"),
        ("label_conflict", "train", "9", "0"),
        ("label_conflict", "train", "20", "1"),
        ("label_conflict", "test", "3", "1"),
        ("blank", "test", "5", ""),
    ]
    counts = json.loads((folder / "results.json").read_text())["data_issues"]
    assert counts["exact_duplicate"] == counts["near_duplicate"] == 2
    assert counts["leak"] == counts["blank"] == 1
    page = (folder / "report.html").read_text()
    assert "Image issues" in page
    assert "2 exact duplicates" in page
    off = run_here(
        *TINY, *flags, f"--workdir={tmp_path}/off", "--config.report.audit=False",
        "--config.train.epochs=0",
    )  # fmt: skip
    assert off.returncode == 0, off.stderr
    assert not (tmp_path / "off" / "data_issues.csv").exists()
    assert "data_issues" not in json.loads((tmp_path / "off" / "results.json").read_text())
