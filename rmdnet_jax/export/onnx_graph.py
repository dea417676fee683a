"""A classifier as an ONNX graph, from pixels or features to probabilities, for any ONNX runtime
without this package."""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rmdnet_jax.base.atomic import open_atomic
from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import cut
from rmdnet_jax.methods.interface import Weights
from rmdnet_jax.methods.network import Classifier
from rmdnet_jax.models.mlp import MLP
from rmdnet_jax.models.resnet import EXPANSION, ResNet

OUTPUT = "probabilities"

# Old enough for any onnxruntime still in use; no operator here has changed since.
_OPSET, _IR = 13, 7

_EPSILON = 1e-5  # of batch_norm in models/resnet.py

_Arrays = Mapping[str, Any]


def write(
    path: str | Path,
    network: Classifier,
    weights: Sequence[Weights],
    image_shape: tuple[int, ...],
    metadata: Mapping[str, str],
) -> None:
    """Writes the classifier into one file.

    Its input is "image", uint8 [N, H, W, 3], which is normalised in the graph, or "features",
    float32 [N, D]; N is any number. Its output is "probabilities", float32 [N, C]: for several
    networks the softmax of their mean logits. Everything is computed in float32, each batch norm is
    folded into the convolution before it, and nothing is approximated.

    Args:
      path: FILE.onnx.
      network: the architecture and the statistics of its input.
      weights: of each network, with the names of `network.init`.
      image_shape: (H, W, 3) or (D,).
      metadata: texts by name, stored in the file.

    Raises:
      InputError: the package onnx is missing, or the path is not an .onnx file that can be written.
    """
    path = Path(os.path.expanduser(path))
    if path.suffix.lower() != ".onnx":
        raise InputError(f"{cut(path)} does not end in .onnx; expected FILE.onnx")
    try:
        from onnx import TensorProto, helper
    except ImportError as error:
        raise InputError(
            "writing ONNX needs the package onnx, which is not installed; run pip install onnx"
        ) from error
    is_pictures = len(image_shape) == 3
    name = "image" if is_pictures else "features"
    kind = TensorProto.UINT8 if is_pictures else TensorProto.FLOAT
    graph = _Graph()
    logits = graph.classifier(name, network, weights, is_pictures)
    graph.add("Softmax", logits, into=OUTPUT, axis=-1)
    classes = len(np.asarray(weights[0].params["classifier"]["Dense_0"]["bias"]))
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "rmdnet_jax",
            [helper.make_tensor_value_info(name, kind, ["N", *image_shape])],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N", classes])],
            graph.tensors,
        ),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR,
        producer_name="rmdnet_jax",
    )
    helper.set_model_props(model, dict(metadata))
    try:
        with open_atomic(path, "wb") as file:
            file.write(model.SerializeToString())
    except OSError as error:
        raise InputError(f"cannot write {cut(path)} ({error.strerror or error})") from error


def as_text(values: Sequence[Any]) -> str:
    """A list as one text for the metadata: JSON in ASCII, for any content."""
    return json.dumps(list(values))


class _Graph:
    """Nodes and tensors of a graph in the order they are added, each with a unique name."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []
        self._names: Counter[str] = Counter()

    def add(self, kind: str, *inputs: str, into: str = "", **attributes: Any) -> str:
        """Adds an operator; returns the name of its output."""
        from onnx import helper

        into = into or self._name(kind.lower())
        self.nodes.append(helper.make_node(kind, inputs, [into], **attributes))
        return into

    def tensor(self, values: np.ndarray) -> str:
        """Adds a constant, as float32; returns its name."""
        from onnx import numpy_helper

        name = self._name("weights")
        array = np.ascontiguousarray(np.asarray(values, np.float32))
        self.tensors.append(numpy_helper.from_array(array, name))
        return name

    def classifier(
        self, given: str, network: Classifier, weights: Sequence[Weights], is_pictures: bool
    ) -> str:
        """[N, H, W, 3] or [N, D] -> mean logits [N, C]."""
        from onnx import TensorProto

        x = given
        if is_pictures:
            white = self.tensor(np.array(255))
            x = self.add("Div", self.add("Cast", x, to=TensorProto.FLOAT), white)
        x = self.add("Div", self.add("Sub", x, self.tensor(network.mean)), self.tensor(network.std))
        if is_pictures:
            x = self.add("Transpose", x, perm=[0, 3, 1, 2])
        said = [self._network(x, network, one) for one in weights]
        if len(said) == 1:
            return said[0]
        return self.add("Mul", self.add("Sum", *said), self.tensor(np.array(1 / len(said))))

    def _name(self, kind: str) -> str:
        self._names[kind] += 1
        return f"{kind}{self._names[kind]}"

    def _network(self, x: str, network: Classifier, weights: Weights) -> str:
        """Normalised input -> logits [N, C]."""
        backbone = network.backbone
        if isinstance(backbone, ResNet):
            stats = weights.batch_stats["backbone"]
            x = self._resnet(x, backbone, weights.params["backbone"], stats)
        elif isinstance(backbone, MLP):
            for layer in range(len(backbone.hidden)):
                dense = weights.params["backbone"][f"Dense_{layer}"]
                x = self.add("Relu", self._dense(x, dense))
        return self._dense(x, weights.params["classifier"]["Dense_0"])

    def _dense(self, x: str, dense: _Arrays) -> str:
        return self.add("Gemm", x, self.tensor(dense["kernel"]), self.tensor(dense["bias"]))

    def _resnet(self, x: str, network: ResNet, params: _Arrays, stats: _Arrays) -> str:
        """[N, 3, H, W] -> embedding [N, D]; ResNet.__call__ line by line."""
        stride = 1 if network.stem == "cifar" else 2
        x = self.add("Relu", self._conv(x, params, stats, 0, stride))
        if network.stem == "imagenet":
            x = self.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
        kind = "BasicBlock" if network.block == "basic" else "BottleneckBlock"
        channels, number = network.width, 0
        for stage, blocks in enumerate(network.blocks):
            features = EXPANSION[network.block] * network.width * 2**stage
            for block in range(blocks):
                name = f"{kind}_{number}"
                stride = 2 if stage > 0 and block == 0 else 1
                is_same = stride == 1 and channels == features
                x = self._block(x, params[name], stats[name], kind, stride, is_same)
                channels, number = features, number + 1
        return self.add("Flatten", self.add("GlobalAveragePool", x))

    def _block(
        self, x: str, params: _Arrays, stats: _Arrays, kind: str, stride: int, is_same: bool
    ) -> str:
        """A residual block; the shortcut's convolution, if it has one, is its first."""
        strides = [stride, 1] if kind == "BasicBlock" else [1, stride, 1]
        first = 0 if is_same else 1
        shortcut = x if is_same else self._conv(x, params, stats, 0, stride)
        for number, step in enumerate(strides, first):
            x = self._conv(x, params, stats, number, step)
            if number < first + len(strides) - 1:
                x = self.add("Relu", x)
        return self.add("Relu", self.add("Add", x, shortcut))

    def _conv(self, x: str, params: _Arrays, stats: _Arrays, number: int, stride: int) -> str:
        """A convolution and the batch norm after it, as one convolution with a bias."""
        kernel = np.asarray(params[f"Conv_{number}"]["kernel"], np.float64)
        norm, running = params[f"BatchNorm_{number}"], stats[f"BatchNorm_{number}"]
        variance = np.asarray(running["var"], np.float64)
        scale = np.asarray(norm["scale"], np.float64) / np.sqrt(variance + _EPSILON)
        bias = np.asarray(norm["bias"], np.float64) - np.asarray(running["mean"]) * scale
        side = kernel.shape[0]
        return self.add(
            "Conv",
            x,
            self.tensor((kernel * scale).transpose(3, 2, 0, 1)),  # [H, W, I, O] -> [O, I, H, W]
            self.tensor(bias),
            kernel_shape=[side, side],
            strides=[stride, stride],
            pads=[side // 2] * 4,
        )
