"""Open-set noise: how many pictures of no class there are, which they are, and where they stand."""

import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import labels, noise, open_set, open_source
from rmdnet_jax.data.dataset import NO_CLASS, Dataset
from rmdnet_jax.data.lazy_images import LazyImages
from rmdnet_jax.data.open_pool import Pool

SIZE = 400


def pictures(size, seed):
    return np.random.default_rng(seed).integers(0, 256, (size, 8, 8, 3), np.uint8)


def made(size=SIZE, classes=5, **changes):
    """Pictures of five classes in turns, with human labels that are one on in a tenth."""
    given = np.arange(size, dtype=np.int32) % classes
    human = np.where(np.arange(size) % 10 == 0, (given + 1) % classes, given).astype(np.int32)
    fields = {
        "name": "five",
        "train_images": pictures(size, 0),
        "train_labels": given,
        "test_images": pictures(20, 1),
        "test_labels": np.arange(20, dtype=np.int32) % classes,
        "label_sets": {"human": human},
        "class_names": tuple("abcdefghij"[:classes]),
    }
    return Dataset(**(fields | changes)).check()


def pool(size=1000, seed=2, **fields):
    return Pool("elsewhere", pictures(size, seed), **fields)


def on_disk(images):
    return LazyImages(Slices(images), np.arange(len(images)), images.shape[1:])


@dataclasses.dataclass(frozen=True)
class Slices:
    images: np.ndarray

    def __call__(self, rows):
        return (self.images[row] for row in rows)


# How many

RHO = st.floats(0, 1)


@given(rate=RHO, rho2=RHO, known=st.integers(1, 100_000))
def test_the_share_of_open_pictures_is_the_one_asked_for(rate, rho2, known):
    if rate * rho2 > 0.999:
        return
    share = open_set.share("universal", rate, rho2, 0.0)
    count = open_set.count(known, share)
    assert count / (known + count) == pytest.approx(rate * rho2, abs=1 / (known + count))


@pytest.mark.parametrize(
    ("rate", "rho2", "count"),
    [(0, 0.5, 0), (0.5, 0, 0), (0.5, 0.5, 133), (0.5, 1, 400), (1, 0.5, 400), (0.25, 0.75, 92)],
)
def test_counts_by_hand(rate, rho2, count):
    assert open_set.count(400, open_set.share("universal", rate, rho2, 0.0)) == count


def test_other_kinds_have_a_share_of_their_own():
    assert open_set.share("human", 0.4, 0.0, 0.2) == 0.2
    with pytest.raises(InputError, match=r"open_share is 0.2 with noise.kind = 'universal'"):
        open_set.share("universal", 0.4, 0.5, 0.2)
    with pytest.raises(InputError, match="would leave only open images"):
        open_set.share("universal", 1, 1, 0.0)


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("rho2", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_clean_closed_and_open_are_the_shares_of_the_paper(rate, rho2):
    if rate * rho2 == 1:
        return
    data = open_set.added(make_large(), "universal", rate, 0, rho2) if rate * rho2 else make_large()
    found = labels.give(data, "universal", rate, seed=0, rho2=rho2, exact=True)
    is_open = found.true == NO_CLASS
    shares = ((found.given == found.true).mean(), (found.given != found.true)[~is_open].sum()
              / len(found.true), is_open.mean())  # fmt: skip
    wanted = (1 - rate, rate * (1 - rho2), rate * rho2)
    np.testing.assert_allclose(shares, wanted, atol=0.002)
    assert found.rate_realised == pytest.approx(rate, abs=0.002)
    assert found.rate_open == pytest.approx(rate * rho2, abs=0.001)


def make_large():
    return dataclasses.replace(made(2000), pool=pool(8000))


# Which, and where they stand


def test_they_stand_behind_the_others_under_labels_of_the_classes():
    data = made()
    joined = open_set.with_open(data, pool(), 100, seed=0).check()
    np.testing.assert_array_equal(joined.train_images[:SIZE], data.train_images)
    np.testing.assert_array_equal(joined.train_labels[:SIZE], data.train_labels)
    np.testing.assert_array_equal(joined.true_labels[:SIZE], data.train_labels)
    assert (joined.true_labels[SIZE:] == NO_CLASS).all()
    assert set(joined.train_labels[SIZE:]) == set(range(5))
    np.testing.assert_array_equal(joined.label_sets["human"][:SIZE], data.label_sets["human"])
    np.testing.assert_array_equal(joined.label_sets["human"][SIZE:], joined.train_labels[SIZE:])
    np.testing.assert_array_equal(joined.train_index, np.arange(SIZE + 100))
    assert joined.test_images is data.test_images
    assert joined.test_labels is data.test_labels
    assert joined.train_digests is joined.train_files is joined.originals is None
    assert "100 open images of elsewhere" in joined.changes[0]


def test_every_one_is_another_of_the_pool():
    source = pool()
    joined = open_set.with_open(made(), source, 1000, seed=5)
    added = {image.tobytes() for image in joined.train_images[SIZE:]}
    assert added == {image.tobytes() for image in source.images}


def test_labels_are_spread_evenly():
    joined = open_set.with_open(made(), pool(20_000), 20_000, seed=0)
    counts = np.bincount(joined.train_labels[SIZE:], minlength=5)
    assert np.abs(counts - 4000).max() < 5 * np.sqrt(20_000 * 0.2 * 0.8)


def test_the_seed_decides_and_fewer_are_the_first_of_more():
    one, again, other = (open_set.with_open(made(), pool(), 60, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.train_images, again.train_images)
    np.testing.assert_array_equal(one.train_labels, again.train_labels)
    assert (one.train_images != other.train_images).any()
    assert (one.train_labels != other.train_labels).any()
    fewer = open_set.with_open(made(), pool(), 20, seed=1)
    np.testing.assert_array_equal(fewer.train_images, one.train_images[: SIZE + 20])
    np.testing.assert_array_equal(fewer.train_labels, one.train_labels[: SIZE + 20])


def test_the_flips_of_the_known_images_are_symmetric_noise_of_the_seed():
    data = dataclasses.replace(made(), pool=pool())
    joined = open_set.added(data, "universal", 0.5, 7, 0.5)
    found = labels.give(joined, "universal", 0.5, 7, rho2=0.5)
    rate = noise.flip_rate(0.5, 0.5)
    expected = noise.corrupt(data.train_labels, "symmetric", rate, 5, 7)
    np.testing.assert_array_equal(found.given[:SIZE], expected)
    np.testing.assert_array_equal(found.given[SIZE:], joined.train_labels[SIZE:])


def test_they_go_on_with_the_places_and_files_that_there_are():
    files = tuple(f"{i}.png" for i in range(10))
    places = {"train_index": np.arange(10) * 3, "test_index": np.arange(20) * 2 + 1}
    data = made(10, train_files=files, **places)
    added = open_set.with_open(data, pool(), 2, seed=0)
    np.testing.assert_array_equal(added.train_index[-3:], [27, 28, 29])
    in_one_list = dataclasses.replace(data, list_size=45)  # some of whose images were left out
    added = open_set.with_open(in_one_list, pool(), 2, seed=0)
    np.testing.assert_array_equal(added.train_index[-3:], [27, 45, 46])
    rows = [int(file.removeprefix("elsewhere, picture ")) for file in added.train_files[10:]]
    np.testing.assert_array_equal(added.train_images[10:], pool().images[rows])
    named = pool(3, files=("x.png", "y.png", "z.png"))
    added = open_set.with_open(data, named, 3, seed=0)
    for file, image in zip(added.train_files[10:], added.train_images[10:], strict=True):
        np.testing.assert_array_equal(image, named.images[named.files.index(file)])


def test_digests_are_joined_and_told_by_pixels_where_the_pool_has_none():
    own = np.arange(SIZE * 16, dtype=np.uint8).reshape(SIZE, 16)
    data = made(train_digests=own)
    theirs = np.random.default_rng(0).integers(0, 256, (1000, 16), np.uint8)
    source = pool(digests=theirs)
    for one in (source, pool()):
        added = open_set.with_open(data, one, 50, seed=0)
        np.testing.assert_array_equal(added.train_digests[:SIZE], own)
        assert len(np.unique(added.train_digests[SIZE:], axis=0)) == 50


def test_images_on_disk_stay_there():
    lazy = made(train_images=on_disk(pictures(SIZE, 0)))
    source = Pool("elsewhere", on_disk(pictures(1000, 2)))
    whole = open_set.with_open(made(), pool(), 30, seed=0)
    for one in (source, pool()):
        joined = open_set.with_open(lazy, one, 30, seed=0)
        assert joined.is_on_disk
        rows = np.array([SIZE + 29, 0, SIZE, 399])
        np.testing.assert_array_equal(joined.train_images[rows], whole.train_images[rows])
        again = pickle.loads(pickle.dumps(joined.train_images))  # as worker processes get it
        np.testing.assert_array_equal(again[rows], whole.train_images[rows])
        np.testing.assert_array_equal(joined.in_memory().train_images, whole.train_images)
        assert joined.images_fingerprint() == whole.images_fingerprint()
    assert not open_set.with_open(made(), source, 30, seed=0).is_on_disk


def test_for_a_broken_picture_comes_the_next(tmp_path):
    for place, image in enumerate(pictures(40, 2)):
        Image.fromarray(image).save(tmp_path / f"{place:02}.png")
    data = made(100, train_files=tuple(map(str, range(100))))
    on_the_disk = dataclasses.replace(data, train_images=on_disk(data.train_images))
    source = open_source.read(str(tmp_path), (8, 8, 3))
    whole = open_set.with_open(data, source, 12, seed=0)
    assert not whole.skipped_files
    for file in whole.train_files[103:106:2]:
        Path(file).write_bytes(Path(file).read_bytes()[:90])  # its head is as it was
    for one in (data, on_the_disk):
        joined = open_set.with_open(one, source, 10, seed=0, max_broken=0.05)
        assert [file.path for file in joined.skipped_files] == sorted(whole.train_files[103:106:2])
        kept = np.r_[:103, 104, 106:112]
        assert joined.train_files == tuple(whole.train_files[i] for i in kept)
        np.testing.assert_array_equal(joined.in_memory().train_images, whole.train_images[kept])
        np.testing.assert_array_equal(joined.train_labels, whole.train_labels[:110])
        np.testing.assert_array_equal(joined.squares(8)[0][:], whole.train_images[kept])
        with pytest.raises(InputError, match=r"2 of 40 files of .*max_broken=0.05"):
            open_set.with_open(one, source, 10, seed=0)
    with pytest.raises(InputError, match=r"needs 39 .* are only 38 of .* that are not broken"):
        open_set.with_open(data, source, 39, seed=0, max_broken=0.05)


def test_an_encoder_gets_the_best_there_is_of_both():
    large = pictures(1000, 3).repeat(4, axis=1).repeat(4, axis=2)

    def squares(side):
        assert side == 32
        return large

    source = dataclasses.replace(pool(), originals=squares)
    data = made()
    train, test = open_set.with_open(data, source, 10, seed=0).squares(32)
    chosen = open_set.with_open(data, pool(), 10, seed=0).train_images[SIZE:]
    for place in range(10):
        row = next(i for i in range(1000) if np.array_equal(source.images[i], chosen[place]))
        np.testing.assert_array_equal(train[SIZE + place], large[row])
    np.testing.assert_array_equal(train[:SIZE], data.squares(32)[0][:])
    assert (len(train), test.shape) == (SIZE + 10, (20, 32, 32, 3))


def test_feature_vectors_are_joined_too():
    features = np.arange(800, dtype=np.float32).reshape(SIZE, 2)
    data = made(train_images=features, test_images=features[:20])
    joined = open_set.with_open(data, Pool("f", -1 - features[:50]), 50, seed=0).check()
    assert joined.train_images.dtype == np.float32
    assert (joined.train_images[SIZE:] < 0).all()


def test_too_few_are_refused_with_both_numbers():
    with pytest.raises(InputError, match=r"needs 1,001 open images .* are only 1,000 of elsewhere"):
        open_set.with_open(made(), pool(), 1001, seed=0)
    with pytest.raises(InputError, match="needs 133 open images, but there are none"):
        open_set.added(made(), "universal", 0.5, 0, 0.5)


def test_nothing_is_added_where_nothing_is_asked_for():
    data = dataclasses.replace(made(), pool=pool())
    assert open_set.added(data, "symmetric", 0.4, 0) is data
    assert open_set.added(data, "universal", 0.4, 0, 0.0) is data
    assert open_set.with_open(data, pool(), 0, seed=0) is data


def test_universal_noise_wants_data_whose_images_all_show_a_class():
    true = made().train_labels.copy()
    true[3] = NO_CLASS
    data = dataclasses.replace(made(true_labels=true), pool=pool())
    with pytest.raises(InputError, match="1 training images of five show none of the classes"):
        open_set.added(data, "universal", 0.5, 0, 0.5)
    more = open_set.added(data, "none", 0.0, 0, open_share=0.2)
    assert (more.true_labels == NO_CLASS).sum() == 101
    assert more.true_labels[3] == NO_CLASS


# Classes that are left out


def test_classes_leave_and_their_training_images_are_the_pool():
    data = made()
    kept = open_set.without_classes(data, (1, 4)).check()
    stays, is_tested = ~np.isin(data.train_labels, (1, 4)), ~np.isin(data.test_labels, (1, 4))
    assert kept.class_names == ("a", "c", "d")
    np.testing.assert_array_equal(kept.train_images, data.train_images[stays])
    np.testing.assert_array_equal(kept.test_images, data.test_images[is_tested])
    for ours, theirs in (
        (kept.train_labels, data.train_labels[stays]),
        (kept.test_labels, data.test_labels[is_tested]),
    ):
        np.testing.assert_array_equal(np.array([0, 2, 3])[ours], theirs)
    np.testing.assert_array_equal(kept.train_index, np.flatnonzero(stays))
    np.testing.assert_array_equal(kept.test_index, np.flatnonzero(is_tested))
    np.testing.assert_array_equal(kept.pool.images, data.train_images[~stays])
    assert kept.true_labels is None
    assert "without the classes b, e: 160 training and 8 test images" in kept.changes[0]


def test_no_open_picture_is_one_of_the_data_or_of_the_test():
    data = open_set.without_classes(made(), (3,))
    joined = open_set.with_open(data, data.pool, 80, seed=0)
    seen = [image.tobytes() for image in joined.train_images]
    assert len(set(seen)) == len(seen)
    assert not {image.tobytes() for image in joined.test_images} & set(seen[320:])
    assert joined.pool is None


def test_an_image_that_stays_and_shows_a_class_that_left_is_open():
    true = made().train_labels.copy()
    true[0], true[1], true[4] = 4, NO_CLASS, 2  # given 0, 1 and 4
    kept = open_set.without_classes(made(true_labels=true), (4,))
    np.testing.assert_array_equal(kept.true_labels[:4], [NO_CLASS, NO_CLASS, 2, 3])
    assert len(kept.pool) == 79  # the fifth image shows a class that stays
    assert not (kept.pool.images == made().train_images[4]).all(axis=(1, 2, 3)).any()


def test_a_label_set_that_has_a_class_that_left_cannot_be_trained_on():
    kept = open_set.without_classes(made(), (1,))  # for which people took class 0 now and then
    assert kept.label_sets["human"].min() == NO_CLASS
    with pytest.raises(InputError, match="range from -1 to 3"):
        kept.check_training_labels(kept.label_sets["human"], "labels human")


def test_files_integers_and_originals_go_with_the_images():
    whole = pictures(SIZE, 9)
    data = made(
        train_files=tuple(map(str, range(SIZE))), class_numbers=(10, 20, 30, 40, 50),
        originals=lambda side: (whole[:, :side], pictures(20, 8)),
    )  # fmt: skip
    kept = open_set.without_classes(data, (0, 2))
    assert kept.class_numbers == (20, 40, 50)
    assert kept.train_files[:3] == ("1", "3", "4")
    assert kept.pool.files[:3] == ("0", "2", "5")
    np.testing.assert_array_equal(kept.squares(8)[0][:2], whole[[1, 3]])
    np.testing.assert_array_equal(kept.pool.squares(8)[:2], whole[[0, 2]])
    taken = kept.pool.take(np.array([2, 0]))
    assert taken.files == ("5", "0")
    np.testing.assert_array_equal(taken.squares(8), whole[[5, 0]])


@pytest.mark.parametrize("classes", [(5,), (0, 7), (0, 1, 2, 3)])
def test_two_classes_stay_of_those_there_are(classes):
    with pytest.raises(InputError, match="expected numbers from 0 to 4, which leave two classes"):
        open_set.without_classes(made(), classes)


def test_some_images_are_chosen_of_those_that_stay():
    data = made()
    some = open_set.chosen(data, (1, 4), skip=5, train_size=7, test_size=3)
    kept = open_set.without_classes(some, (1, 4))
    alone = open_set.without_classes(data, (1, 4))
    np.testing.assert_array_equal(kept.train_images, alone.train_images[5:12])
    np.testing.assert_array_equal(kept.test_images, alone.test_images[:3])
    np.testing.assert_array_equal(kept.test_images, data.test_images[kept.test_index])
    np.testing.assert_array_equal(kept.pool.images, alone.pool.images)
    assert open_set.known_images(some, (1, 4)) == 7
    with pytest.raises(InputError, match=r"train_size is 236 for five; expected 0 .all. to 235"):
        open_set.chosen(data, (1, 4), skip=5, train_size=236, test_size=0)


def test_two_parts_of_the_data_have_no_image_in_common():
    data = made()
    first, second = (
        open_set.without_classes(open_set.chosen(data, (4,), skip, size, 0), (4,))
        for skip, size in ((0, 100), (100, 0))
    )
    both = np.concatenate([first.train_index, second.train_index])
    np.testing.assert_array_equal(both, np.flatnonzero(data.train_labels != 4))
