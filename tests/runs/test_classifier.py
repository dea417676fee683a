"""Whatever teacher.path names is a classifier of the run's images and classes, or one line."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.config import default
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.encoders import classical
from rmdnet_jax.methods import inference
from rmdnet_jax.methods.network import Classifier
from rmdnet_jax.model import Model
from rmdnet_jax.models.heads import Linear
from rmdnet_jax.models.mlp import MLP
from rmdnet_jax.models.resnet import ResNet
from rmdnet_jax.runs import classifier
from rmdnet_jax.runs.preparation import facts, prepare
from rmdnet_jax.stages import learning, teaching
from rmdnet_jax.teachers.classifier import ClassifierNetwork, ClassifierTable

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (30, 16, 16, 3), np.uint8)
LABELS = np.arange(30, dtype=np.int32) % 3
NAMES = ("ant", "bee", "cow")
DATA = Dataset("npz", IMAGES[:20], LABELS[:20], IMAGES[20:], LABELS[20:], {}, NAMES)
FEATURES = RNG.normal(size=(30, 4)).astype(np.float32)
VECTORS = Dataset("npz", FEATURES[:20], LABELS[:20], FEATURES[20:], LABELS[20:], {}, NAMES)
ROWS = RNG.normal(size=(30, 3)).astype(np.float32)
OWN = np.full(3, 0.4, np.float32), np.full(3, 0.3, np.float32)


def model(shape=(16, 16, 3), classes=NAMES, networks=1, hidden=(4,), encoder=None):
    if len(shape) == 1:
        statistics = np.zeros(shape[0], np.float32), np.ones(shape[0], np.float32)
        network = Classifier(MLP(hidden) if hidden else None, Linear(len(classes)), *statistics)
        example = jnp.zeros((1, *shape), jnp.float32)
    else:
        network = Classifier(ResNet(2, blocks=(1,)), Linear(len(classes)), *OWN)
        example = jnp.zeros((1, *shape), jnp.uint8)
    weights = tuple(
        jax.device_get(network.init(jax.random.key(seed), example)) for seed in range(networks)
    )
    return Model(network, weights, shape, classes, encoder=encoder)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Saves a model, once a description: its folder."""
    made = {}

    def save(**options):
        key = repr(options)
        if key not in made:
            made[key] = tmp_path_factory.mktemp("model") / "m"
            model(**options).save(made[key])
        return made[key]

    return save


def config(path, **fields):
    made = default()
    made.model.width, made.model.blocks = 2, (1,)
    made.train.batch_size = 8
    made.augment.pad = 0
    made.report.tsne_classes = (0, 1)
    made.teacher.kind, made.teacher.path = "supervised", str(path)
    made.encoder.cache = ""
    made.update_from_flattened_dict(fields)
    return made


def known(path, data=DATA, workdir=None, **fields):
    """What a run has, at its beginning and when every picture was seen."""
    this = prepare(config(path, **fields), workdir, data)
    return this.source.known, this.complete().source.known


def test_a_saved_models_weights_see_the_views(saved):
    folder = saved(shape=(12, 12, 3))
    first, last = known(folder)
    teacher = last.teacher
    assert isinstance(teacher, ClassifierNetwork)
    assert first.digest == last.digest
    np.testing.assert_array_equal(teacher.mean, DATA.mean_std()[0])
    np.testing.assert_array_equal(teacher.network.mean, OWN[0])
    jax.tree.map(np.testing.assert_array_equal, teacher.weights, model(shape=(12, 12, 3)).weights)
    assert "12x12 pixels" in last.origin
    assert "trained with labels" in last.origin
    assert last.accuracy is None
    own = known(saved())[1].teacher
    expected = inference.predictor(own.network)(own.weights, DATA.test_images).logits
    np.testing.assert_allclose(own.asked(DATA.test_images)[0].logits, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("held", "accuracy"),
    [({"test_accuracy": 0.75}, 0.75), ({"test_accuracy": None}, None), ([], None), ("{", None)],
)
def test_a_runs_own_test_accuracy_is_known(tmp_path, held, accuracy):
    model().save(tmp_path / "w")
    text = held if isinstance(held, str) else json.dumps(held)
    (tmp_path / "w" / "results.json").write_text(text)
    last = known(tmp_path / "w")[1]
    assert last.accuracy == accuracy
    assert ("accuracy 75.0%" in last.origin) == (accuracy is not None)


def test_features_of_the_right_width_go_through_the_network(saved):
    teacher = known(saved(shape=(4,)), VECTORS, **{"model.kind": "mlp", "model.hidden": (4,)})[1]
    assert isinstance(teacher.teacher, ClassifierNetwork)
    np.testing.assert_array_equal(teacher.teacher.mean, VECTORS.mean_std()[0])


def test_a_model_on_an_encoder_is_asked_once_of_the_clean_pictures(tmp_path):
    encoder = classical.ClassicalEncoder(64)
    one = model(shape=(encoder.size,), encoder=encoder)
    one.save(tmp_path / "m")
    workdir = tmp_path / "w"
    first, last = known(tmp_path / "m", workdir=workdir, **{"rgrl.k": 0.5})
    assert isinstance(last.teacher, ClassifierTable)
    assert not first.teacher.said.logits.any()
    assert first.teacher.said.logits.shape == (20, 3)
    for part, images in ((last.teacher.said, DATA.train_images), (last.test, DATA.test_images)):
        np.testing.assert_allclose(
            softmax(part.logits, axis=1), one.predict_proba(images), rtol=1e-4, atol=1e-6
        )
        np.testing.assert_allclose(part.embedding, one.embed(images), rtol=1e-4, atol=1e-5)
    assert list((workdir / "teacher").glob("classifier-*.npz"))


def test_where_the_student_sees_features_a_network_is_asked_of_the_pictures(saved, tmp_path):
    table = tmp_path / "features.npz"
    np.savez(table, train=FEATURES[:20], test=FEATURES[20:])
    fields = {"model.kind": "mlp", "model.hidden": (4,), "encoder.path": str(table)}
    last = known(saved(), **fields)[1]
    assert isinstance(last.teacher, ClassifierTable)
    expected = model()
    proba = expected.predict_proba(DATA.train_images)
    np.testing.assert_allclose(softmax(last.teacher.said.logits, axis=1), proba, rtol=1e-4)
    assert last.teacher.size == expected.network.embedding_size


def table(tmp_path, name="t.npz", rows=None, **arrays):
    path = tmp_path / name
    if rows is not None:
        np.save(path, rows)
    else:
        np.savez(path, **arrays)
    return path


LOGITS_ALONE = {"rgrl.k": 0.0, "method.name": "kd"}


def test_a_table_of_logits_is_taken_as_it_is(tmp_path):
    paths = (
        table(tmp_path, "a.npy", rows=ROWS),
        table(tmp_path, "b.npz", train=ROWS[:20], test=ROWS[20:]),
    )
    for path in paths:
        last = known(path, **LOGITS_ALONE)[1]
        np.testing.assert_array_equal(last.teacher.said.logits, ROWS[:20])
        np.testing.assert_array_equal(last.test.logits, ROWS[20:])
        assert "logits of 20 training and 10 test images" in last.origin
        assert last.parameters is None


def test_a_table_may_be_of_the_training_images_alone_and_joined_by_path(tmp_path):
    files = tuple(f"{i}.png" for i in range(30))
    data = dataclasses.replace(DATA, train_files=files[:20], test_files=files[20:])
    order = RNG.permutation(20)
    path = table(tmp_path, logits=ROWS[order], paths=np.array(files)[order])
    last = known(path, data, **LOGITS_ALONE)[1]
    np.testing.assert_array_equal(last.teacher.said.logits, ROWS[:20])
    assert last.test.logits is None
    for arrays in ({"rows": ROWS[:20], "name": "a.npy"}, {"train": ROWS[:20]}):
        last = known(table(tmp_path, **arrays), **LOGITS_ALONE)[1]
        np.testing.assert_array_equal(last.teacher.said.logits, ROWS[:20])
        assert last.test.logits is None


def test_probabilities_become_their_logarithm(tmp_path):
    p = softmax(ROWS, axis=1)
    p[0] = [1, 0, 0]
    last = known(table(tmp_path, "p.npy", rows=p), **LOGITS_ALONE)[1]
    found = last.teacher.said.logits
    assert np.isfinite(found).all()
    np.testing.assert_allclose(softmax(found, axis=1), p[:20], atol=1e-6)
    assert "probabilities of" in last.origin
    assert classifier.as_logits(ROWS)[0] is ROWS
    assert classifier.as_logits(np.abs(ROWS))[1] == "logits"  # nothing below 0, but no sum of 1


@pytest.fixture
def onnx_models():
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    import tiny_onnx

    return tiny_onnx


def test_an_onnx_classifiers_output_of_a_column_a_class_is_taken(onnx_models, tmp_path):
    path = onnx_models.make(
        tmp_path / "c.onnx", side=16, outputs=("embedding", "logits"),
        metadata={"mean": "0.1,0.2,0.3", "std": "1,1,1", "class_names": '["a","b","c","d","e"]'},
    )  # fmt: skip
    five = dataclasses.replace(DATA, class_names=tuple("abcde"), train_labels=LABELS[:20] % 5)
    labels = np.arange(30, dtype=np.int32) % 5
    five = dataclasses.replace(five, train_labels=labels[:20], test_labels=labels[20:])
    first, last = known(path, five, **LOGITS_ALONE, **{"encoder.cache": str(tmp_path / "cache")})
    assert not first.teacher.said.logits.any()
    assert first.digest == last.digest
    from rmdnet_jax.encoders import onnx_file
    from rmdnet_jax.encoders.interface import Asked

    network = onnx_file.read(path, Asked(output="logits"))
    np.testing.assert_allclose(
        last.teacher.said.logits, network.embed(DATA.train_images), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(last.test.logits, network.embed(DATA.test_images), rtol=1e-5)
    assert list((tmp_path / "cache").rglob("*.npy"))
    with pytest.raises(InputError, match="has 12 classes and npz has 3"):
        known(onnx_models.make(tmp_path / "e.onnx", side=16), **LOGITS_ALONE)
    other = dataclasses.replace(five, class_names=tuple("abxde"))
    with pytest.raises(InputError, match="its class 2 is 'c', and that of npz is 'x'"):
        known(path, other, **LOGITS_ALONE)


@pytest.mark.parametrize(
    ("classes", "names", "numbers", "says"),
    [
        (NAMES, NAMES, None, ""),
        ((0, 1, 2), NAMES, None, ""),  # numbered: taken in order
        (NAMES, ("0", "1", "2"), None, ""),
        ((10, 20, 30), ("10", "20", "30"), (10, 20, 30), ""),
        ((10, 20, 30), ("10", "20", "31"), (10, 20, 31), "class 2 is '30', and that .* is '31'"),
        (("2", "3", "4"), ("0", "1", "2"), None, "class 0 is '2', and that of npz is '0'"),
        (("0", "1", "2"), ("2", "3", "4"), None, "class 0 is '0', and that of npz is '2'"),
        ((0, 1, 2), ("0", "2", "1"), (0, 2, 1), "class 1 is '1', and that of npz is '2'"),
        ((1, 2, 3), ("01", "02", "03"), None, ""),  # by value
        (("inf", "1", "2"), ("inf", "1", "2"), None, ""),
        (("0", "1", "2"), ("inf", "1", "2"), None, ""),  # "inf" is a word
        ((10, 20, 30), NAMES, None, "class 0 is '10', and that of npz is 'ant'"),
        (("ant", "cow", "bee"), NAMES, None, "class 1 is 'cow', and that of npz is 'bee'"),
        (("ant", "bee"), NAMES, None, "has 2 classes and npz has 3"),
    ],
)
def test_classes_are_the_datas_in_their_order(saved, classes, names, numbers, says):
    data = dataclasses.replace(DATA, class_names=names, class_numbers=numbers)
    if not says:
        known(saved(classes=classes), data)
        return
    with pytest.raises(InputError, match=says):
        known(saved(classes=classes), data)


def test_every_wrong_path_is_one_line(saved, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.pt").write_text("weights")
    damaged = tmp_path / "damaged"
    model().save(damaged)
    for file in damaged.rglob("*"):
        if file.is_file():
            file.write_bytes(b"0")
    on_features = saved(shape=(4,))
    cases = {
        "": "without config.teacher.path; expected the workdir of a finished run",
        tmp_path / "nowhere": "no folder or file .*nowhere",
        tmp_path / "nowhere.onnx": "no folder or file .*nowhere.onnx",
        tmp_path / "x.pt": "no classifier in .*x.pt .config.teacher.path.; expected the workdir",
        tmp_path / "empty": "config.teacher.path: no model in .*empty",
        damaged: "config.teacher.path: ",
        tmp_path / "nowhere.npy": "config.teacher.path, .*nowhere.npy, is not a file",
        on_features: "reads 4 features and npz has pictures",
        table(tmp_path, "few.npy", rows=ROWS[:9]): "has 9 rows for 20 training and 10 test images",
        table(tmp_path, "two.npy", rows=ROWS[:, :2]): "has 2 classes and npz has 3",
        table(tmp_path, "whole.npy", rows=LABELS): "logits are int32",
        table(tmp_path, "nan.npy", rows=ROWS * np.nan): "not finite",
        table(tmp_path, "names.npz", other=ROWS): "contains other; expected a .npz with `train`",
    }
    for path, says in cases.items():
        with pytest.raises(InputError, match=says) as refused:
            known(path, **LOGITS_ALONE)
        assert "\n" not in str(refused.value)


def test_what_a_method_reads_is_there_or_refused(saved, tmp_path):
    logits = table(tmp_path, "a.npy", rows=ROWS)
    modul = {"rgrl.k": 0.0, "method.name": "modul"}
    known(saved(), **modul)
    cases = (
        (logits, modul, "'modul' uses the teacher's embeddings of the student's views, which"),
        (saved(networks=2), modul, "'modul' uses the teacher's embeddings"),
        (logits, {"rgrl.k": 1.0}, "config.rgrl.k is 1 and .* no embeddings for the relation"),
        (saved(networks=2), {"rgrl.k": 1.0}, "for the relation term; expected --config.rgrl"),
        (logits, LOGITS_ALONE | {"rgrl.teacher_view": "own"}, "only applied to unaugmented images"),
        (saved(), {"method.name": "kd"}, r"cannot carry the relation term; .*--config.rgrl.k=0"),
        (saved(), {"rgrl.init_from_teacher": True}, "init_from_teacher with .* expected False"),
        (saved(), {"rgrl.teacher_embedding": "projector"}, "which does not read it"),
        (saved(), {"teacher.width": 4}, "teacher.width is 4 with a trained classifier"),
        ("", {"teacher.kind": "none", "method.name": "kd"}, "needs a trained classifier and"),
        (
            "",
            {"teacher.kind": "simsiam", "method.name": "robust", "method.baseline": "kd"},
            "config.method.baseline = 'kd' needs a trained classifier",
        ),
    )
    for path, fields, says in cases:
        with pytest.raises(InputError, match=says) as refused:
            known(path, **fields)
        assert "\n" not in str(refused.value)
    known(saved(), **{"rgrl.teacher_view": "own"})


def test_nothing_is_read_where_nobody_learns_from_it(tmp_path):
    """rgrl.k = 0 is the method alone."""
    this = prepare(config(tmp_path / "nowhere", **{"rgrl.k": 0.0}), None, DATA)
    assert this.source is None


@pytest.mark.parametrize("stage", ["student", "baseline"])
def test_both_stages_are_guided_where_their_method_learns_from_a_classifier(tmp_path, stage):
    path = table(tmp_path, "a.npy", rows=ROWS)
    fields = {"rgrl.k": 0.0, "dataset.validation_fraction": 0.25}
    fields |= {"method.name": "kd", "method.baseline": "robust"}
    if stage == "baseline":
        fields |= {"method.name": "robust", "method.baseline": "kd"}
    this = prepare(config(path, **fields), None, DATA)
    teacher = teaching.teaching(this)
    assert teacher.train_embedding is teacher.embeddings is None
    index = this.split.index
    assert 0 < len(index) < 20
    guide = learning.build(this, stage, teacher).learner.guide
    np.testing.assert_array_equal(guide.train.logits, ROWS[:20][index])
    np.testing.assert_array_equal(guide.teacher.frozen["logits"], ROWS[:20][index])
    other = {"student": "baseline", "baseline": "student"}[stage]
    assert learning.build(this, other, teacher).learner.guide is None


def test_relation_and_guide_are_one_teacher(saved):
    this = prepare(config(saved(), **{"method.baseline": "kd"}), None, DATA)
    teacher = teaching.teaching(this)
    student = learning.build(this, "student", teacher).learner
    assert student.relation.teacher is teacher.teacher
    assert student.guide is None
    baseline = learning.build(this, "baseline", teacher).learner
    assert baseline.relation is None
    assert baseline.guide.teacher is teacher.teacher
    assert baseline.guide.train.embedding.shape == (20, teacher.teacher.size)
    assert facts(this)["their teacher"] == this.source.known.digest
