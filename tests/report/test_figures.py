"""Every figure is a PNG of a size to look at."""

import numpy as np
import pytest
from PIL import Image

from rmdnet_jax.report import figures
from rmdnet_jax.report.figures import Point

STUDENT = [
    {"stage": "student", "epoch": e, "loss": 2 - e / 10, "test_accuracy": e / 12, "node_loss": 9.0}
    for e in range(1, 11)
]
BASELINE = [line | {"stage": "baseline"} for line in STUDENT]
TEACHER = [{"stage": "teacher", "epoch": e, "loss": -e / 10, "spread": 0.8} for e in range(1, 6)]
POINTS = np.random.default_rng(0).normal(size=(40, 2))

DRAWN = {
    "comparison": lambda path: figures.comparison(
        BASELINE, STUDENT, ("CE", "CE + RMDNet"), "test accuracy", "symmetric noise", path
    ),
    "curve": lambda path: figures.curve(
        BASELINE + STUDENT, "loss", {"baseline": "CE", "student": "CE + RMDNet"}, "loss " * 20, path
    ),
    "one epoch": lambda path: figures.curve(
        TEACHER[:1], "spread", {"teacher": "teacher"}, "spread", path,
        is_share=True, levels={0.0: "collapsed"},
    ),
    "a stage nobody knows": lambda path: figures.curve(
        [line | {"stage": "third"} for line in STUDENT], "loss", {"third": "third"}, "loss", path
    ),
    "heat map": lambda path: figures.heat_map(
        np.eye(3), ("a", r"$\frac{1}$", "c"), "true class", "given label", path
    ),
    "large heat map": lambda path: figures.heat_map(
        np.eye(100), tuple(map(str, range(100))), "true class", "given label", path
    ),
    "points": lambda path: figures.points(
        {
            "lambda1": [Point(0.0, (50.0, 52.0), (55.0, 57.0)), Point(4.0, (), ())],
            "lambda2": [Point(0.0, (), ()), Point(4.0, (), ())],
        },
        "Figure 3", "test accuracy", path,
    ),
    "points by name": lambda path: figures.points(
        {"symmetric": [Point("SB", (50.0,), (50.0,)), Point("DB", (52.0,), (60.0,))]},
        "Figure 4", "test accuracy", path,
    ),
    "embedding": lambda path: figures.embedding(
        POINTS, np.arange(40) % 2, np.arange(40) % 3 == 0, ("ship", "$"), "teacher", path
    ),
}  # fmt: skip


@pytest.mark.usefixtures("fine_figures")
@pytest.mark.parametrize("name", DRAWN)
def test_figure_is_drawn(name, tmp_path):
    path = tmp_path / "figure.png"
    DRAWN[name](path)
    with Image.open(path) as picture:
        assert min(picture.size) > 300
        assert np.asarray(picture.convert("L")).std() > 5
    assert [file.name for file in tmp_path.iterdir()] == ["figure.png"]


def test_tsne_keeps_apart_what_is_apart():
    rng = np.random.default_rng(0)
    group = np.arange(60) % 2
    embedding = rng.normal(size=(60, 80)) + 20 * group[:, None]
    points = figures.tsne(embedding.astype(np.float32), seed=0)
    assert points.shape == (60, 2)
    between = np.linalg.norm(points[group == 0].mean(axis=0) - points[group == 1].mean(axis=0))
    assert between > points[group == 0].std()
