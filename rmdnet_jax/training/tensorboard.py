"""python -m rmdnet_jax.training.tensorboard DIRECTORY: turns lines of metrics.jsonl on
standard input into TensorBoard files in DIRECTORY, one folder per stage, until the input ends."""

import json
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

from clu import metric_writers


def write(lines: Iterable[str], directory: Path) -> None:
    """Writes the scalars of every line.

    Args:
      lines: JSON objects with "stage", "epoch" and numbers.
      directory: where TensorBoard reads.
    """
    writers: dict[str, metric_writers.SummaryWriter] = {}
    for line in lines:
        scalars = json.loads(line)
        stage, epoch = scalars.pop("stage"), scalars.pop("epoch")
        if stage not in writers:
            writers[stage] = metric_writers.SummaryWriter(str(directory / stage))
        writers[stage].write_scalars(epoch, scalars)
        writers[stage].flush()
    for writer in writers.values():
        writer.close()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which then ends the input
    write(sys.stdin, Path(sys.argv[1]))
