"""A ResNet's .safetensors as an encoder: its backbone's embeddings of normalised pictures."""

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.encoders.interface import PRESETS, SIDE, Asked
from rmdnet_jax.encoders.resnet_file import read

PICTURES = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), np.uint8)
STORY = "net.safetensors: ResNet of 4 basic blocks, images of 32 pixels, normalisation "


@pytest.fixture
def saved(tmp_path):
    """Writes a ResNet of one block a stage under torchvision's names, and returns the file."""

    def write(seed=0, width=4, name="net.safetensors"):
        rng, made = np.random.default_rng(seed), {}

        def conv(name, norm, out, into, side):
            made[f"{name}.weight"] = rng.normal(0, 1, (out, into, side, side)) / side / into**0.5
            for part, low in {
                "weight": 0.5,
                "bias": -0.2,
                "running_mean": -0.2,
                "running_var": 0.5,
            }.items():
                made[f"{norm}.{part}"] = rng.uniform(low, low + 1, out)

        conv("conv1", "bn1", width, 3, 7)
        into = width
        for stage in range(4):
            where, out = f"layer{stage + 1}.0", width * 2**stage
            conv(f"{where}.conv1", f"{where}.bn1", out, into, 3)
            conv(f"{where}.conv2", f"{where}.bn2", out, out, 3)
            if stage:
                conv(f"{where}.downsample.0", f"{where}.downsample.1", out, into, 1)
            into = out
        arrays = {name: array.astype(np.float32) for name, array in made.items()}
        save_file(arrays, tmp_path / name)
        return tmp_path / name

    return write


@pytest.mark.parametrize("preset", [None, "inception"])
def test_embeddings_are_the_backbones(preset, saved):
    encoder = read(saved(), Asked(32, preset))
    found = encoder.embed(PICTURES)
    assert found.dtype == np.float32
    assert found.shape == (3, encoder.size) == (3, 32)
    mean, std = (np.array(numbers, np.float32) for numbers in PRESETS[preset or "imagenet"])
    network = encoder.pretrained
    right = network.backbone.apply(
        {"params": network.params, "batch_stats": network.batch_stats},
        jnp.asarray((PICTURES.astype(np.float32) / 255 - mean) / std),
        train=False,
    )
    np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-5)
    assert np.ptp(found, axis=0).max() > 0.01


def test_a_preset_changes_the_embeddings(saved):
    path = saved()
    plain, clip, named = (
        read(path, Asked(32, preset)).embed(PICTURES) for preset in (None, "none", "imagenet")
    )
    assert np.abs(plain - clip).max() > 0.01
    np.testing.assert_array_equal(plain, named)


def test_side_and_normalisation_are_told(saved):
    path = saved()
    said, unsaid = read(path, Asked(32, "clip")), read(path, Asked(32))
    assert (said.normalised, said.story) == ("clip", STORY + "clip")
    assert unsaid.normalised is None
    assert unsaid.story == STORY + "imagenet (a .safetensors does not say)"
    assert read(path, Asked()).side == SIDE == 224


def test_what_it_was_used_with_makes_the_same_again(saved):
    """A saved model names the use of its encoder's file."""
    for asked in (Asked(), Asked(32), Asked(48, "clip")):
        encoder = read(saved(), asked)
        again = read(encoder.path, encoder.used)
        assert (again.digest, again.story) == (encoder.digest, encoder.story)


def test_digests_tell_files_and_uses_apart(saved, tmp_path):
    path = saved()
    digests = [
        read(path, Asked(32)).digest,
        read(path, Asked(48)).digest,
        read(path, Asked(32, "clip")).digest,
        read(saved(seed=1, name="other.safetensors"), Asked(32)).digest,
    ]
    assert len(set(digests)) == len(digests)
    assert read(path, Asked(32, "imagenet")).digest == digests[0]
    assert read(path.rename(tmp_path / "moved.safetensors"), Asked(32)).digest == digests[0]


def test_what_is_no_resnet_is_refused(tmp_path):
    save_file({"head.weight": np.zeros((2, 2), np.float32)}, tmp_path / "net.safetensors")
    with pytest.raises(InputError, match=r"net\.safetensors has no \S+; expected a ResNet"):
        read(tmp_path / "net.safetensors", Asked())
