"""Every picture is embedded once and in its place, whatever stopped the extraction before."""

import io
import types

import numpy as np
import pytest

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import lazy_images
from rmdnet_jax.data.lazy_images import LazyImages
from rmdnet_jax.encoders import extraction

PICTURES = np.random.default_rng(0).integers(0, 256, (23, 8, 8, 3), np.uint8)
NUMBERS = {picture.tobytes(): number for number, picture in enumerate(PICTURES)}
BATCH, BLOCK = 3, 6


def right(pictures):
    """Something of each picture alone."""
    return np.stack([pictures.mean(axis=(1, 2, 3)), pictures[:, 0, 0, 0]], axis=1, dtype=np.float32)


class Fake:
    """Counts what it embeds; breaks after so many calls."""

    path, used, side, size, normalised = None, None, 8, 2, "none"
    digest, story = "0", "fake.onnx: two features"

    def __init__(self, calls=1000, embed=right):
        self.left, self.function, self.seen = calls, embed, []

    def embed(self, pictures):
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        assert len(pictures) <= BATCH
        self.seen += [NUMBERS[picture.tobytes()] for picture in pictures]
        return self.function(pictures)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(extraction, "_BATCH", BATCH)
    monkeypatch.setattr(extraction, "_BLOCK", BLOCK)


@pytest.mark.parametrize("is_lazy", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3, 6, 7, 12, 23])
def test_rows_are_the_pictures_in_their_order(size, is_lazy, tmp_path):
    pictures = PICTURES[:size]
    if is_lazy:
        pictures = LazyImages(PICTURES.__getitem__, np.arange(size), (8, 8, 3))
    for folder in (None, tmp_path / "deep" / "er"):
        encoder = Fake()
        found = extraction.embeddings(encoder, pictures, folder)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, right(PICTURES[:size]))
        assert encoder.seen == list(range(size))


def test_what_is_kept_is_not_computed_again(tmp_path):
    first = extraction.embeddings(Fake(), PICTURES, tmp_path)
    encoder = Fake(calls=0)
    np.testing.assert_array_equal(extraction.embeddings(encoder, PICTURES, tmp_path), first)


@pytest.mark.parametrize(("calls", "kept"), [(0, 0), (1, 0), (2, 6), (3, 6), (7, 18)])
def test_a_stopped_extraction_goes_on(calls, kept, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        extraction.embeddings(Fake(calls), PICTURES, tmp_path)
    assert len(list(tmp_path.iterdir())) == kept / BLOCK
    encoder = Fake()
    found = extraction.embeddings(encoder, PICTURES, tmp_path)
    np.testing.assert_array_equal(found, right(PICTURES))
    assert encoder.seen == list(range(kept, 23))


def saved(array):
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def zipped(array):
    buffer = io.BytesIO()
    np.savez(buffer, array)
    return buffer.getvalue()


ROWS = np.zeros((6, 2), np.float32)
DAMAGED = {
    "nothing": b"",
    "half": saved(ROWS)[:-9],
    "head": saved(ROWS)[:20],
    "bracket": saved(ROWS).replace(b"(6, 2)", b"((6, 2"),
    "text": b"no array",
    "archive": zipped(ROWS),
    "broken archive": b"PK\x03\x04" + bytes(99),
    "other rows": saved(ROWS[:5]),
    "other features": saved(np.zeros((6, 3), np.float32)),
    "other numbers": saved(np.zeros((6, 2))),
    "objects": saved(np.array([{}] * 12).reshape(6, 2)),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_block_is_computed_anew(damage, tmp_path):
    extraction.embeddings(Fake(), PICTURES, tmp_path)
    second = sorted(tmp_path.iterdir())[1]
    second.write_bytes(DAMAGED[damage])
    encoder = Fake()
    found = extraction.embeddings(encoder, PICTURES, tmp_path)
    np.testing.assert_array_equal(found, right(PICTURES))
    assert encoder.seen == list(range(6, 12))
    extraction.embeddings(Fake(calls=0), PICTURES, tmp_path)  # and kept again


def test_blocks_that_are_missing_here_and_there_are_filled(tmp_path):
    extraction.embeddings(Fake(), PICTURES, tmp_path)
    for number in (0, 3):
        sorted(tmp_path.iterdir())[number - (number > 0)].unlink()
    encoder = Fake()
    found = extraction.embeddings(encoder, PICTURES, tmp_path)
    np.testing.assert_array_equal(found, right(PICTURES))
    assert encoder.seen == [*range(6), *range(18, 23)]


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "file").touch()  # that root cannot make a folder of, either
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        found = extraction.embeddings(Fake(), PICTURES, folder)
        np.testing.assert_array_equal(found, right(PICTURES))


def test_a_full_disk_is_no_error(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(extraction, "open_atomic", full)
    found = extraction.embeddings(Fake(), PICTURES, tmp_path)
    np.testing.assert_array_equal(found, right(PICTURES))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_embeddings_that_are_not_finite_are_refused(value):
    def broken(pictures):
        found = right(pictures)
        found[pictures[:, 0, 0, 0] == PICTURES[7, 0, 0, 0], 1] = value
        return found

    line = (
        r"^fake.onnx: two features: 1 of 23 embeddings of pears are not finite, first that of "
        r"picture 7;"
    )
    with pytest.raises(InputError, match=line):
        extraction.embeddings(Fake(embed=broken), PICTURES, None, "pears")


@pytest.mark.parametrize("noise", [0, 1e-7])
def test_embeddings_that_are_all_the_same_are_refused(noise, tmp_path):
    def same(pictures):
        return np.full((len(pictures), 2), 3, np.float32) + noise * right(pictures) / 255

    for _ in range(2):  # the second time they are kept
        with pytest.raises(InputError, match=r"all embeddings of pears are equal; expected .+$"):
            extraction.embeddings(Fake(embed=same), PICTURES, tmp_path, "pears")


def test_the_same_pictures_have_the_same_embeddings():
    """As where a trained model is shown one picture twice."""
    found = extraction.embeddings(Fake(), PICTURES[[4, 4, 4, 4]], None)
    np.testing.assert_array_equal(found, right(PICTURES[[4] * 4]))
    black = LazyImages(lambda rows: PICTURES[[4] * len(rows)], np.arange(5), (8, 8, 3))
    assert len(extraction.embeddings(Fake(), black, None)) == 5


def test_one_picture_is_no_constant():
    assert extraction.embeddings(Fake(), PICTURES[:1], None).shape == (1, 2)


def test_nothing_is_read_ahead_after_the_end(tmp_path, monkeypatch):
    """Progress and threads end with the embedding, and not with the error that may follow."""
    ended = []

    def blocks(pictures, size):
        try:
            yield from (pictures[start : start + size] for start in range(0, len(pictures), size))
        finally:
            ended.append(True)

    faked = types.SimpleNamespace(blocks=blocks, subset=lazy_images.subset)
    monkeypatch.setattr(extraction, "lazy_images", faked)
    monkeypatch.setattr(extraction, "_check", lambda *args: ended.append(False))
    extraction.embeddings(Fake(), PICTURES, None)
    assert ended == [True, False]
