"""A command is an experiment, a sweep or a table, and that is found out before anything else."""

import importlib
from pathlib import Path

import pytest

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.config import default
from rmdnet_jax.runs import start

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def table(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("configs.paper_tables").get_config()


def test_an_experiment_may_be_run_by_several_processes_as_one():
    job = start.job(default(), [])
    assert job.batch_sizes == [64, 64]
    job.check_distributed()


def test_a_table_has_the_batches_of_both_data_sets(table):
    table.cifar100.train.batch_size = 32
    assert start.job(table, []).batch_sizes == [64, 64, 64, 32]


def test_a_table_cannot_be_swept(table):
    with pytest.raises(InputError, match="with a table of the paper"):
        start.job(table, ["rgrl.k=1"])


def test_the_processes_of_a_grid_are_started_one_by_one(table):
    for job in (start.job(table, []), start.job(default(), ["rgrl.k"])):
        with pytest.raises(InputError, match="the hosts share the cells"):
            job.check_distributed()
