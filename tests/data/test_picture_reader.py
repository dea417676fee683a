"""Pictures of a list of files are read strictly, or with the broken ones black and told."""

import pickle

import numpy as np
import pytest
from PIL import Image

from rmdnet_jax.data import picture_reader
from rmdnet_jax.data.lazy_images import LazyImages
from rmdnet_jax.data.picture_reader import PictureReader, TolerantReader
from rmdnet_jax.data.pictures import BrokenPicture

PIXELS = np.random.default_rng(0).integers(1, 256, (3, 9, 8, 3)).astype(np.uint8)
SHAPE = (9, 8, 3)


@pytest.fixture
def strict(tmp_path):
    """Of three pictures, the second of which is cut off."""
    for i, pixels in enumerate(PIXELS):
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    cut = tmp_path / "1.png"
    cut.write_bytes(cut.read_bytes()[:-100])
    return PictureReader(str(tmp_path), [f"{i}.png" for i in range(3)], SHAPE, resize=False)


def test_strictly_a_broken_picture_is_an_error_that_can_go_between_processes(strict):
    np.testing.assert_array_equal(list(strict(np.array([2, 0]))), PIXELS[[2, 0]])
    with pytest.raises(BrokenPicture, match=r"1\.png cannot be read") as caught:
        list(strict(np.array([0, 1])))
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.reason) == (str(caught.value), caught.value.reason)


def test_leniently_it_is_black_and_told(strict, capsys):
    tolerant = TolerantReader(strict)
    (block,) = picture_reader.decoding(LazyImages(tolerant, np.arange(3), SHAPE))
    np.testing.assert_array_equal(
        block, PIXELS * np.array([1, 0, 1], np.uint8)[:, None, None, None]
    )
    assert tolerant.broken.keys() == {"1.png"}
    assert tolerant.broken["1.png"]
    assert capsys.readouterr().out == ""  # no terminal, no progress
