"""What makes training fast on a CPU; on a GPU or TPU nothing here has an effect.

Measured on the robust loss alone, ResNet-18 of width 64, batch 64, two cores, each on top of the
previous one: 32 images per second, 38 with one device per core, 42 with the compiler option, 46
with large pages (benchmarks/README.md).
"""

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

# Keeps the barrier after a residual block (models/resnet.py) until operations are fused. Without it
# the weight gradient recomputes a chain of blocks for every element that it reads.
COMPILER_OPTIONS = {"xla_disable_hlo_passes": "cse_barrier_expander"}

# For what runs once: the program that draws ResNet-18's parameters compiles in an eighth of the
# time (6 s instead of 45 on a busy core) and gives the same bits.
_QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}

# XLA ends the process when a device has waited this many seconds for another in a reduction: 40 by
# default, which a busy or niced machine may well need.
_PATIENCE = {
    "xla_cpu_collective_call_warn_stuck_timeout_seconds": 300,
    "xla_cpu_collective_call_terminate_timeout_seconds": 30 * 60,
}

# At most so many calls in flight: XLA lets 32 programs wait for a device, and if one of several
# devices is that far ahead, they wait for one another forever.
_IN_FLIGHT = 8

# Images per device, at least; with fewer, more devices are no faster.
_SHARE = 16


def jit_once(function: Callable) -> Callable:
    """jax.jit for a function that runs once, so that compiling it takes most of the time."""
    import jax

    is_cpu = jax.default_backend() == "cpu"
    compiled = jax.jit(function, compiler_options=_QUICK if is_cpu else None)

    def run(*arguments):
        traced = any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(arguments))
        # Inside another program, or jax.eval_shape, options cannot be given.
        return function(*arguments) if traced else compiled(*arguments)

    return run


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def devices(batch_sizes: Iterable[int], cores: int) -> int:
    """Number of devices to make from `cores` cores: each gets an equal share of every batch, of 16
    images or more."""
    sizes = list(batch_sizes)
    fitting = (
        n
        for n in range(1, cores + 1)
        if all(size % n == 0 and size // n >= _SHARE for size in sizes)
    )
    return max(fitting, default=1)


def use_cores(batch_sizes: Iterable[int]) -> None:
    """Makes several devices from this CPU's cores. XLA runs many convolutions on one thread; the
    same program on one device per core, each with its share of the batch, uses all cores.

    To be called before JAX computes anything. JAX_NUM_CPU_DEVICES in the environment takes
    precedence.
    """
    import jax

    be_patient()
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        jax.config.update("jax_num_cpu_devices", devices(batch_sizes, cores()))


def be_patient() -> None:
    """Lets devices of this CPU wait for one another as long as the machine needs.

    To be called before JAX computes anything. XLA_FLAGS in the environment takes precedence.
    """
    given = os.environ.get("XLA_FLAGS", "")
    ours = [f"--{name}={value}" for name, value in _PATIENCE.items() if name not in given]
    os.environ["XLA_FLAGS"] = " ".join([*given.split(), *ours])


def use_large_pages() -> None:
    """Re-executes this command, in the same process, with memory pages of 2 MB.

    XLA allocates and frees hundreds of megabytes per step, with 100,000 page faults of 4 kB.
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def waited(result: Any, number: int) -> Any:
    """The result of call `number` of a series, from 0; on a CPU, waits for every eighth result to
    be computed."""
    import jax

    if jax.default_backend() == "cpu" and (number + 1) % _IN_FLIGHT == 0:
        jax.block_until_ready(result)
    return result
