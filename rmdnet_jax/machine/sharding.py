"""One mesh with a `data` axis: the batch is split over it, everything else is replicated.

The program is written for the global batch; one device, many, and many hosts run the same code.
"""

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec


def mesh() -> jax.sharding.Mesh:
    """All devices of all hosts in one `data` axis, those of each host next to one another."""
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    # Auto: under the default Explicit axes the relation graph's x @ x.T on a split batch raises.
    return jax.sharding.Mesh(np.array(devices), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: jax.sharding.Mesh) -> NamedSharding:
    """The sharding of an array of which every device has a full copy."""
    return NamedSharding(mesh, PartitionSpec())


def replicate(tree, mesh: jax.sharding.Mesh):
    """`tree`, which is the same on every host, copied to every device. With several hosts, typed
    keys must be there already (made under `jax.set_mesh`)."""
    everywhere = replicated(mesh)

    def put(x):
        if jax.process_count() == 1 or (isinstance(x, jax.Array) and not x.is_fully_addressable):
            return jax.device_put(x, everywhere)
        # device_put would first send it between the hosts, to compare what each has.
        host = np.asarray(jax.device_get(x))
        with jax.transfer_guard("allow"):  # JAX does not count this as an explicit transfer
            return jax.make_array_from_callback(host.shape, everywhere, lambda _: host)

    return jax.tree.map(put, tree)


def shapes(tree, mesh: jax.sharding.Mesh):
    """The shapes and dtypes of arrays, as of arrays that every device has a full copy of."""
    everywhere = replicated(mesh)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere), tree)


def split_batch(tree, mesh: jax.sharding.Mesh):
    """Inside a compiled program: splits the leading axis of every array over the devices."""
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, PartitionSpec("data")))


def whole(tree):
    """Inside a compiled program: gives every device all of what is split along the batch. Returns
    the tree itself if the program runs without a mesh (`jax.set_mesh`)."""
    if jax.sharding.get_abstract_mesh().empty:
        return tree
    return jax.lax.with_sharding_constraint(tree, PartitionSpec())


def columns(batch_size: int, mesh: jax.sharding.Mesh) -> slice:
    """Which images of a batch this host's devices process."""
    share = batch_size // mesh.size
    mine = [
        i for i, device in enumerate(mesh.devices) if device.process_index == jax.process_index()
    ]
    return slice(mine[0] * share, (mine[-1] + 1) * share)


def split(tree, mesh: jax.sharding.Mesh):
    """Arrays [B, ...] split over the devices, from this host's `columns` of each."""
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    with jax.transfer_guard("allow"):  # with several hosts JAX does not count it as explicit
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), tree)
