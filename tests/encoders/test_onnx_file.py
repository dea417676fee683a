"""An ONNX file's embeddings are those of its network; what is not said is chosen and told, and what
is no encoder refused in a line."""

import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_onnx import SIZE, STEP, make, weights, write

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.encoders.interface import PRESETS, SIDE, Asked
from rmdnet_jax.encoders.onnx_file import read

PICTURES = np.random.default_rng(1).integers(0, 256, (5, 32, 32, 3), np.uint8)
AT_32 = Asked(side=32)
METADATA = {"side": "32", "mean": "0.1, 0.2,0.3", "std": "0.4,0.5,0.6"}


def mapped(pictures, normalisation, seed=0):
    """The map [n, h, w, SIZE] of a tiny network, in NumPy and float64."""
    mean, std = (np.array(numbers) for numbers in normalisation)
    x = (pictures.astype(np.float64) / 255 - mean) / std
    made = weights(seed)

    def tiles(x, side):
        """[n, h, w, C, side, side]."""
        n, height, width, channels = x.shape
        h, w = height // side, width // side
        cut = x[:, : h * side, : w * side].reshape(n, h, side, w, side, channels)
        return cut.transpose(0, 1, 3, 5, 2, 4)

    y = x
    for layer in "12":
        kernel = made[f"kernel{layer}"]
        y = np.einsum("nhwcij,ocij->nhwo", tiles(y, 4), kernel) + made[f"bias{layer}"]
        y = np.maximum(y, 0)
    return np.concatenate([tiles(x, STEP).mean(axis=(4, 5)), y], axis=3)


def reference(pictures, normalisation=PRESETS["imagenet"], seed=0):
    return mapped(pictures, normalisation, seed).mean(axis=(1, 2))


def changed(path, change):
    """The file with its model changed."""
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def says_nothing_of_shapes(model):
    for dimension, name in zip(
        model.graph.input[0].type.tensor_type.shape.dim, "nabc", strict=True
    ):
        dimension.dim_param = name


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"side": 32},
        {"first": False},
        {"first": False, "side": 32},
        {"first": None},
        {"kind": "tokens"},
        {"kind": "map"},
        {"kind": "map", "first": False},
        {"batch": 2},
        {"batch": 2, "first": False},
        {"batch": 8, "kind": "map"},
        {"seed": 3},
    ],
    ids=str,
)
def test_embeddings_are_the_networks(given, tmp_path):
    encoder = read(make(tmp_path / "e.onnx", **given), AT_32)
    found = encoder.embed(PICTURES)
    assert found.dtype == np.float32
    assert (encoder.side, encoder.size) == (32, SIZE)
    right = reference(PICTURES, seed=given.get("seed", 0))
    np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-5)
    assert np.ptp(right, axis=0).min() > 0.01


def test_where_channels_stand_is_found_by_trying(tmp_path):
    path = changed(make(tmp_path / "e.onnx", first=False), says_nothing_of_shapes)
    encoder = read(path, AT_32)
    assert not encoder.first
    np.testing.assert_allclose(encoder.embed(PICTURES), reference(PICTURES), rtol=1e-4, atol=1e-5)


def test_half_precision(tmp_path):
    encoder = read(make(tmp_path / "e.onnx", dtype="float16"), AT_32)
    found = encoder.embed(PICTURES)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, reference(PICTURES), rtol=0.02, atol=0.01)


def test_a_network_of_bytes_normalises_itself(tmp_path):
    path = make(tmp_path / "e.onnx", dtype="uint8", metadata=METADATA)
    encoder = read(path, AT_32)
    right = reference(PICTURES, PRESETS["none"])
    np.testing.assert_allclose(encoder.embed(PICTURES), right, rtol=1e-4, atol=1e-5)
    assert encoder.normalised == "the file's"
    with pytest.raises(InputError, match=r"normalisation is 'clip', but .* reads uint8 and"):
        read(path, Asked(32, "clip"))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_taken_before_the_files(preset, tmp_path):
    path = make(tmp_path / "e.onnx", metadata=METADATA)
    encoder = read(path, Asked(normalisation=preset))
    assert encoder.normalised == preset
    right = reference(PICTURES, PRESETS[preset])
    np.testing.assert_allclose(encoder.embed(PICTURES), right, rtol=1e-4, atol=1e-5)


def test_side_and_normalisation_stand_in_the_file(tmp_path):
    encoder = read(make(tmp_path / "e.onnx", metadata=METADATA), Asked())
    assert (encoder.side, encoder.normalised) == (32, "the file's")
    right = reference(PICTURES, ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)))
    np.testing.assert_allclose(encoder.embed(PICTURES), right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("left_out", ["mean", "std"])
def test_half_a_normalisation_is_none(left_out, tmp_path):
    metadata = {name: text for name, text in METADATA.items() if name != left_out}
    assert read(make(tmp_path / "e.onnx", metadata=metadata), Asked()).normalised is None


def test_a_side_that_nobody_says_is_224(tmp_path):
    encoder = read(make(tmp_path / "e.onnx"), Asked())
    assert encoder.side == SIDE == 224


def test_a_users_side_is_taken_before_the_files(tmp_path):
    assert read(make(tmp_path / "e.onnx", metadata=METADATA), Asked(side=48)).side == 48


@pytest.mark.parametrize("first", [True, False])
def test_a_fixed_side_is_no_other(first, tmp_path):
    path = make(tmp_path / "e.onnx", side=32, first=first, metadata={"side": "64"})
    assert read(path, Asked()).side == read(path, AT_32).side == 32
    with pytest.raises(InputError, match=r"image_size is 64, but .* 32 pixels; expected 0$"):
        read(path, Asked(side=64))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("side", ""),
        ("side", "0"),
        ("side", "-32"),
        ("side", "32.5"),
        ("side", "32,32"),
        ("side", "nan"),
        ("side", "large\nand wide"),
        ("mean", "0.5"),
        ("mean", "0.5,0.5,0.5,0.5"),
        ("mean", "0.5,0.5,inf"),
        ("mean", "0.5,0.5,1e300"),
        ("mean", "123.675,116.28,103.53"),
        ("std", "58.4,57.1,57.4"),
        ("std", "0.5,0.5,0"),
        ("std", "0.5,0.5,1e-300"),
        ("std", "0.5,0.5,-1"),
        ("std", "[0.5,0.5,0.5]"),
    ],
)
def test_metadata_that_cannot_be_right_is_refused(name, text, tmp_path):
    path = make(tmp_path / "e.onnx", metadata=METADATA | {name: text})
    right = "1 number$" if name == "side" else "3 numbers for channels in .*, separated by commas$"
    with pytest.raises(InputError, match=rf"its metadata has {name} = '.*'; expected {right}"):
        read(path, Asked())


@pytest.mark.parametrize(
    ("outputs", "chosen"),
    [
        (("embedding", "logits"), "embedding"),
        (("last_hidden", "logits"), "last_hidden"),
        (("x", "classes", "probabilities"), "x"),
        (("x", "y"), "x"),
    ],
)
def test_the_likeliest_output_is_chosen(outputs, chosen, tmp_path):
    encoder = read(make(tmp_path / "e.onnx", outputs=outputs), AT_32)
    assert encoder.output == encoder.used.output == chosen
    assert encoder.size == SIZE


@pytest.mark.parametrize("kind", ["tokens", "map"])
def test_a_vector_is_taken_before_tokens_and_maps_unless_they_are_embeddings(kind, tmp_path):
    path = make(tmp_path / "e.onnx", kind=kind, outputs=("deep", "other"))
    assert read(path, AT_32).output == "other"
    path = make(tmp_path / "e.onnx", kind=kind, outputs=("features", "other"))
    assert read(path, AT_32).output == "features"


def test_the_output_that_was_asked_for_is_taken(tmp_path):
    path = make(tmp_path / "e.onnx", outputs=("embedding", "logits"))
    encoder = read(path, Asked(32, output="logits"))
    right = reference(PICTURES) @ weights()["head"]
    np.testing.assert_allclose(encoder.embed(PICTURES), right, rtol=1e-3, atol=1e-4)
    with pytest.raises(InputError, match=r"output is 'pool', but .* has embedding, logits$"):
        read(path, Asked(32, output="pool"))


def test_an_output_that_is_no_embedding_by_its_shape_is_not_chosen(tmp_path):
    path = make(tmp_path / "e.onnx", outputs=("deep",))

    def add(model):
        node = helper.make_node("ReduceSum", ["deep", "axis"], ["pooled_sum"], keepdims=0)
        model.graph.node.append(node)
        model.graph.initializer.append(numpy_helper.from_array(np.array([1]), "axis"))
        told = helper.make_tensor_value_info("pooled_sum", TensorProto.FLOAT, ["n"])
        model.graph.output.append(told)

    assert read(changed(path, add), AT_32).output == "deep"


def test_what_it_was_used_with_makes_the_same_again(tmp_path):
    """A saved model names the use of its encoder's file."""
    for given in ({}, {"metadata": METADATA}, {"dtype": "uint8"}):
        path = make(tmp_path / "e.onnx", outputs=("x", "y"), **given)
        for asked in (Asked(), Asked(48, output="y")):
            encoder = read(path, asked)
            again = read(path, encoder.used)
            assert (again.digest, again.story) == (encoder.digest, encoder.story)
    encoder = read(make(tmp_path / "e.onnx"), Asked(32, "clip"))
    assert read(encoder.path, encoder.used).digest == encoder.digest


def test_digests_tell_files_and_uses_apart(tmp_path):
    path = make(tmp_path / "e.onnx", outputs=("x", "y"))
    digests = [
        read(path, Asked(32)).digest,
        read(path, Asked(48)).digest,
        read(path, Asked(32, "clip")).digest,
        read(path, Asked(32, "none")).digest,
        read(path, Asked(32, output="y")).digest,
        read(make(tmp_path / "other.onnx", outputs=("x", "y"), seed=1), Asked(32)).digest,
    ]
    assert len(set(digests)) == len(digests)
    # Nobody said and ImageNet's was taken, or the user said so; and wherever the file lies.
    assert read(path, Asked(32, "imagenet")).digest == digests[0]
    assert read(path.rename(tmp_path / "moved.onnx"), Asked(32)).digest == digests[0]


@pytest.mark.parametrize(
    ("given", "asked", "story"),
    [
        (
            {}, AT_32,
            "e.onnx: images of 32 pixels, normalisation imagenet (the file does not say), "
            "output embedding [12] as it is",
        ),
        (
            {"metadata": METADATA, "kind": "tokens"}, Asked(),
            "e.onnx: images of 32 pixels, normalisation the file's, output embedding [5, 12] its "
            "first token",
        ),
        (
            {"kind": "map", "outputs": ("x\n",)}, Asked(48, "clip"),
            "e.onnx: images of 48 pixels, normalisation clip, output x\\n [12, 3, 3] its mean "
            "over positions",
        ),
    ],
)  # fmt: skip
def test_the_story_names_what_was_chosen(given, asked, story, tmp_path):
    assert read(make(tmp_path / "e.onnx", **given), asked).story == story


def graph(path, shape, nodes=(("Flatten", {}),), dtype=TensorProto.FLOAT, inputs=1):
    """A file of one operator after another, from x to y, without weights."""
    names = ["x", *(f"y{i}" for i in range(len(nodes) - 1)), "y"]
    made = [
        helper.make_node(kind, [names[i]], [names[i + 1]], **attributes)
        for i, (kind, attributes) in enumerate(nodes)
    ]
    read = [helper.make_tensor_value_info(f"{'x' * n}", dtype, shape) for n in range(1, inputs + 1)]
    return write(path, made, read, [helper.make_empty_tensor_value_info("y")])


def reading(path, **given):
    with pytest.raises(InputError) as error:
        read(path, Asked(**given))
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("content", ["nothing", "text", "half"])
def test_what_is_no_onnx_file_is_refused(content, tmp_path):
    whole = make(tmp_path / "e.onnx").read_bytes()
    contents = {"nothing": b"", "text": b"a network\n", "half": whole[: len(whole) // 2]}
    (tmp_path / "e.onnx").write_bytes(contents[content])
    assert "e.onnx cannot be read (" in reading(tmp_path / "e.onnx")


def test_where_no_file_is_the_line_says_so(tmp_path):
    assert "cannot be read (No such file or directory); expected" in reading(tmp_path / "e.onnx")


def test_operators_of_others_are_not_loaded(tmp_path):
    def change(model):
        model.graph.node[-1].domain = "com.example"
        model.opset_import.append(helper.make_opsetid("com.example", 1))

    path = changed(make(tmp_path / "e.onnx"), change)
    assert "com.example" in reading(path)


def test_weights_in_another_file_are_refused(tmp_path):
    path = make(tmp_path / "e.onnx")
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="w", size_threshold=0)
    assert (tmp_path / "w").exists()
    assert "(its weights are in another file: export them into one); expected" in reading(path)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"shape": ["n", 3, 32, 32], "inputs": 2}, "inputs x tensor(float) ['n', 3, 32, 32], xx "),
        ({"shape": ["n", 3, 32]}, "inputs x tensor(float) ['n', 3, 32]; expected one input"),
        ({"shape": ["n", 3, 9, 32, 32]}, "expected one input of images, [n, 3, H, W] or"),
        ({"shape": ["n", 3, 32, 32], "dtype": TensorProto.DOUBLE}, "the inputs x tensor(double)"),
        ({"shape": ["n", 3, 32, 48]}, "reads images of [32, 48] pixels; expected squares"),
        ({"shape": ["n", 32, 48, 3]}, "reads images of [32, 48] pixels; expected squares"),
        ({"shape": ["n", 1, 32, 32]}, "cannot be run on images ("),
        ({"shape": ["n", 3, 10**6, 10**6]}, "reads images of 1,000,000 pixels a side, more than"),
        ({"shape": [10**6, 3, 32, 32]}, "reads images of 32 pixels a side, 1,000,000 at once"),
        ({"shape": ["n", 3, 32, 32], "nodes": [("Size", {})]}, "the output has shape ()"),
        (
            {"shape": ["n", 3, 32, 32], "nodes": [("Flatten", {"axis": 0})]},
            "output y is (1, 6144) for 2 images",
        ),
        (
            {"shape": ["n", 3, 32, 32], "nodes": [("Flatten", {}), ("ReduceMax", {"keepdims": 1})]},
            "output y is (1, 1) for 2 images",
        ),
        (
            {"shape": ["n", 3, 32, 32], "nodes": [("Sqrt", {}), ("Flatten", {})]},
            "its embeddings are not finite",
        ),
        (
            {"shape": ["n", 3, 32, 32], "nodes": [("Flatten", {}), ("SequenceConstruct", {})]},
            "the output is not an array",
        ),
        (
            {"shape": ["n", 3, 32, 32], "nodes": [("DepthToSpace", {"blocksize": 2})]},
            "cannot be run on images (",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_is_no_encoder_is_refused(given, told, tmp_path):
    assert told in reading(graph(tmp_path / "e.onnx", **given))


def test_a_side_that_the_network_cannot_read_is_refused(tmp_path):
    assert "cannot be run on images (" in reading(make(tmp_path / "e.onnx"), side=STEP - 1)


def test_a_side_of_the_metadata_is_bounded(tmp_path):
    path = make(tmp_path / "e.onnx", metadata={"side": "1e9"})
    assert "reads images of 1,000,000,000 pixels a side, more than" in reading(path)


def test_without_the_package_the_line_says_how_to_get_it(tmp_path, monkeypatch):
    path = make(tmp_path / "e.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "run pip install onnxruntime" in reading(path)


@pytest.mark.parametrize("outputs", [("embedding", "scores"), ("a", "probs", "logits")])
def test_of_a_classifier_the_output_of_a_column_a_class_is_read(outputs, tmp_path):
    path = make(tmp_path / "c.onnx", side=16, outputs=outputs)
    found = read(path, Asked(), classes=5)
    assert (found.output, found.size) == (outputs[-1], 5)
    pictures = np.random.default_rng(1).integers(0, 256, (3, 16, 16, 3), np.uint8)
    expected = read(path, Asked(output=outputs[-1])).embed(pictures)
    np.testing.assert_array_equal(found.embed(pictures), expected)
    assert read(path, Asked()).output == outputs[0]  # as an encoder it is another
