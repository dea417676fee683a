"""The README's commands and code do what it says."""

import importlib
import re
import shlex
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rmdnet_jax import sweep

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
DOCUMENTS = [README, (ROOT / "RESULTS.md").read_text()]
DOCUMENTS += [path.read_text() for path in sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = sorted(
    {
        command.partition("  #")[0].strip()
        for document in DOCUMENTS
        for block in re.findall(r"```bash\n(.*?)```", document, re.DOTALL)
        for command in re.findall(
            r"python launch\.py [^'\n]*", block
        )  # also inside of ssh's quotes
    }
)


def flags_of(command):
    """Values by flag, those of several --sweep after one another."""
    flags = {}
    for word in shlex.split(command)[2:]:
        name, _, value = word.lstrip("-").partition("=")
        flags[name] = [*flags.get(name, []), value] if name == "sweep" else value
    return flags


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_name_configs_and_fields_that_there_are(command, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    flags = flags_of(command)
    file, _, loss = flags["config"].partition(":")
    assert (ROOT / file).is_file()
    module = importlib.import_module(file[:-3].replace("/", "."))
    fields = module.get_config(*filter(None, [loss]))
    swept = flags.pop("sweep", [])
    if swept:
        sweep.parse(fields, swept)
    for flag in flags.keys() - {"config", "workdir", "distributed"}:
        value = fields
        for name in flag.removeprefix("config.").split("."):
            assert name in value, flag
            value = value[name]


def test_no_two_documented_experiments_share_a_workdir():
    experiments = {}
    for command in COMMANDS:
        flags = flags_of(command)
        if "paper_tables" in flags["config"]:  # a folder takes any part of any table
            continue
        default = "runs/" + Path(flags["config"]).name.replace(".py", "").replace(":", "-")
        workdir = flags.pop("workdir", default)
        assert experiments.setdefault(workdir, flags) == flags, workdir


def test_make_targets_are_there():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert f"\n{target}:" in makefile


def test_losses_and_noises_are_those_there_are():
    from rmdnet_jax.data import noise
    from rmdnet_jax.losses import robust

    for name in (*robust.LOSSES, *noise.KINDS):
        assert re.search(rf"\b{name}\b", README), name


def test_pictures_and_pages_are_there():
    for path in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / path).is_file(), path


def test_the_ten_lines_in_somebody_elses_loop_train():
    import flax.linen as nn

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            embedding = nn.Dense(8)(x.reshape(len(x), -1))
            return nn.Dense(3)(nn.relu(embedding)), embedding

    student = teacher = Net()
    images = jax.random.normal(jax.random.key(0), (12, 4, 4, 3))
    labels = jnp.arange(12) % 3
    teacher_params, params = (
        teacher.init(jax.random.key(seed), images)["params"] for seed in (1, 2)
    )
    optimizer = optax.sgd(0.05)
    scope = {
        "student": student,
        "teacher": teacher,
        "teacher_params": teacher_params,
        "optimizer": optimizer,
        "K": 0.1,
    }
    (code,) = (block for kind, block in BLOCKS if kind == "python")
    exec(code, scope)
    opt_state, losses = optimizer.init(params), []
    for _ in range(20):
        params, opt_state, loss = scope["train_step"](params, opt_state, images, labels)
        losses.append(float(loss))
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
