"""One mesh with a `data` axis: the batch is split over it, everything else is replicated.

The program is written for the global batch; one device and many run the same code.
"""

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec


def mesh() -> jax.sharding.Mesh:
    """All devices in one `data` axis."""
    # Auto: under the default Explicit axes the relation graph's x @ x.T on a split batch raises.
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def replicate(tree, mesh: jax.sharding.Mesh):
    """A copy of `tree` on every device."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def split_batch(tree, mesh: jax.sharding.Mesh):
    """Inside a compiled program: the leading axis of every array lies split over the devices."""
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, PartitionSpec("data")))
