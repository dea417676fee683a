"""Encoders of a few kilobytes, for tests: pictures in, their mean colours and textures out."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

STEP = 16  # pixels between places of the map: sides of less have none
SIZE = 12  # features of an embedding

_TYPES = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "uint8": TensorProto.UINT8,
}


def weights(seed=0):
    """What the network of a seed consists of, by name: two convolutions without overlap, and what
    makes five logits of an embedding."""
    rng = np.random.default_rng(seed)
    made = {
        "kernel1": rng.normal(0, 1 / 5, (8, 3, 4, 4)),
        "bias1": rng.normal(0, 0.3, 8),
        "kernel2": rng.normal(0, 1 / 9, (SIZE - 3, 8, 4, 4)),
        "bias2": rng.normal(0, 0.3, SIZE - 3),
        "head": rng.normal(0, 1, (SIZE, 5)),
    }
    return {name: array.astype(np.float32) for name, array in made.items()}


def make(
    path,
    *,
    side=None,
    batch=None,
    first=True,
    dtype="float32",
    kind="vector",
    outputs=("embedding",),
    metadata=None,
    seed=0,
):
    """Writes the file, and returns its path.

    Args:
      path: of the file.
      side: of its pictures; None: any from STEP on.
      batch: pictures of a call; None: any number.
      first: [n, 3, H, W]; False: [n, H, W, 3]; None: channels come first, but no dimension has a
        number.
      dtype: of its pictures, float32, float16 or uint8; of uint8 it divides by 255 itself.
      kind: of its embeddings: "vector" [n, SIZE]; "tokens" [n, 1 + h * w, SIZE], the vector first;
        "map" [n, SIZE, h, w], or [n, h, w, SIZE] of pictures in that order, the vector in the mean.
      outputs: the name of the embedding; further ones are of logits [n, 5].
      metadata: texts by name.
      seed: of its weights.
    """
    real = np.float16 if dtype == "float16" else np.float32
    tensors = {name: array.astype(real) for name, array in weights(seed).items()}
    nodes = []

    def add(kind, *inputs, into, **attributes):
        nodes.append(helper.make_node(kind, inputs, [into], **attributes))
        return into

    x = "pictures"
    if dtype == "uint8":
        tensors["white"] = np.array(255, real)
        x = add("Div", add("Cast", x, into="real", to=TensorProto.FLOAT), "white", into="scaled")
    if first is False:
        x = add("Transpose", x, into="turned", perm=[0, 3, 1, 2])
    colours = add("AveragePool", x, into="colours", kernel_shape=[STEP] * 2, strides=[STEP] * 2)
    for layer in "12":
        names = f"kernel{layer}", f"bias{layer}"
        x = add("Conv", x, *names, into=f"conv{layer}", strides=[4, 4])
        x = add("Relu", x, into=f"relu{layer}")
    found = add("Concat", colours, x, into="map", axis=1)
    vector = add("Flatten", add("GlobalAveragePool", found, into="mean"), into="vector")
    if kind == "tokens":
        tensors["one"], tensors["rows"] = np.array([1]), np.array([0, SIZE, -1])
        flat = add("Reshape", found, "rows", into="flat")
        places = add("Transpose", flat, into="places", perm=[0, 2, 1])
        token = add("Unsqueeze", vector, "one", into="token")
        add("Concat", token, places, into=outputs[0], axis=1)
        shape = [batch or "n", None, SIZE]
    elif kind == "map" and first is False:
        add("Transpose", found, into=outputs[0], perm=[0, 2, 3, 1])
        shape = [batch or "n", None, None, SIZE]
    else:
        add("Identity", found if kind == "map" else vector, into=outputs[0])
        shape = [batch or "n", SIZE, *([None, None] if kind == "map" else [])]
    for name in outputs[1:]:
        add("MatMul", vector, "head", into=name)
    sides = [side or "height", side or "width"]
    read = [batch or "n", *sides, 3] if first is False else [batch or "n", 3, *sides]
    if first is None:
        read = ["n", "a", "b", "c"]
    of_real = TensorProto.FLOAT16 if dtype == "float16" else TensorProto.FLOAT
    told = [helper.make_tensor_value_info(outputs[0], of_real, shape)]
    told += [helper.make_tensor_value_info(name, of_real, [None, 5]) for name in outputs[1:]]
    return write(
        path,
        nodes,
        [helper.make_tensor_value_info("pictures", _TYPES[dtype], read)],
        told,
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
        metadata,
    )


def write(path, nodes, inputs, outputs, tensors=(), metadata=None):
    """Writes the file of any graph, and returns its path."""
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, list(tensors))
    # Old enough for onnxruntime 1.20.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, metadata or {})
    Path(path).write_bytes(model.SerializeToString())
    return Path(path)
