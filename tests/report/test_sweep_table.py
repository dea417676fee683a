"""The table of a sweep says what was chosen, what could as well have been, and what failed."""

import dataclasses
import json
from pathlib import Path

from rmdnet_jax.report import sweep_table
from rmdnet_jax.report.sweep_table import Row

ROWS = [
    Row({"rgrl.k": 0.1}, "w/a", 0.40, 0.02, 0.61, "true", None, False),
    Row({"rgrl.k": 1.0}, "w/b", 0.50, 0.02, 0.72, "true", None, True),
    Row({"rgrl.k": 3.0}, "w/c", 0.49, 0.02, None, None, None, False),
    Row({"rgrl.k": 9.0}, "w/d", None, None, None, None, "not finite", False),
    Row({"rgrl.k": 99.0}, "w/e", None, None, None, None, None, False),
]
COMMAND = "python launch.py --config.rgrl.k=1.0"


def results(test_labels):
    return {"test_accuracy": 0.75, "test_labels": test_labels}


def test_a_row_a_trial():
    assert sweep_table.table(ROWS).splitlines()[2:] == [
        "| 0.1 | 40.0% ± 2.0% | 61.0% |  |",
        "| 1.0 | 50.0% ± 2.0% | 72.0% | **chosen** |",
        "| 3.0 | 49.0% ± 2.0% | - | within one standard error |",
        "| 9.0 | - | - | diverged |",
        "| 99.0 | - | - |  |",
    ]


def test_the_files(tmp_path):
    sweep_table.write(tmp_path, ROWS, COMMAND)
    record = json.loads((tmp_path / "sweep.json").read_text())
    assert record["trials"] == [dataclasses.asdict(row) for row in ROWS]
    assert record["chosen"] == {"rgrl.k": 1.0}
    assert record["command"] == COMMAND
    written = (tmp_path / "sweep.md").read_text()
    assert sweep_table.table(ROWS) in written
    assert COMMAND in written


def test_nothing_is_chosen_before_all_are_done(tmp_path):
    undecided = [dataclasses.replace(row, is_chosen=False) for row in ROWS]
    sweep_table.write(tmp_path, undecided, None)
    assert json.loads((tmp_path / "sweep.json").read_text())["chosen"] is None
    assert "within one standard error" not in sweep_table.table(undecided)


def test_labels_that_nobody_vouches_for_are_agreed_with(tmp_path):
    given = [dataclasses.replace(row, test_labels=row.test_labels and "given") for row in ROWS]
    sweep_table.write(tmp_path, given, COMMAND)
    told = sweep_table.closing(given, results("given"), Path("w"), COMMAND)
    for text in (told, (tmp_path / "sweep.md").read_text()):
        assert "agreement with the given test labels" in text
        assert "test accuracy" not in text
    assert "w/chosen: agreement with the given test labels 75.0%" in told


def test_no_name_steers_the_terminal_or_keeps_the_table_from_being_written(tmp_path):
    rows = [dataclasses.replace(row, values={"teacher.path": "\x1b[2J\udce9"}) for row in ROWS]
    command = "python launch.py --workdir=\udce9"
    sweep_table.write(tmp_path, rows, command)
    told = sweep_table.closing(rows, results("true"), Path("\udce9"), command)
    for text in (told, (tmp_path / "sweep.md").read_text()):
        assert r"\x1b[2J\xe9" in text
        assert r"--workdir=\xe9" in text
    assert r"\xe9/chosen: test" in told
    told.encode()  # can be printed


def test_the_terminal_says_the_choice_and_how_to_run_it():
    told = sweep_table.closing(ROWS, results("true"), Path("w"), COMMAND)
    assert "chosen   rgrl.k = 1.0" in told
    assert "w/chosen: test accuracy 75.0%" in told
    assert told.endswith(COMMAND)
    assert "which diverged" in sweep_table.closing(ROWS, None, Path("w"), COMMAND)
