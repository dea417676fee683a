"""Configs become the methods that they describe."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rmdnet_jax import recipes
from rmdnet_jax.config import default
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.losses import robust

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
LABELS = np.arange(40, dtype=np.int32) % 3
DATA = Dataset("npz", IMAGES, LABELS, IMAGES, LABELS, {}, ("a", "b", "c"))


def small(**fields):
    config = default()
    config.model.width = 2
    config.rm.batch_size = config.rgrl.batch_size = 8
    config.update_from_flattened_dict(fields)
    return config


def start(method):
    with jax.disable_jit():
        return method.init(jax.random.key(1), jnp.asarray(IMAGES[:1]))


def frozen(config):
    simsiam = recipes.simsiam_method(config, DATA)
    return recipes.frozen_teacher(config, simsiam, start(simsiam))


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, True),
        ({"teacher.kind": "random"}, True),
        ({"teacher.kind": "none"}, False),
        ({"rgrl.k": 0.0}, False),
        ({"rgrl.k": 0.0, "rgrl.epochs": 0}, True),  # stage RM alone
    ],
)
def test_a_teacher_is_wanted_where_somebody_reads_it(fields, wanted):
    assert recipes.wants_teacher(small(**fields)) is wanted


@pytest.mark.parametrize(("embedding", "size"), [("backbone", 16), ("projector", 64)])
def test_the_teachers_embedding_is_the_one_asked_for(embedding, size):
    teacher = frozen(small(**{"rgrl.teacher_embedding": embedding}))
    assert teacher.embedding_size == size
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(teacher.params))


def test_simsiams_heads_grow_with_its_width():
    simsiam = recipes.simsiam_method(small(**{"teacher.width": 64}), DATA)
    assert (simsiam.projector.features, simsiam.predictor.hidden) == (2048, 512)


@pytest.mark.parametrize("guided", [True, False])
def test_student_and_baseline_both_start_from_the_teacher_where_asked(guided):
    config = small(**{"rgrl.init_from_teacher": True})
    teacher = frozen(config)
    method = recipes.rgrl_method(config, DATA, robust.get("ce"), teacher, guided, images=40)
    assert (method.teacher is not None) == guided
    state = start(method)
    for saved, own in (
        (teacher.params["backbone"], state.params["student"]["backbone"]),
        (teacher.batch_stats["backbone"], state.batch_stats["student"]["backbone"]),
    ):
        jax.tree.map(np.testing.assert_array_equal, saved, own)


def test_lr_drops_are_shares_of_training():
    config = small(**{"rgrl.epochs": 8, "rgrl.lr": 1.0, "rgrl.lr_drops": (0.5,)})
    method = recipes.rgrl_method(config, DATA, robust.get("ce"), None, guided=False, images=40)
    params = {"w": jnp.zeros(1)}
    state, steps = method.optimizer.init(params), []
    with jax.numpy_dtype_promotion("standard"):  # Optax's own arithmetic
        for _ in range(8 * 5):  # 40 images in batches of 8
            update, state = method.optimizer.update({"w": jnp.ones(1)}, state, params)
            steps.append(float(update["w"][0]))
    momentum = (1 - 0.9 ** np.arange(1, 41)) / 0.1  # of a gradient that is always 1
    lr = np.where(np.arange(40) < 20, 1.0, 0.1)
    np.testing.assert_allclose(steps, -lr * momentum, rtol=1e-5)
