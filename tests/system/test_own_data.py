"""Whole runs on a user's own pictures: a folder, a CSV and a Parquet manifest of the same files."""

import csv
import json

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from command import TINY, results, run_here
from PIL import Image

from configs import own_data
from rmdnet_jax.runs import preparation

OWN = "configs/own_data.py"
CLASSES = ("ant", "bee")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """40 pictures of two colours and several sizes, of which the first two have wrong labels."""
    root = tmp_path_factory.mktemp("data") / "my photos"
    rng = np.random.default_rng(0)
    rows = []
    for i in range(40):
        height, width = rng.integers(20, 40, 2)
        pixels = rng.integers(0, 256, (height, width, 3)) // 4 + [[[190, 0], [0, 190]][i % 2] + [0]]
        given, true = CLASSES[(i + (i < 2)) % 2], CLASSES[i % 2]
        file = root / given / f"no {i:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(file)
        rows.append((f"{given}/no {i:02}.png", given, ("train", "test")[i >= 32], true))
    with open(root / "manifest.csv", "w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split", "true_label"), *rows])
    columns = dict(zip(("path", "label", "split"), list(zip(*rows, strict=True))[:3], strict=True))
    pyarrow.parquet.write_table(pyarrow.table(columns), root / "manifest.parquet")
    return root


def run(path, workdir, *flags):
    # Batch sizes are chosen from the data here.
    tiny = [flag for flag in TINY if "batch_size" not in flag]
    flags = (*tiny, f"--config.dataset.path={path}", f"--workdir={workdir}", *flags)
    done = run_here(*flags, config=OWN)
    assert done.returncode == 0, done.stderr
    return done.stdout


def losses(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def test_a_folder_to_label_issues_with_names_and_paths_and_once_more(photos, tmp_path):
    cut = photos / "bee" / "cut.png"
    cut.write_bytes((photos / "bee" / "no 03.png").read_bytes()[:-300])
    flags = ("--config.dataset.max_broken=0.2", f"--config.dataset.cache={tmp_path / 'cache'}",
             "--config.teacher.kind=random")  # fmt: skip
    told = run(photos, tmp_path / "w", *flags)
    assert "skipped  3 files (manifest.csv, manifest.parquet, bee/cut.png); see " in told
    assert "chosen   loss.name gce: robust at any rate of wrong labels" in told
    found, config = results(tmp_path / "w"), json.loads((tmp_path / "w/config.json").read_text())
    assert found["skipped_files"] == 3
    assert found["label_issue_auroc"] is found["noise_rate_realised"] is None  # nobody knows
    assert config["dataset"]["image_size"] == 32
    assert config["rm"]["batch_size"] == 16
    with open(tmp_path / "w/skipped_files.csv") as file:
        assert [row["path"] for row in csv.DictReader(file)][2] == "bee/cut.png"
    with open(tmp_path / "w/label_issues.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 32
    for row in rows:
        assert row["path"].startswith(f"{row['given_class']}/no ")
    before = losses(tmp_path / "w")
    run(photos, tmp_path / "w", *flags)  # not refused as another experiment
    assert losses(tmp_path / "w") == before
    cut.unlink()


def test_a_csv_and_a_parquet_manifest_of_the_same_files_are_the_same_data(photos):
    def prepared(kind):
        config = own_data.get_config()
        config.dataset.path, config.dataset.cache = str(photos / f"manifest.{kind}"), ""
        return preparation.prepare(config, None)

    csv_run, parquet_run = prepared("csv"), prepared("parquet")
    assert csv_run.data.images_fingerprint() == parquet_run.data.images_fingerprint()
    for split in ("train_images", "test_images", "test_labels"):
        ours, theirs = (getattr(run.data, split) for run in (csv_run, parquet_run))
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(csv_run.labels.given, parquet_run.labels.given)
    # Only the CSV knows true labels.
    assert csv_run.labels.rate_realised == 2 / 32
    assert parquet_run.labels.rate_realised is None
