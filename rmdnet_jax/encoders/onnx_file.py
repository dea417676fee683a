"""An encoder from an ONNX file, exported from any framework, run by onnxruntime.

The file is data: its operators are onnxruntime's own, and custom ones are not loaded.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rmdnet_jax.base.digest import text_digest
from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import one_line, shown
from rmdnet_jax.encoders.interface import PRESETS, SIDE, Asked

_RIGHT = "expected an ONNX file of a network that maps images to embeddings (docs/encoders.md)"

_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}

# Outputs whose names suggest embeddings are preferred to others of the same rank.
_GOOD_NAMES = ("embed", "pool", "feature")
_BAD_NAMES = ("logit", "prob", "class")

# Pixels of all images of a call, at most: 64 of 1,024 x 1,024. No encoder reads more.
_MOST_PIXELS = 1 << 26

_HOW = {2: "as it is", 3: "its first token", 4: "its mean over positions"}


@dataclasses.dataclass(frozen=True)
class OnnxEncoder:
    """The encoder; `read` makes it.

    Attributes:
      path, used, side, size, normalised, digest, story: as in Encoder.
      session: onnxruntime's.
      input, dtype: name and dtype of its input.
      first: whether channels come first, [n, 3, H, W].
      batch: images per call if the file fixes them, or 0.
      output: the name of the output that is used.
      mean, std: float32 [3], of channels in [0, 1].
    """

    path: Path
    used: Asked
    session: Any
    input: str
    dtype: Any
    first: bool
    batch: int
    output: str
    mean: np.ndarray
    std: np.ndarray
    side: int
    normalised: str | None
    digest: str
    size: int = 0
    story: str = ""

    def embed(self, pictures: np.ndarray) -> np.ndarray:
        """Embeddings float32 [n, D] of uint8 [n, side, side, 3]."""
        if not self.batch:
            return _pooled(self._run(pictures))
        parts = []
        for start in range(0, len(pictures), self.batch):
            part = pictures[start : start + self.batch]
            padding = [(0, self.batch - len(part)), (0, 0), (0, 0), (0, 0)]
            parts.append(_pooled(self._run(np.pad(part, padding)))[: len(part)])
        return np.concatenate(parts)

    def _run(self, pictures: np.ndarray) -> np.ndarray:
        x = pictures
        if self.dtype != np.uint8:
            x = (x.astype(np.float32) * (1 / 255 / self.std) - self.mean / self.std).astype(
                self.dtype
            )
        if self.first:
            x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
        return self.session.run([self.output], {self.input: x})[0]


def read(path: Path, asked: Asked, classes: int = 0) -> OnnxEncoder:
    """The encoder of a file, tried on two images.

    Args:
      path: the file.
      asked: how it is to be used.
      classes: for a classifier, the number of its classes: its output of so many columns then
        takes the embedding's place; 0 is an encoder.

    Raises:
      InputError: onnxruntime is missing, it cannot read or run the file, or the output is not one
        embedding per image.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(
            f"{path} needs the package onnxruntime, which is missing; run pip install onnxruntime"
        ) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what it raises is enough
    # TensorRT's would compile for minutes, without a message.
    providers = [
        name
        for name in ("CUDAExecutionProvider", "CPUExecutionProvider")
        if name in onnxruntime.get_available_providers()
    ]
    content = _bytes(path)
    try:
        session = onnxruntime.InferenceSession(content, options, providers=providers)
    except Exception as error:  # of whatever kind onnxruntime raises
        raise InputError(f"{path} cannot be read ({_reason(error)}); {_RIGHT}") from error
    name, dtype, shape = _input(session, path)
    metadata = session.get_modelmeta().custom_metadata_map
    side = _side(shape, metadata, asked, path)
    batch = shape[0] if isinstance(shape[0], int) and shape[0] > 0 else 0
    if max(batch, 2) * side**2 > _MOST_PIXELS:
        raise InputError(
            f"{path} reads images of {side:,} pixels a side"
            + (f", {batch:,} at once" if batch else "")
            + f", more than any encoder does; {_RIGHT}"
        )
    normalised, mean, std = _normalisation(dtype, metadata, asked, path)
    output = _logits(session, classes) if classes else _output(session, asked.output, path)
    used = Asked(side, normalised if normalised in PRESETS else None, output)
    how = output, str(side), str(mean.tolist()), str(std.tolist())
    encoder = OnnxEncoder(
        path=path,
        used=used,
        session=session,
        input=name,
        dtype=dtype,
        first=shape[1] == 3 or shape[3] != 3,
        batch=batch,
        output=output,
        mean=mean,
        std=std,
        side=side,
        normalised=normalised,
        digest=text_digest(hashlib.sha256(content).hexdigest(), *how),
    )
    return _tried(encoder, shape, path)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); {_RIGHT}") from error


def _input(session: Any, path: Path) -> tuple[str, Any, list]:
    """Name, dtype and shape of the one input, which takes images."""
    inputs = session.get_inputs()
    found = ", ".join(f"{shown(one.name)} {one.type} {one.shape}" for one in inputs)
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in _TYPES:
        raise InputError(
            f"{path} has {f'the inputs {found}' if found else 'no input'}; expected one input of "
            "images, [n, 3, H, W] or [n, H, W, 3] of float32, float16 or uint8"
        )
    return inputs[0].name, _TYPES[inputs[0].type], inputs[0].shape


def _side(shape: list, metadata: Mapping[str, str], asked: Asked, path: Path) -> int:
    sides = shape[1:3] if shape[3] == 3 and shape[1] != 3 else shape[2:4]
    fixed = {side for side in sides if isinstance(side, int) and side > 0}
    if len(fixed) > 1:
        raise InputError(f"{path} reads images of {sides} pixels; expected squares")
    if fixed:
        (side,) = fixed
        if asked.side not in (0, side):
            raise InputError(
                f"config.encoder.image_size is {asked.side}, but {path} reads images of {side} "
                "pixels; expected 0"
            )
        return side
    stated = _numbers(metadata, "side", 1, path)
    return asked.side or (int(stated[0]) if stated else SIDE)


def _normalisation(
    dtype: Any, metadata: Mapping[str, str], asked: Asked, path: Path
) -> tuple[str | None, np.ndarray, np.ndarray]:
    """What to call the normalisation, its mean and its std."""
    mean, std = (_numbers(metadata, name, 3, path) for name in ("mean", "std"))
    name: str | None
    if dtype == np.uint8:
        if asked.normalisation:
            raise InputError(
                f"config.encoder.normalisation is {asked.normalisation!r}, but {path} reads uint8 "
                "and normalises by itself; leave it out"
            )
        name, (mean, std) = "the file's", PRESETS["none"]
    elif asked.normalisation:
        name, (mean, std) = asked.normalisation, PRESETS[asked.normalisation]
    elif mean and std:
        name = "the file's"
    else:
        name, (mean, std) = None, PRESETS["imagenet"]
    return name, np.array(mean, np.float32), np.array(std, np.float32)


def _numbers(
    metadata: Mapping[str, str], name: str, count: int, path: Path
) -> tuple[float, ...] | None:
    """Finite numbers from the file's metadata, positive unless they are means, and whole for a
    side; None if it has none."""
    if name not in metadata:
        return None
    try:
        found = tuple(float(number) for number in metadata[name].split(","))
        # Of channels in [0, 1]; means on the scale of 255 would make every picture black.
        most = 1e30 if name == "side" else 2
        is_right = len(found) == count and all(abs(number) <= most for number in found)
        is_right = is_right and (name == "mean" or min(found) > 1e-30)
        is_right = is_right and (name != "side" or found[0].is_integer())
    except ValueError:
        is_right = False
    if not is_right:
        raise InputError(
            f"{path}: its metadata has {name} = {shown(metadata[name][:60])!r}; expected {count} "
            f"number{'s for channels in [0, 1], separated by commas' if count > 1 else ''}"
        )
    return found


def _output(session: Any, asked: str, path: Path) -> str:
    """The name of the output to use: the one asked for, else the one most like an embedding."""
    outputs = session.get_outputs()
    names = [one.name for one in outputs]
    if asked:
        if asked not in names:
            raise InputError(
                f"config.encoder.output is {asked!r}, but {path} has {', '.join(map(shown, names))}"
            )
        return asked

    def unlike(one: Any) -> tuple[bool, bool, bool, int]:
        name, rank = one.name.lower(), len(one.shape or ())  # 0: not stated
        bad, good = (any(part in name for part in parts) for parts in (_BAD_NAMES, _GOOD_NAMES))
        return rank not in (0, *_HOW), bad, not good, rank

    return min((one for one in outputs), key=unlike).name


def _logits(session: Any, classes: int) -> str:
    """The name of the output that is most like logits, or probabilities, of so many classes."""

    def unlike(one: Any) -> tuple[bool, ...]:
        name = one.name.lower()
        fits = len(one.shape or ()) == 2 and one.shape[1] == classes
        return not fits, *(part not in name for part in _BAD_NAMES)

    return min(session.get_outputs(), key=unlike).name


def _tried(encoder: OnnxEncoder, shape: list, path: Path) -> OnnxEncoder:
    """The encoder with what a run on two images shows: the size, and which axis holds the channels
    if the file does not say."""
    shape_of_two = 2, encoder.side, encoder.side, 3
    pictures = np.random.default_rng(0).integers(0, 256, shape_of_two, np.uint8)
    is_said = 3 in (shape[1], shape[3])
    tried = (
        [encoder]
        if is_said
        else [dataclasses.replace(encoder, first=first) for first in (True, False)]
    )
    reason, rows = "", encoder.batch or 2
    for one in tried:
        try:
            raw = one._run(np.resize(pictures, (rows, *pictures.shape[1:])))
            found = _pooled(raw)
        except Exception as error:  # of whatever kind onnxruntime raises
            reason = reason or _reason(error)
            continue
        if found.shape[0] != rows or found.shape[1] < 2:
            reason = f"output {shown(one.output)} is {raw.shape} for {rows} images"
            continue
        if not np.isfinite(found).all():
            reason = "its embeddings are not finite"
            continue
        story = (
            f"{path.name}: images of {one.side} pixels, normalisation "
            f"{one.normalised or 'imagenet (the file does not say)'}, output {shown(one.output)} "
            f"{list(raw.shape[1:])} {_HOW[raw.ndim]}"
        )
        return dataclasses.replace(one, size=found.shape[1], story=story)
    raise InputError(f"{path} cannot be run on images ({reason}); {_RIGHT}")


def _pooled(output: np.ndarray) -> np.ndarray:
    """An output as float32 [n, D]: vectors as they are, the first (class) token of tokens
    [n, T, D], the mean of a map [n, D, h, w] or [n, h, w, D]."""
    if not isinstance(output, np.ndarray):
        raise ValueError("the output is not an array")
    if output.ndim == 4:
        # A map has far more channels than pixels a side.
        first = output.shape[1] >= output.shape[3]
        output = output.mean(axis=(2, 3) if first else (1, 2))
    elif output.ndim == 3:
        output = output[:, 0]
    if output.ndim != 2:
        raise ValueError(f"the output has shape {output.shape}")
    return output.astype(np.float32)


def _reason(error: Exception) -> str:
    """What onnxruntime says, without its codes."""
    reason = one_line(error).split("Status Message: ")[-1]
    if "external" in reason.lower():
        reason = "its weights are in another file: export them into one"
    return reason.removeprefix("[ONNXRuntimeError] : ")[:200]
