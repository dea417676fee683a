"""From a config to a run: what is chosen from the data and the machine, and what is refused."""

import dataclasses
import sys

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.config import automatic, checking, default
from rmdnet_jax.data import instance_noise, pictures, sources
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.runs import preparation

LABELS = np.arange(64, dtype=np.int32) % 4
DATA = Dataset(
    name="made",
    train_images=np.zeros((64, 8, 9, 3), np.uint8),
    train_labels=LABELS,
    test_images=np.zeros((8, 8, 9, 3), np.uint8),
    test_labels=LABELS[:8],
    label_sets={"human": LABELS},
    class_names=tuple("abcd"),
)


@pytest.mark.parametrize(("devices", "size"), [(1, 64), (6, 66)])
def test_open_batch_sizes_fit_the_devices(monkeypatch, devices, size):
    monkeypatch.setattr(jax, "device_count", lambda: devices)
    config = default()
    config.dataset.name = "digits"
    config = automatic.leave_open(config)
    run, _, _ = preparation.load(config)
    assert (run.rm.batch_size, run.train.batch_size) == (size, size)
    assert preparation.filling(config)(config)[0].to_dict() == run.to_dict()


@pytest.mark.parametrize("pad", [7, 8])
def test_a_border_is_narrower_than_the_images(tmp_path, pad):
    config = default()
    config.augment.pad = pad
    if pad < 8:
        preparation.prepare(config, tmp_path / "w", DATA)
    else:
        with pytest.raises(InputError, match="pad is 8 but the images of made have 8x9 pixels"):
            preparation.prepare(config, tmp_path / "w", DATA)


# Values of each type, many of them right for one field or another.
VALUES = {
    bool: st.booleans(),
    int: st.integers(-1, 70) | st.sampled_from([2**31, 10**9]),
    float: st.floats(0, 1) | st.sampled_from([-1.0, 1.5, 1e-30, 1e6, 1e300, np.nan, np.inf]),
    str: st.sampled_from(
        [
            "",
            "none",
            "human",
            "pairflip",
            "instance",
            "matrix",
            "random",
            "encoder",
            "gce",
            "nce_rce",
            "elr",
            "coteaching",
            "adam",
            "a:b",
            "\0",
            ".",
        ]
    ),
    tuple: st.lists(st.integers(-5, 5) | st.floats(0, 1), max_size=3).map(tuple),
    type(None): st.none() | st.floats() | st.integers(-2, 2),
}
FIELDS = {
    field: VALUES[type(value)]
    for field, value in checking.flat(default().to_dict()).items()
    if not field.startswith("dataset.") or field == "dataset.validation_fraction"
}
SEVERAL = st.lists(st.sampled_from(sorted(FIELDS)), max_size=5).flatmap(
    lambda fields: st.fixed_dictionaries({field: FIELDS[field] for field in fields})
)


@given(fields=SEVERAL)
def test_whatever_the_fields_are_it_is_a_run_or_one_line_and_nothing_is_written(
    tmp_path_factory, fields
):
    config = default()
    for field, value in fields.items():
        group, _, leaf = field.rpartition(".")
        config_group = checking.get(config, group) if group else config
        config_group._fields[leaf] = value
    workdir, refusal = tmp_path_factory.getbasetemp() / "never made", ""
    try:
        run = preparation.prepare(config, workdir, DATA)
        assert dataclasses.is_dataclass(run)
    except InputError as error:
        refusal = str(error)
    assert "\n" not in refusal
    assert not workdir.exists()


OWN = """
import dataclasses
import flax.struct
import jax, jax.numpy as jnp
from rmdnet_jax.methods.interface import State
from rmdnet_jax.methods.robust import Robust

class Good(Robust):
    title = "Mine"

class NoTitle(Robust):
    title = None

class OtherNetwork(Robust):
    network = object()

@flax.struct.dataclass
class Bare(State):
    seen: jax.Array

class BareField(Robust):
    def init(self, key, example, task):
        state = super().init(key, example, task)
        return Bare(state.params, state.batch_stats, state.opt_state, jnp.zeros(3))

class Two(Robust):
    def step(self, state, batch, key, frozen):
        return super().step(state, batch, key, frozen)[:2]

class NoLoss(Robust):
    def step(self, state, batch, key, frozen):
        state, metrics, said = super().step(state, batch, key, frozen)
        return state, {"accuracy": metrics["loss"]}, said

class Vector(Robust):
    def step(self, state, batch, key, frozen):
        state, metrics, said = super().step(state, batch, key, frozen)
        return state, metrics | {"said": said}, said

class Grows(Robust):
    def step(self, state, batch, key, frozen):
        state, metrics, said = super().step(state, batch, key, frozen)
        twice = state.params | {"2": state.params["1"]}
        return dataclasses.replace(state, params=twice), metrics, said

class Widens(Robust):
    def step(self, state, batch, key, frozen):
        state, metrics, said = super().step(state, batch, key, frozen)
        return jax.tree.map(lambda x: x.astype(jnp.bfloat16), state), metrics, said

class SaysLogitsOfOne(Robust):
    def step(self, state, batch, key, frozen):
        state, metrics, said = super().step(state, batch, key, frozen)
        return state, metrics, said[:, 0]

class FlatOrder(Robust):
    def order(self, state, key, task):
        return jnp.arange(task.num_images)

class Fails(Robust):
    def step(self, state, batch, key, frozen):
        raise RuntimeError("mine\\nown")

class NoNetworks(Robust):
    def networks(self, state):
        return ({},)

class Takes(Robust):
    def __init__(self):
        pass

class Nothing:
    pass
"""

# A class of a user's module -> what the one line must say.
WRONG = {
    "NoTitle": "expected a title that is text",
    "OtherNetwork": "expected the learner's network",
    "BareField": "the field seen of Bare is .* expected a dict of arrays",
    "Two": "not enough values to unpack",
    "NoLoss": "expected metrics of which loss is one",
    "Vector": "expected metrics that are scalars",
    "Grows": "expected a state of the shapes and dtypes that step is given",
    "Widens": "expected a state of the shapes and dtypes that step is given",
    "SaysLogitsOfOne": "expected float32 probabilities .B, C. of the batch's images, or None",
    "FlatOrder": "expected an order .steps, rows.",
    "Fails": r"cannot take a step \(own_methods.py, line \d+: RuntimeError: mine own\)",
    "NoNetworks": "cannot take a step .AttributeError",
    "Takes": "cannot be made",
    "Nothing": "has no init, step, networks",
    "Missing": "module own_methods has no 'Missing'",
}


@pytest.fixture
def own_method(tmp_path, monkeypatch, lenient_promotion):
    """The config of a run with a class of a module of the user's."""
    (tmp_path / "own_methods.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("own_methods", None)

    def config(name):
        made = default()
        made.model.width = 1
        made.train.batch_size = made.rm.batch_size = 8
        made.teacher.kind = "none"
        made.method.name = f"own_methods:{name}"
        return made

    return config


def test_a_method_of_the_users_own_is_prepared(own_method, tmp_path):
    run = preparation.prepare(own_method("Good"), tmp_path / "w", DATA)
    assert run.methods() == {"student": "own_methods:Good"}


@pytest.mark.parametrize("name", WRONG)
def test_a_method_that_cannot_be_is_refused_in_one_line_before_anything_is_written(
    own_method, tmp_path, name
):
    with pytest.raises(InputError, match=WRONG[name]) as refused:
        preparation.prepare(own_method(name), tmp_path / "w", DATA)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "w").exists()


def test_so_is_a_baseline_that_cannot_be(own_method, tmp_path):
    config = own_method("Good")
    config.method.baseline = "own_methods:NoLoss"
    with pytest.raises(InputError, match=r"config\.method\.baseline: .* of which loss is one"):
        preparation.prepare(config, tmp_path / "w", DATA)


def test_noise_by_the_image_is_of_the_pictures_whatever_an_encoder_sees_of_them(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, DATA.train_images.shape, np.uint8)
    data = dataclasses.replace(DATA, train_images=pictures)
    config = default()
    config.noise.kind = "instance"
    alone = preparation.prepare(config, None, data)
    expected = instance_noise.corrupt(pictures, LABELS, 4, config.noise.rate, config.noise.seed)
    np.testing.assert_array_equal(alone.labels.given, expected)
    assert (alone.labels.kind, alone.labels.rate_asked) == ("instance", 0.4)
    assert alone.labels.rate_realised == (expected != LABELS).mean() > 0
    features = np.arange(64 * 3, dtype=np.float32).reshape(64, 3) ** 2
    np.savez(tmp_path / "t.npz", train=features, test=features[:8])
    config.teacher.kind, config.encoder.path = "encoder", str(tmp_path / "t.npz")
    config.model.kind, config.model.hidden = "mlp", (4,)
    encoded = preparation.prepare(config, None, data)
    assert encoded.seen.image_shape == (3,)
    np.testing.assert_array_equal(encoded.labels.given, expected)


def digits(**noise):
    """The digits without 8 and 9, under a noise that may take these as open pictures."""
    config = default()
    config.dataset.name, config.dataset.open_classes = "digits", (8, 9)
    config.teacher.kind = "none"
    config.noise.update(noise)
    return config


def test_open_pictures_are_of_the_classes_that_were_left_out(tmp_path):
    config = digits(kind="universal", rate=0.5, rho2=0.5)
    config.dataset.skip, config.dataset.train_size, config.dataset.test_size = 280, 700, 100
    run = preparation.prepare(config, None)
    images = sources.load("digits")
    known = np.flatnonzero(images.train_labels < 8)[280:980]
    eights_and_nines = {image.tobytes() for image in images.train_images[images.train_labels > 7]}
    np.testing.assert_array_equal(run.data.train_images[:700], images.train_images[known])
    assert len(run.data.train_images) == 700 + 233
    assert {image.tobytes() for image in run.data.train_images[700:]} <= eights_and_nines
    assert (run.data.num_classes, len(run.data.test_images)) == (8, 100)
    assert run.labels.rate_open == 233 / 933
    assert run.labels.rate_realised == pytest.approx(0.5, abs=0.05)
    assert run.labels.given.max() == 7
    left = "without the classes 8, 9: 283 training and 71 test images left out"
    assert run.data.changes[:2] == (left, "without the first 280 training images")
    assert run.data.changes[2].startswith("233 open images of the classes 8, 9 added")


def test_a_teachers_and_a_students_images_are_two_parts(tmp_path):
    teachers = digits(kind="none")
    teachers.dataset.train_size = 280
    students = digits(kind="universal", rate=0.5, rho2=0.5)
    students.dataset.skip, students.dataset.train_size = 280, 600
    parts = [preparation.prepare(config, None).data for config in (teachers, students)]
    seen = [{image.tobytes() for image in part.train_images} for part in parts]
    assert len(seen[0]) == 280
    assert not seen[0] & seen[1]
    assert parts[0].true_labels is None
    assert parts[0].pool


def test_what_is_chosen_goes_by_the_images_and_classes_that_there_are():
    config = digits(kind="universal", rate=0.5, rho2=0.5)
    config.dataset.train_size = 800
    config = automatic.leave_open(config)
    config.teacher.kind, config.model.kind = "none", "resnet"
    filled, _, data = preparation.load(config)
    assert len(data.train_images) == 800
    alone, _ = automatic.fill(
        config, num_train=1067, num_classes=8, short_sides=np.array([16]),
        backend=jax.default_backend(), resizable=False, devices=jax.device_count(),
    )  # fmt: skip
    assert filled.to_dict() == alone.to_dict()
    assert preparation.filling(config)(config)[0].to_dict() == filled.to_dict()


def test_data_that_was_loaded_before_gets_its_open_pictures_once():
    config = digits(kind="symmetric", open_share=0.1)
    loaded = preparation.load(config)[2]
    one, again = (preparation.prepare(config, None, data) for data in (loaded, None))
    np.testing.assert_array_equal(one.data.train_images, again.data.train_images)
    np.testing.assert_array_equal(one.labels.given, again.labels.given)
    assert one.labels.rate_open == pytest.approx(0.1, abs=1e-3)


def test_open_pictures_of_files_stand_beside_files(tmp_path):
    made = np.random.default_rng(0).integers(0, 256, (2, 16, 10, 20, 3), np.uint8)
    for place, images in zip(("own/a", "own/b"), made, strict=True):
        (tmp_path / place).mkdir(parents=True)
        for i, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / place / f"{i}.png")
    (tmp_path / "web" / "far").mkdir(parents=True)
    for i in range(9):
        Image.fromarray(made[0, i].transpose(1, 0, 2)).save(tmp_path / f"web/far/{i}.png")
    config = default()
    config.dataset.name, config.dataset.path = "own", str(tmp_path / "own")
    config.dataset.image_size, config.dataset.cache = 8, str(tmp_path / "cache")
    config.train.batch_size = config.rm.batch_size = 8
    config.noise.kind, config.noise.open_share = "none", 0.2
    config.noise.open_path = str(tmp_path / "web")
    for budget in (0.0, 1e-9):
        config.dataset.memory_budget = budget
        run = preparation.prepare(config, None)
        assert run.data.is_on_disk == (budget > 0)
        assert run.data.train_images.shape == (26 + 6, 8, 8, 3)
        for at in range(26, 32):
            file = run.data.train_files[at]
            expected = pictures.decode(file, file, (8, 8, 3), resize=True)
            np.testing.assert_array_equal(run.data.train_images[at], expected)
        assert run.labels.rate_open == 6 / 32
        assert run.data.squares(20)[0][31].shape == (20, 20, 3)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"noise.open_path": "x.npy"}, "expected only one of the two"),
        ({"noise.open_path": "x.npy", "dataset.open_classes": ()}, "which use none; expected"),
        ({"noise.open_share": 0.9}, "needs 10,386 open images .* are only 283 of the classes"),
        ({"noise.rho2": 0.5}, "only universal uses it"),
        ({"noise.kind": "universal", "noise.open_share": 0.1}, "whose open share is rate . rho2"),
        (
            {"noise.kind": "universal", "noise.rho2": 0.5, "dataset.open_classes": ()},
            "none; expected",
        ),
        ({"dataset.open_classes": (8, 8)}, "distinct class numbers, from 0 up"),
        ({"dataset.open_classes": (8, 10)}, "expected numbers from 0 to 9"),
        ({"dataset.skip": 1200}, "skip is 1200 for digits; expected 0 .none. to 1153"),
    ],
)
def test_open_pictures_that_cannot_be_are_refused_in_a_line(tmp_path, changes, says):
    config = digits()
    config.update_from_flattened_dict(changes)
    with pytest.raises(InputError, match=says) as caught:
        preparation.prepare(config, tmp_path / "w")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "w").exists()


def test_a_table_of_other_images_is_refused(tmp_path):
    np.savez(tmp_path / "t.npz", train=np.zeros((64, 3), np.float32), test=np.zeros((9, 3)))
    config = default()
    config.teacher.kind, config.encoder.path = "encoder", str(tmp_path / "t.npz")
    with pytest.raises(InputError, match=r"test has 9 rows for 8 images; expected"):
        preparation.prepare(config, tmp_path / "w", DATA)


def test_a_teacher_of_the_built_in_encoder_is_not_called_pretrained():
    config = default()
    config.teacher.kind, config.encoder.path, config.encoder.cache = "encoder", "classical", ""
    config.encoder.image_size = 64
    config.model.kind, config.model.hidden = "mlp", (4,)
    pictures = np.random.default_rng(0).integers(0, 256, DATA.train_images.shape, np.uint8)
    data = dataclasses.replace(DATA, train_images=pictures, test_images=pictures[:8])
    assert preparation.prepare(config, None, data).source.title == "built-in encoder"
