"""Ours stands beside the paper's, and what there is not is seen not to be there."""

import html.parser
import json

import pytest

from rmdnet_jax.report import tables
from rmdnet_jax.report.tables import Score

ROW, COLUMN = ("cifar10", "CE", 0.0), ("symmetric", 0.4)


@pytest.mark.parametrize(
    ("ours", "diverged", "text"),
    [
        ((), 0, "- · 62.12"),
        ((61.5,), 0, "61.50 [1] · 62.12"),
        ((61.0, 62.0, 63.0), 0, "62.00 ± 1.00 [3] · 62.12"),
        ((), 2, "diverged · 62.12"),
        ((61.0, 63.0), 1, "62.00 ± 1.41 [2, 1 diverged] · 62.12"),
    ],
)
def test_an_entry(ours, diverged, text):
    assert str(Score(ROW, COLUMN, ours, diverged, 62.12)) == text


def test_rows_and_columns_are_in_the_papers_order_and_gaps_stay_empty():
    scores = [
        Score(("cifar100", "CE", 0.0), ("pairflip", 0.2), (), 0, 1.0),
        Score(("cifar10", "CE+RMDNet", 0.001), ("symmetric", 0.1), (), 0, 2.0),
    ]
    header, rows = tables.layout(scores)
    assert header == ["data set", "method", "K", "pairflip 0.2", "symmetric 0.1"]
    assert rows == [
        ["CIFAR-100", "CE", "0", "- · 1.00", ""],
        ["CIFAR-10", "CE+RMDNet", "0.001", "", "- · 2.00"],
    ]


def test_the_files_of_a_table(tmp_path):
    score = Score(ROW, COLUMN, (61.5,), 0, 62.12)
    lines = [{"table": 1, "seed": 0}, {"table": 1, "seed": 1}]
    text = tables.write(tmp_path, "table1", "SMALL <SCALE>", [score], lines)
    assert (tmp_path / "table1.md").read_text() == text
    assert text.startswith("# Table 1 · SMALL <SCALE>\n")
    assert "| CIFAR-10 | CE | 0 | 61.50 [1] · 62.12 |" in text
    read = (tmp_path / "results.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in read] == lines

    cells, tags, attributes = [], [], []
    parser = html.parser.HTMLParser()
    parser.handle_data = lambda data: cells.append(data.strip())
    parser.handle_starttag = lambda tag, attrs: (tags.append(tag), attributes.extend(attrs))
    parser.feed((tmp_path / "table1.html").read_text())
    assert {"Table 1 · SMALL <SCALE>", "CIFAR-10", "61.50 [1] · 62.12"} <= set(cells)
    assert "scale" not in tags
    assert tags.count("td") == 4
    assert any((value or "").startswith("default-src 'none'") for _, value in attributes)
