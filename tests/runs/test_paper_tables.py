"""Every cell of every table is run once, as the paper has it, and stands beside its number."""

import functools
import importlib
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from rmdnet_jax.base.errors import DivergedError, InputError
from rmdnet_jax.config import checking
from rmdnet_jax.methods import registry as methods
from rmdnet_jax.methods.interface import Task
from rmdnet_jax.runs import grid, paper_tables, single, workdirs

ROOT = Path(__file__).resolve().parents[2]
PAPER = paper_tables.paper()
RMDNET = [f"table{number}" for number in range(1, 6)]
GSS = ["gss_table3", "gss_figure3", "gss_figure4"]
MODUL = ["modul_table1", "modul_table5"]
TABLES = RMDNET + GSS + MODUL
COMMAND = "python launch.py --config=configs/paper_tables.py:table1"


@pytest.fixture(autouse=True)
def configs_can_be_imported(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


def config(table="table1", **fields):
    made = importlib.import_module("configs.paper_tables").get_config(table)
    made.update_from_flattened_dict(fields)
    return made


def cells(made, folder=Path("w")):
    return paper_tables.cells(made, PAPER, folder)


def entries_of(table):
    return [entry for entry in PAPER if paper_tables.table_name(entry) == table]


@functools.cache
def cells_of(table, **fields):
    """Those of a config that a test does not change."""
    return cells(config(table, **fields))


def fields_of(table, name, **fields):
    """The fields of the method of a cell, given by its name without the seed."""
    found = {cell.name.removesuffix("-seed0"): cell.config for cell in cells_of(table, **fields)}
    return found[name][found[name].method.name]


@pytest.fixture
def ran(monkeypatch):
    """Workdirs that were run; accuracy is 0.5 + seed / 100. NCE+AGCE at K = 1 diverges."""
    names = []

    def run(config, workdir, command):
        names.append(workdir.name)
        with workdirs.claim(workdir, config.to_dict()):
            if config.loss.name == "nce_agce" and config.rgrl.k == 1:
                raise DivergedError("the loss is not finite")
            accuracy = 0.5 + config.seed / 100
            results = {"test_accuracy": accuracy, "best_test_accuracy": 0.75, "train_seconds": 9}
            (workdir / "results.json").write_text(json.dumps(results))
            (workdir / "report.html").touch()

    monkeypatch.setattr(single, "run", run)
    monkeypatch.setattr(grid, "check", lambda cells: None)
    return names


@pytest.mark.parametrize("table", TABLES)
def test_every_entry_of_a_table_is_a_cell_and_no_cell_is_there_twice(table):
    made = config(table, seeds="0,1")
    names = {paper_tables.setting(made, entry).name for entry in entries_of(table)}
    expected = {f"{name}-seed{seed}" for name in names for seed in (0, 1)}
    two_seeds = cells_of(table, seeds="0,1")
    assert sorted(cell.name for cell in two_seeds) == sorted(expected)
    for cell in two_seeds:
        checking.check(cell.config)


def test_there_are_as_many_cells_as_the_paper_has_different_ones():
    assert {table: len(cells_of(table)) for table in TABLES} == {
        "table1": 180, "table2": 16, "table3": 12, "table4": 18, "table5": 12,
        "gss_table3": 126, "gss_figure3": 9, "gss_figure4": 6,
        "modul_table1": 72, "modul_table5": 36,
    }  # fmt: skip
    # 16 of Table 2, 12 of Table 3 less the 2 of CE there, 18 of Table 4; Table 5 has no new.
    assert len({cell.name for table in RMDNET[1:] for cell in cells_of(table)}) == 44


def test_cells_are_what_their_entries_say():
    made = {cell.name: cell for cell in cells(config("table2", seeds="3"))}
    alone = made["cifar100-ce-alone-symmetric-0.2-seed3"]
    assert alone.teacher is None
    assert not checking.wants_teacher(alone.config)
    random = made["cifar100-ce-random-k5-symmetric-0.2-seed3"]
    assert (random.config.teacher.kind, random.config.rgrl.k) == ("random", 5.0)
    guided = made["cifar100-ce-simsiam-k1-symmetric-0.2-seed3"]
    for cell in (alone, random, guided):
        changed = cell.config
        assert (changed.dataset.name, changed.loss.name) == ("cifar100", "ce")
        assert (changed.noise.kind, changed.noise.rate) == ("symmetric", 0.2)
        assert (changed.seed, changed.noise.seed) == (3, 3)
        assert changed.train.lr == 0.01  # CIFAR-100's
        assert (changed.train.epochs, changed.model.width) == (240, 64)
    assert guided.teacher.config.seed == 0
    assert guided.teacher.config.rm.epochs == 1000


@pytest.mark.parametrize(
    ("table", "name", "fields"),
    [
        ("modul_table1", "modul-universal-0.25-0.75", {}),
        ("modul_table1", "vkd-universal-0.5-0.25", {"weight": 0.1}),
        ("modul_table1", "kd-universal-0.5-0.25", {"weight": 0.0}),
        ("modul_table5", "modul_no_mixup-universal-0.5-0.5", {"delta": 0.0}),
        ("modul_table5", "modul_no_category-universal-0.5-0.5", {"category": False}),
    ],
)
def test_moduls_cells_have_both_rates_and_a_trained_teacher(table, name, fields):
    found = {cell.name: cell for cell in cells(config(table))}
    cell = found[f"cifar10-{name}-seed0"]
    assert cell.teacher is None  # it is there before
    changed = cell.config
    assert changed.teacher.kind == "supervised"
    assert changed.teacher.path == "runs/modul_cifar10-teacher"
    rates = f"{changed.noise.rate:g}-{changed.noise.rho2:g}"
    assert name.endswith(f"universal-{rates}")
    assert fields.items() <= changed[changed.method.name].to_dict().items()
    assert changed.dataset.skip == 25_000


@pytest.mark.parametrize("scale", ["full", "small", "tiny"])
def test_modul_learns_no_image_of_its_teacher(scale):
    teacher = importlib.import_module("configs.modul_cifar10").get_config("teacher")
    for cell in cells(config("modul_table1", scale=scale)):
        assert cell.config.dataset.skip >= teacher.dataset.train_size > 0
    heading = paper_tables._heading(config("modul_table1", scale=scale))
    assert "after the first 25,000 images" in heading


def test_a_k_that_the_paper_does_not_print_is_the_recipes():
    made = config("table1", **{"losses.cifar10.gce.k": 0.3})
    (cell,) = (c for c in cells(made) if c.name == "cifar10-gce-simsiam-k0.3-pairflip-0.1-seed0")
    assert (cell.config.rgrl.k, cell.config.loss.q) == (0.3, 0.7)


@pytest.mark.parametrize("table", TABLES)
def test_one_teacher_a_data_set_whatever_the_loss_noise_and_seed(table):
    found = cells_of(table, seeds="0,1")
    teachers = {(c.config.dataset.name, c.teacher.workdir) for c in found if c.teacher}
    assert len(teachers) == len({name for name, _ in teachers})


def test_a_given_teacher_and_file_serve_the_cells_of_their_data_set():
    given = {"cifar10.teacher.path": "runs/teacher10", "cifar100.dataset.path": "c100.npz"}
    for cell in cells(config("table2", **given)):
        is_guided = cell.config.teacher.kind == "simsiam"
        if cell.config.dataset.name == "cifar10":
            assert cell.teacher is None
            assert cell.config.teacher.path == ("runs/teacher10" if is_guided else "")
        else:
            assert cell.config.dataset.path == "c100.npz"
            assert (cell.teacher is not None) == is_guided


@pytest.mark.parametrize(
    ("only", "count"),
    [
        ({"dataset": "cifar10", "loss": "ce,gce"}, 2 * 2 * 9),
        ({"noise": "symmetric", "rate": "0.4"}, 2 * 10),
        ({"k": "0", "rate": "0.1,0.2"}, 2 * 5 * 6),
        ({"k": "1", "dataset": "cifar10", "loss": "ce", "noise": "pairflip"}, 3),
        ({"method": "GCE+RMDNet,SCE", "rate": "0.4", "noise": "symmetric"}, 2 * 2),
    ],
)
def test_filters(only, count):
    found = cells(config(**{f"only.{field}": value for field, value in only.items()}))
    assert len(found) == count


WRONG = {
    ("table6", "scale", "full"): "config.table is 'table6'; expected one of table1",
    ("gss_table4", "scale", "full"): "table5, gss_table3, gss_figure3, gss_figure4",
    ("gss_figure4", "only.method", "GCE"): "gss_figure4 has GSS-SB, GSS-DB, GSS-SSL",
    ("gss_table3", "only.k", "1"): "config.only.k is '1'; gss_table3 has 0",
    ("table1", "scale", "huge"): "config.scale is 'huge'; expected one of full, small, tiny",
    ("table1", "only.loss", "mae"): "only.loss is 'mae'; table1 has ce, gce, sce",
    ("table2", "only.rate", "0.4"): "only.rate is '0.4'; table2 has 0.1, 0.2",
    ("table2", "only.rate", "high"): "expected numbers and commas",
    ("table2", "seeds", ""): "config.seeds is ''",
    ("table2", "seeds", "1,1"): "config.seeds is '1,1'",
    ("table2", "seeds", "one"): "expected numbers and commas",
    ("table2", "cifar10.dataset.path", "nowhere.npz"): "no file nowhere.npz",
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_is_refused_before_anything_is_written(case, tmp_path):
    table, field, value = case
    with pytest.raises(InputError) as error:
        paper_tables.run(config(table, **{field: value}), tmp_path / "w", COMMAND)
    assert WRONG[case] in str(error.value)
    assert not (tmp_path / "w").exists()


def test_a_value_of_the_users_that_the_scale_overrides_is_refused(tmp_path, ran):
    fields = {"scale": "tiny", "cifar10.train.lr": 0.1, "only.dataset": "cifar10", "only.k": "0"}
    says = (
        "config.cifar10.train.lr is 0.1, but config.scales.tiny.train.lr overrides it with 0.02; "
        "expected --config.scales.tiny.train.lr=0.1"
    )
    with pytest.raises(InputError, match=f"^{re.escape(says)}$"):
        paper_tables.run(config("table4", **fields), tmp_path / "w", COMMAND, fields)
    assert not (tmp_path / "w").exists()
    same = fields | {"scales.tiny.train.lr": 0.1}
    paper_tables.run(config("table4", **same), tmp_path / "w", COMMAND, same)
    full = fields | {"scale": "full"}
    paper_tables.run(config("table4", **full), tmp_path / "full", COMMAND, full)
    assert ran


def test_filters_that_leave_nothing_together_are_refused():
    with pytest.raises(InputError, match="no cell of table1 matches"):
        cells(config("table1", **{"only.k": "0.001", "only.loss": "ce"}))


@pytest.mark.parametrize("table", TABLES)
def test_every_number_of_the_paper_is_in_the_table(table, tmp_path, ran):
    written = paper_tables.write(config(table), PAPER, tmp_path)
    printed = [entry for entry in entries_of(table) if "accuracy" in entry]
    assert written.count("- · ") == len(printed)  # nothing has been run
    page = (tmp_path / f"{table}.html").read_text()
    for entry in printed:
        assert f"- · {entry['accuracy']:.2f}" in written
        assert f"- · {entry['accuracy']:.2f}" in page


def test_a_folder_is_filled_cell_by_cell_and_seed_by_seed(tmp_path, ran, capsys):
    only = {"only.dataset": "cifar10", "only.rate": "0.2", "only.noise": "symmetric"}
    paper_tables.run(config("table4", **only), tmp_path, COMMAND)
    assert len(ran) == 4
    paper_tables.run(config("table4", **only, seeds="1,2"), tmp_path, COMMAND)
    assert len(ran) == 4 + 6
    told = capsys.readouterr().out
    assert "| 51.00 ± 1.00 (75.00 ± 0.00) [3] · 91.07 |" in told
    assert "| CIFAR-10 | NCE_AGCE+RMDNet | 1 | diverged · 91.86 | - · 86.45 |" in told
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    # K = 0.001 is also the recipe of Table 1.
    assert {(line["table"], line["k"]) for line in lines} == {
        (table, k) for table in (1, 4, 5) for k in (0.0, 0.001)
    }
    assert len(lines) == 3 * 2 * 3
    assert lines[0] == {
        "table": 1, "dataset": "cifar10", "method": "NCE_AGCE", "noise": "symmetric", "rate": 0.2,
        "k": 0.0, "teacher": "none", "seed": 0, "accuracy": 0.5, "best": 0.75, "seconds": 9,
        "scale": "full",
    }  # fmt: skip


def test_a_folder_that_is_no_cell_is_passed_over(tmp_path, ran):
    only = {"only.dataset": "cifar10", "only.rate": "0.2", "only.k": "0"}
    paper_tables.run(config("table4", **only), tmp_path, COMMAND)
    before = (tmp_path / "results.jsonl").read_text()
    shutil.copytree(tmp_path / "cells" / ran[0], tmp_path / "cells" / f"{ran[0]}-old")
    paper_tables.run(config("table4", **only), tmp_path, COMMAND)
    assert (tmp_path / "results.jsonl").read_text() == before


def test_tables_share_the_cells_of_a_folder(tmp_path, ran):
    paper_tables.run(config("table4", **{"only.rate": "0.2", "only.k": "0"}), tmp_path, COMMAND)
    before = list(ran)
    paper_tables.run(
        config("table5", **{"only.dataset": "cifar10", "only.rate": "0.2", "only.k": "0"}),
        tmp_path, COMMAND,
    )  # fmt: skip
    assert ran == before
    assert "50.00 (75.00) [1] · 91.07" in (tmp_path / "table5.md").read_text()


@pytest.mark.parametrize(
    ("scale", "says"),
    [
        ("full", "FULL SCALE: all images, width 64, 240 epochs, teacher of 1,000 epochs"),
        ("small", "SMALL SCALE: 10,000 images, width 16, 40 epochs, teacher of 200 epochs: not "
                  "comparable to the paper's numbers"),
        ("tiny", "TINY SCALE: 2,000 images, width 4, 2 epochs, teacher of 2 epochs: not "
                 "comparable to the paper's numbers"),
    ],
)  # fmt: skip
def test_every_heading_says_the_scale(scale, says, tmp_path):
    text = paper_tables.write(config("table2", scale=scale), PAPER, tmp_path)
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings == [f"# Table 2 · {says} · last epoch (best epoch)"]
    page = (tmp_path / "table2.html").read_text().replace("&#39;", "'")
    assert page.count(says) == 3  # title, heading, the table's label
    for cell in cells(config("table2", scale=scale)):
        assert cell.config.model.width == {"full": 64, "small": 16, "tiny": 4}[scale]


def test_a_recipe_that_was_changed_is_not_called_the_papers(tmp_path):
    changed = config("table2", **{"cifar10.train.epochs": 100})
    text = paper_tables.write(changed, PAPER, tmp_path)
    assert "100 epochs, teacher of 1,000 epochs (cifar10); all images, width 64, 240" in text
    assert "not comparable" in text


def test_a_folder_is_bound_to_its_recipes(tmp_path, ran):
    only = {"only.dataset": "cifar10", "only.rate": "0.1", "only.k": "0"}
    paper_tables.run(config("table2", **only), tmp_path, COMMAND)
    for change in ({"scale": "small"}, {"cifar10.train.epochs": 7}):
        with pytest.raises(InputError, match="holds another experiment"):
            paper_tables.run(config("table2", **only, **change), tmp_path, COMMAND)
    assert len(ran) == 1


@pytest.mark.parametrize(
    "saved", [{"methods": None}, {"methods": {"cifar10": {}, "cifar100": {}}}], ids=["old", "new"]
)
def test_a_folder_from_before_there_were_methods_is_the_same(saved, tmp_path, ran):
    only = {"only.dataset": "cifar10", "only.rate": "0.1", "only.k": "0"}
    paper_tables.run(config("table2", **only), tmp_path, COMMAND)
    path = tmp_path / "config.json"
    kept = json.loads(path.read_text()) | saved
    path.write_text(json.dumps({name: part for name, part in kept.items() if part is not None}))
    paper_tables.run(config("table2", **only), tmp_path, COMMAND)
    assert len(ran) == 1


def test_a_folder_is_of_one_paper(tmp_path, ran):
    paper_tables.run(config("gss_figure4", **{"only.method": "GSS-SB"}), tmp_path, COMMAND)
    with pytest.raises(InputError, match="holds another experiment"):
        paper_tables.run(config("table2"), tmp_path, COMMAND)


@pytest.mark.parametrize("scale", ["full", "small", "tiny"])
@pytest.mark.parametrize("table", GSS)
def test_every_method_has_the_epochs_that_it_needs(table, scale):
    for cell in cells(config(table, scale=scale)):
        made, name = cell.config, cell.config.method.name
        checking.check(made)
        method = methods.build(name, None, checking.method_parameters(made, name))
        given = np.zeros(made.dataset.train_size or 50000, np.int32)
        method.check(Task(given, 10, made.train.batch_size, made.train.epochs))


def test_a_row_is_run_as_it_is_called():
    for entry in entries_of("gss_table3"):
        made = config("gss_table3")
        one = paper_tables.setting(made, entry)
        cell = paper_tables.experiment(made, one, seed=4)
        name, learner = cell.method.name, SimpleNamespace(loss_name=cell.loss.name)
        method = methods.build(name, learner, checking.method_parameters(cell, name))
        assert method.title == entry["method"]
        assert (cell.seed, cell.noise.seed, cell.teacher.kind) == (4, 4, "none")
        assert (cell.noise.kind, cell.noise.rate) == (entry["noise"], entry["rate"])
        assert (cell.train.batch_size, cell.train.epochs, cell.train.lr) == (128, 200, 0.02)


@pytest.mark.parametrize(
    ("cell", "field", "value"),
    [
        ("cifar10-dividemix-symmetric-0.2", "lambda_u", 0.0),
        ("cifar10-dividemix-symmetric-0.4", "lambda_u", 25.0),
        ("cifar10-gss_ssl-symmetric-0.4", "lambda_u", 25.0),
        ("cifar10-dividemix-asymmetric-0.2", "lambda_u", 0.0),
        ("cifar10-dividemix-asymmetric-0.2", "confidence", 1.0),
        ("cifar100-dividemix-symmetric-0.8", "lambda_u", 150.0),
        ("cifar10-elr_plus-asymmetric-0.4", "weight", 1.0),
        ("cifar10-jocor-symmetric-0.8", "weight", 0.65),
        ("cifar100-jocor-symmetric-0.8", "weight", 0.85),
        # Half of the classes of CIFAR-10 keep their labels.
        ("cifar10-co_teaching-asymmetric-0.4", "rate", 0.2),
        ("cifar100-co_teaching-asymmetric-0.4", "rate", 0.4),
        ("cifar10-jocor-symmetric-0.6", "rate", 0.6),
        ("cifar10-gss_db-symmetric-0.6", "branches", "double"),
        ("cifar10-gss_db-symmetric-0.6", "lambda1", 2.0),
    ],
)
def test_a_recipe_goes_with_the_data_and_the_noise(cell, field, value):
    assert fields_of("gss_table3", cell)[field] == value


def test_a_scale_and_the_command_have_the_last_word():
    name = "cifar10-dividemix-symmetric-0.2"
    assert fields_of("gss_table3", name, scale="tiny").warmup == 1
    given = {"methods.cifar10.dividemix.symmetric_20.lambda_u": 7.0}
    assert fields_of("gss_table3", name, **given).lambda_u == 7.0


def test_what_several_tables_have_is_run_once():
    usual = "cifar10-gss_sb-symmetric-0.4-seed0"  # lambda1 = 2, lambda2 = 1
    names = [[cell.name for cell in cells(config(table))] for table in GSS]
    assert [found.count(usual) for found in names] == [1, 1, 1]
    assert len(entries_of("gss_figure3")) == 10  # both of its curves go through that point


@pytest.mark.parametrize("usual", [2.0, 3.0])
def test_a_point_of_a_sweep_is_what_it_says_whatever_the_recipe(usual):
    made = config("gss_figure3", **{"methods.cifar10.gss_sb.lambda1": usual})
    for entry in entries_of("gss_figure3"):
        one = paper_tables.setting(made, entry)
        gss = paper_tables.experiment(made, one, seed=0).gss
        assert {"lambda1": gss.lambda1, "lambda2": gss.lambda2} == entry["parameters"]
        axis = entry["panel"].partition(",")[0]
        assert entry["x"] == entry["parameters"][axis]
    assert len(cells(made)) == 9


def test_a_figure_is_drawn_once_there_is_something_to_draw(tmp_path, ran):
    made = config("gss_figure3", **{"only.rate": "0.4"})
    empty = tmp_path / "empty"
    empty.mkdir()
    text = paper_tables.write(made, PAPER, empty)
    assert text.startswith("# GSS Figure 3 · FULL SCALE: all images, width 64, 200 epochs: not")
    assert not (empty / "gss_figure3.png").exists()
    assert "<img" not in (empty / "gss_figure3.html").read_text()
    tmp_path /= "w"
    paper_tables.run(made, tmp_path, COMMAND)
    text = (tmp_path / "gss_figure3.md").read_text()
    assert "(gss_figure3.png)" in text
    assert "| CIFAR-10 | GSS-SB | 0.5 | 1 | 50.00 (75.00) [1] |" in text
    assert (tmp_path / "gss_figure3.png").read_bytes().startswith(b"\x89PNG")
    assert 'src="data:image/png' in (tmp_path / "gss_figure3.html").read_text()
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    # The usual point is in the table, twice in this figure, and in the other.
    kinds = [paper_tables.table_name(line) for line in lines]
    assert [kinds.count(table) for table in GSS] == [1, 10, 1]
    assert {"panel", "x", "parameters"} <= lines[1].keys()
