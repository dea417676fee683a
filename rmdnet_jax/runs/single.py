"""One experiment in its workdir: prepare, claim the workdir, run, write the results."""

from collections.abc import Container
from pathlib import Path
from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from rmdnet_jax import experiment
from rmdnet_jax.data import picture_files
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.data.picture_files import PictureFiles
from rmdnet_jax.machine import hosts
from rmdnet_jax.machine import memory as host_memory
from rmdnet_jax.model import Model
from rmdnet_jax.report import console, results
from rmdnet_jax.report.outcome import Outcome
from rmdnet_jax.runs import workdirs
from rmdnet_jax.runs.preparation import facts, prepare
from rmdnet_jax.stages import run as stage_run

# In the workdir: the files of the data set that could not be used.
SKIPPED_FILES = "skipped_files.csv"


class Finished(NamedTuple):
    """A run that has ended: its outcome, its trained model, if there is one, and the content of
    results.json (empty in all processes but the first)."""

    outcome: Outcome
    model: Model | None
    results: dict


def run(
    config: ConfigDict,
    workdir: Path | None,
    command: str,
    data: Dataset | PictureFiles | None = None,
    asked: Container[str] = (),
) -> Finished:
    """Runs an experiment, or the remainder of it.

    Args:
      config: its fields are in rmdnet_jax/config/fields.py.
      workdir: the folder of this experiment; None writes nothing.
      command: how the user started it, for the report.
      data: the data to use in place of config.dataset.
      asked: names of the fields that the user set beyond the config file.

    Raises:
      InputError: an input is invalid; nothing was compiled, written or overwritten.
      DivergedError: a loss is not finite.
    """
    this = prepare(config, workdir, data, asked)
    if jax.process_count() > 1:
        hosts.check_same(facts(this))
    if workdir is None:
        if hosts.is_writer():
            _open(this)
        outcome, model = experiment.run(this)
        if not hosts.is_writer():
            return Finished(outcome, model, {})
        summary = results.summarise(outcome)
        print(console.closing(summary, None, this.config.report.remark), flush=True)
        return Finished(outcome, model, summary)
    claim = hosts.by_writer(workdirs.claim(workdir, this.config.to_dict()))
    with workdirs.writable(workdir), claim, this.log:
        hosts.check_shared(workdir)
        if hosts.is_writer():
            picture_files.write_skipped(workdir / SKIPPED_FILES, this.data.skipped_files)
            _open(this)
        outcome, model = experiment.run(this)
        if model:
            model.save(workdir)
        if not hosts.is_writer():
            return Finished(outcome, model, {})
        written = results.write(workdir, outcome, this.config.to_dict(), command)
    print(console.closing(written, workdir, this.config.report.remark), flush=True)
    return Finished(outcome, model, written)


def _open(this: stage_run.Run) -> None:
    """Prints the summary of the run that is about to start."""
    config = this.config
    convolves = config.model.kind != "mlp"
    dtype = stage_run.convolution_dtype(config.model.precision) if convolves else "float32"
    budget = host_memory.budget(config.dataset.memory_budget)
    lines = console.opening(this.data, budget, this.labels, str(dtype), this.workdir)
    seen = [f"encoder  {this.encoder_story}"] if this.encoder_story else []
    if this.source and this.source.known:
        seen.append(f"teacher  {this.source.known.origin}")
    print(lines, *seen, *console.choices(config, this.chosen), sep="\n", flush=True)
