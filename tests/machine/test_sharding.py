"""Eight devices run the same program as one and give the same numbers."""

import functools
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rmdnet_jax.training.logging import RunLog

ROOT = Path(__file__).resolve().parents[2]

# Three epochs of one step (DivideMix, GSS-SSL and MODUL: two) of the methods argv[3:], of which
# RMDNet, under a teacher, is resumed after the first, on as many CPU devices as argv[1] says, into
# the folder argv[2].
PROGRAM = """
import sys
from pathlib import Path
import jax
from rmdnet_jax.machine import cpu
cpu.be_patient()
jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))
import flax.linen as nn, jax.numpy as jnp, numpy as np, optax
from rmdnet_jax.losses import robust
from rmdnet_jax.methods.coteaching import CoTeaching
from rmdnet_jax.methods.dividemix import DivideMix
from rmdnet_jax.methods.elr import ELR
from rmdnet_jax.methods.elr_plus import ELRPlus
from rmdnet_jax.methods.gss import GSS
from rmdnet_jax.methods.interface import Guide, Task
from rmdnet_jax.methods.jocor import JoCoR
from rmdnet_jax.methods.learner import Learner
from rmdnet_jax.methods.modul import Modul
from rmdnet_jax.methods.network import Classifier
from rmdnet_jax.methods.rgrl import Relation
from rmdnet_jax.methods.robust import Robust
from rmdnet_jax.models.heads import Linear
from rmdnet_jax.models.resnet import batch_norm
from rmdnet_jax.teachers.classifier import ClassifierNetwork
from rmdnet_jax.teachers.network import NetworkTeacher
from rmdnet_jax.training.checkpoints import Checkpoints, NoCheckpoints
from rmdnet_jax.training.fit import fit
from rmdnet_jax.training.logging import RunLog

class Backbone(nn.Module):
    embedding_size = 16

    @nn.compact
    def __call__(self, x, train):
        x = nn.relu(batch_norm(train, jnp.float32)(nn.Conv(16, (3, 3), 2)(x)))
        return x.mean(axis=(1, 2))

half = np.full(3, 0.5, np.float32)
network = Classifier(Backbone(), Linear(10), half, half)
rng = np.random.default_rng(0)
images = rng.integers(0, 256, (16, 8, 8, 3), np.uint8)
labels = rng.integers(0, 10, 16).astype(np.int32)
example = jnp.asarray(images[:1])
given = jax.device_get(jax.jit(network.init)(jax.random.key(9), example))
frozen = [{"backbone": tree["backbone"]} for tree in (given.params, given.batch_stats)]
relation = Relation(NetworkTeacher({"backbone": network.backbone}, 16, *frozen), 16)
alone = Learner(network, optax.sgd(0.05, 0.9), robust.get("gce"), pad=1)
guided = Learner(network, optax.sgd(0.05, 0.9), robust.get("gce"), relation=relation, pad=1)
classifier = ClassifierNetwork(network, (given,), (8, 8, 3), half, half)
taught = Learner(network, optax.sgd(0.05, 0.9), robust.get("gce"), pad=1,
                 guide=Guide(classifier, *classifier.asked(images)))
folder = Path(sys.argv[2])
log = RunLog(folder, tensorboard=False)
methods = {"robust": Robust(guided), "elr": ELR(guided), "coteaching": CoTeaching(alone, 0.4, 2),
           "gss": GSS(alone, branches="double"), "jocor": JoCoR(alone, 0.4, 2),
           "dividemix": DivideMix(alone, warmup=1, lambda_u=25.0), "elr_plus": ELRPlus(alone),
           "gss_ssl": GSS.of(alone, branches="ssl", warmup=1, lambda_u=25.0),
           "modul": Modul(taught, division="teacher")}
for name in sys.argv[3:]:
    method, resumed = methods[name], name == "robust"
    for epochs in (1, 3) if resumed else (3,):
        task = Task(labels, 10, 8 if name in ("dividemix", "gss_ssl", "modul") else 16, epochs)
        _, look = fit(
            method, method.init(jax.random.key(0), example, task), images, task,
            key=jax.random.key(1), log=log.stage(name),
            checkpoints=Checkpoints(folder / name) if resumed else NoCheckpoints(),
            evaluate=lambda *_: {}, learning_rate=lambda _: 0.1)
    np.save(folder / f"{name}.npy", look.remembered())
"""
TIMES = {"stage", "epoch", "time", "seconds", "images_per_second"}


def run(program, devices, folder, *more, timeout=None):
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", program, str(devices), str(folder), *more],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        check=False,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr


# What a step of each method tells of, beside its loss and accuracy.
PARTS = {
    "robust": {"robust_loss", "node_loss", "edge_loss"},
    "elr": {"robust_loss", "early_learning", "node_loss", "edge_loss"},
    "coteaching": {"robust_loss", "kept"},
    "gss": {"robust_loss", "drawn_is_given", "pool_of_given"},
    "jocor": {"robust_loss", "disagreement", "kept"},
    "dividemix": {"labelled_loss", "unlabelled_loss", "prior_penalty", "labelled"},
    "elr_plus": {"robust_loss", "early_learning"},
    "gss_ssl": {
        "labelled_loss", "unlabelled_loss", "prior_penalty", "labelled", "pool_of_given",
    },
    "modul": {
        "label_loss", "distilled_loss", "category_loss", "instance_loss", "rotation_loss",
        "refined_accuracy",
    },
}  # fmt: skip
# Made of what others have: GSS's arrays of all samples and the relation term, Co-teaching's
# selection, ELR's targets and DivideMix's mixup, GSS's pools and DivideMix's step, DivideMix's
# parts of a batch and the relation term's products.
COMPOSED = ("elr", "jocor", "elr_plus", "gss_ssl", "modul")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folders of what one device and what eight have trained, of some methods."""

    @functools.cache
    def train(names):
        made = [tmp_path_factory.mktemp(f"on{devices}") for devices in (1, 8)]
        for devices, folder in zip((1, 8), made, strict=True):
            run(PROGRAM, devices, folder, *names)
        return made

    return train


@pytest.mark.parametrize(
    "method",
    [pytest.param(name, marks=pytest.mark.slow) if name in COMPOSED else name for name in PARTS],
)
def test_losses_agree_step_by_step_with_one_device(trained, method):
    together = method in COMPOSED
    folders = trained(tuple(name for name in PARTS if (name in COMPOSED) == together))
    one_device, many_devices = (
        RunLog(folder, tensorboard=False).history(method) for folder in folders
    )
    assert len(one_device) == 3
    for one, many in zip(one_device, many_devices, strict=True):
        assert set(one) - TIMES == PARTS[method] | {"loss", "train_accuracy"}
        for name in set(one) - TIMES:
            np.testing.assert_allclose(one[name], many[name], rtol=2e-4, err_msg=name)
    # What was remembered of every image.
    one, many = (np.load(folder / f"{method}.npy") for folder in folders)
    np.testing.assert_allclose(one.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(one, many, rtol=2e-4, atol=1e-6)


# Compiles the loop's step of each method for 8 devices, and writes what goes between them: lines of
# "method operation shapes".
COLLECTIVES = """
import functools, re, sys
from pathlib import Path
import jax
from rmdnet_jax.machine import cpu, sharding
cpu.be_patient()
jax.config.update("jax_num_cpu_devices", 8)
import jax.numpy as jnp, numpy as np, optax
from rmdnet_jax.losses import robust
from rmdnet_jax.methods import samples
from rmdnet_jax.methods.interface import Batch, Task
from rmdnet_jax.methods.learner import Learner
from rmdnet_jax.methods.network import Classifier
from rmdnet_jax.methods.rgrl import Relation
from rmdnet_jax.methods.robust import Robust
from rmdnet_jax.methods.simsiam import SimSiam
from rmdnet_jax.models.heads import Linear, Predictor, Projector
from rmdnet_jax.models.resnet import ResNet
from rmdnet_jax.teachers.network import NetworkTeacher
from rmdnet_jax.training import chunks

mesh, half = sharding.mesh(), np.full(3, 0.5, np.float32)
index = np.arange(16, dtype=np.int32)
task, example = Task(index % 10, 10, 16, 1), jnp.zeros((1, 16, 16, 3), jnp.uint8)
heads = Projector(128), Predictor(32, 128)
simsiam = SimSiam(ResNet(16, blocks=(1,)), *heads, optax.sgd(0.05, 0.9), half, half)
learnt = simsiam.init(jax.random.key(9), example, task)
frozen = [{"backbone": tree["backbone"]} for tree in (learnt.params, learnt.batch_stats)]
teacher = NetworkTeacher({"backbone": simsiam.backbone}, 16, *jax.device_get(frozen))
network = Classifier(ResNet(16, blocks=(1,)), Linear(10), half, half)
robust = Robust(Learner(network, optax.sgd(0.05, 0.9), robust.get("ce"), "ce",
                        Relation(teacher, 16)))
batch = sharding.split(Batch(np.zeros((16, 16, 16, 3), np.uint8), task.given, index), mesh)
lines = []
with jax.set_mesh(mesh):
    for name, method in {"robust": robust, "simsiam": simsiam}.items():
        state = method.init(jax.random.key(0), example, task)
        of_images = (16, 16, 3), np.uint8, 16
        _, metrics, said = chunks.first_step(method.step, method.frozen, state, *of_images)
        memory = {} if said is None else samples.empty(16, 10)
        sums = {name: np.float32(0) for name in metrics} | {chunks.BAD: chunks.NEVER}
        carry = chunks.Carried(state, memory), sums, np.int32(0)
        carry, key, frozen = sharding.replicate((carry, jax.random.key(1), method.frozen), mesh)
        step = jax.jit(functools.partial(chunks._step, chunks.traced(method)))
        text = step.lower(carry, batch, key, frozen).compile().as_text()
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
    # The teacher's and the student's embeddings, 16 images of 16 features; the gradient of the
    # logits, which is smaller than the classifier's gradient; what is remembered, and of which.
    gathered = sorted(itertools.chain(*moved("robust", "all-gather")))
    assert gathered == ["f32[16,10]", "f32[16,10]", "f32[16,16]", "f32[16,16]", "s32[16]"]
    assert moved("simsiam", "all-gather") == []
    for method in ("robust", "simsiam"):
        # All kernels' gradients in one reduction and what is known last in one more; SimSiam's
        # two passes in two each.
        gradients = [r for r in moved(method, "all-reduce") if any("[3,3," in s for s in r)]
        assert len(gradients) <= (4 if method == "simsiam" else 2)
        # Everything else is a vector of channels or a scalar.
        for shapes in moved(method, "all-reduce"):
            if shapes not in gradients:
                assert all("," not in shape for shape in shapes), (method, shapes)


# Many steps of next to no work, on two devices of one CPU: XLA lets 32 programs wait for a device.
QUICK = """
import sys
import jax
jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))
import jax.numpy as jnp, numpy as np
from rmdnet_jax.methods.interface import Method, State, Task
from rmdnet_jax.training.checkpoints import NoCheckpoints
from rmdnet_jax.training.fit import fit
from rmdnet_jax.training.logging import RunLog

class Quick(Method):
    title, network = "quick", None
    def step(self, state, batch, key, frozen):
        x = batch.image.reshape(len(batch.image), -1).astype(jnp.float32) / 255
        def loss(w):
            logits = x @ w["w"]
            p = jax.nn.softmax(logits)
            return -jnp.log(p[jnp.arange(len(x)), batch.label]).mean(), p
        (value, said), slope = jax.value_and_grad(loss, has_aux=True)(state.params)
        params = jax.tree.map(lambda a, b: a - 0.1 * b, state.params, slope)
        return state.replace(params=params), {"loss": value}, said

rng = np.random.default_rng(0)
images = rng.integers(0, 256, (1000, 8, 8, 3), np.uint8)
task = Task(rng.integers(0, 10, 1000).astype(np.int32), 10, 8, 8)
fit(Quick(), State({"w": jnp.zeros((192, 10))}, {}, {}), images, task, key=jax.random.key(0),
    checkpoints=NoCheckpoints(), log=RunLog(None).stage("s"), evaluate=lambda *_: {},
    learning_rate=lambda _: 0.1)
"""


def test_devices_of_a_cpu_do_not_wait_for_one_another_for_ever(tmp_path):
    """With 125 steps in flight, a chunk of such images, they did, in three runs of three."""
    run(QUICK, 2, tmp_path, timeout=120)
