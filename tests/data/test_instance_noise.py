"""Noise that depends on the image: how many labels are wrong, and where they go."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest, truncnorm

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import dataset, instance_noise, noise
from rmdnet_jax.data.instance_noise import corrupt
from rmdnet_jax.data.lazy_images import LazyImages

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (300, 8, 8, 3), np.uint8)
LABELS = (np.arange(300) % 5).astype(np.int32)
# Two features make scores so small that no wrong class is certain.
FEATURES = RNG.normal(size=(300, 2)).astype(np.float32)


def distribution(images, labels, num_classes, rate, seed):
    """What `corrupt` draws from: P(given j | image i), float64 [N, C]."""
    rates, _, labels = instance_noise._drawn(images, labels, num_classes, rate, seed)
    everyone = np.arange(labels.size)
    found = np.empty((labels.size, num_classes))
    to = instance_noise._destinations(images, labels, everyone, num_classes, rate, seed)
    for members, shares in to:
        found[members] = rates[members, None] * shares
    found[everyone, labels] = 1 - rates
    return found


def shares(images, labels, num_classes=5, rate=0.4, seed=0):
    """P(given j | image i, it is wrong), float64 [N, C]."""
    found = distribution(images, labels, num_classes, rate, seed)
    found[np.arange(len(labels)), labels] = 0
    return found / found.sum(axis=1, keepdims=True)


def rates(size, rate, seed=0):
    """Each image's probability of a wrong label, float64 [N]; two classes let it be read off."""
    labels = np.zeros(size, np.int32)
    return distribution(np.zeros((size, 2), np.float32), labels, 2, rate, seed)[:, 1]


# How many


@pytest.mark.parametrize("rate", [0.01, 0.2, 0.45, 0.9, 1.0])
def test_rates_are_a_truncated_normal(rate):
    there = truncnorm(-rate / 0.1, (1 - rate) / 0.1, loc=rate, scale=0.1)
    assert kstest(rates(20_000, rate), there.cdf).pvalue > 0.01


@pytest.mark.parametrize(
    ("rate", "share"),
    [(0.1, 0.129), (0.2, 0.206), (0.3, 0.3), (0.7, 0.7), (0.9, 0.871), (1.0, 0.920)],
)
def test_the_share_of_wrong_labels_is_as_documented(rate, share):
    size = 40_000
    labels = np.arange(size) % 5
    given_labels = corrupt(np.zeros((size, 2), np.float32), labels, 5, rate, seed=0)
    sigma = np.sqrt(share * (1 - share) / size)
    assert abs((given_labels != labels).mean() - share) < 4 * sigma + 5e-4


def test_a_label_is_wrong_as_often_as_its_own_rate_says():
    size = 40_000
    labels = np.zeros(size, np.int32)
    wrong = corrupt(np.zeros((size, 2), np.float32), labels, 2, 0.4, seed=0) == 1
    of = rates(size, 0.4)
    for low, high in ((0.1, 0.3), (0.3, 0.4), (0.4, 0.5), (0.5, 0.7)):
        within = (low <= of) & (of < high)
        expected = of[within].mean()
        sigma = np.sqrt(expected * (1 - expected) / within.sum())
        assert abs(wrong[within].mean() - expected) < 4 * sigma


def test_a_rate_of_zero_is_no_noise():
    np.testing.assert_array_equal(corrupt(IMAGES, LABELS, 5, 0, seed=0), LABELS)
    np.testing.assert_array_equal(distribution(IMAGES, LABELS, 5, 0, seed=0), np.eye(5)[LABELS])


def test_who_is_wrong_does_not_depend_on_the_images_nor_on_who_else_there_is():
    wrong = corrupt(IMAGES, LABELS, 5, 0.4, seed=0) != LABELS
    others = LABELS[::-1]
    np.testing.assert_array_equal(corrupt(FEATURES, others, 5, 0.4, seed=0) != others, wrong)
    first = corrupt(IMAGES[:77], LABELS[:77], 5, 0.4, seed=0) != LABELS[:77]
    np.testing.assert_array_equal(first, wrong[:77])


# Where to


@given(
    rate=st.floats(0, 1),
    seed=st.integers(0, 2**63 - 1),
    classes=st.integers(2, 7),
    size=st.integers(1, 20),
    draw=st.randoms(use_true_random=False),
    are_pictures=st.booleans(),
)
def test_rows_are_probabilities_and_labels_are_of_them(
    rate, seed, classes, size, draw, are_pictures
):
    images = (IMAGES if are_pictures else FEATURES)[:size]
    labels = np.array([draw.randrange(classes) for _ in range(size)])
    rows = distribution(images, labels, classes, rate, seed)
    assert rows.dtype == np.float64
    assert rows.shape == (size, classes)
    assert (rows >= 0).all()
    np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-12)
    drawn = corrupt(images, labels, classes, rate, seed)
    assert drawn.dtype == np.int32
    assert (rows[np.arange(size), drawn] > 0).all()
    np.testing.assert_array_equal(drawn, corrupt(images, labels, classes, rate, seed))


def test_scores_by_hand():
    """For every class another projection, of its own stream; scores are x W, exactly."""
    for images in (FEATURES, IMAGES):
        found = shares(images, LABELS)
        x = images.reshape(300, -1, images.shape[-1]).astype(np.float64)
        x = ((x - x.mean(axis=(0, 1))) / x.std(axis=(0, 1))).reshape(300, -1)
        assert abs(x.std() - 1) < 1e-6
        for true in range(5):
            uniform = noise.generator(0, "instance", 0.4, stream=true).random((x.shape[1], 5))
            scores = x[true::5] @ instance_noise.ndtri(uniform)
            scores[:, true] = -np.inf
            expected = np.exp(scores - scores.max(axis=1, keepdims=True))
            expected /= expected.sum(axis=1, keepdims=True)
            np.testing.assert_allclose(found[true::5], expected, atol=3e-3)


def test_projections_are_standard_normal():
    parts = instance_noise._VALUE_PARTS
    rng = noise.generator(0, "instance", 0.4, stream=0)
    unit = instance_noise._scores(np.eye(500), np.full(500, parts), np.zeros(500), rng, 40)
    assert kstest(unit.ravel(), "norm").pvalue > 0.01


def test_drawn_labels_follow_the_distribution():
    # Three images, again and again: what becomes of each is counted.
    copies = 20_000
    images, labels = np.tile(FEATURES[:3], (copies, 1)), np.tile([0, 1, 1], copies)
    expected = shares(images, labels, 4)[:3]
    drawn = corrupt(images, labels, 4, 0.4, seed=0)
    for i in range(3):
        of = drawn[i::3]
        wrong = of[of != labels[i]]
        sigma = np.sqrt(expected[i] * (1 - expected[i]) / wrong.size)
        assert (abs(np.bincount(wrong, minlength=4) / wrong.size - expected[i]) <= 5 * sigma).all()


def test_images_that_are_alike_go_alike():
    # 40 pictures, each thrice in one class: once as it is, and with a little noise, too.
    pictures = RNG.integers(0, 200, (40, 8, 8, 3), np.uint8)
    near = pictures + RNG.integers(0, 2, pictures.shape, np.uint8)
    labels = np.tile(np.arange(40) % 5, 3)
    first, again, alike = np.split(shares(np.concatenate([pictures, pictures, near]), labels), 3)
    np.testing.assert_allclose(first, again, atol=1e-15)  # but for its own rate, divided out
    assert np.abs(first - alike).sum(axis=1).mean() < 0.1
    # Others of the class are not.
    assert np.abs(first - np.roll(first, 5, axis=0)).sum(axis=1).mean() > 1


def test_a_twin_of_another_class_goes_elsewhere():
    images = np.concatenate([IMAGES, IMAGES])
    labels = np.concatenate([LABELS, (LABELS + 1) % 5])
    one, other = np.split(shares(images, labels), 2)
    assert np.abs(one - other).sum(axis=1).mean() > 1


# What it may depend on


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (
            np.arange(20 * 192).reshape(20, 8, 8, 3).astype(np.uint8) ** 2,
            [2, 4, 0, 3, 0, 4, 1, 2, 1, 2, 0, 4, 0, 3, 0, 0, 3, 2, 1, 2],
        ),
        (
            np.arange(40).reshape(20, 2).astype(np.float32) % 7,
            [3, 2, 1, 3, 3, 3, 1, 2, 4, 1, 0, 2, 4, 3, 3, 0, 2, 2, 4, 3],
        ),
    ],
    ids=["pictures", "features"],
)
def test_labels_are_these_on_every_machine(images, expected):
    drawn = corrupt(images, np.arange(20) % 5, 5, 0.6, seed=0)
    np.testing.assert_array_equal(drawn, expected)


@pytest.mark.parametrize("images", [IMAGES, FEATURES], ids=["pictures", "features"])
def test_same_seed_same_labels_other_seed_or_rate_others(images):
    first = corrupt(images, LABELS, 5, 0.4, seed=1)
    np.testing.assert_array_equal(corrupt(images, LABELS, 5, 0.4, seed=1), first)
    assert (corrupt(images, LABELS, 5, 0.4, seed=2) != first).any()
    # Not only who is wrong is another: where to is, too.
    assert np.abs(shares(images, LABELS, seed=1) - shares(images, LABELS, seed=2)).max() > 0.5
    more = corrupt(images, LABELS, 5, 0.5, seed=1)
    assert ((first != LABELS) & (more == LABELS)).any()


def test_classes_have_projections_of_their_own():
    images = np.concatenate([IMAGES[:50]] * 2)
    labels = np.repeat([0, 1], 50)
    one, other = np.split(shares(images, labels, 4), 2)
    assert np.abs(one[:, 2:] - other[:, 2:]).max() > 0.5


@given(image_bytes=st.integers(1, 20_000), numbers=st.integers(1, 5000))
@pytest.mark.parametrize("images", [IMAGES, FEATURES], ids=["pictures", "features"])
def test_blocks_change_nothing(images, image_bytes, numbers):
    rows = distribution(images, LABELS, 5, 0.4, seed=0)
    drawn = corrupt(images, LABELS, 5, 0.4, seed=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(instance_noise, "_IMAGE_BYTES", image_bytes)
        patch.setattr(instance_noise, "_NUMBERS", numbers)
        np.testing.assert_array_equal(distribution(images, LABELS, 5, 0.4, seed=0), rows)
        np.testing.assert_array_equal(corrupt(images, LABELS, 5, 0.4, seed=0), drawn)


def test_scores_are_exact_so_that_no_order_of_adding_matters():
    pixels = RNG.integers(0, 256, (20, 3072), np.uint8)
    scale, shift = np.full(3072, 4096 / (255 * 0.25)), np.full(3072, 4096 * 1.9)
    rng = noise.generator(0, "instance", 0.4, stream=0)
    uniform = noise.generator(0, "instance", 0.4, stream=0).random((3072, 6))
    values = np.rint(pixels * scale - shift).astype(np.int64)
    weights = np.rint(2**16 * instance_noise.ndtri(uniform)).astype(np.int64)
    found = instance_noise._scores(pixels, scale, shift, rng, 6)
    np.testing.assert_array_equal(found * 2**28, values @ weights)


def test_the_order_of_the_classes_images_does_not_matter():
    order = RNG.permutation(300)
    permuted = shares(IMAGES[order], LABELS[order])
    np.testing.assert_allclose(permuted, shares(IMAGES, LABELS)[order], atol=1e-15)


def test_pictures_on_disk_get_the_same_labels_and_only_wrong_ones_are_read_again(monkeypatch):
    read = []

    def reader(rows):
        read.extend(rows.tolist())
        return IMAGES[rows]

    lazy = LazyImages(reader, np.arange(300), (8, 8, 3))
    drawn = corrupt(IMAGES, LABELS, 5, 0.4, seed=0)
    np.testing.assert_array_equal(corrupt(lazy, LABELS, 5, 0.4, seed=0), drawn)
    wrong = np.flatnonzero(drawn != LABELS).tolist()
    assert sorted(read) == sorted([*range(300), *wrong])
    # Of a large set few are read for the mean.
    monkeypatch.setattr(dataset, "_LARGE", 1000)
    monkeypatch.setattr(dataset, "_SAMPLE", 10)
    read.clear()
    corrupt(lazy, LABELS, 5, 0.4, seed=0)
    assert sorted(read) == sorted([*range(0, 300, 30), *wrong])


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.uint64])
def test_every_integer_dtype_gives_the_same_labels(dtype):
    drawn = corrupt(IMAGES, LABELS.astype(dtype), 5, 0.4, 0)
    np.testing.assert_array_equal(drawn, corrupt(IMAGES, LABELS, 5, 0.4, 0))


def test_true_labels_and_images_are_left_as_they_are():
    labels, images = LABELS.copy(), IMAGES.copy()
    for array in (labels, images):
        array.setflags(write=False)
    assert not np.shares_memory(corrupt(images, labels, 5, 0.4, 0), labels)


@pytest.mark.parametrize(("factor", "offset"), [(1, 0), (4, 32), (0.5, -64)])
def test_units_of_features_do_not_matter(factor, offset):
    features = FEATURES.round(3)
    moved = (features * factor + offset).astype(np.float32)
    np.testing.assert_allclose(shares(moved, LABELS), shares(features, LABELS), atol=2e-3)


# Edges


def test_of_two_classes_a_wrong_label_is_the_other():
    labels = LABELS % 2
    drawn = corrupt(IMAGES, labels, 2, 0.9, seed=0)
    assert set(drawn) == {0, 1}
    assert (drawn != labels).mean() > 0.7
    np.testing.assert_array_equal(shares(IMAGES, labels, 2), np.eye(2)[1 - labels])


def test_one_image_of_a_class_and_none_of_another():
    labels = np.where(np.arange(300) == 7, 3, 0)
    rows = distribution(IMAGES, labels, 5, 0.4, seed=0)
    np.testing.assert_allclose(rows.sum(axis=1), 1)
    alone = corrupt(IMAGES[:1], labels[:1], 5, 1.0, seed=0)
    assert alone.shape == (1,)


@pytest.mark.parametrize(
    "images",
    [np.full((300, 8, 8, 3), 7, np.uint8), np.full((300, 2), 1e30, np.float32)],
    ids=["pictures", "features"],
)
def test_images_that_are_all_the_same_go_to_all_others_alike(images):
    expected = (1 - np.eye(5)) / 4
    np.testing.assert_allclose(shares(images, LABELS), expected[LABELS], rtol=1e-12)


def test_a_feature_with_an_outlier_is_no_trouble():
    features = FEATURES.copy()
    features[3] = 1e38
    assert np.isfinite(distribution(features, LABELS, 5, 0.4, seed=0)).all()


def test_no_labels_are_no_trouble():
    drawn = corrupt(IMAGES[:0], LABELS[:0], 5, 0.4, seed=0)
    assert (drawn.shape, drawn.dtype) == ((0,), np.int32)


# What cannot be done


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rate": 1.1}, "noise rate is 1.1; expected a number from 0 to 1"),
        ({"rate": None}, "noise rate is None"),
        ({"num_classes": 1}, "instance noise among 1 classes; expected 2 or more"),
        ({"seed": -1}, "noise seed is -1"),
        ({"labels": LABELS[:10]}, "labels to corrupt have shape"),
        ({"labels": LABELS + 1}, "labels to corrupt range from 1 to 5"),
        ({"labels": LABELS.astype(float)}, "labels to corrupt are float64"),
        ({"images": IMAGES.astype(np.float32)}, "are float32; expected uint8"),
        ({"images": IMAGES[..., 0]}, "have shape"),
        ({"images": FEATURES * np.nan}, "not finite"),
    ],
)
@pytest.mark.parametrize("function", [corrupt, distribution])
def test_what_is_wrong_is_said_in_one_line(function, changes, words):
    right = {"images": IMAGES, "labels": LABELS, "num_classes": 5, "rate": 0.4, "seed": 0}
    with pytest.raises(InputError, match=words) as error:
        function(**(right | changes))
    assert "\n" not in str(error.value)
