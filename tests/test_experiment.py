"""A config becomes the methods that it describes, each on the images that it learns from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rmdnet_jax.config import default
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.methods.coteaching import CoTeaching
from rmdnet_jax.methods.robust import Robust
from rmdnet_jax.runs.preparation import prepare
from rmdnet_jax.stages import learning
from rmdnet_jax.teachers.encoder import TableTeacher
from rmdnet_jax.teachers.judged import Judged, Verdict

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
LABELS = np.arange(40, dtype=np.int32) % 3
DATA = Dataset("npz", IMAGES, LABELS, IMAGES, LABELS, {}, ("a", "b", "c"))
EMBEDDINGS = np.random.default_rng(1).normal(size=(40, 16)).astype(np.float32)


def prepared(**fields):
    """A run on 40 images of 8 x 8 that keeps nothing."""
    config = default()
    config.model.width, config.model.blocks = 2, (1,)
    config.rm.batch_size = config.train.batch_size = 8
    config.report.tsne_classes = (0, 1)
    config.update_from_flattened_dict(fields)
    return prepare(config, None, DATA)


def judged(this, teacher):
    return Judged(
        kind=this.config.teacher.kind, source=this.source, teacher=teacher,
        train_embedding=EMBEDDINGS, test_embedding=EMBEDDINGS, verdict=Verdict(1.0), tested=40,
    )  # fmt: skip


def start(this, method):
    task = learning.learners_task(this)
    return method.init(jax.random.key(1), jnp.asarray(IMAGES[:1]), task)


@pytest.fixture(scope="module")
def from_teacher():
    """A run whose learners start from its teacher, which is SimSiam before training."""
    fields = {"rgrl.init_from_teacher": True, "method.baseline": "coteaching"}
    this = prepared(**fields | {"noise.rate": 0.2})
    source = this.source
    return this, source.teacher(source.fresh(jax.random.key(0), jnp.asarray(IMAGES[:1])))


@pytest.mark.parametrize(("stage", "networks"), [("student", 1), ("baseline", 2)])
def test_student_and_baseline_both_start_from_the_teacher_where_asked(
    from_teacher, stage, networks
):
    this, teacher = from_teacher
    method = learning.build(this, stage, judged(this, teacher))
    assert isinstance(method, Robust if stage == "student" else CoTeaching)
    assert (method.learner.relation is not None) == (stage == "student")
    state = start(this, method)
    assert len(state.params) == method.learners == networks
    for number in state.params:
        for saved, own in (
            (teacher.params, state.params[number]),
            (teacher.batch_stats, state.batch_stats[number]),
        ):
            jax.tree.map(np.testing.assert_array_equal, saved["backbone"], own["backbone"])


def test_the_relation_term_is_as_the_config_has_it():
    fields = {"k": 0.5, "alpha": 0.25, "beta": 2.0, "teacher_view": "own"}
    fields |= {"relation_norm": "frobenius_per_sample"}
    this = prepared(**{f"rgrl.{name}": value for name, value in fields.items()})
    term = learning.build(this, "student", judged(this, TableTeacher(EMBEDDINGS))).learner.relation
    found = {"k": term.k, "alpha": term.alpha, "beta": term.beta, "teacher_view": term.view}
    assert found | {"relation_norm": term.norm} == fields
    assert term.embedding_size == 2


def test_without_a_teacher_there_is_no_term():
    this = prepared(**{"teacher.kind": "none"})
    assert this.source is None
    assert learning.build(this, "student", None).learner.relation is None


def test_a_tables_rows_are_those_of_the_images_that_are_not_held_out():
    this = prepared(**{"dataset.validation_fraction": 0.25})
    assert 0 < len(this.split.index) < 40
    method = learning.build(this, "student", judged(this, TableTeacher(EMBEDDINGS)))
    np.testing.assert_array_equal(method.frozen["table"], EMBEDDINGS[this.split.index])
    task = learning.learners_task(this)
    assert task.num_images == len(this.split.index)
    np.testing.assert_array_equal(task.given, this.labels.given[this.split.index])


@pytest.mark.usefixtures("lenient_promotion")  # Optax's own arithmetic
def test_lr_drops_are_shares_of_training():
    fields = {"epochs": 8, "lr": 1.0, "lr_drops": (0.5,), "lr_drop": 0.2, "weight_decay": 0.0}
    this = prepared(**{f"train.{name}": value for name, value in fields.items()})
    optimizer = learning.build(this, "student", None).learner.optimizer
    params = {"w": jnp.zeros(1)}
    state, steps = optimizer.init(params), []
    for _ in range(8 * 5):  # 40 images in batches of 8
        update, state = optimizer.update({"w": jnp.ones(1)}, state, params)
        steps.append(float(update["w"][0]))
    momentum = (1 - 0.9 ** np.arange(1, 41)) / 0.1  # of a gradient that is always 1
    lr = np.where(np.arange(40) < 20, 1.0, 0.2)
    np.testing.assert_allclose(steps, -lr * momentum, rtol=1e-5)
    np.testing.assert_allclose(learning.learning_rate(this)(39), 0.2, rtol=1e-6)


@pytest.mark.usefixtures("lenient_promotion")
def test_a_cosine_falls_to_nothing():
    this = prepared(**{"train.epochs": 8, "train.lr": 0.5, "train.lr_decay": "cosine"})
    rates = [float(learning.learning_rate(this)(update)) for update in (0, 10, 20, 30, 40)]
    expected = 0.25 * (1 + np.cos(np.pi * np.arange(5) / 4))  # of 8 epochs of 5 updates
    np.testing.assert_allclose(rates, expected, atol=1e-7)
