"""A model says the same after it was saved and loaded, of arrays and of files."""

import contextlib
import dataclasses
import json
import pickle
import re
import shutil
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import cut
from rmdnet_jax.evaluation import label_issues
from rmdnet_jax.methods.interface import Weights
from rmdnet_jax.methods.network import Classifier
from rmdnet_jax.model import Model
from rmdnet_jax.models.heads import Linear
from rmdnet_jax.models.resnet import ResNet
from rmdnet_jax.training import checksums

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (5, 8, 8, 3), np.uint8)
ISSUES = label_issues.score(
    np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.25, 0.25, 0.5]]),
    np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]),
    np.array([0, 0, 2], np.int32),
    0.3,
)


NETWORK = Classifier(
    ResNet(2, blocks=(1,)), Linear(3), np.full(3, 0.5, np.float32), np.ones(3, np.float32)
)


@pytest.fixture(scope="module")
def networks():
    """Weights of two networks."""
    init = jax.jit(NETWORK.init)
    return tuple(jax.device_get(init(jax.random.key(i), jnp.asarray(IMAGES[:1]))) for i in (0, 1))


@pytest.fixture(scope="module")
def model(networks):
    return Model(
        NETWORK, networks[:1], (8, 8, 3), ("cat", "dog", "eel"), ISSUES, ("a", "b", "c, d")
    )


def predicted(weights):
    """Logits and embeddings, worked out module by module."""
    x = jnp.asarray(IMAGES, jnp.float32) / 255 - 0.5
    variables = {
        "params": weights.params["backbone"],
        "batch_stats": weights.batch_stats["backbone"],
    }
    embedding = NETWORK.backbone.apply(variables, x, train=False)
    kernel, bias = (weights.params["classifier"]["Dense_0"][n] for n in ("kernel", "bias"))
    return embedding @ kernel + bias[None], embedding


def test_probabilities_are_the_networks(model):
    logits, embedding = predicted(model.weights[0])
    expected = jax.nn.softmax(logits)
    np.testing.assert_allclose(model.predict_proba(IMAGES), expected, rtol=1e-5)
    np.testing.assert_allclose(model.embed(IMAGES), embedding, rtol=1e-5, atol=1e-6)
    names = np.array(["cat", "dog", "eel"])[np.argmax(expected, axis=1)]
    np.testing.assert_array_equal(model.predict(IMAGES), names)


def test_several_networks_are_averaged_and_their_embeddings_stand_side_by_side(
    model, networks, tmp_path
):
    both = dataclasses.replace(model, weights=networks)
    (first, a), (second, b) = map(predicted, networks)
    expected = jax.nn.softmax((first + second) / 2)
    np.testing.assert_allclose(both.predict_proba(IMAGES), expected, rtol=1e-5)
    np.testing.assert_allclose(
        both.embed(IMAGES), np.concatenate([a, b], axis=1), rtol=1e-5, atol=1e-6
    )
    assert repr(both).startswith("Model(2 networks, ResNet of width 2, 8x8 pixels")
    both.save(tmp_path)
    loaded = Model.load(tmp_path)
    assert len(loaded.weights) == 2
    np.testing.assert_array_equal(loaded.predict_proba(IMAGES), both.predict_proba(IMAGES))
    with pytest.raises(InputError, match="different model"):
        model.save(tmp_path)  # the first alone is another


def test_loaded_is_as_saved(model, tmp_path):
    model.save(tmp_path / "new" / "folder")
    loaded = Model.load(tmp_path / "new" / "folder")
    np.testing.assert_array_equal(loaded.predict_proba(IMAGES), model.predict_proba(IMAGES))
    for ours, theirs in zip(loaded.label_issues(), model.label_issues(), strict=True):
        assert [ours[name] for name in ("index", "given", "suggested", "path")] == [
            theirs[name] for name in ("index", "given", "suggested", "path")
        ]
        assert ours.score == pytest.approx(theirs.score, abs=1e-6)
    assert repr(loaded) == repr(model)
    loaded.save(tmp_path / "new" / "folder")  # the same again is no harm


def test_another_model_is_not_overwritten(model, tmp_path):
    model.save(tmp_path)
    other = dataclasses.replace(model, classes=("cat", "dog", "fox"))
    with pytest.raises(InputError, match="different model"):
        other.save(tmp_path)
    assert Model.load(tmp_path).classes == model.classes
    for classes, says in (
        (("cat", "dog", "e" * 200 + "x"), r"model\.classes\[2\] \('eel'; here 'eeee"),
        (("cat", "dog"), r"number of model\.classes \(3; here 2\)"),
        ((1, 2, 3), r"model\.classes\[0\] \('cat'; here 1\)"),
    ):
        with pytest.raises(InputError, match=says):
            dataclasses.replace(model, classes=classes).save(tmp_path)


@pytest.mark.parametrize("files", [["a.jpg"], ["a.jpg", "config.json"], ["label_issues.csv"]])
def test_a_folder_of_other_files_is_not_written_to(model, files, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in files:
        (folder / name).write_text("mine")
    with pytest.raises(InputError) as caught:
        model.save(folder)
    assert str(caught.value).endswith(
        f"photos holds other files ({', '.join(files)}) and no model; expected a new or empty "
        "folder, or one that holds this model"
    )
    assert sorted(path.name for path in folder.iterdir()) == files
    assert {path.read_text() for path in folder.iterdir()} == {"mine"}


def test_hidden_files_and_those_of_a_run_or_of_an_interrupted_save_do_not_matter(model, tmp_path):
    for name, files in (
        ("hidden", [".DS_Store"]),
        ("run", ["config.json", ".lock", "metrics.jsonl"]),
        ("stopped", ["model/0.orbax-checkpoint-tmp/x"]),
    ):
        for file in files:
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).touch()
        model.save(tmp_path / name)
        assert Model.load(tmp_path / name).classes == model.classes
    (tmp_path / "hidden" / "notes.txt").touch()
    model.save(tmp_path / "hidden")  # it holds this model


def test_label_issues_come_most_suspicious_first(model):
    issues = model.label_issues()
    assert issues.index.tolist() == [1, 2, 0]
    assert issues.given.tolist() == ["cat", "eel", "cat"]
    assert issues.suggested.tolist() == ["dog", "eel", "cat"]
    assert issues.path.tolist() == ["b", "c, d", "a"]
    np.testing.assert_allclose(issues.score, [0.71, 0.35, 0.07], rtol=1e-6)
    np.testing.assert_allclose(issues.neighbour_score, [0.5, 0.0, 0.0])


def test_integer_classes_stay_integers(model, tmp_path):
    numbered = dataclasses.replace(model, classes=(3, 5, 9))
    numbered.save(tmp_path)
    loaded = Model.load(tmp_path)
    assert loaded.predict(IMAGES).dtype.kind == "i"
    assert set(loaded.predict(IMAGES)) <= {3, 5, 9}
    assert loaded.label_issues().given.tolist() == [3, 9, 3]


def test_files_are_brought_to_size_and_grey_is_repeated(model, tmp_path):
    Image.fromarray(IMAGES[0]).save(tmp_path / "same.png")
    Image.fromarray(IMAGES[1]).resize((20, 32), Image.Resampling.NEAREST).save(tmp_path / "big.png")
    paths = [tmp_path / "same.png", str(tmp_path / "big.png")]
    assert model.predict_proba(paths).shape == (2, 3)
    np.testing.assert_array_equal(model.predict_proba(paths)[0], model.predict_proba(IMAGES[:1])[0])
    grey = IMAGES[..., 0]
    np.testing.assert_array_equal(
        model.predict_proba(grey), model.predict_proba(np.stack([grey] * 3, axis=-1))
    )


@pytest.mark.parametrize(
    "images",
    [
        IMAGES.astype(np.float32),
        np.zeros((2, 9, 8, 3), np.uint8),
        np.zeros((9, 8, 3), np.uint8),
        IMAGES[0, ..., 0],
        IMAGES.reshape(5, -1) / 255,
    ],
)
def test_other_arrays_are_refused(model, images):
    with pytest.raises(InputError, match=r"expected uint8 \[N, 8, 8, 3\]"):
        model.predict(images)


def test_one_image_or_one_path_is_a_batch_of_one(model, tmp_path, monkeypatch):
    expected = model.predict_proba(IMAGES[:1])
    path = tmp_path / "a picture.png"
    Image.fromarray(IMAGES[0]).save(path)
    monkeypatch.setenv("HOME", str(tmp_path))
    ones = (
        IMAGES[0], jnp.asarray(IMAGES[0]), Image.fromarray(IMAGES[0]), path, str(path),
        np.str_(path), np.array(str(path)), "~/a picture.png",
    )  # fmt: skip
    for one in ones:
        np.testing.assert_array_equal(model.predict_proba(one), expected)
        assert model.predict(one).shape == (1,)
        assert model.embed(one).shape == model.embed(IMAGES[:1]).shape


def test_images_are_the_same_in_whatever_holds_them(model, tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(len(IMAGES))]
    for pixels, path in zip(IMAGES, paths, strict=True):
        Image.fromarray(pixels).save(path)
    expected = model.predict_proba(IMAGES)
    names = list(map(str, paths))
    held = [
        jnp.asarray(IMAGES), list(IMAGES), tuple(map(jnp.asarray, IMAGES)), np.ma.array(IMAGES),
        list(map(Image.fromarray, IMAGES)), paths, names, np.array(names), np.array(paths, object),
        np.array(names)[:, None],
    ]  # fmt: skip
    with contextlib.suppress(ImportError):
        import pandas as pd

        held += [pd.Series(names, index=[3, 4, 0, 1, 2]), pd.DataFrame({"path": names})]
    for images in held:
        np.testing.assert_array_equal(model.predict_proba(images), expected)


REFUSED = {
    "a pattern": ("photos/*.png", r"images is a pattern, photos/\*\.png, .*sorted.glob\.glob"),
    "a folder": (".", r"images is a folder, \.; expected a list of its files"),
    "no file": ("nowhere.png", "nowhere.png cannot be read"),
    "a path in bytes": (b"a.png", "images is bytes"),
    "what has no order": ({"a.png", "b.png"}, "images is set; expected one array of all images"),
    "what has no length": ((name for name in ("a.png",)), "images is generator; expected"),
    "nothing": (None, "images is NoneType"),
    "a number": (3, "images is int"),
    "numbers": ([1, 2], r"images\[0\] is 1, neither a path nor an array"),
    "paths and pixels": (
        ["a.png", IMAGES[0]],
        r"\[0\] is a path and images\[1\] is ndarray \(8, 8, 3\)",
    ),
    "a path that is missing": (["a.png", None], r"images\[1\] is None"),
    "pixels of two sizes": (
        [IMAGES[0], IMAGES[0, :7]],
        r"images\[0\] has shape \(8, 8, 3\) and images\[1\] \(7, 8, 3\)",
    ),
    "pixels and shares of them": (
        [IMAGES[0], IMAGES[0] / 255],
        r"images\[0\] is uint8 and images\[1\] float64",
    ),
    "a mask": (np.ma.array(IMAGES, mask=IMAGES > 200), "values are masked out"),
    "colours by number": (Image.new("P", (8, 8)), "mode 'P'; expected RGB, as from .convert"),
    "objects": (np.full((5, 2), None), r"ndarray \(5, 2\), not of numbers"),
    "a table of paths": (np.full((2, 2), "a.png"), r"ndarray \(2, 2\), not of numbers"),
    "a long pattern": ("*" * 9000, "images is a pattern"),
    "long names of fields": (np.zeros(5, [("x" * 900, int)]), "images are"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_can_be_meant_otherwise_is_refused_in_a_short_line(model, case):
    images, says = REFUSED[case]
    with pytest.raises(InputError, match=says) as caught:
        model.predict(images)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= 240


def test_one_vector_is_a_batch_of_one():
    mean = np.zeros(4, np.float32)
    network = Classifier(None, Linear(2), mean, mean + 1)
    features = np.arange(8, dtype=np.float32).reshape(2, 4)
    weights = jax.device_get(network.init(jax.random.key(0), jnp.asarray(features)))
    model = Model(network, (weights,), (4,), ("cat", "dog"))
    expected = model.predict_proba(features)
    for given in (features.tolist(), list(features), jnp.asarray(features), features.astype("f8")):
        np.testing.assert_array_equal(model.predict_proba(given), expected)
    np.testing.assert_array_equal(model.predict_proba(features[0]), expected[:1])
    for wrong in (features[:, :3], features[0, :3], IMAGES[0], features.astype(int)):
        with pytest.raises(InputError, match=r"expected feature vectors, float \[N, 4\]"):
            model.predict(wrong)


def test_what_there_is_not(model, tmp_path):
    with pytest.raises(InputError, match="no model in"):
        Model.load(tmp_path)
    with pytest.raises(InputError, match="no label issues"):
        dataclasses.replace(model, issues=None).label_issues()


def test_nothing_to_predict_is_refused(model):
    for nothing in ([], IMAGES[:0]):
        with pytest.raises(InputError, match="no images"):
            model.predict(nothing)


def test_a_model_of_a_gpu_is_the_same_on_a_cpu(model, tmp_path):
    model.save(tmp_path)
    network = dataclasses.replace(
        model.network, backbone=ResNet(2, dtype=jnp.bfloat16, blocks=(1,))
    )
    dataclasses.replace(model, network=network).save(tmp_path)  # the same weights: no other model
    assert Model.load(tmp_path).network.backbone.dtype == jnp.float32


def test_files_must_be_those_that_were_judged(model):
    with pytest.raises(ValueError, match="2 files for 3"):
        dataclasses.replace(model, files=("a", "b"))


@pytest.fixture(scope="module")
def original(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("original")
    model.save(folder)
    return folder


@pytest.fixture
def stranger(original, tmp_path):
    """A saved model to be tampered with."""
    return shutil.copytree(original, tmp_path / "stranger")


# What a model's description is made to say of itself.
LIES = {
    "a width of a petabyte": ({"width": 10**9}, "invalid width"),
    "no network": ({"networks": 0}, "invalid number of networks"),
    "a million networks": ({"networks": 10**6}, "invalid number of networks"),
    "one network more": ({"networks": 2}, "cannot read"),
    "blocks without end": ({"blocks": [10**9]}, "invalid blocks"),
    "no width": ({"width": None}, "invalid width"),
    "a stem to import": ({"stem": "os:system"}, "invalid stem"),
    "huge images": ({"image_shape": [10**9, 8, 3]}, "invalid image_shape"),
    "two sides": ({"image_shape": [8, 8]}, "cannot be read"),
    "one class": ({"classes": ["cat"]}, "invalid classes"),
    "classes that are no names": ({"classes": [{}, "dog", "eel"]}, "invalid classes"),
    "a mean that is none": ({"mean": [0.5, float("nan"), 0.5]}, "invalid mean and std"),
    "a mean that is text": ({"mean": "../../mean"}, "cannot be read"),
}


def seal(folder):
    """Makes the checksums those of what is there now: a stranger can."""
    checksums.write(folder / "model" / "0", ("_CHECKPOINT_METADATA", "commit_success.txt"))


def describe(folder, change):
    """Changes the JSON that lies beside the weights of a saved model."""
    (file,) = folder.glob("model/*/meta/metadata")
    meta = json.loads(file.read_text())
    change(meta)
    file.write_text(json.dumps(meta))
    seal(folder)


@pytest.mark.parametrize("case", LIES)
def test_a_model_that_lies_about_itself_is_refused_in_one_line(stranger, case):
    facts, says = LIES[case]
    describe(stranger, lambda meta: meta["model"].update(facts))
    with pytest.raises(InputError, match=says) as caught:
        Model.load(stranger)
    said = str(caught.value)
    assert "\n" not in said
    assert str(stranger) in said or cut(stranger) in said  # long paths may be cut


@pytest.mark.parametrize("missing", ["model", "weights", "dtype"])
def test_a_model_without_a_fact_is_refused(stranger, missing):
    describe(stranger, lambda meta: meta.pop(missing))
    with pytest.raises(InputError, match=f"cannot be read .KeyError: '{missing}'"):
        Model.load(stranger)


@pytest.mark.parametrize("content", [b"", b"[1]", b"null", b"{", b"\xff"])
@pytest.mark.parametrize("file", ["meta/metadata", "_CHECKPOINT_METADATA", "network1/_METADATA"])
def test_damaged_json_of_a_model_is_refused_or_not_needed(model, stranger, file, content):
    (stranger / "model/0" / file).write_bytes(content)
    seal(stranger)
    loaded, refusal = None, ""
    try:
        loaded = Model.load(stranger)
    except InputError as error:
        refusal = str(error)
    assert (loaded is None) == bool(refusal)
    assert "\n" not in refusal
    if loaded:
        np.testing.assert_array_equal(loaded.predict(IMAGES), model.predict(IMAGES))


def test_a_flipped_bit_of_the_weights_is_noticed(stranger):
    """TensorStore's own checksums do not cover the numbers."""
    largest = max(stranger.glob("model/0/network1/**/d/*"), key=lambda file: file.stat().st_size)
    raw = bytearray(largest.read_bytes())
    raw[len(raw) // 2] ^= 16
    largest.write_bytes(raw)
    with pytest.raises(InputError, match=r"network1/.* is not as it was written"):
        Model.load(stranger)


def test_weights_that_changed_since_they_were_saved_are_noticed(model, stranger):
    (own,) = model.weights
    head = jax.tree.map(np.zeros_like, own.params["classifier"])
    other = Weights(own.params | {"classifier": head}, own.batch_stats)
    dataclasses.replace(model, weights=(other,)).save(stranger.parent / "other")
    shutil.rmtree(stranger / "model/0/network1")
    shutil.copytree(stranger.parent / "other/model/0/network1", stranger / "model/0/network1")
    seal(stranger)
    with pytest.raises(InputError, match="weights are not those that were saved"):
        Model.load(stranger)


def test_the_folder_that_is_meant_is_named(model, tmp_path):
    model.save(tmp_path / "sweep" / "chosen")
    for wrong in (tmp_path / "sweep", tmp_path / "sweep" / "chosen" / "model"):
        with pytest.raises(InputError, match=r"no model in .*; expected .*chosen$"):
            Model.load(wrong)


def test_loading_runs_nothing_that_the_files_name(stranger, monkeypatch):
    """Orbax's own JSON names the Python classes that wrote it: they are not imported, and no pickle
    is looked into."""
    (stranger / "evil.py").write_text("open('hacked', 'w')\nclass Handler:\n    pass\n")
    monkeypatch.chdir(stranger)
    monkeypatch.syspath_prepend(stranger)
    for file in stranger.glob("model/**/_*METADATA"):
        text = re.sub(r'"orbax\.checkpoint[^"]*"', '"evil.Handler"', file.read_text())
        file.write_text(text.replace('"np.ndarray"', '"evil.Handler"'))
    seal(stranger)

    def unpickle(*args, **kwargs):
        raise AssertionError("something was unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, unpickle)
    with contextlib.suppress(InputError):  # to refuse it is as good
        Model.load(stranger)
    assert "evil" not in sys.modules
    assert not (stranger / "hacked").exists()


@pytest.mark.parametrize(
    "rows",
    [
        "0,0,1,0.5,0.5,1,closed,cat,dog,a\n1,9,1,0.5,0.5,1,closed,cat,dog,b\n",
        "0,0,1,0.5,0.5,1,closed,cat,dog,a\n1\n",
        "99999999999999999999,0,1,0.5,0.5,1,closed,cat,dog,a\n",
        "0,0,1,0.5,0.5,1,evil,cat,dog,a\n",
        "0,0,1,0.5,0.5,1\n",
        "\xff\n",
    ],
    ids=["a class there is not", "cut", "huge", "an unknown kind", "no path", "no numbers"],
)
def test_damaged_label_issues_are_refused(stranger, rows):
    head = "index,given_label,suggested_label,score,student_score,is_issue,kind,given_"
    (stranger / "label_issues.csv").write_text(
        f"{head}class,suggested_class,path\n{rows}", "latin-1"
    )
    with pytest.raises(InputError, match=r"label_issues\.csv") as caught:
        Model.load(stranger)
    assert "\n" not in str(caught.value)


def test_no_name_of_a_class_steers_the_terminal(model):
    hostile = dataclasses.replace(model, classes=("\x1b[2J", "a\nb", "\u202egnp"), issues=None)
    assert r"3 classes: \x1b[2J, a\nb, \u202egnp" in repr(dataclasses.replace(hostile, files=None))
