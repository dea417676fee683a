"""Ours stands beside the paper's, and what there is not is seen not to be there."""

import html.parser
import json

import pytest

from rmdnet_jax.report import tables
from rmdnet_jax.report.tables import Score

ROW, COLUMN = (("data set", "cifar10"), ("method", "CE")), "symmetric 0.4"


@pytest.mark.parametrize(
    ("last", "best", "diverged", "text"),
    [
        ((), (), 0, "-"),
        ((61.5,), (63.0,), 0, "61.50 (63.00) [1]"),
        ((61.0, 62.0, 63.0), (65.0,) * 3, 0, "62.00 ± 1.00 (65.00 ± 0.00) [3]"),
        ((), (), 2, "diverged"),
        ((61.0, 63.0), (61.0, 64.0), 1, "62.00 ± 1.41 (62.50 ± 2.12) [2, 1 diverged]"),
    ],
)
def test_an_entry(last, best, diverged, text):
    assert str(Score(ROW, COLUMN, last, best, diverged)) == text
    assert str(Score(ROW, COLUMN, last, best, diverged, 62.12)) == f"{text} · 62.12"
    assert str(Score(ROW, COLUMN, last, best, diverged, 62.12, 0.3)) == f"{text} · 62.12 ± 0.30"


def test_rows_and_columns_are_in_the_papers_order_and_gaps_stay_empty():
    heads = "data set", "method", "K"
    scores = [
        Score(tuple(zip(heads, row, strict=True)), column, (), (), 0, paper)
        for row, column, paper in (
            (("cifar100", "CE", "0"), "pairflip 0.2", 1.0),
            (("cifar10", "CE+RMDNet", "0.001"), "symmetric 0.1", 2.0),
        )
    ]
    header, rows = tables.layout(scores)
    assert header == ["data set", "method", "K", "pairflip 0.2", "symmetric 0.1"]
    assert rows == [
        ["CIFAR-100", "CE", "0", "- · 1.00", ""],
        ["CIFAR-10", "CE+RMDNet", "0.001", "", "- · 2.00"],
    ]


def test_the_files_of_a_table(tmp_path):
    score = Score(ROW, COLUMN, (61.5,), (63.0,), 0, 62.12)
    lines = [{"table": 1, "seed": 0}, {"table": 1, "seed": 1}]
    text = tables.write(tmp_path, "table1", "SMALL <SCALE>", "K is <no>thing.", [score], lines)
    assert (tmp_path / "table1.md").read_text() == text
    assert text.startswith("# Table 1 · SMALL <SCALE> · last epoch (best epoch)\n")
    assert f"\n{tables.LEGEND} K is <no>thing.\n" in text
    assert "| CIFAR-10 | CE | 61.50 (63.00) [1] · 62.12 |" in text
    read = (tmp_path / "results.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in read] == lines

    cells, tags, attributes = [], [], []
    parser = html.parser.HTMLParser()
    parser.handle_data = lambda data: cells.append(data.strip())
    parser.handle_starttag = lambda tag, attrs: (tags.append(tag), attributes.extend(attrs))
    parser.feed((tmp_path / "table1.html").read_text())
    title = "Table 1 · SMALL <SCALE> · last epoch (best epoch)"
    assert {title, "CIFAR-10", "61.50 (63.00) [1] · 62.12"} <= set(cells)
    assert not {"scale", "no", "img"} & set(tags)
    assert tags.count("td") == 3
    assert any((value or "").startswith("default-src 'none'") for _, value in attributes)


@pytest.mark.parametrize(
    ("name", "title"), [("table12", "Table 12"), ("gss_figure3", "GSS Figure 3")]
)
def test_what_a_table_is_called(name, title):
    assert tables.called(name) == title


@pytest.mark.usefixtures("fine_figures")
def test_a_figure_is_drawn_of_all_its_points_and_what_was_not_run_keeps_its_place(
    tmp_path, monkeypatch
):
    drawn = []
    monkeypatch.setattr(tables.figures, "points", lambda *given: drawn.append(given))
    scores = [
        Score(ROW, COLUMN, (61.5,), (63.0,), 0, panel="lambda1", x=0.0),
        Score(ROW, COLUMN, (), (), 0, panel="lambda1", x=1.0),
        Score(ROW, COLUMN, (), (), 1, panel="lambda2", x=0.0),
    ]
    assert tables._draw(tmp_path / "f.png", "Figure 1", scores[1:]) is None
    figure = tables._draw(tmp_path / "f.png", "Figure 1", scores)
    assert figure.path == tmp_path / "f.png"
    ((panels, title, measure, path),) = drawn
    assert panels == {
        "lambda1": [(0.0, (61.5,), (63.0,)), (1.0, (), ())],
        "lambda2": [(0.0, (), ())],
    }
    assert (title, measure, path) == ("Figure 1", "test accuracy", figure.path)
