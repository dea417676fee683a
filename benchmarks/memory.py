"""Device memory by batch size, and the largest batch within a budget.

python benchmarks/memory.py          (also measures PyTorch on a GPU, if it is installed)

On a GPU a figure is the peak of the allocator in a separate process, and the largest batch is one
that ran in a process whose allocator was limited to the budget. On other devices both use what the
compiler assigns to the step's program: arguments, outputs and temporaries.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import ours
import stopwatch

from rmdnet_jax.methods.interface import Batch

_GIB = 2**30
_TOO_LITTLE = 9  # exit status of a process without enough memory


def assigned(stage: str, width: int, size: int, batch_size: int) -> int:
    """Bytes that the compiler assigns to a step's program: arguments, outputs and temporaries; 0 if
    it is not reported. Compiles the program, but does not run it."""
    method = ours.method(stage, width)
    task = ours.task(method, np.arange(batch_size, dtype=np.int32), batch_size)

    def arguments():
        label = jnp.zeros(batch_size, jnp.int32)
        image = jnp.zeros((batch_size, size, size, 3), jnp.uint8)
        state = method.init(jax.random.key(0), image[:1], task)
        return state, Batch(image, label, label), jax.random.key(0)

    step = jax.jit(method.step, donate_argnums=0)
    memory = step.lower(*jax.eval_shape(arguments), method.frozen).compile().memory_analysis()
    if memory is None:  # a backend without this report
        return 0
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes
    return held + memory.temp_size_in_bytes - memory.alias_size_in_bytes


def seen(form: str, stage: str, width: int, size: int, batch_size: int) -> int:
    """Peak bytes on the GPU in two passes of two steps; valid only once per process."""
    data = *ours.made_data(2 * batch_size, size), batch_size
    if form == "PyTorch":
        import torch
        import torch_training

        training = torch_training.AsExpert(stage, width, *data, mode="default")
    else:
        training = ours.Training(ours.method(stage, width), *data)
    training()
    training()
    if form == "PyTorch":
        return torch.cuda.max_memory_allocated()
    return jax.devices()[0].memory_stats()["peak_bytes_in_use"]


def peak(case: dict, share: float = 0.9) -> int | None:
    """Bytes that a case takes; None if its share of the GPU's memory is not enough.

    Args:
      case: the arguments of `seen`.
      share: of the GPU's memory, given to JAX in a separate process.
    """
    if jax.default_backend() != "gpu":
        return assigned(**{name: value for name, value in case.items() if name != "form"})
    command = [sys.executable, __file__, "--case", json.dumps(case)]
    environment = os.environ | {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{share:.4f}"}
    environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "true"
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == _TOO_LITTLE:
        return None
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return int(done.stdout.split()[-1])


def largest(case: dict, known: dict[int, int], budget: int, total: int) -> int:
    """The largest batch within `budget` bytes, a multiple of 64, to about 5 %; 0 if none fits.

    Args:
      case: as in `peak`, except that its batch_size is searched.
      known: bytes by batch size, for two sizes or more; memory grows about linearly, so the line
        through them gives the start of the search.
      budget: in bytes.
      total: bytes of the device, of which the budget is a share.
    """
    (small, few), (large, many) = min(known.items()), max(known.items())
    expected = large + (budget - many) * (large - small) / max(many - few, 1)
    size = int(1.1 * expected) // 64 * 64
    step = max(64, int(0.05 * expected) // 64 * 64)
    while size > 0:
        needed = peak(case | {"batch_size": size}, budget / total)
        if needed is not None and needed <= budget:
            return size
        size -= step
    return 0


def run_case(case: dict) -> None:
    """Runs one case in its own process."""
    try:
        print(seen(**case))
    except Exception as error:  # neither library has a public class for out of memory
        if "RESOURCE_EXHAUSTED" in str(error) or "out of memory" in str(error):
            sys.exit(_TOO_LITTLE)
        raise


def main() -> None:
    """Prints one row per stage and batch size, and the largest batches."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int)
    parser.add_argument("--size", type=int, default=32, help="side of the images")
    parser.add_argument("--batch", type=int, nargs="+", help="two or more")
    parser.add_argument("--stage", nargs="+", default=list(ours.STAGES), choices=ours.STAGES)
    parser.add_argument("--budget", type=float, help="GiB for the largest batch; 0 skips it")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        return run_case(json.loads(options.case))
    # The processes of the cases need the GPU's memory; this one only queries the device.
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    os.environ["XLA_PYTHON_CLIENT_MEM_FRACTION"] = "0.5"
    on = stopwatch.on_backend
    width = options.width or on(16, 64)
    batches = options.batch or on([64, 128, 256], [64, 512, 2048])
    budget = on(4, 16) if options.budget is None else options.budget
    with_peer = on(False, importlib.util.find_spec("torch") is not None)
    print(stopwatch.heading("jax", *(["torch"] if with_peer else [])))
    rows: list[list] = []
    found: list[list] = []
    for stage in options.stage:
        case = {"form": "ours", "stage": stage, "width": width, "size": options.size}
        known = {size: peak(case | {"batch_size": size}) for size in batches}
        for size, taken in known.items():
            peer = peak(case | {"form": "PyTorch", "batch_size": size}) if with_peer else None
            ratio = f"{taken / peer:.2f}" if peer and taken else "-"
            row = ["too much"] if taken is None else [f"{taken / _GIB:.3f} GiB"]
            rows.append([stage, size, *row, f"{peer / _GIB:.3f} GiB" if peer else "-", ratio])
        known = {size: taken for size, taken in known.items() if taken is not None}
        if budget and len(known) > 1:
            total = on(1, (jax.devices()[0].memory_stats() or {}).get("bytes_limit", 0) / 0.5)
            found.append([stage, largest(case, known, int(budget * _GIB), total)])
    header = ["stage", "batch", "ours", "PyTorch, compiled", "ours / PyTorch's"]
    print(stopwatch.table(header, rows))
    if found:
        print(stopwatch.table(["stage", f"largest batch in {budget:g} GiB"], found))


if __name__ == "__main__":
    main()
