"""Eight devices run the same program as one and give the same numbers."""

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
        evaluate=lambda state, epoch: {})
"""
NAMES = "loss", "robust_loss", "node_loss", "edge_loss", "train_accuracy"


def epochs(devices, folder):
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(devices), str(folder)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ
        | {"JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": str(folder / "cache")}
        | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return RunLog(folder, tensorboard=False).history("student")


@pytest.mark.parametrize("devices", [8])
def test_losses_agree_step_by_step_with_one_device(devices, tmp_path):
    one_device, many_devices = epochs(1, tmp_path / "one"), epochs(devices, tmp_path / "many")
    assert len(one_device) == 4
    for one, many in zip(one_device, many_devices, strict=True):
        for name in NAMES:
            np.testing.assert_allclose(one[name], many[name], rtol=2e-4, err_msg=name)
