"""The kinds of teacher that are networks of ours: what a config makes of SimSiam, and its watch."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rmdnet_jax.base.errors import CollapsedError
from rmdnet_jax.config import default
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.methods.interface import State
from rmdnet_jax.teachers import registry
from rmdnet_jax.teachers.source import Recipe

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
LABELS = np.arange(40, dtype=np.int32) % 3
DATA = Dataset("npz", IMAGES, LABELS, IMAGES[:5], LABELS[:5], {}, ("a", "b", "c"))


def source(kind="simsiam", *, width=2, projected=False, flip=True, **rm):
    fields = default().rm.to_dict() | {"batch_size": 8} | rm
    recipe = Recipe("", width, "cifar", (1, 1), jnp.dtype("float32"), flip, projected, fields)
    return registry.get(kind).build(recipe, DATA)


@pytest.fixture(scope="module")
def fresh():
    """SimSiam of width 2 before training."""
    return source().fresh(jax.random.key(0), jnp.asarray(IMAGES[:1]))


def test_its_heads_grow_with_its_width():
    for width, features, hidden in ((64, 2048, 512), (2, 64, 16)):
        simsiam = source(width=width).simsiam
        assert simsiam.backbone.width == width
        assert (simsiam.projector.features, simsiam.predictor.hidden) == (features, hidden)
        assert simsiam.predictor.features == features


def test_what_the_config_says_of_views_and_images_reaches_the_method():
    simsiam = source(flip=False, min_area=0.5).simsiam
    assert (simsiam.flip, simsiam.min_area) == (False, 0.5)
    np.testing.assert_array_equal((simsiam.mean, simsiam.std), DATA.mean_std())


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.usefixtures("lenient_promotion")  # Optax's own arithmetic
def test_the_rate_falls_to_nothing_over_all_steps_but_for_the_predictor_if_asked(constant):
    """Two epochs of five batches of 8 of 40 images."""
    made = source(lr=0.5, epochs=2, momentum=0.0, weight_decay=0.0, predictor_constant_lr=constant)
    np.testing.assert_allclose(made.learning_rate(0), 0.5, rtol=1e-6)
    np.testing.assert_allclose(made.learning_rate(5), 0.25, rtol=1e-6)
    np.testing.assert_allclose(made.learning_rate(10), 0, atol=1e-8)
    params = {name: jnp.ones(1) for name in ("backbone", "projector", "predictor")}
    optimizer, moved = made.method.optimizer, []
    state = optimizer.init(params)
    for _ in range(6):
        updates, state = optimizer.update(params, state, params)
        moved.append({name: -float(update[0]) for name, update in updates.items()})
    np.testing.assert_allclose(moved[5]["backbone"], 0.25, rtol=1e-5)
    np.testing.assert_allclose(moved[5]["projector"], 0.25, rtol=1e-5)
    np.testing.assert_allclose(moved[5]["predictor"], 0.5 if constant else 0.25, rtol=1e-5)
    assert isinstance(optimizer, optax.GradientTransformation)


@pytest.mark.parametrize(("projected", "size"), [(False, 4), (True, 64)])
def test_the_teachers_embedding_is_the_one_asked_for(fresh, projected, size):
    teacher = source(projected=projected).teacher(fresh)
    assert teacher.size == size
    assert list(teacher.modules)[-1] == ("projector" if projected else "backbone")
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(teacher.frozen))
    assert not teacher.reads_labels
    for name in teacher.modules:
        jax.tree.map(np.testing.assert_array_equal, teacher.params[name], fresh.params[name])
    assert set(teacher.params) == set(teacher.batch_stats) == set(teacher.modules)
    shape = jax.eval_shape(teacher.embed, teacher.frozen, jnp.zeros((2, 8, 8, 3)), None).shape
    assert shape == (2, size)


def test_what_is_judged_is_the_backbone_of_all_images_whichever_guides(fresh):
    for projected in (False, True):
        train, test = source(projected=projected).predictions(fresh, DATA)
        assert train.logits is test.logits is None
        assert (train.embedding.shape, test.embedding.shape) == ((40, 4), (5, 4))
        np.testing.assert_allclose(train.embedding[:5], test.embedding, rtol=1e-5, atol=1e-6)


def test_a_random_encoder_is_simsiam_that_nobody_trains(fresh):
    random, trained = source("random"), source()
    assert random.method is None
    assert trained.method is trained.simsiam
    assert (random.is_control, trained.is_control) == (True, False)
    assert random.term != trained.term
    again = random.fresh(jax.random.key(0), jnp.asarray(IMAGES[:1]))
    jax.tree.map(np.testing.assert_array_equal, again, fresh)


def test_the_kinds_are_the_files_of_the_folder():
    assert {"random", "simsiam", "encoder", "supervised"} <= set(registry.kinds())
    for kind in registry.kinds():
        known = registry.get(kind)
        for field in ("title", "term", "is_control", "build", "teacher", "predictions", "watch"):
            assert hasattr(known, field), (kind, field)


def test_a_collapse_is_told_once_or_stops(capsys):
    watching, stopping = source(on_collapse="warn"), source(on_collapse="stop")
    healthy, collapsed = {"spread": 0.8}, {"spread": 0.05}
    watching.watch({"spread": 0.2}, 1, [])
    assert capsys.readouterr().err == ""
    watching.watch({"spread": 0.04}, 2, [healthy])
    said = capsys.readouterr().err
    assert said.startswith("warning: the teacher has collapsed in epoch 2: the spread")
    assert "0.040" in said
    watching.watch({"spread": 0.04}, 3, [healthy, collapsed])
    assert capsys.readouterr().err == ""
    stopping.watch({"spread": 0.2}, 1, [])
    with pytest.raises(CollapsedError, match=r"spread of its embeddings is 0.040"):
        stopping.watch({"spread": 0.04}, 3, [healthy, collapsed])


def test_a_process_that_does_not_speak_is_silent_and_stops_as_the_others_do(monkeypatch, capsys):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    source(on_collapse="warn").watch({"spread": 0.04}, 1, [])
    assert capsys.readouterr().err == ""
    with pytest.raises(CollapsedError):
        source(on_collapse="stop").watch({"spread": 0.04}, 1, [])


def test_a_state_on_the_devices_gives_arrays_on_the_host(fresh):
    on_device = State(*(jax.tree.map(jnp.asarray, getattr(fresh, field)) for field in
                        ("params", "batch_stats", "opt_state")))  # fmt: skip
    frozen = source().teacher(on_device).frozen
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(frozen))
