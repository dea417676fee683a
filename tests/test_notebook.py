"""The notebook runs from its first cell to its last, on what is built in, in its own folder."""

import csv
import json
import sys
import tempfile
import types
from collections import Counter
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

NOTEBOOK = Path(__file__).resolve().parents[1] / "notebooks" / "rmdnet_colab.ipynb"
CONTENT = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
CODE = {cell["id"]: cell for cell in CONTENT["cells"] if cell["cell_type"] == "code"}

TINY = {
    "model.width": 2,
    "model.blocks": (1,),
    "augment.flip": False,
    "teacher.kind": "none",
    "train.epochs": 1,
    "report.tsne_points": 0,
}


def test_format():
    assert (CONTENT["nbformat"], CONTENT["nbformat_minor"]) == (4, 5)
    assert CONTENT["metadata"]["kernelspec"] == {
        "display_name": "Python 3", "language": "python", "name": "python3"
    }  # fmt: skip
    ids = Counter(cell["id"] for cell in CONTENT["cells"])
    assert max(ids.values()) == 1
    for cell in CONTENT["cells"]:
        assert cell["cell_type"] in ("markdown", "code")
        assert max(map(len, cell["source"])) <= 101, cell["id"]  # with the line's end
    for cell in CODE.values():
        assert not cell["outputs"]
        assert cell["execution_count"] is None


@pytest.fixture
def jupyter(monkeypatch):
    """What Colab and every Jupyter bring: Colab's buttons, of which the one to upload is left
    alone. Returns what was shown and downloaded."""
    downloaded = []
    colab = types.ModuleType("google.colab")
    colab.files = types.SimpleNamespace(upload=dict, download=downloaded.append)
    display = types.ModuleType("IPython.display")
    display.HTML = str
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return downloaded


@pytest.mark.usefixtures("lenient_promotion")
def test_every_cell_runs_and_writes_to_its_folder_alone(tmp_path, monkeypatch, jupyter, capsys):
    work, home, temporary = (tmp_path / name for name in ("work", "home", "temporary"))
    for folder in (work, home, temporary):
        folder.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    plt.switch_backend("Agg")
    cells = {name: "".join(cell["source"]) for name, cell in CODE.items()}
    (parameters,) = (name for name, cell in CODE.items() if cell["metadata"].get("tags"))
    assert parameters == next(iter(cells))
    tiny = f"\nPICTURES, FOLDER, DIGITS_FIELDS = 'upload', 'out', {TINY!r}"
    scope = {}
    for name, source in cells.items():
        exec(compile(source + tiny * (name == parameters), name, "exec"), scope)

    with open(work / "out/example/model/label_issues.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(scope["labels"]) == 700
    assert {row["path"]: row["given_class"] for row in rows} == {
        str(path): path.parent.name for path in scope["paths"]
    }
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert jupyter == ["out/example/model/label_issues.csv"]
    assert f"{scores[0]:.3f}  {rows[0]['given_class']} -> " in capsys.readouterr().out
    figures = [plt.figure(number) for number in plt.get_fignums()]
    plt.close("all")
    assert [sum(bool(axis.images) for axis in figure.axes) for figure in figures] == [24, 24]
    assert [path.name for path in work.iterdir()] == ["out"]
    assert not [*home.rglob("*"), *temporary.rglob("*")]
