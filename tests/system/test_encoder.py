"""Whole runs with a pretrained encoder: pictures in; head, wrong labels, page and model out."""

import csv
import json

import numpy as np
import pytest
from command import TINY, results, run_here
from PIL import Image
from safetensors.numpy import save_file
from tiny_onnx import make

import rmdnet_jax
from rmdnet_jax import Model
from rmdnet_jax.base.errors import InputError
from rmdnet_jax.encoders import extraction

OWN = "configs/own_data.py"
CLASSES = ("ant", "bee", "cow")
COLOURS = np.array([(200, 60, 60), (60, 200, 60), (60, 60, 200)])
WRONG = 12


def picture(label, rng):
    height, width = rng.integers(24, 48, 2)
    noise = rng.integers(-50, 50, (height, width, 3))
    return np.clip(COLOURS[label] + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """150 pictures of three colours; of the 120 to train on the first 12 have wrong labels."""
    root = tmp_path_factory.mktemp("data") / "photos"
    rng, rows = np.random.default_rng(0), []
    for i in range(150):
        file = f"{i:03}.png"
        root.mkdir(exist_ok=True)
        Image.fromarray(picture(i % 3, rng)).save(root / file)
        given = (i + (i < WRONG)) % 3
        rows.append((file, CLASSES[given], CLASSES[i % 3], ("train", "test")[i >= 120]))
    with open(root / "manifest.csv", "w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "true_label", "split"), *rows])
    return root


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return make(tmp_path_factory.mktemp("encoder") / "tiny.onnx", side=32)


def run(path, workdir, *flags, config=OWN):
    usual = ("--config.dataset.cache=", "--config.report.tsne_points=0")
    done = run_here(f"--config.dataset.path={path}", f"--workdir={workdir}", *usual, *flags,
                    config=config)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def finished(photos, encoder, tmp_path_factory):
    """A run, and what it said."""
    workdir = tmp_path_factory.mktemp("run") / "w"
    cache = workdir.parent / "cache"
    flags = f"--config.encoder.path={encoder}", f"--config.encoder.cache={cache}"
    return workdir, cache, flags, run(photos / "manifest.csv", workdir, *flags)


def test_an_encoder_finds_the_wrong_labels_of_pictures(finished):
    workdir, _, _, told = finished
    assert "encoder  tiny.onnx: images of 32 pixels, normalisation" in told
    assert "chosen   encoder.normalisation" in told
    assert "neighbours of 120 pictures share labels: imagenet" in told
    assert "model.stem" not in told  # nothing here has one
    found = results(workdir)
    assert found["teacher_kind"] == "encoder"
    assert found["test_accuracy"] == 1.0
    assert found["label_issue_auroc"] == 1.0
    assert found["noise_rate_estimated"] == pytest.approx(WRONG / 120, abs=0.03)
    with open(workdir / "label_issues.csv") as file:
        rows = list(csv.DictReader(file))
    first = rows[:WRONG]
    assert {row["path"] for row in first} == {f"{i:03}.png" for i in range(WRONG)}
    assert sum(row["is_issue"] == "1" for row in first) >= WRONG - 3
    for row in first:
        assert row["suggested_class"] == CLASSES[int(row["path"][:3]) % 3]
    assert "data:image/png;base64" in (workdir / "report.html").read_text()


def test_pictures_are_embedded_once(finished, photos, tmp_path, monkeypatch):
    _, cache, flags, _ = finished
    before = {file: file.stat().st_mtime_ns for file in cache.rglob("*.npy")}
    assert before

    def fails(*_):
        raise AssertionError("embedded again")

    monkeypatch.setattr(extraction, "_embedded", fails)
    run(photos / "manifest.csv", tmp_path / "w", *flags, "--config.seed=1")
    assert {file: file.stat().st_mtime_ns for file in cache.rglob("*.npy")} == before


def test_the_model_predicts_new_pictures_with_the_encoder_that_is_kept_beside_it(
    finished, tmp_path
):
    workdir, *_ = finished
    rng = np.random.default_rng(9)
    new = tmp_path / "new"
    new.mkdir()
    for label in range(3):
        Image.fromarray(picture(label, rng)).save(new / f"{label}.png")
    (new / "broken.png").write_bytes(b"none")
    done = run_here(f"--predict={new}", f"--workdir={workdir}", config=None)
    assert done.returncode == 0, done.stderr
    with open(workdir / "predictions.csv") as file:
        said = {row["path"]: row["predicted_class"] for row in csv.DictReader(file)}
    assert said == {"0.png": "ant", "1.png": "bee", "2.png": "cow", "broken.png": ""}
    model = Model.load(workdir)
    files = [new / f"{label}.png" for label in range(3)]
    assert model.predict(files).tolist() == list(CLASSES)
    arrays = np.stack([np.full((20, 20, 3), COLOURS[label], np.uint8) for label in range(3)])
    assert model.predict(arrays).tolist() == list(CLASSES)
    features = model.embed(files)
    assert features.shape == (3, 12)
    assert "linear model on 12 features of encoder.onnx, 3 classes" in repr(model)


def test_a_saved_model_needs_its_encoder_and_says_so(finished, tmp_path):
    workdir, *_ = finished
    model = Model.load(workdir)
    model.save(tmp_path / "m")
    kept = tmp_path / "m" / "encoder.onnx"
    assert kept.read_bytes() == (workdir / "encoder.onnx").read_bytes()
    make(kept, side=32, seed=1)
    (workdir / "encoder.onnx").rename(workdir / "away.onnx")
    try:
        with pytest.raises(InputError, match=r"needs its encoder, and .* is another; expected"):
            Model.load(tmp_path / "m")
        kept.unlink()
        with pytest.raises(InputError, match=r"needs its encoder, and there is no .*encoder.onnx"):
            Model.load(tmp_path / "m")
    finally:
        (workdir / "away.onnx").rename(workdir / "encoder.onnx")
    loaded = Model.load(tmp_path / "m")  # found where it came from
    assert loaded.encoder.digest == model.encoder.digest


def test_an_encoder_guides_a_student_of_pictures(photos, encoder, tmp_path):
    tiny = [flag for flag in TINY if "batch_size" not in flag]
    told = run(
        photos / "manifest.csv", tmp_path / "w", *tiny, f"--config.encoder.path={encoder}",
        "--config.encoder.cache=", "--config.encoder.normalisation=none",
        "--config.model.kind=resnet", "--config.method.baseline=robust",
        "--config.train.epochs=1",
    )  # fmt: skip
    assert "chosen   teacher.kind encoder" in told
    found = results(tmp_path / "w")
    assert found["title"] == "GCE + RMDNet"
    assert found["baseline_title"] == "GCE alone"
    lines = (tmp_path / "w/metrics.jsonl").read_text().splitlines()
    assert "edge_loss" in json.loads(lines[-1])
    assert not (tmp_path / "w/teacher").exists()


def test_a_student_starts_from_a_resnets_file(photos, tmp_path):
    rng = np.random.default_rng(0)
    tensors = {}

    def layer(conv, norm, shape):
        tensors[f"{conv}.weight"] = rng.normal(0, 0.2, shape).astype(np.float32)
        for name in ("weight", "bias", "running_mean", "running_var"):
            tensors[f"{norm}.{name}"] = np.ones(shape[0], np.float32)

    layer("conv1", "bn1", (2, 3, 7, 7))
    for stage in range(4):
        before, width = 2 * 2 ** max(stage - 1, 0), 2 * 2**stage
        block = f"layer{stage + 1}.0"
        layer(f"{block}.conv1", f"{block}.bn1", (width, before, 3, 3))
        layer(f"{block}.conv2", f"{block}.bn2", (width, width, 3, 3))
        if stage:
            layer(f"{block}.downsample.0", f"{block}.downsample.1", (width, before, 1, 1))
    save_file(tensors, tmp_path / "resnet.safetensors")
    flags = [flag for flag in TINY if "batch_size" not in flag and "blocks" not in flag] + [
        f"--config.encoder.path={tmp_path / 'resnet.safetensors'}", "--config.encoder.cache=",
        "--config.encoder.image_size=32", "--config.model.kind=resnet",
        "--config.rgrl.init_from_teacher=True", "--config.train.epochs=1",
    ]  # fmt: skip
    done = run_here(
        f"--config.dataset.path={photos / 'manifest.csv'}", f"--workdir={tmp_path / 'w'}", *flags,
        "--config.model.blocks=(1, 1)", config=OWN,
    )  # fmt: skip
    assert done.returncode == 2
    assert "expected --config.model.stem=imagenet --config.model.blocks=(1, 1, 1, 1)" in done.stderr
    run(photos / "manifest.csv", tmp_path / "w", *flags, "--config.model.stem=imagenet",
        "--config.model.blocks=(1, 1, 1, 1)")  # fmt: skip
    assert results(tmp_path / "w")["title"] == "GCE + RMDNet"


def vectors(size=200):
    """Feature vectors of three classes, and labels of which every tenth is wrong."""
    rng, true = np.random.default_rng(0), np.arange(size) % 3
    features = np.eye(8)[true] * 4 + rng.normal(size=(size, 8)) + 100
    return features, true, np.where(np.arange(size) % 10, true, (true + 1) % 3)


@pytest.mark.usefixtures("lenient_promotion")
def test_feature_vectors_of_anything_are_data(tmp_path):
    features, true, given = vectors()
    model = rmdnet_jax.fit(features, given, workdir=tmp_path / "w")
    assert (model.predict(features) == true).mean() > 0.95
    issues = model.label_issues()
    assert len(issues) == 200
    assert (issues.index[:20] % 10 == 0).mean() > 0.8
    assert model.embed(features).shape == (200, 8)
    loaded = Model.load(tmp_path / "w")
    np.testing.assert_array_equal(loaded.predict_proba(features), model.predict_proba(features))
    with pytest.raises(InputError, match=r"takes feature vectors, float \[N, 8\]"):
        loaded.predict(["a.png"])
    with pytest.raises(InputError, match=r"float64 \(200, 7\); expected feature vectors"):
        loaded.predict(features[:, :7])
    done = run_here(f"--predict={tmp_path}", f"--workdir={tmp_path / 'w'}", config=None)
    assert done.returncode == 2
    assert "reads feature vectors, not pictures (--predict)" in done.stderr


# With the relation term and without; the others' steps do not know features from pictures.
@pytest.mark.parametrize(
    "method",
    [
        "robust",
        "gss_ssl",
        pytest.param("elr", marks=pytest.mark.slow),
        pytest.param("coteaching", marks=pytest.mark.slow),
    ],
)
def test_every_method_learns_on_features_with_and_without_the_relation_term(method, tmp_path):
    features, true, given = vectors()
    np.savez(tmp_path / "v.npz", x_train=features[:150], y_train=given[:150],
             y_train_true=true[:150], x_test=features[150:], y_test=true[150:])  # fmt: skip
    is_guided = method in ("robust", "elr")
    flags = [f"--config.method.name={method}"]
    if method == "gss_ssl":
        flags = ["--config.method.name=gss", "--config.gss.branches=ssl", "--config.gss.warmup=2"]
    if is_guided:
        flags += ["--config.rgrl.k=0.1", "--config.model.hidden=(16,)"]
    run(tmp_path / "v.npz", tmp_path / "w", *flags)
    found = results(tmp_path / "w")
    assert found["image_shape"] == [8]
    assert found["test_accuracy"] > 0.9
    assert found["label_issue_auroc"] > 0.9
    assert found["title"].endswith("RMDNet") == is_guided


def test_a_sweep_learns_on_features(tmp_path):
    features, _, given = vectors()
    np.savez(tmp_path / "v.npz", x_train=features[:150], y_train=given[:150],
             x_test=features[150:], y_test=given[150:])  # fmt: skip
    run(tmp_path / "v.npz", tmp_path / "w", "--sweep=loss.name=gce,ce",
        "--config.dataset.validation_fraction=0.2", "--config.train.epochs=2",
        "--config.train.folds=2", "--config.report.audit=False")  # fmt: skip
    assert results(tmp_path / "w" / "chosen")["image_shape"] == [8]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"model.kind": "resnet"}, "'resnet' on own, which has feature vectors; expected mlp"),
        ({"teacher.kind": "simsiam"}, "reads no images; expected encoder, supervised or none"),
        ({"rgrl.k": 1.0}, r"hidden = \(\), a linear model, whose embedding is the features"),
        ({"rgrl.init_from_teacher": True}, "init_from_teacher needs a teacher"),
        ({"encoder.path": "x.npy"}, "no file 'x.npy'"),
    ],
)
def test_what_does_not_go_with_features_is_refused(fields, says):
    features, _, given = vectors()
    with pytest.raises(InputError, match=says):
        rmdnet_jax.fit(features, given, fields)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_features_that_are_not_finite_are_refused(value):
    features, _, given = vectors()
    features[7, 2] = value
    with pytest.raises(
        InputError, match="have values that are not finite as float32, first in row"
    ):
        rmdnet_jax.fit(features, given)


@pytest.mark.usefixtures("lenient_promotion")
def test_a_list_of_pictures_takes_rows_that_were_embedded_elsewhere(photos, tmp_path):
    files = [photos / f"{i:03}.png" for i in range(150)]
    labels = np.array(CLASSES)[np.arange(150) % 3]
    rows = np.eye(4, dtype=np.float32)[np.arange(150) % 3]
    rows += np.random.default_rng(0).normal(0, 0.1, rows.shape).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    fields = {"encoder.path": str(tmp_path / "rows.npy"), "dataset.cache": ""}
    model = rmdnet_jax.fit(files, labels, fields)
    assert (model.predict(rows) == labels).all()
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).permutation(rows))
    with pytest.raises(InputError, match="no more often than by chance"):
        rmdnet_jax.fit(files, labels, fields)
