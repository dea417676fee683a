"""The job of a command: an experiment, a sweep of experiments, or a table of the paper."""

import dataclasses
from collections.abc import Callable, Container, Sequence
from functools import partial
from pathlib import Path

from ml_collections import ConfigDict

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.config import automatic
from rmdnet_jax.config import checking as configuration
from rmdnet_jax.runs import paper_tables, single, sweep


@dataclasses.dataclass(frozen=True)
class Job:
    """A job to run.

    Attributes:
      run: runs it, given the workdir and the command as typed.
      batch_sizes: of all stages.
      is_grid: whether it consists of many experiments.
    """

    run: Callable[[Path, str], object]
    batch_sizes: Sequence[int]
    is_grid: bool = False

    def check_distributed(self) -> None:
        """Raises InputError for a job that several processes cannot run as one program."""
        if self.is_grid:
            raise InputError(
                "a sweep or a table with --distributed; expected the same command on each host "
                "without it and with a shared --workdir: the hosts share the cells"
            )


def job(config: ConfigDict, swept: Sequence[str], asked: Container[str] = ()) -> Job:
    """The job that `config` and the flags --sweep describe.

    Args:
      config: with the values of the command line.
      swept: each "FIELD=VALUE,VALUE,...".
      asked: names of the fields that the command line sets.

    Raises:
      InputError: a table cannot be swept, or a value of the config is invalid.
    """
    if isinstance(config, ConfigDict) and "table" in config:
        if swept:
            raise InputError(f"--sweep={swept[0]} with a table of the paper; expected just one")
        sizes = [n for name in paper_tables.DATASETS for n in _batch_sizes(config[name])]
        return Job(partial(paper_tables.run, config, asked=asked), sizes, is_grid=True)
    configuration.check(config, automatic.FIELDS)
    if swept:
        return Job(
            partial(sweep.run, config, swept, asked=asked), _batch_sizes(config), is_grid=True
        )
    return Job(partial(single.run, config, asked=asked), _batch_sizes(config))


def _batch_sizes(config: ConfigDict) -> list[int]:
    # An unset size is chosen from the data; devices that divide the largest choice divide it.
    unread = configuration.unread_fields(config)
    fields = (name for name in ("rm.batch_size", "train.batch_size") if name not in unread)
    return [configuration.get(config, name) or max(automatic.BATCHES) for name in fields]
