"""Files as torchvision names them become our networks: the same numbers, or a refusal."""

import sys

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.models.torch_weights import read

BASIC, BOTTLENECK = ((3, 1), (3, 1)), ((1, 1), (3, 1), (1, 4))  # side, channels a feature


def tensors(convs, blocks=(1, 1, 1, 1), width=4, classes=3):
    """Random weights under torchvision's names; `convs` are those of a block."""
    rng = np.random.default_rng(0)
    made = {}

    def conv(name, norm, out, into, side):
        bound = np.sqrt(3 / (into * side * side))
        made[f"{name}.weight"] = rng.uniform(-bound, bound, (out, into, side, side))
        made[f"{norm}.weight"] = rng.uniform(0.5, 1.5, out)
        made[f"{norm}.bias"] = rng.normal(0, 0.2, out)
        made[f"{norm}.running_mean"] = rng.normal(0, 0.2, out)
        made[f"{norm}.running_var"] = rng.uniform(0.5, 1.5, out)

    conv("conv1", "bn1", width, 3, 7)
    channels = width
    for stage, count in enumerate(blocks):
        for block in range(count):
            where, features, first = f"layer{stage + 1}.{block}", width * 2**stage, channels
            for i, (side, times) in enumerate(convs, start=1):
                conv(f"{where}.conv{i}", f"{where}.bn{i}", times * features, channels, side)
                channels = times * features
            if first != channels:
                conv(f"{where}.downsample.0", f"{where}.downsample.1", channels, first, 1)
    made["fc.weight"] = rng.normal(0, 0.1, (classes, channels))
    made["fc.bias"] = rng.normal(0, 0.1, classes)
    made = {name: array.astype(np.float32) for name, array in made.items()}
    counts = [name for name in made if name.endswith("running_var")]
    for name in counts:
        made[name.replace("running_var", "num_batches_tracked")] = np.array(7)
    return made


def windows(x, side, stride, fill):
    """[B, C, H, W] -> [B, H', W', C, side, side], padded by half a side."""
    half = side // 2
    x = np.pad(x, ((0, 0), (0, 0), (half, half), (half, half)), constant_values=fill)
    seen = np.lib.stride_tricks.sliding_window_view(x, (side, side), axis=(2, 3))
    return seen[:, :, ::stride, ::stride].transpose(0, 2, 3, 1, 4, 5)


def reference(made, convs, blocks, images):
    """Embedding and logits of images [B, 3, H, W], in NumPy, as torchvision's code has it."""

    def layer(x, conv, norm, stride):
        kernel = made[f"{conv}.weight"].astype(np.float64)
        seen = windows(x, kernel.shape[-1], stride, 0)
        x = seen.reshape(*seen.shape[:3], -1) @ kernel.reshape(len(kernel), -1).T
        mean, var = made[f"{norm}.running_mean"], made[f"{norm}.running_var"]
        x = (x - mean) / np.sqrt(var.astype(np.float64) + 1e-5)
        return (x * made[f"{norm}.weight"] + made[f"{norm}.bias"]).transpose(0, 3, 1, 2)

    x = np.maximum(layer(images, "conv1", "bn1", 2), 0)
    x = windows(x, 3, 2, -np.inf).max(axis=(-2, -1)).transpose(0, 3, 1, 2)
    strided = 2 if len(convs) == 3 else 1  # number of the convolution with the stride
    for stage, count in enumerate(blocks):
        for block in range(count):
            where, stride, y = f"layer{stage + 1}.{block}", 2 if stage and not block else 1, x
            for i in range(1, len(convs) + 1):
                y = layer(y, f"{where}.conv{i}", f"{where}.bn{i}", stride if i == strided else 1)
                y = np.maximum(y, 0) if i < len(convs) else y
            if f"{where}.downsample.0.weight" in made:
                x = layer(x, f"{where}.downsample.0", f"{where}.downsample.1", stride)
            x = np.maximum(x + y, 0)
    embedding = x.mean(axis=(2, 3))
    return embedding, embedding @ made["fc.weight"].T + made["fc.bias"]


@pytest.fixture
def saved(tmp_path):
    """Writes tensors, and returns the file."""

    def write(made):
        save_file(made, tmp_path / "net.safetensors")
        return tmp_path / "net.safetensors"

    return write


@pytest.mark.parametrize("side", [32, 33])
@pytest.mark.parametrize(
    ("convs", "blocks"), [(BASIC, (1, 2, 1, 1)), (BOTTLENECK, (1, 1, 2, 1))], ids=["18", "50"]
)
def test_embedding_and_logits_are_torchvisions(convs, blocks, side, saved):
    made = tensors(convs, blocks)
    network = read(saved(made))
    images = np.random.default_rng(1).standard_normal((2, 3, side, side)).astype(np.float32)
    embedding, logits = reference(made, convs, blocks, images)
    ours = network.backbone.apply(
        {"params": network.params, "batch_stats": network.batch_stats},
        jnp.asarray(images.transpose(0, 2, 3, 1)),
        train=False,
    )
    kernel, bias = network.classifier
    np.testing.assert_allclose(ours, embedding, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(ours @ kernel + bias[None], logits, rtol=1e-4, atol=1e-4)
    assert np.abs(embedding).max() > 0.1


@pytest.mark.parametrize("convs", [BASIC, BOTTLENECK], ids=["basic", "bottleneck"])
def test_arrays_are_named_as_the_backbone_names_them(convs, saved):
    network = read(saved(tensors(convs, (2, 1, 3, 1))))
    fresh = jax.eval_shape(
        lambda key: network.backbone.init(key, jnp.zeros((1, 32, 32, 3)), train=False),
        jax.random.key(0),
    )
    found = {"params": network.params, "batch_stats": network.batch_stats}
    described = jax.tree.map(lambda a: (a.shape, a.dtype), found)
    assert described == jax.tree.map(lambda a: (a.shape, a.dtype), fresh)
    assert {type(leaf) for leaf in jax.tree.leaves(found)} == {np.ndarray}


@pytest.mark.parametrize(
    ("convs", "blocks", "size"), [(BASIC, (3, 4, 6, 3), 16), (BOTTLENECK, (3, 4, 6, 3), 64)]
)
def test_depth_block_and_width_stand_in_the_names(convs, blocks, size, saved):
    backbone = read(saved(tensors(convs, blocks, width=2))).backbone
    assert (backbone.width, backbone.stem, backbone.blocks) == (2, "imagenet", blocks)
    assert backbone.block == ("basic" if convs is BASIC else "bottleneck")
    assert backbone.embedding_size == size
    assert backbone.dtype == jnp.float32


def leaves(network):
    return jax.tree.leaves((network.params, network.batch_stats, network.classifier))


@pytest.mark.parametrize("prefix", ["module.", "backbone.", "module.encoder."])
def test_a_prefix_that_all_names_have_is_left_out(prefix, saved):
    made = tensors(BASIC)
    plain = read(saved(made))
    prefixed = read(saved({prefix + name: array for name, array in made.items()}))
    assert plain.backbone == prefixed.backbone
    for one, other in zip(leaves(plain), leaves(prefixed), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_weights_of_other_precision_become_float32(dtype, saved):
    made = {
        name: array.astype(dtype) if array.ndim else array
        for name, array in tensors(BOTTLENECK).items()
    }
    network = read(saved(made))
    assert {leaf.dtype for leaf in leaves(network)} == {np.dtype(np.float32)}
    kernel = network.params["Conv_0"]["kernel"]
    np.testing.assert_array_equal(
        kernel.transpose(3, 2, 0, 1), made["conv1.weight"].astype(np.float32)
    )


def test_a_file_without_a_classifier_has_none(saved):
    made = {k: v for k, v in tensors(BASIC).items() if not k.startswith("fc.")}
    assert read(saved(made)).classifier is None


@pytest.mark.parametrize(
    "missing",
    [
        "conv1.weight",
        "bn1.running_var",
        "layer2.0.downsample.0.weight",
        "layer3.0.conv2.weight",
        "layer4.0.bn2.bias",
        "fc.weight",
        "fc.bias",
    ],
)
def test_a_missing_tensor_is_named(missing, saved):
    made = tensors(BASIC)
    del made[missing]
    with pytest.raises(InputError, match=rf"has no {missing}; expected a ResNet with torchvision"):
        read(saved(made))


def test_blocks_are_counted_without_gaps(saved):
    made = tensors(BASIC)
    made["layer3.2.conv1.weight"] = np.zeros((16, 16, 3, 3), np.float32)
    with pytest.raises(InputError, match=r"has no layer3\.1\.conv1\.weight"):
        read(saved(made))


@pytest.mark.parametrize(
    "name",
    ["layer1.0.se.fc1.weight", "layer1.1000.conv1.weight", "head.weight", "bn2.running_mean"],
)
def test_an_unknown_tensor_is_named(name, saved):
    made = tensors(BASIC) | {name: np.zeros(4, np.float32), "zzz": np.zeros(4, np.float32)}
    with pytest.raises(InputError, match=f"contains {name}, which no ResNet"):
        read(saved(made))


@pytest.mark.parametrize(
    ("name", "shape", "right"),
    [
        ("conv1.weight", (4, 3, 3, 3), r"\(width, 3, 7, 7\)"),
        ("conv1.weight", (0, 3, 7, 7), r"\(width, 3, 7, 7\)"),
        ("layer2.0.conv2.weight", (16, 8, 3, 3), r"\(8, 8, 3, 3\)"),
        ("layer2.0.downsample.1.running_mean", (4,), r"\(8,\)"),
        ("fc.weight", (3, 33), r"\(3, 32\)"),
        ("fc.weight", (), r"\(1, 32\)"),
        ("fc.weight", (0, 32), r"\(1, 32\)"),
        ("fc.bias", (4,), r"\(3,\)"),
    ],
)
def test_a_wrong_shape_is_named(name, shape, right, saved):
    made = tensors(BASIC) | {name: np.zeros(shape, np.float32)}
    with pytest.raises(InputError, match=f"{name} of .* has shape .*; expected {right}$"):
        read(saved(made))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_what_float32_does_not_hold_is_named(value, saved):
    made = tensors(BASIC)
    name = "layer2.0.bn1.running_var"
    made[name] = np.full(8, value)
    with pytest.raises(InputError, match=f"{name} of .* has NaN or infinity"):
        read(saved(made))


def test_whole_numbers_are_no_weights(saved):
    made = tensors(BASIC) | {"bn1.weight": np.ones(4, np.int8)}
    with pytest.raises(InputError, match=r"bn1\.weight of .* is I8; expected one of"):
        read(saved(made))


@pytest.mark.parametrize("cut", ["", "head", "tail", "pickle"])
def test_what_is_no_safetensors_file_is_refused_in_a_line(cut, saved, tmp_path):
    whole = saved(tensors(BASIC)).read_bytes()
    path = tmp_path / "bad.safetensors"
    parts = {"": b"", "head": whole[:100], "tail": whole[:-5], "pickle": b"PK\x03\x04" + whole}
    path.write_bytes(parts[cut])
    with pytest.raises(InputError, match=r"^\S+ cannot be read as safetensors \(.+\); expected"):
        read(path)


@pytest.mark.parametrize("name", [".", "none.safetensors"])
def test_where_no_file_is_the_line_says_so(name, tmp_path):
    with pytest.raises(InputError, match=r"cannot be read as safetensors \(no such file\)"):
        read(tmp_path / name)


def test_without_the_package_the_line_says_how_to_get_it(saved, monkeypatch):
    path = saved(tensors(BASIC))
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(InputError, match="pip install safetensors"):
        read(path)
