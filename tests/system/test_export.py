"""`--export` as a user gives it: what a run left, for other tools, or one line why not."""

import numpy as np
import onnxruntime
import pytest
from command import run_here, write_npz

from rmdnet_jax.model import Model

TINY = (
    "--config.model.width=2", "--config.model.blocks=(1,)", "--config.train.epochs=1",
    "--config.train.batch_size=16", "--config.report.tsne_points=0", "--config.tensorboard=False",
    "--config.teacher.kind=none", "--config.rgrl.k=0.0",
)  # fmt: skip


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """Of a run without a teacher on pictures in arrays."""
    place = tmp_path_factory.mktemp("run")
    npz = write_npz(place / "colours.npz")
    done = run_here(
        *TINY, "--config.dataset.name=npz", f"--config.dataset.path={npz}",
        f"--workdir={place / 'w'}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return place / "w"


def test_a_runs_classifier_says_the_same_in_onnxruntime(workdir, tmp_path):
    out = tmp_path / "model.onnx"
    done = run_here("--export=onnx", f"--workdir={workdir}", f"--out={out}", config=None)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"a classifier of 4 classes: {out}\n"
    model = Model.load(workdir)
    images = np.random.default_rng(0).integers(0, 256, (3, *model.picture_shape), np.uint8)
    (found,) = onnxruntime.InferenceSession(out).run(["probabilities"], {"image": images})
    np.testing.assert_allclose(found, model.predict_proba(images), atol=1e-4)


def test_a_runs_probabilities_are_cleanlabs(workdir, tmp_path):
    out = tmp_path / "x.npz"
    done = run_here("--export=cleanlab", f"--workdir={workdir}", f"--out={out}", config=None)
    assert done.returncode == 0, done.stderr
    with np.load(out, allow_pickle=False) as found:
        issues = Model.load(workdir).issues
        np.testing.assert_array_equal(found["labels"], issues.given)
        np.testing.assert_array_equal(found["index"], issues.index)
        of_given = found["pred_probs"][np.arange(len(issues.given)), issues.given]
        np.testing.assert_allclose(1 - of_given, issues.student_score, atol=1e-5)
        assert not found["out_of_sample"]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--export=onnx", "--workdir={w}"], "--export needs the --workdir of a finished run"),
        (["--export=onnx", "--out={t}/x.onnx"], "--export needs the --workdir"),
        (["--export=coco", "--workdir={w}", "--out={t}/x"], "expected one of onnx, fiftyone, lab"),
        (["--export=onnx", "--workdir={t}", "--out={t}/x.onnx"], "no model in "),
        (["--export=onnx", "--workdir={w}", "--out={t}/x.pt"], "is not a .onnx file"),
        (["--export=fiftyone", "--workdir={w}", "--out={t}/x.json"], "have no file paths"),
        (["--export=onnx", "--workdir={w}", "--out={t}/x.onnx", "--predict=."], "--predict with"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_a_line(workdir, tmp_path, flags, says):
    given = [flag.format(w=workdir, t=tmp_path) for flag in flags]
    refused = run_here(*given, config=None)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: ")
    assert refused.stderr.count("\n") == 1
    assert says in refused.stderr
    assert not list(tmp_path.iterdir())


def test_a_config_does_not_go_with_an_export(workdir, tmp_path):
    refused = run_here("--export=onnx", f"--workdir={workdir}", f"--out={tmp_path / 'x.onnx'}")
    assert refused.returncode == 2
    assert "--config with --export, which trains nothing" in refused.stderr
