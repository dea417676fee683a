"""The benchmarks still run, at tiny sizes, and count what they say they count."""

import importlib
import json
import sys
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import augment, sources
from rmdnet_jax.losses import relation
from rmdnet_jax.methods import registry
from rmdnet_jax.models.resnet import ResNet

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.mark.usefixtures("lenient_promotion")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's own
@pytest.mark.parametrize(
    ("script", "flags", "rows"),
    [
        ("step", "--batch 4 --steps 1 --rounds 1 --workers 0 --modes eager --size 8", 1),
        ("epoch", "--batch 8 --images 16 --test-images 8 --epochs 1 --size 8 --sides 8", 1),
        ("memory", "--batch 4 --size 8 --budget 0", 1),
        ("growth", "--batch 8 --images --size 8 --classes --test-images 8 --epochs 1", 1),
    ],
)
def test_a_script_prints_its_table(script, flags, rows, monkeypatch, capsys):
    if script == "step":
        pytest.importorskip("torch", reason="PyTorch is missing (pip install torch)")
    stage = "RGRL" if script == "step" else "loss alone"
    monkeypatch.setattr(
        "sys.argv", [f"{script}.py", "--width=2", f"--stage={stage}", *flags.split()]
    )
    with jax.numpy_rank_promotion("allow"):
        importlib.import_module(script).main()
    lines = capsys.readouterr().out.splitlines()
    table = [line.split(" | ") for line in lines if line.startswith("| ")]
    assert len(table) == rows + 2
    assert len({len(row) for row in table}) == 1


@pytest.mark.usefixtures("lenient_promotion")
@pytest.mark.slow
def test_the_cost_of_methods_is_a_multiple_of_cross_entropys(monkeypatch, capsys):
    """Of DivideMix, too, whose steps have more rows and which looks at all images before."""
    flags = "--width 2 --size 8 --images 16 --batch 8 --rounds 1 --methods DivideMix"
    monkeypatch.setattr("sys.argv", ["method_cost.py", *flags.split()])
    with jax.numpy_rank_promotion("allow"):
        importlib.import_module("method_cost").main()
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][2:]
    rows = {name: cells for name, *cells in (line.strip("| ").split(" | ") for line in table)}
    assert list(rows) == ["CE", "DivideMix"]
    assert rows["CE"][1:] == ["1.00", "1.00", "1.00"]
    assert rows["DivideMix"][2] == "12.67"  # 2 (4 (3 + 1) + 2 + 1) / 3


def test_only_a_method_that_divides_looks_at_all_images_before_an_epoch():
    cost, ours = importlib.import_module("method_cost"), importlib.import_module("ours")
    data = ours.made_data(8, 8)
    with mock.patch.object(ours, "Training", lambda method, *_: method):
        for name, (method, fields, _) in cost.METHODS.items():
            built = registry.build(method, ours.learner(2), fields)
            looks = cost.epoch(built, *data, 4) is not built
            assert looks == (name in ("DivideMix", "GSS-SSL"))


@pytest.mark.usefixtures("lenient_promotion")
def test_methods_are_compared_by_means_and_spreads_and_no_run_is_made_twice(
    tmp_path, monkeypatch, capsys
):
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    arrays = {"x_train": labels[:, None] + rng.normal(size=(60, 4)), "y_train": labels}
    arrays |= {"x_test": arrays["x_train"][:30], "y_test": labels[:30]}
    np.savez(tmp_path / "features.npz", **arrays)
    flags = f"configs/own_data.py --out {tmp_path}/out --noise symmetric:0.4 --seeds 0,1"
    rows = ["--rows", "CE,CE + RMDNet (encoder)", "--guides", "encoder", "--k", "0.1"]
    fields = f"--flags dataset.path={tmp_path}/features.npz train.epochs=1 model.hidden=(4,)"
    fields += " report.audit=False report.gallery=0"
    given = ["methods.py", *flags.split(), *rows]
    monkeypatch.setattr("sys.argv", [*given, "--report", *fields.split()])
    methods, said = importlib.import_module("methods"), []
    methods.main()
    assert capsys.readouterr().out.count("| not run ") == 2
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr("sys.argv", [*given, *fields.split()])
    for _ in range(2):
        methods.main()
        said.append(capsys.readouterr().out)
        monkeypatch.setattr(methods.grid.single, "run", None)  # nothing is left to be run
    assert said[0] == said[1]
    rows = [line.strip("| ").split(" | ") for line in said[0].splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows[2:]] == ["CE", "CE + RMDNet (encoder)"]
    assert (tmp_path / "out" / "symmetric-0.4.png").read_bytes().startswith(b"\x89PNG")
    guided = tmp_path / "out" / "CE + RMDNet (encoder) symmetric-0.4 0" / "config.json"
    assert json.loads(guided.read_text())["rgrl"]["k"] == 0.1
    results = (tmp_path / "out" / "CE symmetric-0.4 1" / "results.json").read_text()
    assert '"noise_kind": "symmetric"' in results
    assert " ± " in rows[2][1]
    monkeypatch.setattr("sys.argv", [*sys.argv, "train.lr=0.5"])
    with pytest.raises(InputError, match=r"holds another experiment \(train.lr"):
        methods.main()


@pytest.mark.usefixtures("lenient_promotion")
def test_a_turn_of_ours_is_a_pass_over_the_images_that_are_left_over_by_no_batch():
    """What training remembers of an image is kept, as it is in a run."""
    ours = importlib.import_module("ours")
    training = ours.Training(ours.method("loss alone", 2), *ours.made_data(9, 8), batch_size=4)
    for turn in (1, 2):
        training()
        visits = np.asarray(training._carried.memory["visits"])
        assert sorted(visits) == [0] + [turn] * 8


def test_a_resnet18_on_cifar_is_half_a_giga_multiplication():
    """Counted by hand: 1.77 + 151 + 3 * 134.2 million, the shortcuts among them."""
    flops = importlib.import_module("flops")
    assert flops.resnet(64, 32) == 2 * 555_417_600


@pytest.mark.parametrize(("stem", "size"), [("cifar", 64), ("imagenet", 224)])
def test_flops_are_about_what_xla_counts(stem, size):
    flops = importlib.import_module("flops")
    network, images = ResNet(64, stem), jnp.zeros((1, size, size, 3))
    variables = jax.eval_shape(lambda: network.init(jax.random.key(0), images, train=False))
    forward = jax.jit(lambda variables, x: network.apply(variables, x, train=False))
    counted = forward.lower(variables, images).cost_analysis()["flops"]
    # XLA leaves out what meets the padding (at 7 x 7 a fifth), and counts batch norm and ReLU.
    assert flops.resnet(64, size, stem) == pytest.approx(counted, rel=0.1)


def test_a_guided_step_costs_a_teachers_forward_pass_more():
    flops = importlib.import_module("flops")
    alone, guided = (flops.step(stage, 64, 32, 64) for stage in ("loss alone", "RGRL"))
    teacher = 64 * flops.resnet(64, 32)
    assert guided - alone == teacher + flops.relation(64, 512)
    assert flops.step("SimSiam", 64, 32, 64) > 2 * flops.UPDATE * teacher


def test_the_peers_relation_loss_is_ours():
    torch = pytest.importorskip("torch", reason="PyTorch is missing (pip install torch)")
    peer = importlib.import_module("torch_peer")
    t, s = np.random.default_rng(0).standard_normal((2, 16, 32)).astype(np.float32)
    theirs = peer.relation_loss(torch.tensor(t), torch.tensor(s))
    np.testing.assert_allclose(theirs, relation.rmd_loss(t, s), rtol=1e-5)


def test_the_peers_crops_and_hues_are_ours():
    torch = pytest.importorskip("torch", reason="PyTorch is missing (pip install torch)")
    peer = importlib.import_module("torch_augment")
    rng = np.random.default_rng(0)
    images = rng.random((4, 16, 16, 3), np.float32)
    boxes = np.array([[0, 3, 5, 2], [1, 0, 4, 7], [16, 8, 9, 7], [15, 16, 7, 9]], np.int32)
    theirs_in = torch.tensor(images).permute(0, 3, 1, 2)
    never = torch.zeros(4, dtype=torch.bool)
    cropped = peer.resized_crop(theirs_in, *torch.tensor(boxes).float(), never)
    expected = jax.vmap(augment.resized_crop)(images, *boxes)
    np.testing.assert_allclose(cropped.permute(0, 2, 3, 1), expected, atol=1e-5)
    shift = np.array([-0.5, -0.1, 0.1, 0.3], np.float32)
    turned = peer.hue(theirs_in, torch.tensor(shift)).permute(0, 2, 3, 1)
    np.testing.assert_allclose(turned, augment.adjust_hue(images, shift), atol=1e-5)


@pytest.mark.parametrize("has_people", [False, True])
def test_annotators_are_made_as_they_are_described(has_people, tmp_path, monkeypatch):
    pytest.importorskip("cleanlab", reason="cleanlab is missing (pip install cleanlab)")
    true, of = np.arange(3000) % 4, ""
    if has_people:
        images = np.zeros((3000, 8, 8, 3), np.uint8)
        human = np.where(np.arange(3000) % 5, true, (true + 1) % 4)
        of = str(tmp_path / "people.npz")
        np.savez(of, x_train=images, y_train=true, x_test=images, y_test=true, human_random1=human)
    out = tmp_path / "voted.npz"
    monkeypatch.setattr("sys.argv", ["annotators.py", f"--make={out}", f"--of={of}"])
    script = importlib.import_module("annotators")
    script.main()
    data = sources.load("npz", str(out))
    said = np.stack(list(data.label_sets.values()), axis=1)
    truth = data.true_labels[:, None]
    given = said >= 0
    assert given.any(axis=1).all()
    assert 0.45 < given.mean() < 0.65
    wrong = [(column != truth[:, 0])[column >= 0].mean() for column in said.T]
    expected = (0.2, *script._WRONG[1:]) if has_people else script._WRONG
    np.testing.assert_allclose(wrong, expected, atol=0.05)
    if has_people:  # the others take the next class for each, as the first does
        assert (((said - truth) % 4)[given] <= 1).all()
