"""How much of a data set may lie in memory (what is larger is streamed from disk), and a hint where
a batch is too much for a device's."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import jax

from rmdnet_jax.base.errors import InputError

# What automatic means. The device also holds parameters, activations and the optimiser's state; the
# host holds the images, JAX's copy of them on its way to the device, and whatever else runs there.
_DEVICE_SHARE = 1 / 2
_HOST_SHARE = 1 / 4

# Where a container's limit stands; "max" or a huge number is none.
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def budget(gigabytes: float = 0.0) -> int:
    """Bytes that the decoded images of a data set, train and test together, may take in memory.

    Args:
      gigabytes: of 10**9 bytes; 0 is half of a device's memory, where JAX knows it, and at most a
        quarter of the host's (of the container's, where that is less).
    """
    if gigabytes:
        return round(gigabytes * 1e9)
    budgets = [_HOST_SHARE * host_bytes()]
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        budgets.append(_DEVICE_SHARE * stats["bytes_limit"])
    return int(min(budgets))


def host_bytes() -> int:
    """Memory of this machine, or of the container it is seen from."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in map(Path, _CGROUP_LIMITS):
        text = path.read_text().strip() if path.is_file() else ""
        if text.isdecimal():
            sizes.append(int(text))
    return min(sizes)


@contextlib.contextmanager
def hinting(batch_size: int) -> Iterator[None]:
    """Raises InputError, with what can be made smaller, where the block runs out of device memory.

    Args:
      batch_size: images of a step, over all devices.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise InputError(
            f"the device's memory does not hold a batch of {batch_size}; give a smaller one "
            "(rm.batch_size, train.batch_size), a smaller network (model.width), or stream the "
            "images (dataset.memory_budget)"
        ) from error
