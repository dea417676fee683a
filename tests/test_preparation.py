"""From a config to a run: what is chosen from the data and the machine, and what is refused."""

import dataclasses

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmdnet_jax import automatic, preparation
from rmdnet_jax import config as configuration
from rmdnet_jax.config import default
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.errors import InputError

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
    assert (run.rm.batch_size, run.rgrl.batch_size) == (size, size)
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
        ["", "none", "human", "pairflip", "matrix", "random", "gce", "nce_rce", "a:b", "\0", "."]
    ),
    tuple: st.lists(st.integers(-5, 5) | st.floats(0, 1), max_size=3).map(tuple),
    type(None): st.none() | st.floats() | st.integers(-2, 2),
}
FIELDS = {
    field: VALUES[type(value)]
    for field, value in configuration.flat(default().to_dict()).items()
    if not field.startswith("dataset.") or field == "dataset.validation"
}
SEVERAL = st.lists(st.sampled_from(sorted(FIELDS)), max_size=5).flatmap(
    lambda fields: st.fixed_dictionaries({field: FIELDS[field] for field in fields})
)


@settings(deadline=None, max_examples=300, derandomize=True)
@given(fields=SEVERAL)
def test_whatever_the_fields_are_it_is_a_run_or_one_line_and_nothing_is_written(
    tmp_path_factory, fields
):
    config = default()
    for field, value in fields.items():
        group, _, leaf = field.rpartition(".")
        config_group = configuration.get(config, group) if group else config
        config_group._fields[leaf] = value
    workdir, refusal = tmp_path_factory.getbasetemp() / "never made", ""
    try:
        run = preparation.prepare(config, workdir, DATA)
        assert dataclasses.is_dataclass(run)
    except InputError as error:
        refusal = str(error)
    assert "\n" not in refusal
    assert not workdir.exists()
