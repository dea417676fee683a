"""Eight devices run the same program as one and give the same numbers."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rmdnet_jax.training.logging import RunLog

ROOT = Path(__file__).resolve().parents[2]

# Four epochs of one step of RGRL under a teacher, resumed after two, on as many CPU devices as
# argv says, into the folder that argv names.
PROGRAM = """
import sys
from pathlib import Path
import jax
jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))
import jax.numpy as jnp, numpy as np, optax
from rmdnet_jax.losses import robust
from rmdnet_jax.methods.rgrl import RGRL, Teacher
from rmdnet_jax.models.heads import Linear
from rmdnet_jax.models.resnet import ResNet
from rmdnet_jax.training.checkpoints import Checkpoints
from rmdnet_jax.training.fit import fit
from rmdnet_jax.training.logging import RunLog

backbone = ResNet(4)
variables = jax.jit(lambda key, x: backbone.init(key, x, train=False))(
    jax.random.key(9), jnp.zeros((1, 16, 16, 3))
)
teacher = Teacher(backbone, None, *jax.device_get(
    [{"backbone": variables[k]} for k in ("params", "batch_stats")]))
half = np.full(3, 0.5, np.float32)
method = RGRL(ResNet(4), Linear(10), robust.get("gce"), optax.sgd(0.05, 0.9), half, half, teacher)
rng = np.random.default_rng(0)
images = rng.integers(0, 256, (16, 16, 16, 3), np.uint8)
labels = rng.integers(0, 10, 16).astype(np.int32)
folder = Path(sys.argv[2])
log = RunLog(folder, tensorboard=False)
for epochs in (2, 4):
    fit(method, method.init(jax.random.key(0), jnp.asarray(images[:1])), images, labels,
        epochs=epochs, batch_size=16, key=jax.random.key(1),
        checkpoints=Checkpoints(folder / "student"), log=log.stage("student"),
        evaluate=lambda *_: {}, learning_rate=lambda _: 0.1)
"""
NAMES = "loss", "robust_loss", "node_loss", "edge_loss", "train_accuracy"


def run(program, devices, folder):
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", program, str(devices), str(folder)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ
        | {"JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": str(folder / "cache")}
        | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"},
        check=False,
    )
    assert done.returncode == 0, done.stderr


def epochs(devices, folder):
    run(PROGRAM, devices, folder)
    return RunLog(folder, tensorboard=False).history("student")


@pytest.mark.parametrize("devices", [8])
def test_losses_agree_step_by_step_with_one_device(devices, tmp_path):
    one_device, many_devices = epochs(1, tmp_path / "one"), epochs(devices, tmp_path / "many")
    assert len(one_device) == 4
    for one, many in zip(one_device, many_devices, strict=True):
        for name in NAMES:
            np.testing.assert_allclose(one[name], many[name], rtol=2e-4, err_msg=name)


# Compiles a step of each method for 8 devices, and writes what goes between them: lines of
# "method operation shapes".
COLLECTIVES = """
import re, sys
from pathlib import Path
import jax
jax.config.update("jax_num_cpu_devices", 8)
import jax.numpy as jnp, numpy as np, optax
from rmdnet_jax.losses import robust
from rmdnet_jax.methods.interface import Batch
from rmdnet_jax.methods.rgrl import RGRL, Teacher
from rmdnet_jax.methods.simsiam import SimSiam
from rmdnet_jax.models.heads import Linear, Predictor, Projector
from rmdnet_jax.models.resnet import ResNet
from rmdnet_jax.training import sharding

mesh, half = sharding.mesh(), np.full(3, 0.5, np.float32)
heads = Projector(128), Predictor(32, 128)
simsiam = SimSiam(ResNet(4), *heads, optax.sgd(0.05, 0.9), half, half)
example = jnp.zeros((1, 16, 16, 3), jnp.uint8)
learnt = simsiam.init(jax.random.key(9), example)
frozen = [{"backbone": tree["backbone"]} for tree in (learnt.params, learnt.batch_stats)]
teacher = Teacher(simsiam.backbone, None, *jax.device_get(frozen))
rgrl = RGRL(ResNet(4), Linear(10), robust.get("ce"), optax.sgd(0.05, 0.9), half, half, teacher,
            remembers=16)
index = np.arange(16, dtype=np.int32)
batch = sharding.split(Batch(np.zeros((16, 16, 16, 3), np.uint8), index % 10, index), mesh)
lines = []
with jax.set_mesh(mesh):
    for name, method in {"rgrl": rgrl, "simsiam": simsiam}.items():
        state, key = sharding.replicate((method.init(jax.random.key(0), example),
                                         jax.random.key(1)), mesh)
        text = jax.jit(method.step).lower(state, batch, key).compile().as_text()
        kinds = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"
        for shapes, kind in re.findall(rf" = (.*?) ({kinds})(?:-start)?\\(", text):
            lines.append(" ".join([name, kind, *re.findall(r"[a-z]+\\d+\\[[\\d,]*\\]", shapes)]))
Path(sys.argv[2], "collectives").write_text("\\n".join(lines))
"""


def test_only_gradients_batch_statistics_and_embeddings_go_between_devices(tmp_path):
    run(COLLECTIVES, 8, tmp_path)
    lines = [line.split() for line in (tmp_path / "collectives").read_text().splitlines()]

    def moved(method, kind):
        return [shapes for name, which, *shapes in lines if (name, which) == (method, kind)]

    assert {kind for _, kind, *_ in lines} == {"all-reduce", "all-gather"}
    # The teacher's and the student's embeddings, 16 images of 32 features; the gradient of the
    # logits, which is smaller than the classifier's gradient; what is remembered, and of which.
    gathered = sorted(itertools.chain(*moved("rgrl", "all-gather")))
    assert gathered == ["f32[16,10]", "f32[16,10]", "f32[16,32]", "f32[16,32]", "s32[16]"]
    assert moved("simsiam", "all-gather") == []
    for method in ("rgrl", "simsiam"):
        # All kernels' gradients in one reduction and what is known last in one more; SimSiam's
        # two passes in two each.
        gradients = [r for r in moved(method, "all-reduce") if any("[3,3," in s for s in r)]
        assert len(gradients) <= (4 if method == "simsiam" else 2)
        # Everything else is a vector of channels or a scalar.
        for shapes in moved(method, "all-reduce"):
            if shapes not in gradients:
                assert all("," not in shape for shape in shapes), (method, shapes)
