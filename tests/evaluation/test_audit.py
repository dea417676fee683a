"""What an audit says of planted cases, and how it is written."""

import csv

import numpy as np

from rmdnet_jax.data import lazy_images
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.evaluation import audit as audits
from rmdnet_jax.evaluation import duplicates
from rmdnet_jax.evaluation.audit import audit

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (60, 6, 6, 3), np.uint8).repeat(4, axis=1).repeat(4, axis=2)
LABELS = (np.arange(40) % 3).astype(np.int32)
EMBEDDINGS = RNG.normal(size=(60, 8)).astype(np.float32)


def planted(**fields):
    """Train 3 is train 1 (labels 0 and 1), test 5 is train 2 and nearly train 8 (both of label 2),
    test 7 is blank; places in the user's list are 100 more."""
    pictures = PICTURES.copy()
    pictures[3] = pictures[1]
    pictures[45] = pictures[2]
    pictures[8] = np.clip(pictures[2].astype(int) + RNG.integers(-3, 4, (24, 24, 3)), 0, 255)
    pictures[47] = 128
    labels = LABELS.copy()
    labels[1], labels[3] = 0, 1
    test = np.full(20, 2, np.int32)
    return Dataset(
        "planted", pictures[:40], labels, pictures[40:], test, {}, ("cat", "=dog", "cow"),
        train_index=np.arange(40) + 100, **fields,
    )  # fmt: skip


def looked_at(data):
    found = audit(data, data.train_labels, (EMBEDDINGS[:40], EMBEDDINGS[40:]))
    return found, [(one.issue, one.split, one.row, one.group) for one in found.findings]


def test_planted_cases_are_found_in_their_groups():
    found, told = looked_at(planted())
    assert told == [
        ("exact_duplicate", "train", 1, 0),
        ("exact_duplicate", "train", 3, 0),
        ("exact_duplicate", "train", 2, 1),
        ("exact_duplicate", "test", 5, 1),
        ("near_duplicate", "train", 8, 1),
        ("leak", "test", 5, 1),
        ("label_conflict", "train", 1, 0),
        ("label_conflict", "train", 3, 0),
        ("blank", "test", 7, None),
    ]
    details = [one.detail for one in found.findings]
    assert details[0] == "with train 103"
    assert details[3] == "with train 102, train 108"
    assert details[5] == "also train 102"
    assert details[6] == "labelled cat / =dog"
    assert found.counts() == {
        "exact_duplicate": 4, "near_duplicate": 1, "leak": 1, "label_conflict": 2, "outlier": 0,
        "blank": 1, "dark": 0, "bright": 0, "blurry": 0, "tiny": 0, "oblong": 0,
    }  # fmt: skip
    assert all(0 < one.score <= 1 for one in found.findings)


def test_pictures_on_disk_are_read_once_each():
    data, read = planted(), []
    whole = np.concatenate([data.train_images, data.test_images])

    def reading(rows):
        read.extend(rows.tolist())
        return whole[rows]

    train, test = (
        lazy_images.LazyImages(reading, rows, (24, 24, 3))
        for rows in (np.arange(40), np.arange(40, 60))
    )
    lazily = Dataset(
        "planted", train, data.train_labels, test, data.test_labels, {}, data.class_names,
        train_index=data.train_index,
    )  # fmt: skip
    assert looked_at(lazily) == looked_at(data)
    assert sorted(read[:60]) == list(range(60))
    assert len(read) == 60


def test_of_too_many_images_some_are_looked_at_evenly_spaced(monkeypatch):
    monkeypatch.setattr(audits, "_MOST", 30)
    found, _ = looked_at(planted())
    assert (found.looked_at, found.images) == (30, 60)


def test_of_feature_vectors_duplicates_and_outliers_are_told():
    x = RNG.normal(size=(60, 30)).astype(np.float32)
    x[7], x[50] = x[2], x[4] * 2
    labels = (np.arange(40) % 2).astype(np.int32)
    data = Dataset("vectors", x[:40], labels, x[40:], np.zeros(20, np.int32), {}, ("a", "b"))
    found = audit(data, labels, (x[:40], x[40:]))
    told = {(one.issue, one.split, one.row) for one in found.findings}
    assert told == {
        ("exact_duplicate", "train", 2), ("exact_duplicate", "train", 7),
        ("label_conflict", "train", 2), ("label_conflict", "train", 7),
        ("near_duplicate", "train", 4), ("near_duplicate", "test", 10), ("leak", "test", 10),
    }  # fmt: skip


def test_many_copies_of_one_picture_hide_no_near_duplicate():
    rng = np.random.default_rng(1)
    pictures = rng.integers(0, 256, (610, 4, 4, 3), np.uint8).repeat(4, axis=1).repeat(4, axis=2)
    pictures[::15] = pictures[0]  # 41 placeholders
    noise = rng.integers(-3, 4, (30, 16, 16, 3))
    copies = np.clip(pictures[1:451:15] + noise, 0, 255).astype(np.uint8)
    nearly = np.clip(pictures[:1] + noise[:1], 0, 255).astype(np.uint8)
    train = np.concatenate([pictures, copies, nearly])
    labels = np.zeros(len(train), np.int32)
    test = rng.integers(0, 256, (1, 16, 16, 3), np.uint8)
    data = Dataset("copies", train, labels, test, labels[:1], {}, ("a",))
    x = rng.normal(size=(len(train) + 1, 16)).astype(np.float32)
    x[:610:15] = x[0]
    found = audit(data, labels, (x[:-1], x[-1:]))
    group = {one.row: one.group for one in found.findings if one.issue.endswith("duplicate")}
    assert all(group[1 + 15 * i] == group[610 + i] for i in range(30))
    assert {group[i] for i in range(0, 610, 15)} == {group[640]}  # the copies are attached
    counts = found.counts()
    assert (counts["exact_duplicate"], counts["near_duplicate"]) == (41, 61)


def test_of_few_distinct_vectors_no_pair_is_made_but_of_these(monkeypatch):
    seen = []

    def counted(products, *limits):
        seen.append(products.size)
        return of_block(products, *limits)

    of_block = duplicates._of_block
    monkeypatch.setattr(duplicates, "_of_block", counted)
    vectors = np.random.default_rng(0).normal(size=(5, 24)).astype(np.float32)
    x = vectors[np.arange(20_000) % 5]
    labels = np.zeros(len(x), np.int32)
    data = Dataset("few", x[:-1], labels[1:], x[-1:], labels[:1], {}, ("a",))
    found = audit(data, labels[1:], (x[:-1], x[-1:]))
    assert sum(seen) <= 25
    assert found.passed_over == 0
    assert found.counts()["exact_duplicate"] == 20_000
    assert len({one.group for one in found.findings}) == 5
    assert found.findings[0].detail == "with train 5, train 10, train 15 and 3996 more"


def test_the_file_has_a_row_a_finding_and_no_formula(tmp_path):
    data = planted(train_files=tuple(f"@{i}.png" for i in range(40)))
    found, told = looked_at(data)
    audits.write_csv(tmp_path / "data_issues.csv", found, data)
    with open(tmp_path / "data_issues.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(told)
    assert rows[0] == {
        "index": "101", "split": "train", "path": "'@1.png", "issue": "exact_duplicate",
        "score": "1.000000", "group": "0", "detail": "with train 103",
    }  # fmt: skip
    assert (rows[-1]["index"], rows[-1]["path"], rows[-1]["group"]) == ("7", "", "")


def test_sizes_before_resizing_are_looked_at_where_the_source_has_them():
    train, test = np.full((40, 2), 300, np.int32), np.full((20, 2), 300, np.int32)
    train[6], test[4] = (24, 24), (60, 600)
    found, _ = looked_at(planted(train_sizes=train, test_sizes=test))
    shapes = [(one.issue, one.split, one.row) for one in found.findings]
    assert ("tiny", "train", 6) in shapes
    assert ("oblong", "test", 4) in shapes
    assert (found.counts()["tiny"], found.counts()["oblong"]) == (1, 1)
