"""From a config to a run: what is chosen from the data and the machine, and what is refused."""

import jax
import pytest

from rmdnet_jax import automatic, preparation
from rmdnet_jax.config import default


@pytest.mark.parametrize(("devices", "size"), [(1, 64), (6, 66)])
def test_open_batch_sizes_fit_the_devices(monkeypatch, devices, size):
    monkeypatch.setattr(jax, "device_count", lambda: devices)
    config = default()
    config.dataset.name = "digits"
    config = automatic.leave_open(config)
    run, _, _ = preparation.load(config)
    assert (run.rm.batch_size, run.rgrl.batch_size) == (size, size)
    assert preparation.filling(config)(config)[0].to_dict() == run.to_dict()
