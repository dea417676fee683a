"""The commands, code, tables and links of the README and of docs/ do what they say."""

import importlib
import importlib.metadata
import re
import shlex
import tomllib
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rmdnet_jax
from configs import rgrl_cifar10, rgrl_cifar100
from rmdnet_jax.data import noise
from rmdnet_jax.losses import robust
from rmdnet_jax.runs import exporting, sweep

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
PAGES = [
    ROOT / "README.md",
    ROOT / "RESULTS.md",
    ROOT / "SECURITY.md",
    ROOT / "benchmarks" / "README.md",
]
PAGES += sorted((ROOT / "docs").glob("*.md"))
LINES = sorted(
    {
        line.partition("  #")[0].strip()
        for page in PAGES
        for block in re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL)
        for line in block.splitlines()
    }
)
LAUNCHES = sorted(
    {
        command.strip()
        for line in LINES
        for command in re.findall(r"python launch\.py [^'\n]*", line)  # also in ssh's quotes
    }
)
COMMANDS = [
    command
    for command in LAUNCHES
    if not any(flag in command for flag in ("--predict", "--export", "--apply"))
]
APPLIED = [command for command in LAUNCHES if "--apply" in command]


def flags_of(command):
    """Values by flag, those of several --sweep after one another."""
    flags = {}
    for word in shlex.split(command)[2:]:
        name, _, value = word.lstrip("-").partition("=")
        flags[name] = [*flags.get(name, []), value] if name == "sweep" else value
    return flags


@pytest.mark.parametrize("command", COMMANDS + APPLIED)
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
    for flag in flags.keys() - {"config", "workdir", "distributed", "apply", "out"}:
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


def test_what_is_predicted_with_is_left_by_a_documented_run():
    workdirs = {flags_of(command).get("workdir") for command in COMMANDS}
    predictions = [flags_of(command) for command in LAUNCHES if "--predict" in command]
    assert predictions
    for flags in predictions:
        assert flags.keys() == {"predict", "workdir"}
        assert flags["workdir"] in workdirs


def test_what_is_exported_is_of_a_documented_run_and_in_every_format():
    workdirs = {flags_of(command).get("workdir") for command in COMMANDS}
    found = [flags_of(command) for command in LAUNCHES if "--export" in command]
    assert {flags["export"] for flags in found} == exporting.FORMATS.keys()
    for flags in found:
        assert flags.keys() == {"export", "workdir", "out"}
        assert flags["workdir"] in workdirs
        assert Path(flags["out"]).suffix == exporting.FORMATS[flags["export"]]


@pytest.mark.parametrize("line", [line for line in LINES if "python launch.py" not in line])
def test_other_commands_name_what_there_is(line):
    words = shlex.split(line)
    if words[:2] == ["pip", "install"]:
        extras = importlib.metadata.metadata("jax").get_all("Provides-Extra")
        if found := re.fullmatch(r"jax\[(\w+)\]", words[2]):
            assert found[1] in extras
        elif found := re.fullmatch(r"\.\[(\w+)\]", words[2]):
            project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
            assert found[1] in project["optional-dependencies"]
        elif "torch" in words:  # what the export script says it needs
            script = (ROOT / "docs/export_encoder.py").read_text()
            assert all(word in script for word in words[2:])
        else:
            assert words[2:] == ["."] or (ROOT / words[3]).is_file()
    elif words[:3] == ["python", "-m", "pytest"]:
        assert (ROOT / words[-1]).is_file()
    elif words[0] == "python":
        script = (ROOT / words[1]).read_text()
        for word in words[2:]:
            flag = word.partition("=")[0]
            assert not flag.startswith("--") or f'"{flag}"' in script, flag
    elif words[0] == "gcloud":
        assert words[1:4] == ["compute", "tpus", "tpu-vm"]
        assert words[4] in ("create", "ssh", "scp", "delete")
        assert any(word.startswith("--zone=") for word in words)
    else:
        assert words[0] in ("make", "git")


def method_page():
    return (ROOT / "docs" / "method.md").read_text()


def test_make_targets_are_there():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert f"\n{target}:" in makefile


def test_losses_and_noises_are_those_there_are():
    for name in (*robust.LOSSES, *noise.KINDS):
        assert re.search(rf"\b{name}\b", README), name


def test_the_tables_of_losses_and_noises_say_what_the_code_does():
    def listed(values):
        return ", ".join(f"{name} {value:.4g}" for name, value in values.items())

    def with_k(recipe):
        return listed({"K" if name == "k" else name: value for name, value in recipe.items()})

    text = method_page()
    rows = re.findall(r"^\| `(\w+)`.*\|$", text, re.MULTILINE)
    assert sorted(rows) == sorted([*robust.LOSSES, *noise.KINDS, "human"])
    for name in robust.LOSSES:
        (row,) = re.findall(rf"^\| `{name}` \|.*$", text, re.MULTILINE)
        cells = [cell.strip() for cell in row.split("|")[3:-1]]
        recipes = (rgrl_cifar10.LOSSES[name], rgrl_cifar100.LOSSES[name])
        defaults = {part: field.default for part, field in robust.fields(name).items()}
        assert cells == [listed(defaults), *map(with_k, recipes)], name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pictures_and_pages_are_there(page):
    for path in re.findall(r"\]\((?!http)([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        target = (page.parent / path).resolve().relative_to(ROOT)
        assert (ROOT / target).is_file(), path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_python_blocks_import_is_there(page):
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        for module, name in re.findall(
            r"^from (rmdnet_jax[\w.]*) import (\w+)", block, re.MULTILINE
        ):
            assert hasattr(importlib.import_module(module), name), name


def test_every_test_that_the_security_page_names_is_there():
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "SECURITY.md").read_text())
    assert len(named) > 10
    for file, test in named:
        assert f"\ndef {test}(" in (ROOT / file).read_text(), f"{file}::{test}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_files_that_a_page_names_are_there(page):
    text = page.read_text()
    written = re.findall(r"Saved as\s+`([\w/]+\.py)`", text)  # by the reader
    for path in re.findall(r"`([a-z_]+/[\w/]+\.py)\b", text):
        if path not in written:
            assert any((root / path).is_file() for root in (ROOT / "rmdnet_jax", ROOT)), path


def test_functions_that_the_method_page_names_are_there():
    text = method_page()
    defined = "\n".join(path.read_text() for path in (ROOT / "rmdnet_jax").rglob("*.py"))
    for cell in re.findall(r"`\w+/\w+\.py`: (`[^|;]*`)", text):
        for name in re.findall(r"`(\w+)`", cell):
            assert f"def {name}(" in defined, name


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
    (code,) = (block for block in PYTHON if "def train_step" in block)
    exec(code, scope)
    opt_state, losses = optimizer.init(params), []
    for _ in range(20):
        params, opt_state, loss = scope["train_step"](params, opt_state, images, labels)
        losses.append(float(loss))
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


def test_the_lines_that_fit_a_model_of_ones_own_pictures(monkeypatch):
    trained = mock.create_autospec(rmdnet_jax.Model, instance=True)
    scope = {name: np.zeros((3, 8, 8, 3), np.uint8) for name in ("images", "new_images")}
    scope["labels"] = ["cat", "dog", "cat"]
    (code, later) = (block for block in PYTHON if "rmdnet_jax." in block and "model" in block)
    # What fit and a model take and do is tested beside them; here, that the lines call them so.
    fit = mock.create_autospec(rmdnet_jax.fit, return_value=trained)
    load = mock.create_autospec(rmdnet_jax.Model.load, return_value=trained)
    monkeypatch.setattr(rmdnet_jax, "fit", fit)
    monkeypatch.setattr(rmdnet_jax.Model, "load", load)
    exec(code + later, scope)
    fit.assert_called_once()
    load.assert_called_once_with(*trained.save.call_args.args)
