"""The ONNX file says in onnxruntime what the model says here."""

import dataclasses
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.methods.network import Classifier
from rmdnet_jax.model import Model
from rmdnet_jax.models.heads import Linear
from rmdnet_jax.models.mlp import MLP
from rmdnet_jax.models.resnet import ResNet

RNG = np.random.default_rng(0)
BRIGHTNESS = np.linspace(0.2, 1, 5)[:, None, None, None]
PICTURES = (RNG.integers(0, 256, (5, 20, 20, 3)) * BRIGHTNESS).astype(np.uint8)
FEATURES = RNG.normal(0.5, 0.3, (5, 7)).astype(np.float32)
CLASSES = ("a cat", '<b>"é\u202e', "c,=d")


def weights_of(network, example, seed):
    """Weights after a step: no array is what it was made, and batch statistics are not 0 and 1."""
    start = jax.jit(network.init)(jax.random.key(seed), jnp.asarray(example))
    rng = np.random.default_rng(seed)

    def stepped(x):
        x = np.asarray(x)
        return x + rng.normal(0, 0.03, x.shape).astype(np.float32)

    stepped_weights = jax.tree.map(stepped, start)
    kernel = stepped_weights.params["classifier"]["Dense_0"]["kernel"]
    kernel *= 3 / kernel.std()  # so that what is said depends on the picture
    return stepped_weights


def model_of(backbone, examples, networks=1):
    shape = examples.shape[1:]
    mean, std = np.linspace(0.3, 0.6, shape[-1]), np.linspace(0.2, 0.4, shape[-1])
    network = Classifier(
        backbone, Linear(len(CLASSES), alone=backbone is None),
        mean.astype(np.float32), std.astype(np.float32),
    )  # fmt: skip
    weights = tuple(weights_of(network, examples[:1], seed) for seed in range(networks))
    return Model(network, weights, shape, CLASSES)


BACKBONES = {
    "resnet": (ResNet(8), PICTURES),
    "stem for large pictures": (ResNet(2, "imagenet", blocks=(1, 1)), PICTURES),
    "bottlenecks": (ResNet(2, blocks=(2, 1), block="bottleneck"), PICTURES),
    "mlp": (MLP((6, 5)), FEATURES),
    "linear": (None, FEATURES),
}


@pytest.mark.parametrize(
    ("name", "networks"),
    [*((name, 1) for name in BACKBONES), ("stem for large pictures", 2), ("mlp", 2)],
)
def test_probabilities_are_the_models(name, networks, tmp_path):
    backbone, examples = BACKBONES[name]
    model = model_of(backbone, examples, networks)
    model.to_onnx(tmp_path / "model.onnx")
    onnx.checker.check_model(tmp_path / "model.onnx", full_check=True)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (given,), (told,) = session.get_inputs(), session.get_outputs()
    assert given.name == ("image" if examples.ndim == 4 else "features")
    assert given.type == ("tensor(uint8)" if examples.ndim == 4 else "tensor(float)")
    assert given.shape[1:] == list(examples.shape[1:])
    assert told.name == "probabilities"
    expected = model.predict_proba(examples)
    assert np.ptp(expected, axis=0).max() > 0.01  # else a constant would do
    for count in (5, 1):
        (found,) = session.run(None, {given.name: examples[:count]})
        np.testing.assert_allclose(found, expected[:count], atol=1e-5)


def test_an_oblong_picture_keeps_its_sides(tmp_path):
    pictures = PICTURES[:, :12]
    model = model_of(ResNet(2, blocks=(1, 1)), pictures)
    model.to_onnx(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (found,) = session.run(["probabilities"], {"image": pictures})
    np.testing.assert_allclose(found, model.predict_proba(pictures), atol=1e-5)
    assert "side" not in session.get_modelmeta().custom_metadata_map


def test_the_file_names_classes_and_side(tmp_path):
    model_of(ResNet(2, blocks=(1,)), PICTURES).to_onnx(str(tmp_path / "model.ONNX"))
    told = onnxruntime.InferenceSession(tmp_path / "model.ONNX").get_modelmeta()
    assert tuple(json.loads(told.custom_metadata_map["class_names"])) == CLASSES
    assert told.custom_metadata_map["side"] == "20"


def test_integer_classes_stay_integers(tmp_path):
    model = dataclasses.replace(model_of(None, FEATURES), classes=(3, 5, 8))
    model.to_onnx(tmp_path / "model.onnx")
    told = onnxruntime.InferenceSession(tmp_path / "model.onnx").get_modelmeta()
    assert json.loads(told.custom_metadata_map["class_names"]) == [3, 5, 8]


def test_what_cannot_be_written_is_told_in_a_line(tmp_path, monkeypatch):
    model = model_of(None, FEATURES)
    with pytest.raises(InputError, match=r"expected FILE\.onnx"):
        model.to_onnx(tmp_path / "model.pt")
    with pytest.raises(InputError, match="cannot write"):
        model.to_onnx(tmp_path / "nowhere" / "model.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(InputError, match="pip install onnx"):
        model.to_onnx(tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
