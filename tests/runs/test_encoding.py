"""What an encoder sees of a run's pictures: by the right normalisation, computed once, and in the
pictures' order."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from tiny_onnx import SIZE, make

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.config import default
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.encoders import opening
from rmdnet_jax.encoders.interface import PRESETS, Asked
from rmdnet_jax.encoders.onnx_file import OnnxEncoder
from rmdnet_jax.runs import encoding

N, M, SIDE = 200, 10, 16
LABELS = np.arange(N, dtype=np.int32) % 4


def coloured(size, seed):
    """Noise of four brightnesses, one a class, uint8 [size, SIDE, SIDE, 3]."""
    noise = np.random.default_rng(seed).integers(0, 40, (size, SIDE, SIDE, 3), np.uint8)
    return noise + (np.arange(size) % 4 * 60).astype(np.uint8)[:, None, None, None]


DATA = Dataset("beasts", coloured(N, 0), LABELS, coloured(M, 1), LABELS[:M], {}, tuple("abcd"))


@dataclasses.dataclass
class Fake:
    """Tells the classes apart where its normalisation is of the good ones, and makes noise of the
    pictures' pixels where not."""

    path: Path
    used: Asked
    good: tuple
    said: bool = False
    size: int = 2
    embedded: int = 0

    @property
    def side(self):
        return self.used.side or SIDE

    @property
    def normalised(self):
        return "the file's" if self.said else self.used.normalisation

    @property
    def digest(self):
        return repr((self.path, self.used, self.good))

    story = "fake.onnx: two features"

    def embed(self, pictures):
        assert pictures.shape[1:] == (self.side, self.side, 3)
        self.embedded += len(pictures)
        if (self.used.normalisation or "imagenet") in self.good:
            angle = pictures.mean(axis=(1, 2, 3)) / 60
        else:
            angle = pictures[:, 0, 0].astype(np.int32) @ [127, 311, 711] % 97
        return np.stack([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)


@pytest.fixture
def fakes(monkeypatch):
    """What opening.read makes, in its order; `good` of it can be set before."""

    class Made(list):
        good = tuple(PRESETS)

    made = Made()

    def read(path, asked):
        made.append(Fake(path, asked, made.good))
        return made[-1]

    monkeypatch.setattr(opening, "read", read)
    return made


def source(asked=Asked(), cache=None, encoder=None):  # noqa: B008
    path = Path("fake.onnx")
    return encoding.Source(path, asked, encoder or opening.read(path, asked), cache)


def encoded_by(source, data, given):
    """From beginning to end, and the reason."""
    begun, reason = source.begun(data, given)
    return source.finished(begun, data), reason


def test_before_pictures_are_seen_zeros_stand_for_a_networks_embeddings(fakes):
    begun, _ = source(Asked(normalisation="none")).begun(DATA, LABELS)
    assert (begun.train.shape, begun.test.shape) == ((N, 2), (M, 2))
    assert not begun.train.any()
    assert not begun.encoder.embedded
    assert begun.story == Fake.story


@pytest.mark.parametrize("good", [*PRESETS, "all"])
def test_neighbours_choose_the_normalisation_that_nobody_says(good, fakes):
    fakes.good = tuple(PRESETS) if good == "all" else (good,)
    encoded, reason = encoded_by(source(), DATA, LABELS)
    chosen = "imagenet" if good == "all" else good
    assert encoded.encoder.normalised == chosen
    right = Fake(Path(), Asked(normalisation=chosen), fakes.good)
    np.testing.assert_array_equal(encoded.train, right.embed(DATA.train_images))
    np.testing.assert_array_equal(encoded.test, right.embed(DATA.test_images))
    assert encoded.story == Fake.story
    told = ", ".join(rf"{name} (\d+\.\d)%" for name in PRESETS)
    shares = re.fullmatch(f"neighbours of {N} pictures share labels: {told}", reason).groups()
    for name, share in zip(PRESETS, shares, strict=True):
        assert (float(share) > 90) == (name in fakes.good)


@pytest.mark.parametrize(
    ("gained", "lost", "chosen"),
    [
        (5, 0, "clip"),
        (4, 0, "imagenet"),
        (60, 40, "imagenet"),
        (70, 40, "clip"),
        (0, 9, "imagenet"),
    ],
)
def test_another_normalisation_has_to_be_clearly_better(gained, lost, chosen):
    """Two standard errors of a difference of n pictures are 2 sqrt(n)."""
    usual = np.arange(400) < 200
    other = usual.copy()
    other[:lost], other[200 : 200 + gained] = False, True
    shares = {"imagenet": usual, "clip": other, "none": usual & False}
    assert encoding._clearly_best(shares) == chosen


def test_what_the_file_says_is_kept(fakes):
    said = Fake(Path("fake.onnx"), Asked(), ("clip",), said=True)
    encoded, reason = encoded_by(source(encoder=said), DATA, LABELS)
    assert encoded.encoder is said
    assert reason is None
    assert not fakes


def test_what_the_user_says_is_kept(fakes):
    fakes.good = ("clip",)
    encoded, reason = encoded_by(source(Asked(normalisation="none")), DATA, LABELS)
    assert encoded.encoder.normalised == "none"
    assert reason is None
    assert len(fakes) == 1


def test_of_the_other_normalisations_a_sample_is_embedded(fakes, monkeypatch):
    monkeypatch.setattr(encoding, "_COMPARED", 50)
    _, reason = encoded_by(source(Asked(side=24, output="x")), DATA, LABELS)
    assert reason.startswith("neighbours of 50 pictures share")
    _, *tried, chosen = fakes  # one at a time: a network may be large
    assert [one.used for one in tried] == [Asked(24, name, "x") for name in PRESETS]
    assert [one.embedded for one in tried] == [50] * len(PRESETS)
    assert (chosen.used, chosen.embedded) == (Asked(24, "imagenet", "x"), N + M)


def embedded(fakes):
    """How many pictures since the last time."""
    count = sum(one.embedded for one in fakes)
    fakes.clear()
    return count


ALL = len(PRESETS) * N + N + M


def test_the_second_time_nothing_is_computed(fakes, tmp_path):
    first, reason = encoded_by(source(cache=tmp_path), DATA, LABELS)
    assert embedded(fakes) == ALL
    second, again = encoded_by(source(cache=tmp_path), DATA, LABELS)
    assert embedded(fakes) == 0
    assert again == reason
    np.testing.assert_array_equal(second.train, first.train)
    np.testing.assert_array_equal(second.test, first.test)
    # Other labels are none of the pictures'.
    encoded_by(source(cache=tmp_path), DATA, 3 - LABELS)
    assert embedded(fakes) == 0


def test_without_a_cache_nothing_is_kept(fakes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        encoded_by(source(), DATA, LABELS)
        assert embedded(fakes) == ALL
    assert not list(tmp_path.iterdir())


def turned(data):
    return dataclasses.replace(data, train_images=data.train_images[::-1].copy())


OTHERS = {
    "another order": (turned(DATA), Asked()),
    "other pictures": (dataclasses.replace(DATA, train_images=coloured(N, 5)), Asked()),
    "other test pictures": (dataclasses.replace(DATA, test_images=coloured(M, 5)), Asked()),
    "fewer": (DATA.subset(N - 4, 0), Asked()),
    "another side": (DATA, Asked(side=24)),
    "another output": (DATA, Asked(output="x")),
}


@pytest.mark.parametrize("case", OTHERS)
def test_the_cache_tells_apart(case, fakes, tmp_path):
    encoded_by(source(cache=tmp_path), DATA, LABELS)
    embedded(fakes)
    data, asked = OTHERS[case]
    count = len(data.train_images)
    encoded_by(source(asked, tmp_path), data, data.train_labels)
    assert embedded(fakes) == len(PRESETS) * count + count + M


def test_the_cache_tells_apart_files_that_look_the_same_when_they_are_small(fakes, tmp_path):
    """A data set of files keeps small pictures; an encoder is shown larger ones."""
    digests = np.arange(N * 16, dtype=np.uint8).reshape(N, 16)
    large = coloured(N, 7), coloured(M, 8)
    files = dataclasses.replace(
        DATA, train_digests=digests, test_digests=digests[:M], originals=lambda side: large
    )
    encoded, _ = encoded_by(source(cache=tmp_path), files, LABELS)
    assert embedded(fakes) == ALL
    np.testing.assert_array_equal(
        encoded.train, Fake(Path(), Asked(), tuple(PRESETS)).embed(large[0])
    )
    others = {
        0: (digests, digests[:M]),
        1: (digests + np.uint8(1), digests[:M]),
        2: (digests, digests[1 : M + 1]),
    }
    for number, (train, test) in others.items():
        other = dataclasses.replace(files, train_digests=train, test_digests=test)
        encoded_by(source(cache=tmp_path), other, LABELS)
        assert embedded(fakes) == (ALL if number else 0)


def configured(path, **fields):
    config = default()
    config.encoder.update({"path": str(path), "cache": "", **fields})
    return config


def test_a_config_names_nothing_by_default():
    assert encoding.source(default()) is None


def test_a_config_names_a_network(tmp_path, monkeypatch):
    """The whole way with a real file; the pictures' brightness is all there is to see."""
    path = make(tmp_path / "e.onnx", outputs=("x", "y"))
    found = encoding.source(configured(path, image_size=16, cache="~/kept", output="x"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert isinstance(found.encoder, OnnxEncoder)
    assert (found.path, found.asked) == (path, Asked(16, None, "x"))
    found = encoding.source(configured(path, image_size=16, cache="~/kept"))
    assert found.cache == tmp_path / "kept"
    encoded, reason = encoded_by(found, DATA, LABELS)
    assert encoded.encoder.normalised in PRESETS
    assert "share labels: imagenet" in reason
    assert encoded.train.shape == (N, SIZE)
    assert encoded.test.shape == (M, SIZE)
    assert encoded.story == encoded.encoder.story
    assert any(found.cache.iterdir())
    said = encoding.source(configured(path, image_size=16, normalisation="clip"))
    assert said.cache is None
    encoded, reason = encoded_by(said, DATA, LABELS)
    assert (encoded.encoder.normalised, reason) == ("clip", None)


def test_a_config_names_a_table(tmp_path):
    rows = np.random.default_rng(0).normal(size=(N + M, 3)).astype(np.float32)
    rows[:N] += 9 * np.eye(4, 3, dtype=np.float32)[LABELS]
    np.save(tmp_path / "table.npy", rows)
    found = encoding.source(configured(tmp_path / "table.npy"))
    assert found.encoder is None
    encoded, reason = encoded_by(found, DATA, LABELS)
    assert (encoded.encoder, reason) == (None, None)
    assert encoded.story == "table.npy: embeddings computed elsewhere, 3 features"
    np.testing.assert_array_equal(encoded.train, rows[:N])
    np.testing.assert_array_equal(encoded.test, rows[N:])


@pytest.mark.parametrize(
    ("name", "value"), [("image_size", 32), ("normalisation", "clip"), ("output", "x")]
)
def test_a_table_is_not_told_how_to_see(name, value, tmp_path):
    np.save(tmp_path / "table.npy", np.zeros((4, 2), np.float32))
    with pytest.raises(
        InputError, match=rf"encoder\.{name} is .* with table\.npy, which holds emb"
    ):
        encoding.source(configured(tmp_path / "table.npy", **{name: value}))


def test_a_file_that_is_not_there_is_refused():
    with pytest.raises(InputError, match=r"no file '.*none\.onnx' \(encoder\.path\)"):
        encoding.source(configured("/none.onnx"))


def joined(labels, order, tmp_path, noise=0.0, seed=0):
    """Encodes DATA-like pictures with a table whose training rows are in an order."""
    rng = np.random.default_rng(seed)
    size, classes = len(labels), int(labels.max()) + 1
    rows = rng.normal(size=(size, 16)) + 2 * rng.normal(size=(classes, 16))[labels]
    given = np.where(rng.random(size) < noise, rng.integers(0, classes, size), labels)
    np.savez(tmp_path / "t.npz", train=rows[order(rng, size)], test=rows[:2])
    images = np.zeros((size, 8, 8, 3), np.uint8)
    names = tuple(map(str, range(classes)))
    data = Dataset("x", images, labels, images[:2], labels[:2], {}, names)
    return encoded_by(encoding.Source(tmp_path / "t.npz", Asked(), None, None), data, given)


def kept(rng, size):
    return np.arange(size)


def shuffled(rng, size):
    return rng.permutation(size)


@pytest.mark.parametrize(("size", "classes"), [(100, 2), (400, 4), (3000, 10)])
def test_right_rows_are_not_refused_and_rows_in_another_order_are(size, classes, tmp_path):
    """But for one order in twenty: it is a test at two standard errors."""
    labels, refused = np.arange(size) % classes, []
    for seed in range(6):
        joined(labels, kept, tmp_path, seed=seed)
        try:
            joined(labels, shuffled, tmp_path, seed=seed)
        except InputError as error:
            refused.append(str(error))
    assert len(refused) >= 5
    for line in refused:
        assert re.search(r"t\.npz: neighbours .* by chance \(\d+\.\d%\); expected rows of", line)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("size", "classes", "noise"), [(400, 4, 0.6), (3000, 10, 0.8)])
def test_right_rows_are_not_refused_for_the_labels_noise(size, classes, noise, seed, tmp_path):
    joined(np.arange(size) % classes, kept, tmp_path, noise, seed)


@pytest.mark.parametrize("share", [0.5, 0.7, 0.9, 0.99])
def test_right_rows_are_not_refused_for_a_large_class(share, tmp_path):
    labels = (np.arange(1000) % 100 >= 100 * share).astype(int)
    joined(labels, kept, tmp_path)


def test_of_few_rows_nothing_is_said(tmp_path):
    joined(np.arange(99) % 3, shuffled, tmp_path)
