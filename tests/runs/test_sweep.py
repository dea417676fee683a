"""A sweep tries every combination, chooses by held-out given labels and trains the chosen one."""

import json
import math
import re
import weakref

import pytest
from ml_collections import config_dict

from rmdnet_jax.base.errors import DivergedError, InputError
from rmdnet_jax.config import default
from rmdnet_jax.runs import grid, single, sweep, workdirs

COMMAND = "python launch.py --config=configs/demo.py --sweep=rgrl.k --workdir=w"


def config(**fields):
    changed = default()
    changed.dataset.name = "digits"
    changed.update_from_flattened_dict(fields)
    return changed


@pytest.fixture
def ran(monkeypatch):
    """The configs that were run, by workdir. Agreement is highest at K = 0.3, test accuracy at the
    smallest K; K = 100 diverges."""
    configs = {}

    def run(config, workdir, command):
        with workdirs.claim(workdir, config.to_dict()):
            assert workdir not in configs
            configs[workdir] = config
            k = config.rgrl.k
            if config.train.epochs and k >= 100:
                raise DivergedError("the loss is not finite")
            results = {"test_accuracy": 0.9 - 0.001 * k, "test_labels": "true"}
            if config.dataset.validation_fraction:
                agreement = 0.5 - 0.1 * abs(math.log10(k / 0.3)) if k else 0.1
                results |= {"validation_accuracy": agreement, "validation_size": 100}
            (workdir / "results.json").write_text(json.dumps(results))
            (workdir / "report.html").touch()

    monkeypatch.setattr(single, "run", run)
    monkeypatch.setattr(grid, "check", lambda cells: None)
    return configs


def test_fields_and_values():
    axes, is_fine = sweep.parse(config(), ["rgrl.k=0,0.1,1", "config.loss.name=ce,gce"])
    assert axes == {"rgrl.k": [0, 0.1, 1], "loss.name": ["ce", "gce"]}
    assert not is_fine
    assert len(sweep.combinations(axes)) == 6
    assert sweep.combinations(axes)[1] == {"rgrl.k": 0, "loss.name": "gce"}


def test_values_of_other_types():
    fields = [
        "rgrl.init_from_teacher=True,False",
        "train.lr_drops=(0.5,0.75),(0.9,)",
        "train.lr=1e-2",
    ]
    axes, _ = sweep.parse(config(), fields)
    assert [*axes.values()] == [[True, False], [(0.5, 0.75), (0.9,)], [0.01]]


def test_k_alone_is_decades_around_the_configs():
    axes, is_fine = sweep.parse(config(**{"rgrl.k": 0.2}), ["rgrl.k"])
    assert axes == {"rgrl.k": [0.002, 0.02, 0.2, 2.0, 20.0]}
    assert is_fine
    assert sweep.around({"rgrl.k": 0.2, "train.lr": 1.0}) == [
        {"rgrl.k": 0.0667, "train.lr": 1.0},
        {"rgrl.k": 0.6, "train.lr": 1.0},
    ]


# What is wrong with a sweep -> what the line must say.
WRONG = {
    "rgrl.kk=1": "did you mean 'rgrl.k'",
    "rgrl=1": "no such field",
    "train.lr": "--sweep=train.lr has no values",
    "rgrl.k=": "an empty value",
    "rgrl.k=1,,2": "an empty value",
    "rgrl.k=1,1": "names a value twice",
    "rgrl.k=much": "rgrl.k is 'much'; expected a number",
    "train.epochs=2.5": "train.epochs is 2.5; expected a whole number",
    "model.width=True,4": "model.width is True; expected a whole number",
    "train.lr_drops=('a','b')": "train.lr_drops is ('a', 'b'); expected increasing fractions",
    "train.epochs=0,2": "there is no student for a sweep to compare",
    "noise.rate=0.1,0.2": "the same images and labels",
    "dataset.validation_fraction=0.1,0.2": "the same images and labels",
    "seed=0,1": "the same images and labels",
    "method.baseline=robust": "other than method.baseline",
    "rgrl.k=1,-1": "config.rgrl.k is -1.0",
    "train.batch_size=32,4096": "only 1",
}


# A sweep of a field that no trial reads -> the config's fields, and the field that is the reason.
UNREAD = {
    "rgrl.k=0,1": ({"teacher.kind": "none"}, "teacher.kind = 'none'"),
    "rm.epochs=1,2": ({"teacher.kind": "random"}, "teacher.kind = 'random'"),
    "rgrl.alpha=0.5,1": ({"rgrl.k": 0.0}, "rgrl.k = 0.0"),
}


@pytest.mark.parametrize("text", UNREAD)
def test_a_sweep_of_a_field_that_nothing_reads_is_refused(text, tmp_path):
    fields, why = UNREAD[text]
    field = text.partition("=")[0]
    says = f"--sweep={field}: nothing reads it with config.{why}, so its trials would be identical"
    with pytest.raises(InputError, match=f"^{re.escape(says)}$"):
        sweep.run(config(**fields), [text], tmp_path / "w", COMMAND)
    assert not (tmp_path / "w").exists()


def test_what_the_user_set_and_no_trial_reads_is_told_once(tmp_path, ran, capsys):
    made = config(**{"rm.momentum": 0.5, "rgrl.alpha": 2.0, "teacher.kind": "random"})
    asked = ("rm.momentum", "rgrl.alpha", "teacher.kind")
    sweep.run(made, ["rgrl.k=0,0.3"], tmp_path, COMMAND, asked)  # alpha is read with K = 0.3
    assert capsys.readouterr().err == (
        "warning: nothing reads config.rm.momentum = 0.5 with config.teacher.kind = 'random'\n"
    )


def test_what_was_chosen_and_nothing_reads_is_not_told_nor_in_the_command(tmp_path, ran, capsys):
    made = config(**{"teacher.kind": "random"})
    with made.unlocked():
        made.rm.epochs, made.train.epochs = (config_dict.placeholder(int) for _ in range(2))
    sweep.run(made, ["rgrl.k=0.1,0.3"], tmp_path, COMMAND)
    told = capsys.readouterr()
    assert told.err == ""
    again = json.loads((tmp_path / "sweep.json").read_text())["command"]
    assert "--config.train.epochs=" in again
    assert "rm.epochs" not in again + told.out


@pytest.mark.parametrize("text", WRONG)
def test_a_sweep_that_cannot_be_is_refused_before_anything_starts(text, tmp_path):
    with pytest.raises(InputError) as error:
        sweep.run(config(), [text], tmp_path / "w", COMMAND)
    assert WRONG[text] in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "w").exists()


def test_wide_then_fine_then_the_chosen_on_all_images(tmp_path, ran, capsys):
    sweep.run(config(**{"method.baseline": "robust"}), ["rgrl.k"], tmp_path, COMMAND)
    tried = {path.name: c for path, c in ran.items() if path.parent.name == "trials"}
    ks = (0.01, 0.0333, 0.1, 0.3, 1.0, 10.0, 100.0)
    assert sorted(c.rgrl.k for c in tried.values()) == sorted(ks)
    assert all(
        c.dataset.validation_fraction == 0.1 and not c.method.baseline for c in tried.values()
    )
    (teacher,) = (path for path in ran if path.parent.name == "teachers")
    chosen = ran[tmp_path / "chosen"]
    assert (chosen.rgrl.k, chosen.dataset.validation_fraction, chosen.method.baseline) == (
        0.3,
        0.0,
        "robust",
    )
    assert {c.teacher.path for c in (chosen, *tried.values())} == {str(teacher)}

    record = json.loads((tmp_path / "sweep.json").read_text())
    assert record["chosen"] == {"rgrl.k": 0.3}
    by_k = {row["values"]["rgrl.k"]: row for row in record["trials"]}
    assert list(by_k) == list(ks)
    assert by_k[100.0]["diverged"] == "the loss is not finite"
    assert by_k[1.0]["standard_error"] == pytest.approx(0.05, abs=0.001)
    table = (tmp_path / "sweep.md").read_text()
    assert table.count("chosen**") == 1
    assert "| 0.3 | 50.0% ± 5.0% | 90.0% | **chosen** |" in table
    assert "| 0.1 | 45.2% ± 5.0% | 90.0% | within one standard error |" in table
    assert "| 100.0 | - | - | diverged |" in table
    told = capsys.readouterr().out
    assert "chosen   rgrl.k = 0.3" in told
    assert record["command"] in told


def test_what_a_config_leaves_open_goes_with_the_values_of_each_trial(tmp_path, ran, capsys):
    made = config(**{"method.baseline": "robust"})
    with made.unlocked():
        made.rgrl.k = config_dict.placeholder(float)
        made.rm.epochs = config_dict.placeholder(int)
    sweep.run(made, ["loss.name=gce,nce_agce"], tmp_path, COMMAND)
    tried = {c.loss.name: c for p, c in ran.items() if p.parent.name == "trials"}
    assert {name: c.rgrl.k for name, c in tried.items()} == {"gce": 0.2, "nce_agce": 0.001}
    (teacher,) = (path for path in ran if path.parent.name == "teachers")
    assert {c.teacher.path for c in tried.values()} == {str(teacher)}
    chosen = ran[tmp_path / "chosen"]
    assert (chosen.loss.name, chosen.rgrl.k, chosen.method.baseline) == ("gce", 0.2, "robust")
    told = capsys.readouterr().out
    assert "chosen   rgrl.k 0.2: for gce and 10 classes" in told
    assert "chosen   rgrl.k 0.001: for nce_agce and 10 classes" in told
    assert told.count("chosen   rm.epochs") == 1


def test_what_a_config_leaves_open_is_chosen_once_and_is_in_the_command(tmp_path, ran, capsys):
    made = config()
    with made.unlocked():
        made.rgrl.k = config_dict.placeholder(float)
    sweep.run(made, ["rgrl.k"], tmp_path, COMMAND)
    assert "chosen   rgrl.k 1.0: for ce and 10 classes" in capsys.readouterr().out
    assert ran[tmp_path / "trials/rgrl.k=100.0"].rgrl.k == 100
    assert "--config.rgrl.k=0.3" in json.loads((tmp_path / "sweep.json").read_text())["command"]


def test_no_trial_runs_beside_a_second_copy_of_the_data(tmp_path, ran, monkeypatch):
    found = []
    digits = sweep.preparation.sources.load_digits.__wrapped__  # read anew, as other data is
    monkeypatch.setattr(
        sweep.preparation.sources, "load_digits",
        lambda: (data := digits(), found.append(weakref.ref(data.train_images)))[0],
    )  # fmt: skip
    tried = grid.run

    def run(cells, command):
        assert [ref() for ref in found] == [None]
        return tried(cells, command)

    monkeypatch.setattr(grid, "run", run)
    sweep.run(config(), ["rgrl.k=0.1"], tmp_path, COMMAND)
    assert found


def test_a_second_start_runs_nothing_and_says_the_same(tmp_path, ran, capsys):
    sweep.run(config(), ["rgrl.k=0.1,1"], tmp_path, COMMAND)
    count, first = len(ran), capsys.readouterr().out.splitlines()[-1]
    sweep.run(config(), ["rgrl.k=0.1,1"], tmp_path, COMMAND)
    assert len(ran) == count
    assert capsys.readouterr().out.splitlines()[-1] == first


@pytest.mark.parametrize(
    ("fields", "swept", "says"), [({"train.lr": 0.1}, "1,10", r"train\.lr"), ({}, "1,9", "sweep")]
)
def test_a_workdir_belongs_to_one_sweep(tmp_path, ran, fields, swept, says):
    sweep.run(config(), ["rgrl.k=1,10"], tmp_path, COMMAND)
    with pytest.raises(InputError, match=rf"holds another experiment \({says}"):
        sweep.run(config(**fields), [f"rgrl.k={swept}"], tmp_path, COMMAND)


def test_where_every_trial_diverges_nothing_is_chosen(tmp_path, ran):
    with pytest.raises(DivergedError, match="every trial"):
        sweep.run(config(), ["rgrl.k=100,1000"], tmp_path, COMMAND)
    assert not (tmp_path / "chosen").exists()


def test_of_equals_the_first_is_chosen(tmp_path, ran):
    sweep.run(config(), ["rgrl.alpha=0.9,0.8,0.7"], tmp_path, COMMAND)
    assert json.loads((tmp_path / "sweep.json").read_text())["chosen"] == {"rgrl.alpha": 0.9}


@pytest.mark.parametrize("form", ["--sweep=rgrl.k", "--sweep rgrl.k"])
def test_the_command_of_a_cell_is_the_sweeps_without_the_sweep(tmp_path, form):
    cell = grid.Cell("a", config(**{"rgrl.k": 0.3}), tmp_path / "a")
    command = f"python launch.py --config=configs/demo.py {form} --config.rgrl.k=1 --workdir w"
    assert sweep.command_of(command, config(), cell) == (
        f"python launch.py --config=configs/demo.py --config.rgrl.k=0.3 --workdir={tmp_path / 'a'}"
    )


def test_a_swept_field_is_in_the_command_even_if_nothing_reads_it(tmp_path):
    made = config(**{"teacher.kind": "none"})
    with made.unlocked():
        made.rgrl.k = config_dict.placeholder(float)
    cell = grid.Cell("a", config(**{"teacher.kind": "none", "rgrl.k": 0.3}), tmp_path / "a")
    assert "rgrl.k" not in sweep.command_of(COMMAND, made, cell)
    assert "--config.rgrl.k=0.3" in sweep.command_of(COMMAND, made, cell, {"rgrl.k"})


# What a command says -> what is left of it where rgrl.init_from_teacher and seed are changed.
SPELLINGS = {
    "--config.rgrl.init_from_teacher --config.noise.seed=3": "--config.noise.seed=3",
    "--config.rgrl.init_from_teacher=True --config.noise.seed=3": "--config.noise.seed=3",
    "--noconfig.rgrl.init_from_teacher --config.noise.seed 3": "--config.noise.seed 3",
    "--config.tensorboard --config.seed 1": "--config.tensorboard",
    "--config.seed -1 --notensorboard": "--notensorboard",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_nothing_is_lost_of_the_command_of_a_cell(tmp_path, spelling):
    cell = grid.Cell("a", config(**{"rgrl.init_from_teacher": True, "seed": 7}), tmp_path / "a")
    again = sweep.command_of(f"python launch.py {spelling}", config(), cell)
    changed = f"--config.rgrl.init_from_teacher=True --config.seed=7 --workdir={tmp_path / 'a'}"
    assert again == " ".join(["python launch.py", SPELLINGS[spelling], changed])
