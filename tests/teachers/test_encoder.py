"""A table of embeddings as a teacher: a row an image, read at its place, of whatever width."""

import types

import jax
import jax.numpy as jnp
import numpy as np

from rmdnet_jax.teachers import registry
from rmdnet_jax.teachers.encoder import EncoderSource, TableTeacher
from rmdnet_jax.teachers.judged import Judged, Verdict

ROWS = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
TEST = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
DATA = types.SimpleNamespace(train_images=np.zeros(6), test_images=np.zeros(3), are_pictures=True)
VECTORS = types.SimpleNamespace(train_images=ROWS, test_images=TEST, are_pictures=False)


def test_a_batchs_rows_lie_where_its_images_do_and_the_view_is_not_read():
    teacher = TableTeacher(ROWS)
    assert (teacher.size, teacher.reads_labels) == (4, False)
    index, view = np.array([5, 0, 0, 3]), jnp.full((4, 8, 8, 3), jnp.nan)
    rows = jax.jit(teacher.embed)(teacher.frozen, view, jnp.asarray(index))
    np.testing.assert_array_equal(rows, ROWS[index])


def test_what_is_frozen_is_what_it_reads():
    """The loop puts it on the devices once; the table itself is no constant of the program."""
    other = {"table": jnp.asarray(2 * ROWS)}
    rows = TableTeacher(ROWS).embed(other, None, jnp.array([1]))
    np.testing.assert_array_equal(rows, 2 * ROWS[[1]])


def test_of_some_images_it_is_their_rows_in_their_order():
    """As where some are held out for validation: index 0 is then the first that is left."""
    left = np.array([1, 2, 5])
    teacher = TableTeacher(ROWS, reads_labels=True).of_images(left)
    np.testing.assert_array_equal(teacher.frozen["table"], ROWS[left])
    assert teacher.reads_labels
    rows = teacher.embed(teacher.frozen, None, jnp.array([2, 0]))
    np.testing.assert_array_equal(rows, ROWS[[5, 1]])


def recipe(**fields):
    default = {"embeddings": (ROWS, TEST), "pretrained": None, "is_built_in": False}
    return types.SimpleNamespace(**default | fields)


def judged(source):
    """A table that is no better than pixels."""
    verdict = Verdict(knn_accuracy=0.3, pixel_knn_accuracy=0.3)
    return Judged("encoder", source, source.teacher(None), ROWS, TEST, verdict, tested=100)


def test_it_is_called_what_it_is():
    found = EncoderSource.build(recipe(), DATA)
    built_in = EncoderSource.build(recipe(is_built_in=True), DATA)
    vectors = EncoderSource.build(recipe(), VECTORS)
    titles = [source.title for source in (found, built_in, vectors)]
    assert titles == ["pretrained encoder", "built-in encoder", "given feature vectors"]
    assert ["pretrained" in source.story for source in (found, built_in, vectors)] == [
        True,
        False,
        False,
    ]
    assert "your feature vectors" in vectors.story
    for source in (found, built_in, vectors):
        np.testing.assert_array_equal(source.teacher(None).table, ROWS)


def test_a_weak_built_in_encoder_has_no_normalisation_to_change():
    weak = "the encoder's kNN accuracy (30.0%) is not clearly better than raw pixels' (30.0%): "
    for is_built_in, remedy in (
        (False, "use a better encoder, or another image size, normalisation or output"),
        (True, "use a pretrained encoder (encoder.path, docs/encoders.md)"),
    ):
        source = EncoderSource.build(recipe(is_built_in=is_built_in), DATA)
        assert judged(source).warning() == f"{weak}it is a weak teacher; {remedy}"


def test_the_kind_takes_the_runs_embeddings_and_trains_nothing():
    source = EncoderSource.build(recipe(), DATA)
    assert registry.get("encoder") is EncoderSource
    assert source.method is None
    assert source.fresh(jax.random.key(0), None) is None
    train, test = source.predictions(None, DATA)
    assert train.logits is test.logits is None
    np.testing.assert_array_equal(train.embedding, ROWS)
    np.testing.assert_array_equal(test.embedding, TEST)
    np.testing.assert_array_equal(source.teacher(None).table, ROWS)
    source.watch({}, 1, [])
    assert source.start(source.teacher(None)) is None


def test_a_resnet_can_start_a_learner():
    pretrained = types.SimpleNamespace(params={"w": 1}, batch_stats={"m": 2})
    source = EncoderSource.build(recipe(pretrained=pretrained), DATA)
    weights = source.start(source.teacher(None))
    assert weights.params == {"backbone": {"w": 1}}
    assert weights.batch_stats == {"backbone": {"m": 2}}
