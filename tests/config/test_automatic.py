"""What a config leaves open is chosen from the data, the same every time; what it says stays."""

import numpy as np
import pytest
from ml_collections import config_dict

from configs import own_data, rgrl_cifar10, rgrl_cifar100
from rmdnet_jax.base.errors import InputError
from rmdnet_jax.config import automatic, checking, default

PHOTOS = np.array([600, 480, 900])


def fill(
    num_train=50_000, num_classes=10, sides=PHOTOS, backend="gpu", resizable=True, devices=1,
    num_features=0, **fields,
):  # fmt: skip
    config = own_data.get_config()
    config.encoder.path = ""
    config.update_from_flattened_dict(fields)
    return automatic.fill(
        config, num_train, num_classes, sides, backend, resizable, devices, num_features
    )


def test_every_open_field_is_filled_and_reasoned():
    open_config = own_data.get_config()
    config, reasons = fill()
    assert reasons.keys() == set(automatic.FIELDS) - {"encoder.path"}
    assert all(checking.get(open_config, field) is None for field in automatic.FIELDS)
    assert all(checking.get(config, field) is not None for field in automatic.FIELDS)
    checking.check(open_config, automatic.FIELDS)
    checking.check(config)


def test_the_same_data_give_the_same_values():
    assert fill()[0].to_dict() == fill()[0].to_dict()


def test_what_is_given_stays_and_is_not_told():
    config, reasons = fill(**{"rm.epochs": 3, "rgrl.k": 0.5, "model.stem": "cifar"})
    assert (config.rm.epochs, config.rgrl.k, config.model.stem) == (3, 0.5, "cifar")
    assert not {"rm.epochs", "rgrl.k", "model.stem"} & reasons.keys()


def test_a_config_without_open_fields_comes_back_as_it_is():
    config = default()
    filled, reasons = automatic.fill(config, 10, 2, PHOTOS, "cpu")
    assert filled.to_dict() == config.to_dict()
    assert not reasons


@pytest.mark.parametrize(
    ("side", "backend", "image_size", "stem"),
    [
        (28, "gpu", 32, "cifar"),
        (32, "cpu", 32, "cifar"),
        (60, "gpu", 64, "imagenet"),
        (140, "tpu", 128, "imagenet"),
        (600, "gpu", 224, "imagenet"),
        (600, "cpu", 64, "imagenet"),
    ],
)
def test_images_are_as_large_as_most_pictures_and_the_machine_can_do(
    side, backend, image_size, stem
):
    config, _ = fill(sides=np.array([8, side, 5000]), backend=backend)
    assert (config.dataset.image_size, config.model.stem) == (image_size, stem)


def test_arrays_keep_their_size():
    config, _ = fill(sides=np.array([96]), resizable=False)
    assert (config.dataset.image_size, config.model.stem) == (0, "imagenet")


def test_a_size_that_is_given_decides_on_the_stem():
    assert fill(**{"dataset.image_size": 32})[0].model.stem == "cifar"


@pytest.mark.parametrize(
    ("num_train", "backend", "rm", "train"),
    [
        (50, "cpu", 1000, 240),
        (1_000, "cpu", 400, 100),
        (1_000_000, "cpu", 20, 20),
        (50_000, "gpu", 200, 100),
    ],
)
def test_epochs_are_as_many_as_the_machine_can_do(num_train, backend, rm, train):
    config, _ = fill(num_train=num_train, backend=backend)
    assert (config.rm.epochs, config.train.epochs) == (rm, train)


@pytest.mark.parametrize(
    ("num_train", "size"), [(3, 3), (12, 12), (20, 16), (300, 32), (512, 64), (10**6, 64)]
)
def test_small_sets_have_small_batches(num_train, size):
    config, _ = fill(num_train=num_train)
    assert config.rm.batch_size == config.train.batch_size == size


@pytest.mark.parametrize(
    ("num_train", "devices", "size"), [(10**6, 8, 64), (10**6, 6, 66), (100, 32, 32)]
)
def test_every_device_gets_as_many_images_of_a_batch(num_train, devices, size):
    config, reasons = fill(num_train=num_train, devices=devices)
    assert config.rm.batch_size == config.train.batch_size == size
    assert f"multiple of {devices} devices" in reasons["rm.batch_size"] or devices == 8


@pytest.mark.parametrize(("num_train", "devices", "size"), [(10, 8, 8), (9, 4, 8), (15, 4, 12)])
def test_a_batch_for_all_devices_is_no_larger_than_the_data(num_train, devices, size):
    config, _ = fill(num_train=num_train, devices=devices)
    assert config.rm.batch_size == config.train.batch_size == size


@pytest.mark.parametrize(
    ("num_train", "num_classes", "k"), [(50_000, 10, 200), (1_000, 10, 20), (20, 10, 1)]
)
def test_neighbours_are_a_part_of_a_class(num_train, num_classes, k):
    assert fill(num_train=num_train, num_classes=num_classes)[0].rm.knn_k == k


def test_checkpoints_come_as_often_on_small_sets_as_on_large():
    for num_train, every in ((100, 200.0), (50_000, 0.4), (10**9, 0.001)):
        assert fill(num_train=num_train, backend="cpu")[0].checkpoint_every == every


@pytest.mark.parametrize(
    "method", ["coteaching", "dividemix", "elr", "elr_plus", "gss", "jocor", "robust"]
)
@pytest.mark.parametrize("features", [0, 8])
def test_what_is_filled_for_a_method_passes_the_checks(method, features):
    given = {"method.name": method, "dataset.name": "own", "dataset.path": "photos"}
    config, _ = fill(num_train=1000, num_features=features, backend="gpu", **given)
    checking.check(config)


def test_without_a_teacher_a_loss_of_ones_own_needs_no_k():
    given = {"loss.name": "my_module:my_loss", "teacher.kind": "none"}
    assert fill(num_train=1000, backend="gpu", **given)[0].rgrl.k == 0


def test_a_baseline_with_an_order_of_its_own_has_no_folds_either():
    config, reasons = fill(num_train=1000, num_features=8, **{"method.baseline": "dividemix"})
    assert config.train.folds == 1
    assert "dividemix sets its own order of images" in str(reasons["train.folds"])


@pytest.mark.parametrize(("method", "folds"), [("elr", 5), ("dividemix", 1), (None, 5)])
def test_a_method_with_an_order_of_its_own_has_no_folds(method, folds):
    given = {"method.name": method} if method else {}
    config, reasons = fill(num_train=1000, num_features=8, **given)
    assert config.train.folds == folds
    assert "train.folds" in reasons
    assert config.method.name == (method or "forward")


@pytest.mark.parametrize(("num_train", "size"), [(3, 2), (4, 3), (10, 4)])
def test_a_batch_is_no_larger_than_what_a_fold_leaves(num_train, size):
    assert fill(num_train=num_train, num_features=8)[0].train.batch_size == size


@pytest.mark.parametrize(
    ("num_train", "features", "batch", "epochs", "decay", "rate"),
    [
        (50_000, 1280, 256, 10, 0.0064, 0.001),
        (2_000, 1280, 64, 50, 0.16, 0.001),
        (4_000, 1280, 256, 50, 0.08, 0.001),
        (150, 8, 16, 50, 0.013, 0.013),
        (10**6, 4, 256, 10, 0.001, 0.018),
        (300, 4096, 16, 50, 0.3, 0.00056),
    ],
)
def test_a_network_on_features_goes_by_samples_and_features(
    num_train, features, batch, epochs, decay, rate
):
    config, reasons = fill(num_train=num_train, num_features=features)
    train = config.train
    assert (config.model.kind, config.teacher.kind, config.rgrl.k) == ("mlp", "encoder", 0)
    assert (train.batch_size, train.epochs, train.folds) == (batch, epochs, 5)
    assert (train.optimizer, train.weight_decay, train.lr) == ("adam", decay, rate)
    assert not {"model.stem", "model.width", "rm.epochs", "rm.batch_size"} & reasons.keys()


@pytest.mark.parametrize(
    ("num_train", "classes", "decay"),
    [
        (16_000, 2, 0.02), (16_000, 10, 0.02), (16_000, 40, 0.01), (16_000, 1000, 0.002),
        (10**7, 1000, 0.0001), (100, 40, 0.15),
    ],
)  # fmt: skip
def test_features_of_many_classes_get_less_weight_decay(num_train, classes, decay):
    config, reasons = fill(num_train=num_train, num_classes=classes, num_features=1280)
    assert config.train.weight_decay == decay
    assert ("classes" in reasons["train.weight_decay"]) == (classes > 10)


def test_cross_entropy_needs_no_less_decay_with_many_classes():
    few = {"num_train": 16_000, "num_classes": 1000, "num_features": 1280}
    filled, _ = fill(**few, **{"loss.name": "ce"})
    assert filled.train.weight_decay == 0.02


def test_on_a_cpu_pictures_without_an_encoder_are_seen_by_the_built_in_one():
    config, reasons = fill(backend="cpu", **{"encoder.path": None})
    assert (config.encoder.path, config.model.kind) == ("classical", "mlp")
    assert "docs/encoders.md" in reasons["encoder.path"]
    wanted = {"model.kind": "resnet"}, {"teacher.kind": "simsiam"}, {"teacher.path": "runs/t"}
    for fields in wanted:
        config, reasons = fill(backend="cpu", **{"encoder.path": None}, **fields)
        assert (config.encoder.path, config.model.kind) == ("", "resnet")
        assert "encoder.path" not in reasons
    assert fill(backend="gpu", **{"encoder.path": None})[0].encoder.path == ""
    assert fill(backend="cpu", num_features=9, **{"encoder.path": None})[0].encoder.path == ""


@pytest.mark.parametrize(("field", "value"), [("rgrl.k", 0.2), ("model.width", 16)])
def test_why_the_built_in_encoder_is_not_taken_is_said(field, value):
    config = own_data.get_config()
    config.update_from_flattened_dict({field: value})
    filled, reasons = automatic.fill(config, 500, 3, PHOTOS, "cpu")
    assert filled.encoder.path == ""
    assert reasons["encoder.path"].startswith(f"{field} is for a network on images")


def test_what_learns_from_a_classifier_has_no_relation_term_and_trains_no_teacher():
    known = {"teacher.kind": "supervised", "teacher.path": "runs/t", "method.name": "kd"}
    config, reasons = fill(**known)
    assert config.rgrl.k == 0
    assert reasons["rgrl.k"] == "kd cannot carry the relation term"
    assert not {"rm.epochs", "rm.batch_size"} & reasons.keys()


@pytest.mark.parametrize(("num_classes", "recipes"), [(10, rgrl_cifar10), (100, rgrl_cifar100)])
@pytest.mark.parametrize("loss", ["ce", "gce", "mae", "rce", "nce", "nce_agce"])
def test_k_is_the_recipes_for_as_many_classes(num_classes, recipes, loss):
    config, _ = fill(num_classes=num_classes, **{"loss.name": loss})
    assert config.rgrl.k == pytest.approx(recipes.LOSSES[loss]["k"], rel=0.15)


def test_a_loss_of_the_users_own_needs_a_k():
    with pytest.raises(
        InputError, match=r"rgrl\.k is not given and .* my_module:my_loss; expected"
    ):
        fill(**{"loss.name": "my_module:my_loss"})


@pytest.mark.parametrize("field", ["rm.epochs", "loss.name", "model.stem"])
def test_an_open_field_that_nobody_fills_is_refused(field):
    config = own_data.get_config()
    with pytest.raises(InputError, match=r"config\..* is None; expected"):
        checking.check(config, set(automatic.FIELDS) - {field})


def test_a_field_that_is_never_filled_may_not_be_open():
    config = own_data.get_config()
    config.rm.lr = config_dict.placeholder(float)
    with pytest.raises(InputError, match=r"config\.rm\.lr is None; expected a number > 0"):
        checking.check(config, automatic.FIELDS)
