"""How much of a data set may be held in memory (a larger one is streamed from disk), and a hint if
a batch does not fit into a device's memory."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import jax

from rmdnet_jax.base.errors import InputError

# The automatic budget. The device also holds parameters, activations and the optimiser's state; the
# host holds the images, JAX's copy of them on its way to the device, and whatever else runs there.
_DEVICE_SHARE = 1 / 2
_HOST_SHARE = 1 / 4

# Where a container's limit is written; "max" or a huge number means none.
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def budget(gigabytes: float = 0.0) -> int:
    """Bytes that the decoded images of a data set, train and test together, may take in memory.

    Args:
      gigabytes: of 10**9 bytes; 0 means half of a device's memory, if JAX knows it, and at most a
        quarter of the host's (of the container's, if that is less).
    """
    if gigabytes:
        return round(gigabytes * 1e9)
    budgets = [_HOST_SHARE * host_bytes()]
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        budgets.append(_DEVICE_SHARE * stats["bytes_limit"])
    return int(min(budgets))


def host_bytes() -> int:
    """Memory of this machine, or of the container in which the program runs."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in map(Path, _CGROUP_LIMITS):
        text = path.read_text().strip() if path.is_file() else ""
        if text.isdecimal():
            sizes.append(int(text))
    return min(sizes)


@contextlib.contextmanager
def hinting(batch_size: int) -> Iterator[None]:
    """Raises InputError, with what can be made smaller, if the block runs out of device memory.

    Args:
      batch_size: images per step, over all devices.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise InputError(
            f"a batch of {batch_size} does not fit into the device's memory; expected a smaller "
            "one (rm.batch_size, train.batch_size), a smaller network (model.width), or images "
            "streamed from disk (dataset.memory_budget)"
        ) from error
