"""Opens an encoder by its path, whatever kind of file it is."""

import os
from collections.abc import Callable
from pathlib import Path

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.encoders import classical, hub, onnx_file, resnet_file
from rmdnet_jax.encoders.interface import Asked, Encoder

TABLES = (".npy", ".npz")
NETWORKS: dict[str, Callable[[Path, Asked], Encoder]] = {
    ".onnx": onnx_file.read,
    ".safetensors": resnet_file.read,
}

RIGHT = "expected an .onnx or .safetensors network, a .npy or .npz with embeddings, or hf://..."


def located(path: str) -> Path:
    """The file on this machine; one on the hub is fetched.

    Raises:
      InputError: there is none, or it is not of a known kind.
    """
    if path == classical.NAME:
        return Path(path)
    if path.startswith("hf://"):
        found = hub.fetched(path)
    else:
        found = Path(os.path.expanduser(path))
        if not os.path.isfile(found):
            raise InputError(f"no file {path!r} (encoder.path); {RIGHT}")
    if found.suffix.lower() not in (*TABLES, *NETWORKS):
        raise InputError(f"{path} (encoder.path) ends in {found.suffix or 'nothing'}; {RIGHT}")
    return found


def read(path: Path, asked: Asked) -> Encoder:
    """The network of a located file, or the built-in one.

    Raises:
      InputError: it cannot be read or run.
    """
    if path.name == classical.NAME:
        return _built_in(asked)
    return NETWORKS[path.suffix.lower()](path, asked)


def _built_in(asked: Asked) -> Encoder:
    for field, value in (("normalisation", asked.normalisation), ("output", asked.output)):
        if value:
            raise InputError(
                f"config.encoder.{field} is {value!r}, but the encoder {classical.NAME} has no "
                f"{field}; leave it out"
            )
    if asked.side % 64:
        raise InputError(
            f"config.encoder.image_size is {asked.side} with the encoder {classical.NAME}; "
            "expected a multiple of 64"
        )
    return classical.ClassicalEncoder(asked.side or classical.ClassicalEncoder.side)
