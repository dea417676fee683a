"""A grid does every cell once, whoever does it, and goes on where it was."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from rmdnet_jax.base.errors import CollapsedError, DivergedError, InputError
from rmdnet_jax.config import default
from rmdnet_jax.runs import grid, single, workdirs
from rmdnet_jax.runs.grid import Cell


def finish(workdir):
    (workdir / "results.json").write_text("{}")
    (workdir / "report.html").touch()


@pytest.fixture
def ran(monkeypatch):
    """Names of the workdirs that were run, in order; "bad" diverges, "flat" collapses."""
    names = []

    def run(config, workdir, command):
        names.append(workdir.name)
        with workdirs.claim(workdir, config.to_dict()):
            if workdir.name == "bad":
                raise DivergedError("the loss is not finite in epoch 1, step 2")
            if workdir.name == "flat":
                raise CollapsedError("the teacher has collapsed in epoch 2")
            finish(workdir)

    monkeypatch.setattr(single, "run", run)
    monkeypatch.setattr(grid, "_POLL", 0.01)
    return names


def config(**fields):
    changed = default()
    changed.update_from_flattened_dict(fields)
    return changed


def alone(name, folder):
    return Cell(name, config(**{"teacher.kind": "none"}), folder / name)


def test_every_cell_is_run_once_and_finished_ones_not_again(tmp_path, ran):
    cells = [alone(name, tmp_path) for name in "ab"]
    assert [cell.name for cell in grid.run(cells[:1], "")] == ["a"]
    assert [cell.name for cell in grid.run(cells, "")] == ["b"]
    assert list(grid.run(cells, "")) == []
    assert ran == ["a", "b"]


@pytest.mark.parametrize("stage", ["the cell's", "its teacher's"])
def test_a_cell_killed_before_its_page_is_written_is_run_again(tmp_path, ran, stage):
    cell = Cell("a", config(), tmp_path / "a")
    (cell,) = grid.with_teachers([cell], tmp_path, seed=0)
    list(grid.run([cell], ""))
    killed = cell if stage == "the cell's" else cell.teacher
    (killed.workdir / "report.html").unlink()  # results.json, written first, is there
    assert (killed.is_done(), killed.results()) == (False, None)
    assert list(grid.run([cell], "")) == [killed]
    assert killed.results() == {}


@pytest.mark.parametrize("name", ["results.json", "diverged.json"])
def test_a_damaged_file_of_a_cell_is_named(tmp_path, ran, name):
    cell = alone("bad" if name[0] == "d" else "a", tmp_path)
    list(grid.run([cell], ""))
    (cell.workdir / name).write_text("{")
    with pytest.raises(InputError, match=f"{name} is not JSON .*; remove it"):
        cell.is_done()


def test_a_finished_grid_loads_nothing(tmp_path, ran, monkeypatch):
    cells = [alone("a", tmp_path)]
    list(grid.run(cells, ""))
    monkeypatch.setattr(grid.preparation, "load", lambda _: pytest.fail("loaded"))
    grid.check(cells)


def test_what_diverged_is_recorded_and_the_rest_go_on(tmp_path, ran, capsys):
    cells = [alone(name, tmp_path) for name in ("bad", "good")]
    list(grid.run(cells, ""))
    assert cells[0].divergence() == "the loss is not finite in epoch 1, step 2"
    assert cells[0].results() is None
    assert "cell bad: the loss is not finite" in capsys.readouterr().err
    list(grid.run(cells, ""))
    assert ran == ["bad", "good"]


def test_a_teacher_comes_first_and_serves_all_that_can_share_it(tmp_path, ran):
    fields = [{}, {"rgrl.k": 2.0, "noise.rate": 0.2, "seed": 3, "dataset.validation_fraction": 0.1},
              {"rm.epochs": 7}, {"rgrl.k": 0.0}, {"teacher.kind": "random"}]  # fmt: skip
    cells = [Cell(str(i), config(**f), tmp_path / str(i)) for i, f in enumerate(fields)]
    cells = grid.with_teachers(cells, tmp_path / "teachers", seed=0)
    assert cells[0].teacher == cells[1].teacher
    assert cells[2].teacher.workdir != cells[0].teacher.workdir
    assert cells[2].teacher.config.rm.epochs == 7
    assert cells[3].teacher is cells[4].teacher is None
    assert cells[0].config.teacher.path == str(cells[0].teacher.workdir)
    first, other = cells[0].teacher.workdir.name, cells[2].teacher.workdir.name
    list(grid.run(cells, ""))
    assert ran == [first, "0", "1", other, "2", "3", "4"]


def test_the_teacher_of_corrected_labels_finds_the_labels_that_were_corrected(tmp_path):
    """Corrections name the labels that they were made for; the teacher's data needs these too."""
    fields = {"dataset.corrections": "c.csv", "noise.kind": "symmetric", "noise.rate": 0.3}
    cell = Cell("a", config(**fields), tmp_path / "a")
    (cell,) = grid.with_teachers([cell], tmp_path, seed=0)
    assert cell.teacher.config.noise == cell.config.noise
    assert cell.teacher.config.dataset.corrections == "c.csv"


def test_a_given_teacher_is_kept(tmp_path):
    cell = Cell("a", config(**{"teacher.path": "runs/teacher"}), tmp_path / "a")
    assert grid.with_teachers([cell], tmp_path, seed=0) == [cell]


def test_a_teacher_that_is_to_stop_when_it_collapses_stops_the_grid(tmp_path, ran):
    """And is no verdict on the cell: with rm.on_collapse=warn it may go on."""
    with pytest.raises(CollapsedError):
        list(grid.run([alone(name, tmp_path) for name in ("flat", "b")], ""))
    assert ran == ["flat"]
    assert not (tmp_path / "flat" / "diverged.json").exists()


def test_a_teacher_that_diverged_has_no_students(tmp_path, ran):
    cell = alone("student", tmp_path)
    bad = Cell("bad", config(**{"train.epochs": 0}), tmp_path / "bad")
    student = Cell("student", cell.config, cell.workdir, teacher=bad)
    list(grid.run([student], ""))
    assert ran == ["bad"]
    assert student.divergence().startswith("its teacher: the loss is not finite")


def test_progress_says_which_of_how_many_and_how_long_yet(tmp_path, ran, capsys):
    list(grid.run([alone(name, tmp_path) for name in "ab"], ""))
    told = capsys.readouterr().out
    assert "cell 1 of 2: a\n" in told
    assert "cell 2 of 2: b, about 0:00 left\n" in told


@pytest.mark.parametrize("fields", [{"model.width": 0}, {"train.batch_size": 2000}])
def test_a_cell_that_cannot_be_run_is_refused_before_any_is(tmp_path, fields):
    common = {"dataset.name": "digits", "teacher.kind": "none"}
    cells = [Cell(str(i), config(**common, **f), tmp_path / str(i))
             for i, f in enumerate([{}, fields])]  # fmt: skip
    with pytest.raises(InputError, match=next(iter(fields)).replace(".", r"\.")):
        grid.check(cells)
    assert not list(tmp_path.iterdir())


def test_a_finished_cell_of_another_config_is_refused(tmp_path, ran):
    list(grid.run([alone("a", tmp_path)], ""))
    other = Cell("a", config(**{"teacher.kind": "none", "train.lr": 0.5}), tmp_path / "a")
    with pytest.raises(InputError, match=r"train\.lr is 0\.001 there, 0\.5 here"):
        grid.check([other])


def test_a_cell_that_another_holds_is_done_by_it(tmp_path, ran):
    """A claim is a lock on an open file: to whom else has the file open, in this process or not, it
    is the same (test_workdirs.py has a process that holds one and is killed)."""
    cells = [alone(name, tmp_path) for name in "ab"]
    running = grid.run(cells, "")
    with workdirs.claim(tmp_path / "a", cells[0].config.to_dict()):
        assert next(running).name == "b"
        assert workdirs.is_held(tmp_path / "a")
        finish(tmp_path / "a")
    assert list(running) == []
    assert ran == ["b"]


def test_two_share_a_folder(tmp_path, monkeypatch):
    def run(config, workdir, command):
        with workdirs.claim(workdir, config.to_dict()):
            time.sleep(0.1)  # an experiment takes a moment
            finish(workdir)

    monkeypatch.setattr(single, "run", run)
    monkeypatch.setattr(grid, "_POLL", 0.05)
    cells = [Cell(name, config(), tmp_path / name) for name in "abcde"]
    cells = grid.with_teachers(cells, tmp_path, seed=0)
    both_begin = threading.Barrier(2)

    def begin(_):
        both_begin.wait()
        return [cell.name.partition(" ")[0] for cell in grid.run(cells, "")]

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(begin, range(2)))
    assert sorted(name for one in done for name in one) == [*"abcde", "teacher"]
    assert all(done)
