"""Clothing1M and WebVision as they come, but small: from their lists to a manifest by the script in
docs/, and from there to a trained network by their configs."""

import csv
import subprocess
import sys

import numpy as np
import pytest
from command import ROOT, TINY, results, run_here
from PIL import Image

SCRIPT = ROOT / "docs/make_manifest.py"

# What makes of their recipes a run of seconds.
SMALL = (*TINY, "--config.dataset.image_size=8", "--config.augment.pad=1")


def make_manifest(*words):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, words)], capture_output=True, text=True, check=False
    )


def write_list(file, lines):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n")


def write_picture(file, label):
    rng = np.random.default_rng(label)
    pixels = rng.integers(0, 256, (1, 1, 3)) + rng.integers(-20, 20, (9, 12, 3))
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(file)


@pytest.fixture
def clothing1m(tmp_path):
    """56 noisily labelled pictures of 14 classes, and 28 to test on, of which one is also labelled
    otherwise by its shop; and pictures of its other lists, of which none is used."""
    root = tmp_path / "clothing1m"
    noisy = [(f"images/{i % 10}/{i:02},{i}.jpg", i % 14) for i in range(56)]
    clean = [(f"images/{i % 10}/t{i:02}.jpg", i % 14) for i in range(28)]
    for path, label in noisy + clean:
        write_picture(root / path, label)
    unused = [(f"images/0/{name}.jpg", 3) for name in ("train", "val")]
    pairs = {"noisy": [*noisy, (clean[0][0], 7)], "clean": [*clean, *unused]}
    for kind, labelled in pairs.items():
        lines = [f"{path} {label}" for path, label in labelled]
        write_list(root / f"{kind}_label_kv.txt", lines)
    write_list(root / "noisy_train_key_list.txt", [path for path, _ in noisy])
    write_list(root / "clean_test_key_list.txt", [path for path, _ in clean])
    write_list(root / "category_names_eng.txt", [f"Garment {i}" for i in range(14)])
    return root


@pytest.fixture
def webvision(tmp_path):
    """Lists of 51 classes; pictures of the first 50, two to train on and one to test on."""
    root = tmp_path / "webvision"
    train = [(f"google/q{label:04}/{i}.jpg", label) for label in range(51) for i in range(2)]
    val = [(f"val{label:06}.jpg", label) for label in range(51)]
    for path, label in [*train, *((f"val_images_256/{path}", label) for path, label in val)]:
        if label < 50:
            write_picture(root / path, label)
    lists = {"train_filelist_google.txt": train, "val_filelist.txt": val}
    for name, pairs in lists.items():
        write_list(root / "info" / name, [f"{path} {label}" for path, label in pairs])
    write_list(root / "info/synsets.txt", [f"n{i:08} bird {i}, Avis {i}" for i in range(51)])
    return root


def manifest(root):
    return root / f"{root.name}.csv"


def rows(root):
    with open(manifest(root), newline="") as file:
        return list(csv.DictReader(file))


def test_clothing1m_learns_from_noisy_labels_and_is_tested_by_clean_ones(clothing1m, tmp_path):
    made = make_manifest("clothing1m", clothing1m)
    assert made.stdout == (
        f"{manifest(clothing1m)}: 56 pictures to train on, 28 to test on, 14 classes\n"
    )
    first, *_, last = rows(clothing1m)
    assert first == {
        "path": "images/0/00,0.jpg", "label": "Garment 0", "split": "train", "true_label": ""
    }  # fmt: skip
    assert last == {
        "path": "images/7/t27.jpg", "label": "Garment 13", "split": "test",
        "true_label": "Garment 13",
    }  # fmt: skip
    path = f"--config.dataset.path={manifest(clothing1m)}"
    done = run_here(
        *SMALL, path, f"--workdir={tmp_path / 'w'}", config="configs/clothing1m.py:coteaching"
    )
    assert done.returncode == 0, done.stderr
    found = results(tmp_path / "w")
    assert (found["title"], found["test_labels"]) == ("Co-teaching", "true")
    assert found["noise_rate_realised"] is None  # nobody knows
    with open(tmp_path / "w/label_issues.csv") as file:
        assert {row["given_class"] for row in csv.DictReader(file)} == {
            f"Garment {i}" for i in range(14)
        }


def test_webvision_is_its_first_fifty_classes(webvision, tmp_path):
    made = make_manifest("webvision", webvision)
    assert "100 pictures to train on, 50 to test on, 50 classes" in made.stdout
    last = rows(webvision)[-1]
    assert (last["path"], last["label"]) == ("val_images_256/val000049.jpg", "n00000049 bird 49")
    path = f"--config.dataset.path={manifest(webvision)}"
    done = run_here(*SMALL, path, f"--workdir={tmp_path / 'w'}", config="configs/webvision.py:gss")
    assert done.returncode == 0, done.stderr
    found = results(tmp_path / "w")
    assert (found["title"], found["test_labels"]) == ("GSS-SB", "true")


def test_more_classes_of_webvision_if_asked_for(webvision):
    made = make_manifest("webvision", webvision, "--classes", 51)
    assert "102 pictures to train on, 51 to test on, 51 classes" in made.stdout


def test_without_a_list_of_names_classes_are_numbers(clothing1m, webvision):
    (clothing1m / "category_names_eng.txt").unlink()
    (webvision / "info/synsets.txt").unlink()
    for root, last in ((clothing1m, 13), (webvision, 49)):
        assert make_manifest(root.name, root).returncode == 0
        assert {row["label"] for row in rows(root)} == {str(i) for i in range(last + 1)}


def spoiled(file, line):
    file.write_text(file.read_text() + line + "\n")


@pytest.mark.parametrize(
    ("name", "line", "told"),
    [
        ("noisy_label_kv.txt", "images/0/a.jpg", "noisy_label_kv.txt, line 58: 'images/0/a.jpg'; "),
        ("clean_label_kv.txt", "images/0/a.jpg -1", "expected a path and the number of a class"),
        ("clean_test_key_list.txt", "images/0/a.jpg", "images/0/a.jpg has no label; expected"),
        ("noisy_train_key_list.txt", "images/0/train.jpg", "noisy_label_kv.txt"),
    ],
)
def test_a_wrong_line_is_named(clothing1m, name, line, told):
    spoiled(clothing1m / name, line)
    refused = make_manifest("clothing1m", clothing1m)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: ")
    assert refused.stderr.count("\n") == 1
    assert told in refused.stderr
    assert not manifest(clothing1m).exists()


def test_a_label_without_a_name_is_named(webvision):
    write_list(webvision / "info/synsets.txt", ["n00000000 bird"])
    refused = make_manifest("webvision", webvision)
    assert refused.returncode == 2
    assert "google/q0001/0.jpg has the label 1; expected less than 1" in refused.stderr


@pytest.mark.parametrize(
    "name",
    [
        "noisy_label_kv.txt", "noisy_train_key_list.txt", "clean_label_kv.txt",
        "clean_test_key_list.txt",
    ],
)  # fmt: skip
def test_a_missing_list_of_clothing1m_is_named(clothing1m, name):
    (clothing1m / name).unlink()
    refused = make_manifest("clothing1m", clothing1m)
    assert refused.returncode == 2
    assert refused.stderr == (
        f"error: {clothing1m / name} cannot be read (No such file or directory); expected the data "
        "set's own list (docs/web_data.md)\n"
    )


@pytest.mark.parametrize("name", ["train_filelist_google.txt", "val_filelist.txt"])
def test_a_missing_list_of_webvision_is_named(webvision, name):
    (webvision / "info" / name).unlink()
    refused = make_manifest("webvision", webvision)
    assert refused.returncode == 2
    assert f"{webvision / 'info' / name} cannot be read" in refused.stderr
    assert not manifest(webvision).exists()
