"""Pictures that are there twice, to the pixel or nearly, are found by pixels and embeddings."""

import io

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from rmdnet_jax.evaluation import duplicates, outliers, quality, same_picture
from rmdnet_jax.evaluation.duplicates import Pairs


def scenes(count, side=48, seed=0):
    """Pictures of coarse and fine patches, no two alike: uint8 [count, side, side, 3]."""
    rng = np.random.default_rng(seed)
    pictures = []
    for _ in range(count):
        layers = [
            Image.fromarray(rng.integers(0, 256, (n, n, 3), np.uint8)).resize((side, side), 2)
            for n in (3, 6, 12)
        ]
        pictures.append(np.mean([np.asarray(layer) for layer in layers], axis=0))
    return np.array(pictures).astype(np.uint8)


def jpeg(image):
    file = io.BytesIO()
    image.save(file, "jpeg", quality=50)
    return Image.open(file)


CHANGES = {
    "jpeg": jpeg,
    "crop": lambda image: image.resize(image.size, 2, box=(3, 1, 46.2, 44.2)),
    "resized": lambda image: image.resize((36, 36), 2).resize((48, 48), 2),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}


def pairs_of(pictures, embeddings=None):
    looks = quality.look(pictures)
    if embeddings is None:  # as weak as can be
        embeddings = np.random.default_rng(1).normal(size=(len(pictures), 8))
    near = duplicates.near(outliers.directions(embeddings), looks.thumbnail, looks.chroma)
    found = near.pairs
    return set(zip(found.first.tolist(), found.second.tolist(), strict=True))


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_and_nothing_else_even_with_a_weak_teacher(change):
    pictures = scenes(40)
    copy = np.asarray(CHANGES[change](Image.fromarray(pictures[7])).convert("RGB"))
    assert pairs_of(np.concatenate([pictures, copy[None]])) == {(7, 40)}


def test_embeddings_find_a_crop_that_small_pictures_do_not():
    pictures = scenes(40, seed=3)
    copy = np.asarray(Image.fromarray(pictures[7]).resize((48, 48), 2, box=(0, 7.2, 40.8, 48)))
    pictures = np.concatenate([pictures, copy[None]])
    embeddings = np.random.default_rng(1).normal(size=(41, 64))
    assert pairs_of(pictures, embeddings) == set()
    embeddings[40] = embeddings[7] + 0.1
    assert pairs_of(pictures, embeddings) == {(7, 40)}


def test_a_teacher_that_takes_all_for_one_makes_no_duplicates():
    embeddings = 1 + 1e-3 * np.random.default_rng(0).normal(size=(40, 4))
    embeddings[:20] += np.array([5, 0, 0, 0])
    assert pairs_of(scenes(40), embeddings) == set()


def test_where_all_pictures_are_alike_a_duplicate_must_stand_out():
    """As digits: each has neighbours that correlate with it by more than the usual limit."""
    one = scenes(1)[0].astype(np.float32)
    noise = np.random.default_rng(0).normal(size=(60, 48, 48, 3)) * 20
    pictures = np.clip(one + noise, 0, 255).astype(np.uint8)
    assert pairs_of(pictures) == set()
    assert pairs_of(np.concatenate([pictures, pictures[5:6]])) == {(5, 60)}


def test_one_shape_in_several_colours_is_no_duplicate(monkeypatch):
    """As the colours of a product, which are its classes: in grey they are the same picture."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:48, :48] - 23.5
    discs = []
    for colour in ((0, 0, 255), (255, 0, 255), (62, 180, 137), (128, 128, 128)):
        disc = rng.normal(255, 40, (48, 48, 3))
        disc[np.hypot(x, y) < 12] = colour
        discs.append(np.clip(disc, 0, 255).astype(np.uint8))
    copies = [np.asarray(jpeg(Image.fromarray(disc))) for disc in discs]
    pictures = np.concatenate([scenes(40), discs, copies])
    assert pairs_of(pictures) == {(40 + i, 44 + i) for i in range(4)}
    monkeypatch.setattr(same_picture, "same_colours", lambda *args: np.ones(len(args[-1]), bool))
    assert {(i, j) for i in range(40, 44) for j in range(i + 1, 44)} <= pairs_of(pictures)


def test_plain_pictures_are_like_none():
    plain = np.stack([np.full((32, 32, 3), grey, np.uint8) for grey in (0, 90, 90, 255)])
    assert pairs_of(plain) == set()


def test_without_pictures_only_the_same_direction_is_a_duplicate():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(50, 16))
    vectors = np.concatenate([vectors, vectors[3:4] + 1e-4, vectors[4:5] + 0.3])
    found, passed_over = duplicates.near_vectors(vectors)
    assert (found.first.tolist(), found.second.tolist()) == ([3], [50])
    assert passed_over == 0


@pytest.mark.parametrize("width", [16, 300])
def test_pairs_of_vectors_are_those_of_a_plain_comparison_of_all(width):
    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(600, width)) + 1
    near, far = 0.03, 0.06  # noise to signal: cosines of 0.9991 and 0.9964
    copied = vectors[:100] + rng.normal(size=(100, width)) * np.repeat([near, far], 50)[:, None]
    vectors = np.concatenate([vectors, copied])[rng.permutation(700)]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = unit - unit.mean(axis=0)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    expected = np.argwhere(np.triu(rows @ rows.T >= 0.999, 1))
    found, passed_over = duplicates.near_vectors(vectors)
    assert 20 < len(expected) < 60
    np.testing.assert_array_equal(np.stack(found[:2], axis=1), expected)
    assert passed_over == 0


def test_of_a_crowd_of_nearly_the_same_few_pairs_are_kept_but_all_are_in_one_group():
    rng = np.random.default_rng(3)
    vectors = np.repeat(rng.normal(size=(5, 16)), 400, axis=0)
    vectors += 1e-4 * rng.normal(size=vectors.shape)
    vectors = vectors[rng.permutation(2000)]
    found, passed_over = duplicates.near_vectors(vectors)
    assert len(found.first) <= 4 * 2000
    assert len(found.first) + passed_over == 5 * 400 * 399 // 2
    group = duplicates.groups(2000, found)
    assert np.bincount(group).tolist() == [400] * 5


def test_a_crowd_of_nearly_the_same_pictures_does_not_hide_the_others():
    pictures = scenes(200, side=32, seed=5)
    noise = np.random.default_rng(0).normal(size=(40, 32, 32, 3)) * 2
    crowd = np.clip(pictures[:1] + noise, 0, 255).astype(np.uint8)
    copies = [np.asarray(jpeg(Image.fromarray(one))) for one in pictures[10:40]]
    pictures = np.concatenate([pictures, crowd, copies])
    pairs = pairs_of(pictures)
    assert {(10 + i, 240 + i) for i in range(30)} <= pairs
    first, second = np.array(sorted(pairs)).T
    group = duplicates.groups(270, Pairs(first, second, np.ones(len(first))))
    assert len(set(group[[0, *range(200, 240)]])) == 1


def test_pairs_beyond_the_bound_are_counted():
    rows = outliers.directions(np.random.default_rng(0).normal(size=(300, 3)))
    found, passed_over = duplicates._alike(rows, rows, 0.9)
    products = np.triu(rows @ rows.T, 1)
    assert len(found.first) <= 300 * 4
    assert len(found.first) + passed_over == np.count_nonzero(products >= 0.9)
    assert passed_over > 0


def test_distinct_rows_are_the_first_of_each():
    digests = np.array([[1, 1], [2, 2], [1, 1], [3, 3], [1, 1], [2, 2]], np.uint8)
    assert duplicates.distinct(6, duplicates.exact(digests)).tolist() == [0, 1, 3]


def test_equal_digests_are_paired_with_the_first_of_them():
    digests = np.array([[1, 1], [2, 2], [1, 1], [3, 3], [1, 1], [2, 2]], np.uint8)
    found = duplicates.exact(digests)
    assert sorted(zip(found.first, found.second, strict=True)) == [(0, 2), (0, 4), (1, 5)]
    assert not len(duplicates.exact(digests[[0, 1, 3]]).first)


def test_groups_are_numbered_in_the_order_of_their_first():
    pairs = Pairs(np.array([4, 1, 6]), np.array([5, 3, 1]), np.ones(3))
    assert duplicates.groups(8, pairs).tolist() == [-1, 0, -1, 0, 1, 1, 0, -1]
    none = Pairs(np.zeros(0, int), np.zeros(0, int), np.zeros(0))
    assert duplicates.groups(3, none).tolist() == [-1, -1, -1]


@hypothesis.given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=15))
def test_groups_are_the_connected_components(edges):
    edges = [(a, b) for a, b in edges if a != b]
    first, second = (np.array([edge[i] for edge in edges], int) for i in (0, 1))
    group = duplicates.groups(12, Pairs(first, second, np.ones(len(edges))))
    reached = np.eye(12, dtype=bool)
    reached[first, second] = reached[second, first] = True
    reached = np.linalg.matrix_power(reached.astype(int), 12) > 0
    for a in range(12):
        assert (group[a] >= 0) == (reached[a].sum() > 1)
        for b in range(12):
            if group[a] >= 0:
                assert (group[a] == group[b]) == reached[a, b]


def test_blocks_are_no_matter(monkeypatch):
    rows = outliers.directions(np.random.default_rng(0).normal(size=(70, 3)))
    whole = duplicates._alike(rows, rows, 0.9).pairs
    monkeypatch.setattr(duplicates, "_ROWS", 16)
    parts = duplicates._alike(rows, rows, 0.9).pairs
    assert len(whole.first)
    for one, other in zip(whole[:2], parts[:2], strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(whole.similarity, parts.similarity, rtol=1e-5)
