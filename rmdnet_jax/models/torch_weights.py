"""Pretrained ResNets from a .safetensors file with torchvision's or timm's names. Pickles are not
read, and a file is rejected unless every tensor in it is understood: a network with one wrong
tensor looks like one that works."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import one_line
from rmdnet_jax.models.resnet import EXPANSION, ResNet

_RIGHT = "expected a complete .safetensors file"
_NAMES = "expected a ResNet with torchvision's names, conv1.weight, layer1.0.conv1.weight and so on"
_FLOATS = ("F16", "BF16", "F32", "F64")  # in the file, as safetensors names them
_STAGES = 4
_BLOCK = re.compile(r"layer([1-4])\.(\d{1,3})\.")

# A batch norm, with PyTorch's names: the collection and the array of ours for each tensor.
_NORM = {
    "weight": ("params", "scale"),
    "bias": ("params", "bias"),
    "running_mean": ("batch_stats", "mean"),
    "running_var": ("batch_stats", "var"),
}


@dataclass(frozen=True)
class Pretrained:
    """A ResNet and its weights, float32.

    Attributes:
      backbone: the network, with the stem for large images.
      params, batch_stats: its NumPy arrays, named as by `backbone.init`.
      classifier: kernel [D, C] and bias [C] on the embedding, if the file has them.
    """

    backbone: ResNet
    params: dict
    batch_stats: dict
    classifier: tuple[np.ndarray, np.ndarray] | None


@dataclass(frozen=True)
class _Layer:
    """A convolution and the batch norm after it.

    Attributes:
      conv, norm: their names in the file.
      kernel: shape of the convolution in PyTorch's order, [O, I, H, W].
      path: the block's path in our network; empty for the stem.
      number: the number of the convolution and the norm in that block.
    """

    conv: str
    norm: str
    kernel: tuple[int, int, int, int]
    path: tuple[str, ...] = ()
    number: int = 0


def read(path: Path) -> Pretrained:
    """The ResNet of a .safetensors file: ResNet-18, 34, 50, 101, 152, or one of another depth.

    Depth, block and width are read from the names and shapes. A prefix that all names have
    ("module.", "backbone.") is removed. Files do not contain strides; they are taken to be those of
    torchvision and timm.

    Raises:
      InputError: there is no such file, it is not a complete .safetensors file, a tensor is
        missing, unknown, of a wrong shape or not finite, or the package safetensors is missing.
    """
    try:
        from safetensors import safe_open
    except ImportError as error:
        raise InputError(
            f"reading {path} needs the package safetensors, which is missing; run "
            "pip install safetensors"
        ) from error
    try:
        if not path.is_file():
            raise FileNotFoundError(0, "no such file")
        with safe_open(path, framework="numpy") as file:
            return _pretrained(_Tensors(path, file))
    except InputError:
        raise
    except Exception as error:  # whatever an arbitrary file makes the reader raise
        reason = one_line(getattr(error, "strerror", None) or error or type(error).__name__)
        raise InputError(f"{path} cannot be read as safetensors ({reason}); {_RIGHT}") from error


class _Tensors:
    """The tensors of an open file, by name without a common prefix, that were not taken yet."""

    def __init__(self, path: Path, file: Any):
        self.path, self._file = path, file
        names = list(file.keys())
        stems = [name for name in names if name.endswith("conv1.weight")]
        prefix = min(stems, key=len, default="").removesuffix("conv1.weight")
        if not prefix.endswith(".") or not all(name.startswith(prefix) for name in names):
            prefix = ""
        self.left = {name.removeprefix(prefix): name for name in names}

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor that was not taken yet."""
        if name not in self.left:
            raise InputError(f"{self.path} has no {name}; {_NAMES}")
        return tuple(self._file.get_slice(self.left[name]).get_shape())

    def take(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """A tensor as float32, of the shape that the network needs."""
        found = self.shape(name)
        if found != shape:
            raise InputError(f"{name} of {self.path} has shape {found}; expected {shape}")
        whole = self.left.pop(name)
        dtype = self._file.get_slice(whole).get_dtype()
        if dtype not in _FLOATS:
            raise InputError(f"{name} of {self.path} is {dtype}; expected one of {_FLOATS}")
        with np.errstate(over="ignore"):  # a float64 beyond float32's range becomes infinite
            tensor = self._file.get_tensor(whole).astype(np.float32)
        if not np.isfinite(tensor).all():
            raise InputError(f"{name} of {self.path} has NaN or infinity; expected finite numbers")
        return tensor


def _pretrained(tensors: _Tensors) -> Pretrained:
    """The network, with every tensor in its place."""
    backbone = _backbone(tensors)
    variables: dict[str, dict] = {"params": {}, "batch_stats": {}}
    for layer in _layers(backbone):
        conv, norm = (f"{kind}_{layer.number}" for kind in ("Conv", "BatchNorm"))
        kernel = tensors.take(f"{layer.conv}.weight", layer.kernel).transpose(2, 3, 1, 0)
        _place(variables["params"], (*layer.path, conv, "kernel"), np.ascontiguousarray(kernel))
        for theirs, (collection, ours) in _NORM.items():
            array = tensors.take(f"{layer.norm}.{theirs}", layer.kernel[:1])
            _place(variables[collection], (*layer.path, norm, ours), array)
        # How many batches the running statistics have seen: not a weight.
        tensors.left.pop(f"{layer.norm}.num_batches_tracked", None)
    classifier = _classifier(tensors, backbone.embedding_size)
    if tensors.left:
        raise InputError(
            f"{tensors.path} contains {one_line(min(tensors.left))}, which no ResNet of this kind "
            f"has; {_NAMES}"
        )
    return Pretrained(backbone, variables["params"], variables["batch_stats"], classifier)


def _backbone(tensors: _Tensors) -> ResNet:
    """The network that the names and the first shape describe."""
    stem = tensors.shape("conv1.weight")
    if len(stem) != 4 or stem[0] < 1 or stem[1:] != (3, 7, 7):
        raise InputError(
            f"conv1.weight of {tensors.path} has shape {stem}; expected (width, 3, 7, 7)"
        )
    blocks = [1] * _STAGES
    for found in filter(None, map(_BLOCK.match, tensors.left)):
        stage, block = int(found[1]) - 1, int(found[2])
        blocks[stage] = max(blocks[stage], block + 1)
    kind = "bottleneck" if "layer1.0.conv3.weight" in tensors.left else "basic"
    return ResNet(stem[0], "imagenet", blocks=tuple(blocks), block=kind)


def _layers(backbone: ResNet) -> Iterator[_Layer]:
    """The convolutions with their norms, under both names; in a block, the shortcut's comes first
    in ours."""
    yield _Layer("conv1", "bn1", (backbone.width, 3, 7, 7))
    kind = {"basic": "BasicBlock", "bottleneck": "BottleneckBlock"}[backbone.block]
    channels, index = backbone.width, 0
    for stage, blocks in enumerate(backbone.blocks):
        inner = backbone.width * 2**stage
        outer = EXPANSION[backbone.block] * inner
        for block in range(blocks):
            sizes = {
                "basic": [(inner, channels, 3), (inner, inner, 3)],
                "bottleneck": [(inner, channels, 1), (inner, inner, 3), (outer, inner, 1)],
            }[backbone.block]
            names = [(f"conv{i}", f"bn{i}", size) for i, size in enumerate(sizes, start=1)]
            if channels != outer:  # also where the stride is 2
                names.insert(0, ("downsample.0", "downsample.1", (outer, channels, 1)))
            for number, (conv, norm, (out, into, side)) in enumerate(names):
                where = f"layer{stage + 1}.{block}"
                kernel = (out, into, side, side)
                path = (f"{kind}_{index}",)
                yield _Layer(f"{where}.{conv}", f"{where}.{norm}", kernel, path, number)
            channels, index = outer, index + 1


def _classifier(tensors: _Tensors, features: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Kernel [features, C] and bias [C] of the file's fc, if it has one."""
    if not {"fc.weight", "fc.bias"} & tensors.left.keys():
        return None
    classes = max((1, *tensors.shape("fc.weight")[:1]))
    kernel = tensors.take("fc.weight", (classes, features))
    return np.ascontiguousarray(kernel.T), tensors.take("fc.bias", (classes,))


def _place(tree: dict, path: tuple[str, ...], array: np.ndarray) -> None:
    """Puts an array under its names, one nested dict per name."""
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = array
