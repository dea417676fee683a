"""What is wrong with a command, or with where it runs, ends with exit status 2 and one line."""

import shlex
import subprocess

import pytest
from command import TINY, arguments, environment, launch, run_here, write_npz

from rmdnet_jax.config import checking
from rmdnet_jax.config.fields import all_fields

# What is wrong with the command -> (config, flags, what the line must say).
COMMANDS = {
    "mistyped field": ("rgrl_cifar10.py", ["--config.train.epoch=3"], "epochs"),
    "a field's old name": (
        "rgrl_cifar10.py", ["--config.rgrl.epochs=3"], "it is now called train.epochs"
    ),
    "a group's old name": (
        "rgrl_cifar10.py", ["--config.rgrl.loss.name=gce"], "it is now called loss.name"
    ),
    "no such group": ("rgrl_cifar10.py", ["--config.student.k=3"], "student"),
    "rate is no number": ("rgrl_cifar10.py", ["--config.noise.rate=much"], "noise.rate"),
    "a dash in a field": ("demo.py", ["--config.train.batch-size=8"], "'train.batch_size'"),
    "stray argument": ("rgrl_cifar10.py", ["rgrl.k=3"], "unexpected argument"),
    "unknown flag": ("rgrl_cifar10.py", ["--wrkdir=x"], "workdir"),
    "a field without its group": ("demo.py", ["--config.lr=0.1"], "'lr'; did you mean 'train.lr'?"),
    "a field in capitals": ("demo.py", ["--config.K=1"], "'K'; did you mean 'rgrl.k'?"),
    "a parameter of one's own method": (
        "demo.py", ["--config.bootstrapping.given=0.4"], "are the defaults of its class"
    ),
    "a loss's parameter": ("demo.py", ["--config.loss.t=2.5"], "a whole number from 1 to 10,000"),
    "a loss as a method": ("digits.py:ce", [], "'ce' is a loss, not a method; expected :robust"),
    "nothing after a colon": ("demo.py:elr", [], "demo.py takes nothing after a colon; expected"),
    "a sweep of what nothing reads": (
        "digits.py:elr", ["--sweep=rgrl.k=0,1"], "nothing reads it with config.teacher.kind"
    ),
    "no such config": ("rgrl_cifar01.py", [], "configs/rgrl_cifar10.py"),
    "no such loss": ("rgrl_cifar10.py:gec", [], "'gce'"),
    "a config to predict": ("rgrl_cifar10.py", ["--predict=."], "no --config"),
    "no such method": ("digits.py:erl", [], "did you mean 'elr'"),
    "a method that is not there": ("demo.py", ["--config.method.name=nowhere:M"], "'nowhere:M'"),
    "bad data": ("rgrl_cifar10.py", ["--config.dataset.path=nowhere.npz"], "nowhere.npz"),
    "a sweep of nothing": ("demo.py", ["--sweep=train.lr"], "has no values"),
    "nothing": (None, [], "no --config; give one of configs/"),
}  # fmt: skip


def test_the_hint_for_a_tables_field_is_one_of_the_table():
    refused = run_here("--config.losses.cifar10.gce.K=1", config="configs/paper_tables.py:table1")
    assert_refused(refused, "'losses.cifar10.gce.K'; did you mean 'losses.cifar10.gce.k'?")


def test_a_config_after_a_space_is_looked_for_too():
    refused = run_here("--config", "configs/rgrl_cifar01.py")
    assert refused.returncode == 2
    assert "no config file 'configs/rgrl_cifar01.py'" in refused.stderr


def test_a_config_of_the_program_is_found_from_any_folder(tmp_path):
    flags = [
        "--config=configs/demo.py",
        "--config.dataset.path=~/nowhere.npz",
        f"--workdir={tmp_path}",
    ]
    refused = run_here(*flags, config=None, cwd=tmp_path)
    assert_refused(refused, "nowhere.npz")


@pytest.mark.parametrize("field", ["teacher.path", "noise.map"])
def test_a_tilde_is_the_home_folder_in_every_path(field, tmp_path, monkeypatch):
    """What is there is found, and refused for what it is."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "here").write_text("x,y\n")
    kind = ["--config.noise.kind=asymmetric"] if field == "noise.map" else []
    refused = run_here(
        f"--config.{field}=~/here", *kind, f"--workdir={tmp_path / 'w'}", config="configs/demo.py"
    )
    assert refused.returncode == 2
    assert "no such file" not in refused.stderr
    assert "~" not in refused.stderr or field == "teacher.path"


def test_a_name_that_the_terminal_has_no_letters_for_is_shown_all_the_same(tmp_path):
    told = launch(
        f"--config.dataset.path={tmp_path / '猫'}", f"--workdir={tmp_path / 'w'}",
        config="configs/own_data.py", PYTHONIOENCODING="ascii",
    )  # fmt: skip
    assert_refused(told, "\\u732b")


@pytest.mark.parametrize("case", COMMANDS)
def test_a_bad_command_ends_with_status_2_and_one_line(case, tmp_path):
    config, flags, says = COMMANDS[case]
    workdir = tmp_path / "w"
    given = [*TINY, f"--workdir={workdir}", *flags] if config else []
    refused = run_here(*given, config=config and f"configs/{config}")
    assert_refused(refused, says)
    assert not workdir.exists()


def test_a_value_that_nothing_reads_is_told_if_the_command_sets_it(tmp_path):
    """The config file's own K, which nothing reads either, is not told."""
    bad = "--config.noise.field=x"  # so nothing is trained
    workdir = f"--workdir={tmp_path / 'w'}"
    silent, told = (
        run_here(*flags, bad, workdir, config="configs/digits.py:elr")
        for flags in ([], ["--config.rgrl.k=3"])
    )
    assert silent.stderr.startswith("error: noise.field")
    assert told.stderr == (
        "warning: nothing reads config.rgrl.k = 3.0 with config.teacher.kind = 'none'\n"
        + silent.stderr
    )


def test_so_does_the_command_itself(tmp_path):
    """The cases above are of launch.run; here, what is around it: a process and its exit status."""
    refused = launch(*TINY, f"--workdir={tmp_path / 'w'}", "--config.noise.rate=much")
    assert_refused(refused, "noise.rate")
    assert refused.stdout == ""
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("old", checking.RENAMED)
def test_a_field_of_an_older_version_is_refused_with_its_new_name(old):
    refused = run_here(f"--config.{old}=1")
    assert_refused(refused, f"no field {old!r}; it is now called {checking.RENAMED[old]}")


def assert_refused(ended, says):
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.startswith("error: ")
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert says in ended.stderr


@pytest.mark.parametrize("platform", ["cuda", pytest.param("abacus", marks=pytest.mark.slow)])
def test_an_accelerator_that_is_not_there_is_named_with_what_is(tmp_path, platform):
    npz = write_npz(tmp_path / "data.npz")
    refused = launch(*TINY, f"--config.dataset.path={npz}", f"--workdir={tmp_path / 'w'}",
                     JAX_PLATFORMS=platform)  # fmt: skip
    assert_refused(refused, f"JAX_PLATFORMS is {platform} and JAX finds no such devices here")
    assert "cpu" in refused.stderr
    assert not (tmp_path / "w").exists()


def test_a_workdir_without_a_model_predicts_nothing(tmp_path):
    refused = run_here(f"--predict={tmp_path}", f"--workdir={tmp_path}", config=None)
    assert_refused(refused, f"error: no model in {tmp_path}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flag", ["--help", "-h", "--helpfull"])
def test_help_lists_configs_and_every_field_with_its_range(flag):
    told = run_here(flag, "--config.whatever=1")
    assert told.returncode == 0
    for text in ("configs/demo.py", "Exit status"):
        assert text in told.stdout
    for name, field in all_fields().items():
        assert f"\n  {name} = " in told.stdout
        assert f"\n      {field.does}; {field.rule}\n" in told.stdout + "\n"


# What a config file holds -> what the line must say.
CONFIG_FILES = {
    "a mistake in Python": ("def get_config(:", "SyntaxError: invalid syntax"),
    "an error of its own": (
        "def get_config():\n    raise RuntimeError('a\\nb')",
        "RuntimeError: a b",
    ),
    "no config": ("x = 1", "has no get_config()"),
    "nothing returned": ("def get_config():\n    pass", "returns None"),
    "a value of another type": (
        "from rmdnet_jax.config import default\ndef get_config():\n    c = default()\n"
        "    c.train.lr = '0.1'\n    return c",
        "mine.py, line 4: config.train.lr is '0.1'; expected a number > 0",
    ),
    "another thing": ("def get_config():\n    return {'a': 1}", "the config has no field"),
}


@pytest.mark.parametrize("case", CONFIG_FILES)
def test_a_config_file_that_fails(case, tmp_path):
    text, says = CONFIG_FILES[case]
    (tmp_path / "mine.py").write_text(text)
    refused = run_here(f"--config={tmp_path / 'mine.py'}", config=None, cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].startswith("error: ")
    assert says in refused.stderr.splitlines()[-1]
    assert "Traceback" not in refused.stderr
    # Python itself may keep what it has compiled.
    assert {path.name for path in tmp_path.iterdir()} <= {"mine.py", "__pycache__"}


def test_a_folder_that_is_gone_is_no_obstacle_until_something_is_written_to_it(tmp_path):
    npz, gone = write_npz(tmp_path / "data.npz"), tmp_path / "gone"
    gone.mkdir()
    command = shlex.join(arguments(*TINY, f"--config.dataset.path={npz}", "--workdir=w"))
    refused = subprocess.run(
        ["bash", "-c", f"rmdir {gone}; exec {command}"],
        cwd=gone, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert_refused(refused, "cannot write the workdir w (w: No such file or directory)")
