"""One call from images and labels to a model; what is wrong is said before anything is compiled."""

import csv
import re
import tempfile
from unittest import mock

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import rmdnet_jax
from rmdnet_jax import api
from rmdnet_jax.base.errors import DivergedError, InputError
from rmdnet_jax.base.text import cell
from rmdnet_jax.data import sources, validation

TINY = {
    "model.width": 2,
    "model.blocks": (1,),
    "rm.epochs": 1,
    "rm.batch_size": 16,
    "train.epochs": 2,
    "train.batch_size": 16,
    "report.tsne_points": 0,
}
RNG = np.random.default_rng(0)
LABELS = np.arange(60) % 3 * 10 - 5  # -5, 5, 15
VECTORS = np.random.default_rng(1).normal(size=(60, 4)) + LABELS[:, None]
COLOURS = RNG.integers(0, 256, (3, 1, 1, 3))
IMAGES = np.clip(COLOURS[np.arange(60) % 3] + RNG.integers(-40, 40, (60, 8, 8, 3)), 0, 255).astype(
    np.uint8
)


class Tensor:
    """As PyTorch's, with gradients: NumPy reads it only when it was taken off them."""

    def __init__(self, values, is_free=False):
        self.values, self.is_free = values, is_free

    def __len__(self):
        return len(self.values)

    def detach(self):
        return Tensor(self.values, True)

    def cpu(self):
        return self

    def __str__(self):
        raise AssertionError("pixels are written out")

    __repr__ = __str__

    def __array__(self, dtype=None, copy=None):
        if not self.is_free:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad.")
        return np.asarray(self.values, dtype)


@pytest.mark.usefixtures("lenient_promotion")
def test_a_model_of_the_users_own_labels(tmp_path, capsys):
    model = rmdnet_jax.fit(IMAGES, LABELS, TINY, workdir=tmp_path / "w")
    assert model.classes == (-5, 5, 15)
    assert set(model.predict(IMAGES)) <= {-5, 5, 15}
    assert model.predict_proba(IMAGES).shape == (60, 3)
    issues = model.label_issues()
    assert sorted(issues.index) == list(range(60))  # those held out as well
    np.testing.assert_array_equal(issues.given, LABELS[issues.index])
    assert "3 classes: -5, 5, 15" in repr(model)
    with open(tmp_path / "w" / "label_issues.csv") as file:
        written = {int(row["index"]): row["given_class"] for row in csv.DictReader(file)}
    # The user's own numbers of images; a spreadsheet shall not compute -5.
    assert written == {i: cell(str(LABELS[i])) for i in written}
    assert len(written) == 54
    assert rmdnet_jax.Model.load(tmp_path / "w").classes == model.classes
    model.save(tmp_path / "w")  # it is the one that is there
    assert (tmp_path / "w" / "report.html").is_file()
    assert "loss.name" in capsys.readouterr().out  # what was chosen, and why
    model.save(tmp_path / "model")
    again = rmdnet_jax.Model.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict(IMAGES), model.predict(IMAGES))
    assert again.label_issues().index.tolist() == issues.index.tolist()


@pytest.mark.usefixtures("lenient_promotion")
def test_paths_and_names_of_classes_and_nothing_is_kept_but_the_cache(tmp_path, monkeypatch):
    work, home, temporary, cache = (tmp_path / name for name in ("w", "home", "tmp", "cache"))
    for folder in (work, home, temporary):
        folder.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    names = np.array(["red", "green", "blue"])[np.arange(60) % 3]
    for i, pixels in enumerate(IMAGES):
        size = (40, 30) if i % 2 else (32, 32)
        Image.fromarray(pixels).resize(size).save(tmp_path / f"{i}.png")
    paths = [tmp_path / f"{i}.png" for i in range(60)]
    paths[7].write_bytes(b"no picture")
    paths[20].write_bytes(paths[20].read_bytes()[:-30])  # its head is whole
    with pytest.raises(InputError, match=r"1 of 60 files .*7\.png: unknown format"):
        rmdnet_jax.fit(paths, list(names), TINY)
    fields = TINY | {"dataset.max_broken": 0.04, "dataset.cache": str(cache)}
    fields |= {"teacher.kind": "none"}
    before = {*tmp_path.rglob("*")}
    model = rmdnet_jax.fit(paths, list(names), fields)
    assert {path for path in tmp_path.rglob("*") if cache not in path.parents} == before | {cache}
    assert any(path.is_file() for path in cache.rglob("*"))
    assert model.image_shape == (32, 32, 3)
    issues = model.label_issues()
    assert sorted({*range(60)} - {*issues.index.tolist()}) == [7, 20]
    assert issues.path.tolist() == [str(paths[i]) for i in issues.index]
    assert issues.given.tolist() == names[issues.index].tolist()
    assert set(model.predict(paths[:5])) <= set(names)
    assert issues.score.dtype == np.float64
    assert (issues.score != issues.score.round(6)).any()  # what a CSV would have lost


@pytest.mark.parametrize(
    ("images", "labels", "fields", "options", "says"),
    [
        (IMAGES, LABELS[:59], {}, {}, "expected one per image"),
        (IMAGES, LABELS, {"train.epoch": 3}, {}, "did you mean 'train.epochs'"),
        (IMAGES, LABELS, {"epochs": 3}, {}, "did you mean 'train.epochs'"),
        (IMAGES, LABELS, {"rgrl.epochs": 3}, {}, "fields: rgrl.epochs: .* now called train.epochs"),
        (IMAGES, LABELS, {"method.name": "erl"}, {}, "did you mean 'elr'"),
        (
            IMAGES,
            LABELS,
            {"method.name": "coteaching", "teacher.kind": "simsiam", "rgrl.k": 1.0},
            {},
            "trains 2 networks",
        ),
        (["nowhere.png"] * 60, LABELS, {"dataset.workers": -2}, {}, "workers is -2"),
        (IMAGES, LABELS, {"train.epochs": "many"}, {}, "'many'; expected a whole number"),
        (IMAGES, LABELS, {"train.epochs": -1}, {}, "train.epochs is -1"),
        (IMAGES, LABELS, {"dataset.image_size": 32}, {}, "not resized"),
        (IMAGES, LABELS, {"dataset.train_size": 20}, {}, "dataset.train_size defines the source"),
        (
            IMAGES,
            LABELS,
            {"dataset.validation_fraction": 0.3},
            {},
            "validation_fraction defines the source",
        ),
        (IMAGES, LABELS, {"noise.kind": "symmetric"}, {}, "noise.kind defines the source"),
        (IMAGES, LABELS, {"train.epochs": 0}, {}, "trains no classifier"),
        (IMAGES, [*LABELS[:59], None], {}, {}, r"1 of 60 labels is missing .* labels\[59\]"),
        (IMAGES, ["cat", "dog"] * 29 + ["cat", float("nan")], {}, {}, "1 of 60 labels is missing"),
        (IMAGES, np.ma.array(LABELS, mask=LABELS == 5), {}, {}, "20 of 60 labels are missing"),
        (IMAGES, LABELS.astype(np.uint64), {}, {}, "beyond int64"),
        (IMAGES, [0, "0"] * 30, {}, {}, "expected all text or all integers"),
        (np.ma.array(VECTORS, mask=VECTORS > 2), LABELS, {}, {}, "values are masked out"),
        (IMAGES, LABELS.astype(float), {}, {}, "float64"),
        ([], [], {}, {}, "no images"),
        ("one.png", ["a"], {}, {}, "list of paths"),
        ([*IMAGES[:59], IMAGES[59, :7]], LABELS, {}, {}, r"images\[59\] \(7, 8, 3\); expected one"),
        (np.array("one.png"), ["a"], {}, {}, "list of paths"),
        ((f"{i}.png" for i in range(60)), LABELS, {}, {}, "images is generator"),
        ({f"{i}.png": i for i in range(60)}, LABELS, {}, {}, "images is dict"),
        (IMAGES, LABELS, {}, {"test_fraction": 1.0}, "test_fraction is 1.0"),
        (IMAGES.astype(np.float32), LABELS, {}, {}, "float32"),
        (IMAGES, np.zeros(60, int), {}, {}, "class"),
        (["nowhere.png"] * 60, LABELS, {}, {}, "nowhere.png"),
        (IMAGES[:3], LABELS[:3], {}, {}, "too few"),
        (None, LABELS, {}, {}, "images is NoneType"),
        (np.array(3), LABELS, {}, {}, "images is ndarray"),
        (IMAGES, [[1], [2, 3]], {}, {}, "lists in a list"),
        (IMAGES, LABELS, {}, {"test_fraction": "much"}, "test_fraction is 'much'"),
        (
            IMAGES,
            LABELS,
            {},
            {"test_fraction": IMAGES},
            r"test_fraction is ndarray \(60, 8, 8, 3\);",
        ),
        (IMAGES, LABELS, {"dataset." + "x" * 9000: 1}, {}, "defines the source"),
        ("x" * 9000, LABELS, {}, {}, "images is one path, xxx"),
        (IMAGES, LABELS, ["train.epochs"], {}, "has no field names"),
        (IMAGES, LABELS, {3: 4}, {}, "has no field names"),
        (
            ["nowhere.png"] * 60,
            LABELS,
            {"dataset.image_size": 10**9},
            {},
            "image_size is 1000000000",
        ),
    ],
)
def test_what_is_wrong_is_said_and_nothing_written(images, labels, fields, options, says, tmp_path):
    with pytest.raises(InputError, match=says) as error:
        rmdnet_jax.fit(images, labels, fields, workdir=tmp_path / "w", **options)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) <= 240
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize("row", [0, 17, 41, 59])
def test_a_value_that_is_not_finite_is_in_a_row_of_the_users_array(value, row):
    vectors = VECTORS.copy()
    vectors[row, 2] = value
    with pytest.raises(InputError) as caught:
        rmdnet_jax.fit(vectors, LABELS)
    assert str(caught.value) == (
        f"features have values that are not finite as float32, first in row {row}; expected finite "
        "numbers"
    )


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (IMAGES[:, :7], "images have (7, 8) pixels; expected at least 8x8"),
        (VECTORS[:, :1], "features have 1 feature; expected two or more"),
        (VECTORS.astype(int), "features are int64 (60, 4); expected float32 [N, D]"),
        (
            IMAGES / 255,
            "images are float64; expected uint8 from 0 to 255, as from "
            '(x * 255).round().astype("uint8")',
        ),
        (
            IMAGES.transpose(0, 3, 1, 2),
            "images have shape (60, 3, 8, 8); expected [N, height, width, 3], as from "
            "x.transpose(0, 2, 3, 1)",
        ),
    ],
)
def test_arrays_are_called_as_the_user_knows_them(images, says):
    with pytest.raises(rmdnet_jax.InputError) as caught:
        rmdnet_jax.fit(images, LABELS)
    assert str(caught.value) == says


def test_errors_have_names_at_the_top():
    assert rmdnet_jax.InputError is InputError
    assert rmdnet_jax.DivergedError is DivergedError
    with pytest.raises(AttributeError, match="no attribute 'InputErr'"):
        _ = rmdnet_jax.InputErr


def test_a_path_with_blanks_around_it_is_guessed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(IMAGES[0]).save("a.png")
    with pytest.raises(InputError) as caught:
        rmdnet_jax.fit(["a.png", "a.png ", "b.png "], ["x", "x", "y"])
    assert str(caught.value) == (
        "images[1] is 'a.png ', which does not exist; did you mean 'a.png'? Expected a path "
        "without blanks around it"
    )


@pytest.mark.parametrize("are_files", [False, True])
def test_both_splits_have_their_places_in_the_one_list(are_files, tmp_path, monkeypatch):
    class Seen(Exception):
        pass

    def run(config, workdir, command, data, asked):
        raise Seen(data)

    monkeypatch.setattr(api.single, "run", run)
    images = IMAGES
    if are_files:
        images = [tmp_path / f"{i}.png" for i in range(60)]
        for path, pixels in zip(images, IMAGES, strict=True):
            Image.fromarray(pixels).save(path)
    with pytest.raises(Seen) as caught:
        rmdnet_jax.fit(images, LABELS, TINY | {"dataset.cache": ""})
    data = sources.read(caught.value.args[0])
    assert data.in_one_list
    np.testing.assert_array_equal(data.train_images, IMAGES[data.train_index])
    np.testing.assert_array_equal(data.test_images, IMAGES[data.test_index])


@pytest.mark.usefixtures("lenient_promotion")
def test_fields_that_nothing_reads_are_told_and_lists_are_taken(capsys):
    fields = {"train.epochs": 1, "model.hidden": [4], "model.precision": "bfloat16"}
    model = rmdnet_jax.fit(VECTORS, LABELS, fields)
    told = capsys.readouterr()
    assert told.err == (
        "warning: nothing reads config.model.precision = 'bfloat16' with config.model.kind = "
        "'mlp'\n"
    )
    assert re.search(r"^device .*, float32$", told.out, re.MULTILINE)
    assert model.network.embedding_size == 4


@pytest.mark.usefixtures("lenient_promotion")
def test_classes_that_are_numbers_as_text_are_in_their_order():
    names = [str(i % 12) for i in range(120)]
    features = np.eye(12, dtype=np.float32)[np.arange(120) % 12]
    model = rmdnet_jax.fit(features, names, {"train.epochs": 1})
    assert model.classes == tuple(str(i) for i in range(12))
    assert model.label_issues().given.tolist() == [names[i] for i in model.label_issues().index]


@pytest.mark.usefixtures("lenient_promotion")
def test_arrays_of_any_library_are_the_same(capsys):
    class Seen(Exception):
        pass

    def run(config, workdir, command, data, asked):
        raise Seen(data)

    def read(*given):
        with mock.patch.object(api.single, "run", run), pytest.raises(Seen) as caught:
            rmdnet_jax.fit(*given, fields)
        return sources.read(caught.value.args[0])

    fields = {"train.epochs": 1}
    features = VECTORS.astype(np.float32)
    model, usual = rmdnet_jax.fit(features, LABELS, fields), read(features, LABELS)
    expected = model.predict_proba(features)
    assert model.classes == usual.class_numbers == (-5, 5, 15)
    for images, labels in (
        (jnp.asarray(features), jnp.asarray(LABELS)),
        (Tensor(features), Tensor(LABELS[:, None])),
        (list(features), list(LABELS)),
        (features.tolist(), LABELS.tolist()),
    ):
        data = read(images, labels)
        assert data.class_numbers == (-5, 5, 15)
        for part in ("train_images", "train_labels", "test_images", "test_labels"):
            np.testing.assert_array_equal(getattr(data, part), getattr(usual, part))
        np.testing.assert_array_equal(model.predict_proba(images), expected)
    assert "warning" not in capsys.readouterr().err


@pytest.mark.usefixtures("lenient_promotion")
def test_labels_that_look_missing_are_told(capsys):
    labels = np.array(["cat", "dog", float("nan")] * 20)  # NumPy makes text of it
    rmdnet_jax.fit(VECTORS, labels, {"train.epochs": 1})
    assert "warning: 20 of 60 labels are the text 'nan'" in capsys.readouterr().err


def test_names_that_differ_in_case_are_told(capsys):
    """Before anything is compiled: here an error follows."""
    labels = np.array(["cat", "dog ", "CAT", " cat"] * 15)
    with pytest.raises(InputError, match="not finite"):
        rmdnet_jax.fit(VECTORS * np.nan, labels)
    assert capsys.readouterr().err == (
        "warning: the classes 'CAT' (labels: 15) and 'cat' (30) differ only in case and stay "
        "separate; if they are one class, give it one name\n"
    )


@pytest.mark.usefixtures("lenient_promotion")
def test_the_same_call_with_other_names_says_what_differs(tmp_path):
    labels = np.array(["golden retriever", "cat", "dog"])[np.arange(60) % 3]
    rmdnet_jax.fit(VECTORS, labels, {"train.epochs": 1}, workdir=tmp_path)
    others = np.where(labels == "golden retriever", "golden retriever puppy", labels)
    with pytest.raises(InputError) as caught:
        rmdnet_jax.fit(VECTORS, others, {"train.epochs": 1}, workdir=tmp_path)
    assert "different model.classes[2] ('golden retriever'; here 'golden retriever puppy')" in str(
        caught.value
    )


def test_what_is_held_out_is_no_draw_of_a_users():
    """Who makes labels wrong in the usual way does not find the wrong ones, or none, held out."""
    numbers = np.arange(2000) % 5
    held_out = validation.held_out_for_testing(numbers, 0.1)
    for seed in (0, 1, 42):
        is_wrong = np.random.default_rng(seed).random(2000) < 0.3
        assert 0.2 < is_wrong[held_out].mean() < 0.4
