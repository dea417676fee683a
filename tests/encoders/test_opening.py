"""A path names a file here or on the hub; its ending says what reads it."""

import numpy as np
import pytest
from tiny_onnx import make

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.encoders import hub, opening
from rmdnet_jax.encoders.interface import Asked
from rmdnet_jax.encoders.onnx_file import OnnxEncoder


@pytest.mark.parametrize("name", ["e.onnx", "e.safetensors", "e.npy", "e.npz", "E.ONNX", "a b.Npy"])
def test_a_file_of_a_known_kind_is_found(name, tmp_path, monkeypatch):
    (tmp_path / name).touch()
    assert opening.located(str(tmp_path / name)) == tmp_path / name
    monkeypatch.setenv("HOME", str(tmp_path))
    assert opening.located(f"~/{name}") == tmp_path / name


@pytest.mark.parametrize("name", ["none.onnx", "folder.onnx", "", "nul\0.onnx"])
def test_where_no_file_is_the_line_says_so(name, tmp_path):
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(InputError, match=r"^no file '.*' \(encoder\.path\); expected an \.onnx or"):
        opening.located(str(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "ending"), [("e.pt", r"\.pt"), ("e.onnx.zip", r"\.zip"), ("e", "nothing")]
)
def test_a_file_of_another_kind_is_refused(name, ending, tmp_path):
    (tmp_path / name).touch()
    with pytest.raises(
        InputError, match=rf"\(encoder\.path\) ends in {ending}; expected an \.onnx"
    ):
        opening.located(str(tmp_path / name))


def test_a_file_of_the_hub_is_fetched(tmp_path, monkeypatch):
    asked = []

    def fetched(path):
        asked.append(path)
        return tmp_path / path.rpartition("/")[2]

    monkeypatch.setattr(hub, "fetched", fetched)
    assert opening.located("hf://owner/name/onnx/e.onnx") == tmp_path / "e.onnx"
    with pytest.raises(InputError, match=r"^hf://owner/name/README\.md \(encoder\.path\) ends in"):
        opening.located("hf://owner/name/README.md")
    assert asked == ["hf://owner/name/onnx/e.onnx", "hf://owner/name/README.md"]


@pytest.mark.parametrize("name", ["e.onnx", "E.ONNX"])
def test_an_onnx_file_is_read_as_one(name, tmp_path):
    encoder = opening.read(make(tmp_path / name), Asked(side=32))
    assert isinstance(encoder, OnnxEncoder)
    assert encoder.embed(np.zeros((1, 32, 32, 3), np.uint8)).shape == (1, encoder.size)


def test_the_other_kind_of_network_is_a_safetensors_file(tmp_path):
    path = make(tmp_path / "e.onnx").rename(tmp_path / "e.safetensors")
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        opening.read(path, Asked())
