"""Eight devices run the same program as one and give the same numbers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]

# A few steps of RGRL under a teacher on as many CPU devices as argv says; prints the losses.
PROGRAM = """
import json, sys
import jax
jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))
import jax.numpy as jnp, numpy as np, optax
from rmdnet_jax.losses import robust
from rmdnet_jax.methods.interface import Batch
from rmdnet_jax.methods.rgrl import RGRL, Teacher
from rmdnet_jax.models.heads import Linear
from rmdnet_jax.models.resnet import ResNet
from rmdnet_jax.training import sharding

backbone = ResNet(4)
variables = jax.jit(lambda key, x: backbone.init(key, x, train=False))(
    jax.random.key(9), jnp.zeros((1, 16, 16, 3))
)
teacher = Teacher(backbone, None, *jax.device_get(
    [{"backbone": variables[k]} for k in ("params", "batch_stats")]))
half = np.full(3, 0.5, np.float32)
method = RGRL(ResNet(4), Linear(10), robust.get("gce"), optax.sgd(0.05, 0.9), half, half, teacher)
rng = np.random.default_rng(0)
mesh = sharding.mesh()
example = np.zeros((1, 16, 16, 3), np.uint8)
state = sharding.replicate(method.init(jax.random.key(0), example), mesh)

@jax.jit
def step(state, batch, key):
    return method.step(state, sharding.split_batch(batch, mesh), key)

losses = []
for i in range(4):
    images = rng.integers(0, 256, (16, 16, 16, 3), np.uint8)
    labels = rng.integers(0, 10, 16).astype(np.int32)
    state, metrics = step(state, Batch(images, labels, labels), jax.random.key(i))
    losses.append({name: float(value) for name, value in metrics.items()})
print(json.dumps(losses))
"""


def losses(devices):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(devices)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("devices", [8])
def test_losses_agree_step_by_step_with_one_device(devices):
    for one, many in zip(losses(1), losses(devices), strict=True):
        for name, value in one.items():
            np.testing.assert_allclose(value, many[name], rtol=2e-4, err_msg=name)
