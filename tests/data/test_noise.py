import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import noise
from rmdnet_jax.data.cifar100_classes import CIFAR100_CLASSES, CIFAR100_SUPERCLASSES, coarse_labels
from rmdnet_jax.data.dataset import NO_CLASS

# The coarse label of each fine label, as CIFAR-100's files have it.
# fmt: off
COARSE = [
    4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11, 6, 11, 5, 10, 7,
    6, 13, 15, 3, 15, 0, 11, 1, 10, 12, 14, 16, 9, 11, 5, 5, 19, 8, 8, 15, 13, 14, 17, 18, 10,
    16, 4, 17, 4, 2, 0, 17, 4, 18, 17, 10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16,
    12, 9, 13, 15, 13, 16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13,
]
# fmt: on

OWN_MATRIX = np.array([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.1, 0.2, 0.7]])

# A request of every kind that fits CIFAR-10's ten classes, and what else it needs.
TEN_CLASSES = {
    "none": {},
    "symmetric": {},
    "symmetric_inclusive": {},
    "asymmetric": {"dataset": "cifar10"},
    "asymmetric_blocks": {},
    "pairflip": {},
    "matrix": {"matrix": np.full((10, 10), 0.04) + 0.6 * np.eye(10)},
}
# Of each image by itself, tests/data/test_instance_noise.py, or with images of no class,
# tests/data/test_open_set.py.
KINDS = [kind for kind in noise.KINDS if kind not in ("instance", "universal")]
every_kind = pytest.mark.parametrize("kind", KINDS)
random_kind = pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "none"])


def ten_class_matrix(kind, rate):
    return noise.transition_matrix(kind, rate, 10, **TEN_CLASSES[kind])


def ten_class_labels(kind, rate, labels, seed=0, **options):
    return noise.corrupt(labels, kind, rate, 10, seed, **TEN_CLASSES[kind], **options)


def cycling_labels(size, num_classes=10):
    return np.arange(size, dtype=np.int32) % num_classes


# Transition matrices


def test_none_is_the_identity_at_every_rate():
    np.testing.assert_array_equal(noise.transition_matrix("none", 0.3, 3), np.eye(3))


def test_symmetric_goes_to_the_other_classes():
    expected = [[0.6, 0.2, 0.2], [0.2, 0.6, 0.2], [0.2, 0.2, 0.6]]
    np.testing.assert_allclose(noise.transition_matrix("symmetric", 0.4, 3), expected)


def test_symmetric_inclusive_draws_the_true_class_as_well():
    expected = [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]
    np.testing.assert_allclose(noise.transition_matrix("symmetric_inclusive", 0.3, 3), expected)


def test_fifty_percent_symmetric_inclusive_is_forty_five_percent_wrong_on_cifar10():
    transition = noise.transition_matrix("symmetric_inclusive", 0.5, 10)
    np.testing.assert_allclose(1 - np.diagonal(transition), 0.45)


def test_pairflip_goes_to_the_next_class():
    expected = [[0.7, 0.3, 0], [0, 0.7, 0.3], [0.3, 0, 0.7]]
    np.testing.assert_allclose(noise.transition_matrix("pairflip", 0.3, 3), expected)


def test_asymmetric_follows_the_users_mapping_and_other_classes_stay():
    transition = noise.transition_matrix("asymmetric", 0.4, 3, mapping={0: 2, 2: 1})
    np.testing.assert_allclose(transition, [[0.6, 0, 0.4], [0, 1, 0], [0, 0.4, 0.6]])


def test_the_users_mapping_goes_before_the_pairs_of_the_data_set():
    with_pairs = noise.transition_matrix("asymmetric", 0.4, 10, "cifar10", mapping={0: 1})
    without = noise.transition_matrix("asymmetric", 0.4, 10, mapping={0: 1})
    np.testing.assert_array_equal(with_pairs, without)


@pytest.mark.parametrize("dataset", ["cifar10", "cifar10_n"])
def test_asymmetric_cifar10_confuses_five_classes(dataset):
    transition = noise.transition_matrix("asymmetric", 0.4, 10, dataset)
    expected = np.eye(10)
    # truck -> automobile, bird -> airplane, deer -> horse, cat -> dog, dog -> cat
    for true, wrong in [(9, 1), (2, 0), (4, 7), (3, 5), (5, 3)]:
        expected[true, true], expected[true, wrong] = 0.6, 0.4
    np.testing.assert_allclose(transition, expected)


def test_asymmetric_cifar10_is_wrong_for_half_the_rate_overall():
    labels = cycling_labels(10_000)
    given_labels = noise.corrupt(labels, "asymmetric", 0.4, 10, 0, "cifar10", exact=True)
    assert noise.realised(labels, given_labels, 10)[0] == 0.2


@pytest.mark.parametrize("dataset", ["cifar100", "cifar100_n"])
def test_asymmetric_cifar100_goes_round_each_superclass(dataset):
    target = noise.transition_matrix("asymmetric", 1.0, 100, dataset).argmax(axis=1)
    coarse = np.array(COARSE)
    np.testing.assert_array_equal(coarse[target], coarse)
    for superclass in range(20):
        members = np.flatnonzero(coarse == superclass)
        np.testing.assert_array_equal(target[members], [*members[1:], members[0]])


def test_asymmetric_blocks_are_five_indices_each():
    target = noise.transition_matrix("asymmetric_blocks", 1.0, 10).argmax(axis=1)
    np.testing.assert_array_equal(target, [1, 2, 3, 4, 0, 6, 7, 8, 9, 5])


def test_only_six_of_a_hundred_blocks_targets_share_the_superclass():
    target = noise.transition_matrix("asymmetric_blocks", 1.0, 100).argmax(axis=1)
    coarse = np.array(COARSE)
    assert np.count_nonzero(coarse[target] == coarse) == 6


def test_the_users_matrix_is_taken_as_it_is_at_every_rate():
    for rate in (0, 0.5, 1):
        transition = noise.transition_matrix("matrix", rate, 3, matrix=OWN_MATRIX.tolist())
        np.testing.assert_allclose(transition, OWN_MATRIX, rtol=1e-15)


def test_the_users_matrix_is_scaled_to_rows_of_one():
    almost = OWN_MATRIX * (1 + 5e-7)
    transition = noise.transition_matrix("matrix", 0, 3, matrix=almost)
    np.testing.assert_allclose(transition.sum(axis=1), 1, atol=1e-15)


@given(
    kind=st.sampled_from([kind for kind in KINDS if kind != "matrix"]),
    rate=st.floats(0, 1),
    num_classes=st.integers(1, 6).map(lambda blocks: 5 * blocks),
)
def test_rows_are_probabilities(kind, rate, num_classes):
    mapping = {0: 1} if kind == "asymmetric" else None
    transition = noise.transition_matrix(kind, rate, num_classes, mapping=mapping)
    assert transition.dtype == np.float64
    assert transition.shape == (num_classes, num_classes)
    assert (transition >= 0).all()
    np.testing.assert_allclose(transition.sum(axis=1), 1, atol=1e-12)
    if kind == "asymmetric":
        np.testing.assert_array_equal(transition[1:], np.eye(num_classes)[1:])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "matrix"])
def test_rate_zero_changes_nothing_and_rate_one_all_that_the_kind_can(kind):
    np.testing.assert_array_equal(ten_class_matrix(kind, 0), np.eye(10))
    moved = {"none": 0, "asymmetric": 5, "symmetric_inclusive": 9}.get(kind, 10)
    np.testing.assert_allclose(10 - np.trace(ten_class_matrix(kind, 1)), moved)


# Drawn labels


@every_kind
@pytest.mark.parametrize("exact", [False, True])
def test_drawn_labels_follow_the_transition_matrix(kind, exact):
    labels = cycling_labels(200_000)
    drawn = ten_class_labels(kind, 0.3, labels, exact=exact)
    assert drawn.dtype == np.int32
    assert drawn.shape == labels.shape
    transition = ten_class_matrix(kind, 0.3)
    _, empirical = noise.realised(labels, drawn, 10)
    sigma = np.sqrt(transition * (1 - transition) / 20_000)
    assert (np.abs(empirical - transition) <= 5 * sigma).all()


def test_labels_are_these_on_every_machine():
    labels = cycling_labels(20)
    drawn = noise.corrupt(labels, "symmetric", 0.4, 10, seed=0)
    expected = [0, 1, 2, 3, 4, 5, 6, 3, 8, 0, 8, 1, 2, 3, 9, 5, 3, 2, 0, 9]
    np.testing.assert_array_equal(drawn, expected)


@random_kind
@pytest.mark.parametrize("exact", [False, True])
def test_same_seed_same_labels_other_seed_other_labels(kind, exact):
    labels = cycling_labels(1000)
    first = ten_class_labels(kind, 0.4, labels, seed=1, exact=exact)
    again = ten_class_labels(kind, 0.4, labels, seed=1, exact=exact)
    other = ten_class_labels(kind, 0.4, labels, seed=2, exact=exact)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_other_kinds_and_rates_have_draws_of_their_own():
    labels = cycling_labels(1000)

    def wrong(kind, rate):
        return ten_class_labels(kind, rate, labels) != labels

    # Shared draws would make the wrong labels of 0.4 a subset of those of 0.5, and pairflip's
    # those of asymmetric_blocks.
    assert (wrong("pairflip", 0.4) & ~wrong("pairflip", 0.5)).any()
    assert (wrong("pairflip", 0.4) != wrong("asymmetric_blocks", 0.4)).any()


def test_the_users_matrix_ignores_the_rate_in_its_draws():
    labels = cycling_labels(1000)
    one, other = (ten_class_labels("matrix", rate, labels) for rate in (0.0, 0.9))
    np.testing.assert_array_equal(one, other)


@every_kind
def test_a_sample_depends_on_its_position_only(kind):
    labels = cycling_labels(1000)
    whole = ten_class_labels(kind, 0.4, labels)
    np.testing.assert_array_equal(ten_class_labels(kind, 0.4, labels[:333]), whole[:333])
    # What the others are does not matter either.
    others = labels.copy()
    others[333:] = 0
    np.testing.assert_array_equal(ten_class_labels(kind, 0.4, others)[:333], whole[:333])


@every_kind
@pytest.mark.parametrize("exact", [False, True])
def test_true_labels_are_left_as_they_are(kind, exact):
    labels = cycling_labels(100)
    labels.setflags(write=False)
    drawn = ten_class_labels(kind, 0.4, labels, exact=exact)
    assert not np.shares_memory(drawn, labels)


@pytest.mark.parametrize("exact", [False, True])
def test_cat_to_dog_to_cat_does_not_undo_itself(exact):
    labels = cycling_labels(1000)
    drawn = noise.corrupt(labels, "asymmetric", 1.0, 10, 0, "cifar10", exact=exact)
    cat, dog = 3, 5
    assert (drawn[labels == cat] == dog).all()
    assert (drawn[labels == dog] == cat).all()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.uint64])
def test_every_integer_dtype_gives_the_same_labels(dtype):
    labels = cycling_labels(100)
    drawn = noise.corrupt(labels.astype(dtype), "symmetric", 0.4, 10, 0)
    np.testing.assert_array_equal(drawn, noise.corrupt(labels, "symmetric", 0.4, 10, 0))
    assert noise.realised(labels.astype(dtype), drawn, 10)[0] > 0


def test_no_labels_are_no_trouble():
    labels = np.zeros(0, np.int32)
    assert noise.corrupt(labels, "symmetric", 0.4, 10, 0, exact=True).shape == (0,)
    assert noise.realised(labels, labels, 10)[0] == 0


@pytest.mark.parametrize("rate", [0.0, 0.15, 0.4, 0.45, 0.8, 1.0])
@pytest.mark.parametrize("kind", ["symmetric", "pairflip", "asymmetric_blocks", "asymmetric"])
def test_exact_changes_the_rounded_number_of_every_class(kind, rate):
    # Class c has 7 + c samples, in a shuffled order.
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), np.arange(7, 17)))
    drawn = ten_class_labels(kind, rate, labels, exact=True)
    moves = {2, 3, 4, 5, 9} if kind == "asymmetric" else set(range(10))
    for true in range(10):
        wrong = np.count_nonzero(drawn[labels == true] != true)
        assert wrong == (round(round(rate * (7 + true), 9)) if true in moves else 0)


def test_exact_counts_wrong_labels_not_draws_when_the_true_class_is_drawn_too():
    labels = cycling_labels(1000)
    drawn = noise.corrupt(labels, "symmetric_inclusive", 0.5, 10, 0, exact=True)
    for true in range(10):
        assert np.count_nonzero(drawn[labels == true] != true) == 45


def test_a_draw_at_the_edge_never_takes_an_impossible_class():
    row = np.array([0.0, 0.1, 0.2, 0.3, 0.1, 0.3 - 1e-15, 0.0])
    edges = np.array([0.0, np.nextafter(1, 0)])
    np.testing.assert_array_equal(noise._inverse_cdf(row, edges), [1, 5])


# What the noise came to


def test_realised_by_hand():
    rate, matrix = noise.realised(np.array([0, 0, 0, 0, 2]), np.array([0, 1, 1, 2, 2]), 4)
    assert rate == pytest.approx(3 / 5)
    expected = [[0.25, 0.5, 0.25, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    np.testing.assert_array_equal(matrix, expected)
    assert matrix.dtype == np.float64


# The classes


def test_cifar100_has_twenty_superclasses_of_five():
    assert len(CIFAR100_SUPERCLASSES) == 20
    assert all(len(members) == 5 for members in CIFAR100_SUPERCLASSES.values())
    assert len(set(CIFAR100_CLASSES)) == 100
    assert list(CIFAR100_SUPERCLASSES) == sorted(CIFAR100_SUPERCLASSES)
    assert list(CIFAR100_CLASSES) == sorted(CIFAR100_CLASSES)


def test_cifar100_superclasses_are_those_of_its_files():
    np.testing.assert_array_equal(coarse_labels(), COARSE)


@pytest.mark.parametrize(
    ("fine", "name", "superclass"),
    [
        (0, "apple", "fruit_and_vegetables"),
        (1, "aquarium_fish", "fish"),
        (19, "cattle", "large_omnivores_and_herbivores"),
        (23, "cloud", "large_natural_outdoor_scenes"),
        (47, "maple_tree", "trees"),
        (68, "road", "large_man-made_outdoor_things"),
        (99, "worm", "non-insect_invertebrates"),
    ],
)
def test_well_known_cifar100_classes(fine, name, superclass):
    assert CIFAR100_CLASSES[fine] == name
    assert list(CIFAR100_SUPERCLASSES)[coarse_labels()[fine]] == superclass


def test_cifar10_classes():
    assert len(noise.CIFAR10_CLASSES) == 10
    assert noise.CIFAR10_CLASSES[0] == "airplane"
    assert noise.CIFAR10_CLASSES[9] == "truck"


# What cannot be done


def assert_one_line(error, *words):
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan"), float("inf"), "0.4", None, True])
def test_rate_outside_zero_to_one(rate):
    with pytest.raises(InputError) as error:
        noise.transition_matrix("symmetric", rate, 10)
    assert_one_line(error, "rate", repr(rate), "0 to 1")


def test_unknown_kind_names_the_nearest_and_all():
    with pytest.raises(InputError) as error:
        noise.transition_matrix("simetric", 0.4, 10)
    assert_one_line(error, "simetric", "mean symmetric?", *noise.KINDS)


@pytest.mark.parametrize(
    ("kind", "num_classes", "options", "words"),
    [
        ("asymmetric", 10, {}, ("None", "cifar10", "mapping")),
        ("asymmetric", 10, {"dataset": "digits"}, ("digits", "cifar10", "mapping")),
        ("asymmetric", 20, {"dataset": "cifar100"}, ("20 classes", "100")),
        ("asymmetric", 100, {"dataset": "cifar10"}, ("100 classes", "10")),
        ("asymmetric", 3, {"mapping": {}}, ("empty",)),
        ("asymmetric", 3, {"mapping": {0: 3}}, ("0 -> 3", "0 to 2")),
        ("asymmetric", 3, {"mapping": {-1: 0}}, ("-1 -> 0", "0 to 2")),
        ("asymmetric", 3, {"mapping": {"0": 1}}, ("'0' -> 1", "integers")),
        ("asymmetric", 3, {"mapping": {0: 1.0}}, ("0 -> 1.0", "integers")),
        ("symmetric", 3, {"mapping": {0: 1}}, ("mapping", "symmetric", "asymmetric")),
        ("symmetric", 3, {"matrix": OWN_MATRIX}, ("matrix", "symmetric")),
        ("matrix", 3, {}, ("has no matrix",)),
        ("matrix", 4, {"matrix": OWN_MATRIX}, ("3 classes", "4")),
        ("matrix", 3, {"matrix": OWN_MATRIX[:2]}, ("(2, 3)", "[C, C]")),
        ("matrix", 3, {"matrix": OWN_MATRIX[0]}, ("(3,)", "[C, C]")),
        ("matrix", 2, {"matrix": [[1, 0], [1.5, -0.5]]}, ("row 1",)),
        ("matrix", 2, {"matrix": [[1, 0], [0.5, 0.4]]}, ("row 1", "sum to 1")),
        ("matrix", 2, {"matrix": [[np.nan, 1], [0, 1]]}, ("row 0",)),
        ("matrix", 2, {"matrix": [[np.inf, -np.inf], [0, 1]]}, ("row 0",)),
        ("matrix", 2, {"matrix": [[1e308, 1e308], [0, 1]]}, ("row 0",)),
        ("matrix", 2, {"matrix": [["1", "0"], ["0", "1"]]}, ("real numbers",)),
        ("symmetric", 1, {}, ("1 classes", "2 or more")),
        ("symmetric_inclusive", 1, {}, ("1 classes", "2 or more")),
        ("pairflip", 1, {}, ("1 classes", "2 or more")),
        ("none", 0, {}, ("0 classes", "1 or more")),
        ("asymmetric_blocks", 12, {}, ("12 classes", "multiple of 5")),
        ("instance", 10, {}, ("needs the images", "instance_noise.corrupt")),
        ("instance", 1, {}, ("1 classes", "2 or more")),
    ],
)
def test_requests_that_do_not_fit(kind, num_classes, options, words):
    with pytest.raises(InputError) as error:
        noise.transition_matrix(kind, 0.4, num_classes, **options)
    assert_one_line(error, *words)


@pytest.mark.parametrize(
    "labels",
    [
        np.array([0.0, 1.0]),
        np.array([True, False]),
        np.array(["0", "1"]),
        np.array([[0, 1]]),
        np.array(0),
        np.array([0, 10]),
        np.array([-1, 0]),
    ],
    ids=["float", "bool", "text", "rank 2", "rank 0", "too large", "negative"],
)
def test_labels_that_are_not_labels(labels):
    with pytest.raises(InputError) as error:
        noise.corrupt(labels, "symmetric", 0.4, 10, 0)
    assert_one_line(error, "labels to corrupt", "expected")
    if labels.dtype.kind == "i" and labels.min() == NO_CLASS:
        labels = labels - 1
    with pytest.raises(InputError):
        noise.realised(labels, np.array([0, 1]), 10)
    with pytest.raises(InputError):
        noise.realised(np.array([0, 1]), labels, 10)


def test_images_of_no_class_are_wrong_and_in_no_row():
    true, given = np.array([NO_CLASS, 0, 0, 1, NO_CLASS, 1]), np.array([2, 0, 1, 1, 0, 1])
    rate, transition = noise.realised(true, given, 3)
    assert rate == 0.5
    np.testing.assert_array_equal(transition, [[0.5, 0.5, 0], [0, 1, 0], [0, 0, 1]])


@pytest.mark.parametrize("kind", ["instance", "universal"])
def test_a_kind_without_one_matrix_is_refused_with_what_draws_it(kind):
    with pytest.raises(InputError) as error:
        noise.transition_matrix(kind, 0.4, 10)
    assert_one_line(error, kind, "no single", "rmdnet_jax.data.")
    with pytest.raises(InputError, match=f"{kind} noise"):
        noise.corrupt(cycling_labels(20), kind, 0.4, 10, 0)


@given(rate=st.floats(0, 1), rho2=st.floats(0, 1))
def test_flips_and_open_images_make_up_the_rate(rate, rho2):
    if rate * rho2 == 1:
        with pytest.raises(InputError, match="leave only open images"):
            noise.flip_rate(rate, rho2)
        return
    share = noise.open_rate(rate, rho2)
    flips = noise.flip_rate(rate, rho2)
    assert 0 <= flips <= 1
    if share < 0.99:  # near 1 what is left of 1 has few digits
        assert flips * (1 - share) == pytest.approx(rate * (1 - rho2))
        assert share + flips * (1 - share) == pytest.approx(rate)


@pytest.mark.parametrize(("rate", "rho2"), [(1.1, 0.5), (0.5, -0.1), (0.5, float("nan"))])
def test_shares_of_open_images_outside_zero_to_one(rate, rho2):
    with pytest.raises(InputError, match=r"noise\.r.* from 0 to 1"):
        noise.flip_rate(rate, rho2)


def test_true_and_given_labels_of_two_sizes():
    with pytest.raises(InputError) as error:
        noise.realised(np.array([0, 1]), np.array([0, 1, 2]), 10)
    assert_one_line(error, "given labels")


def test_labels_of_noise_by_the_image_are_not_drawn_without_images():
    with pytest.raises(InputError) as error:
        noise.corrupt(cycling_labels(10), "instance", 0.4, 10, 0)
    assert_one_line(error, "needs the images", "instance_noise.corrupt")


@pytest.mark.parametrize("seed", [-1, 0.5, None, True])
def test_seed_that_is_none(seed):
    with pytest.raises(InputError) as error:
        noise.corrupt(cycling_labels(10), "symmetric", 0.4, 10, seed)
    assert_one_line(error, "seed", repr(seed))


# Files


@pytest.mark.parametrize(
    "text", ["0,2\n2,1\n", "true,given\n0,2\n2,1", "\ufefftrue, given\r\n0, 2\r\n\r\n2, 1\r\n"]
)
def test_mapping_from_csv(tmp_path, text):
    path = tmp_path / "pairs.csv"
    path.write_bytes(text.encode())
    assert noise.load_mapping(path) == {0: 2, 2: 1}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ("empty",)),
        (b"true,given\n", ("empty",)),
        (b"cat,dog\n", ("cat,dog", "two integers")),
        (b"0,1\n2\n", ("'2'", "two integers")),
        (b"0,1,2\n", ("0,1,2", "two integers")),
        (b"0,1.5\n", ("0,1.5", "two integers")),
        (b"0,1\n0,2\n", ("class 0 twice",)),
        (b"\xff\xfe\x00", ("cannot be read",)),
    ],
)
def test_mapping_files_that_are_refused(tmp_path, content, words):
    path = tmp_path / "pairs.csv"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        noise.load_mapping(path)
    assert_one_line(error, str(path), *words)


def test_matrix_from_npy_and_csv(tmp_path):
    np.save(tmp_path / "own.npy", OWN_MATRIX.astype(np.float32))
    (tmp_path / "own.csv").write_text("0.5,0.5,0\n0,1,0\n0.1,0.2,0.7\n")
    for name, tolerance in (("own.npy", 1e-6), ("own.csv", 1e-15)):
        matrix = noise.load_matrix(tmp_path / name)
        assert matrix.dtype == np.float64
        np.testing.assert_allclose(matrix, OWN_MATRIX, atol=tolerance)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ("(0,)", "[C, C]")),
        ("1,0\n0\n", ("cannot be read",)),
        ("a,b\n1,0\n", ("cannot be read", "'a'")),
        ("1,0\nnan,1\n", ("row 1",)),
        ("1,0\n0.5,0.4\n", ("row 1", "sum to 1")),
        ("1,0\n", ("(1, 2)", "[C, C]")),
    ],
)
def test_matrix_csv_files_that_are_refused(tmp_path, content, words):
    path = tmp_path / "own.csv"
    path.write_text(content)
    with pytest.raises(InputError) as error:
        noise.load_matrix(path)
    assert_one_line(error, str(path), *words)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.array([[1, 0], [0, None]], object), ("cannot be read", "Python objects")),
        (np.array([[1, 0], [0, np.nan]]), ("row 1",)),
        (np.eye(2, dtype=np.complex64), ("complex64", "real numbers")),
        (np.array(1.0), ("()", "[C, C]")),
    ],
    ids=["pickled", "nan", "complex", "scalar"],
)
def test_matrix_npy_files_that_are_refused(tmp_path, array, words):
    path = tmp_path / "own.npy"
    np.save(path, array)
    with pytest.raises(InputError) as error:
        noise.load_matrix(path)
    assert_one_line(error, str(path), *words)


@pytest.mark.parametrize("content", [b"", b"not an array", b"PK\x03\x04"])
def test_matrix_npy_files_that_are_something_else(tmp_path, content):
    path = tmp_path / "own.npy"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        noise.load_matrix(path)
    assert_one_line(error, str(path), "cannot be read")


def test_files_that_are_not_there(tmp_path):
    for load, name in (
        (noise.load_mapping, "pairs.csv"),
        (noise.load_matrix, "own.csv"),
        (noise.load_matrix, "own.npy"),
    ):
        with pytest.raises(InputError) as error:
            load(tmp_path / name)
        assert_one_line(error, name, "cannot be read")


def test_matrix_file_of_another_kind(tmp_path):
    with pytest.raises(InputError) as error:
        noise.load_matrix(tmp_path / "own.npz")
    assert_one_line(error, "'.npz'", ".npy or .csv")
