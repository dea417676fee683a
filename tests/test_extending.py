"""What docs/extending.md says can be done is done here, with the page's own code."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

import rmdnet_jax
from rmdnet_jax import config
from rmdnet_jax.base.errors import InputError
from rmdnet_jax.config import checking, fields
from rmdnet_jax.methods import registry as method_registry
from rmdnet_jax.methods.interface import ClassifierTeacher, Method, Teacher
from rmdnet_jax.teachers import registry as teacher_registry
from rmdnet_jax.teachers.source import Source

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMPLETE = [block for block in BLOCKS if block.startswith('"""')]

RNG = np.random.default_rng(0)
LABELS = np.arange(40) % 2
IMAGES = np.clip(LABELS[:, None, None, None] * 90 + RNG.integers(0, 99, (40, 8, 8, 3)), 0, 255)
IMAGES = IMAGES.astype(np.uint8)
TINY = {"model.width": 2, "model.blocks": (1,), "train.epochs": 1, "train.batch_size": 16}


@pytest.fixture
def user(tmp_path, monkeypatch):
    """A user's modules, my_module with the page's method and my_teacher with its kind."""
    for block, ending in zip(COMPLETE, ("METHOD", "KIND"), strict=True):
        (line,) = re.findall(rf"^{ending} = \w+$", block, re.MULTILINE)
        assert block.rstrip().endswith(line)
        name = {"METHOD": "my_module", "KIND": "my_teacher"}[ending]
        (tmp_path / f"{name}.py").write_text(block)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture
def as_ours(user, monkeypatch):
    """As if the files lay in rmdnet_jax/methods/ and rmdnet_jax/teachers/."""
    import my_module
    import my_teacher

    ours = method_registry._ours() | {"bootstrapping": my_module.METHOD}
    kinds = teacher_registry._ours() | {"colours": my_teacher.KIND}
    monkeypatch.setattr(method_registry, "_ours", lambda: ours)
    monkeypatch.setattr(teacher_registry, "_ours", lambda: kinds)


@pytest.mark.usefixtures("as_ours", "lenient_promotion")
def test_a_users_method_trains_by_its_import_path_and_under_a_users_teacher(tmp_path):
    path = re.search(r"--config\.method\.name=(\w+:\w+)", PAGE)[1]
    given = TINY | {"method.name": path, "teacher.kind": "colours", "rm.knn_k": 3}
    model = rmdnet_jax.fit(IMAGES, LABELS, given, workdir=tmp_path / "run")
    assert set(model.predict(IMAGES)) <= {0, 1}
    issues = model.label_issues()
    assert sorted(issues.index) == list(range(40))
    assert issues.neighbour_score.shape == (40,)
    metrics = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert "own_loss" in metrics  # the method's
    assert "edge_loss" in metrics  # the relation term's
    assert "Bootstrapping + colour relations" in (tmp_path / "run" / "results.json").read_text()
    assert (tmp_path / "run" / "report.html").is_file()


@pytest.mark.usefixtures("user", "lenient_promotion")
def test_a_users_method_trains_on_feature_vectors_and_without_each_fold():
    path = re.search(r"--config\.method\.name=(\w+:\w+)", PAGE)[1]
    vectors = np.random.default_rng(1).normal(size=(40, 3)) + 9 * LABELS[:, None]
    given = {"method.name": path, "teacher.kind": "none", "model.hidden": (4,), "train.epochs": 2}
    given |= {"train.batch_size": 8, "train.folds": 2, "report.tsne_points": 0}
    model = rmdnet_jax.fit(vectors, LABELS, given)
    assert np.mean(model.predict(vectors) == LABELS) > 0.9
    assert sorted(model.label_issues().index) == list(range(40))


@pytest.mark.usefixtures("as_ours")
def test_a_file_is_a_method_and_its_hyperparameters_are_fields():
    (line,) = re.findall(r"given: Annotated\[float, SHARE, \"(.*)\"\] = 0\.95", PAGE)
    assert checking.method_parameters(config.default(), "bootstrapping") == {"given": 0.95}
    assert fields.all_fields()["bootstrapping.given"].does == line
    assert f"bootstrapping.given = 0.95\n    {line}; " in checking.text()
    wrong = config.default()
    wrong.bootstrapping.given = 1.5
    with pytest.raises(
        InputError, match=r"config\.bootstrapping\.given is 1\.5; expected a number"
    ):
        checking.check(wrong)


def test_the_quoted_method_is_the_real_one():
    source = (ROOT / "rmdnet_jax" / "methods" / "elr.py").read_text()
    quoted = [block for block in BLOCKS if "ELR" in block]
    assert len(quoted) == 4
    at = 0
    for piece in re.split(r"^ *\.\.\.\n", "...\n".join(quoted), flags=re.MULTILINE):
        at = source.find(piece.strip("\n"), at)
        assert at >= 0, piece


def test_the_quoted_field_is_the_real_one():
    (line,) = (block.strip() for block in BLOCKS if " field(" in block)
    assert line in (ROOT / "rmdnet_jax" / "config" / "fields.py").read_text()


def test_the_seams_and_files_that_the_page_names_are_there():
    (table,) = re.findall(r"^\| seam .*?\n\n", PAGE, re.MULTILINE | re.DOTALL)
    named = set(re.findall(r"^\| `(\w+)[`(]", table, re.MULTILINE)) | {"step"}
    seams = {"order", "between_epochs", "networks", "belief", "frozen", "learners"}
    for name in seams | {"needs_classifier", "needs_embedding", "takes_relation"}:
        assert name in named or f"`{name}`" in table
        assert hasattr(Method, name)
    for protocol, names in (
        (Source, ("fresh", "method", "teacher", "predictions", "watch")),
        (Teacher, ("size", "frozen", "embed", "of_images")),
        (ClassifierTeacher, ("classify",)),
    ):
        for name in names:
            assert hasattr(protocol, name)
            assert f"`{name}" in PAGE or f"`{name}(" in PAGE
    for path in re.findall(r"`([\w/]+/\w+\.py)`", PAGE):
        known = any((root / path).is_file() for root in (ROOT, ROOT / "rmdnet_jax"))
        assert known or path == "rmdnet_jax/methods/bootstrapping.py", path
