"""Allocating, renewing, freeing and querying leases on memory and blocks (spec fabric.md 4 and 5)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from guesthouse.engine import Instance
from guesthouse.interfaces.grafos.side import Side
from guesthouse.resources.leases.engine import Lease, LeaseEngine

#: FbmuLeaseInfo: lease id, capacity in bytes, expiry, status, zeros.
MEMORY_INFO = struct.Struct("<QQQB7x")
#: FbbuLeaseInfo: lease id, number of blocks, expiry, block size, status, zeros.
BLOCK_INFO = struct.Struct("<QQQIB3x")
#: An expiry or another 64-bit result.
WORD = struct.Struct("<Q")
BLOCK_SIZE = 512


def memory_info(lease: Lease) -> bytes:
    """A memory lease as the guest's struct."""
    return MEMORY_INFO.pack(lease.id, lease.capacity, lease.expires_at, lease.status)


def block_info(lease: Lease) -> bytes:
    """A block lease as the guest's struct."""
    return BLOCK_INFO.pack(lease.id, lease.capacity, lease.expires_at, BLOCK_SIZE, lease.status)


def fbmu_hello(side: Side, instance: Instance) -> int:
    """Open the instance's memory window."""
    side.fabric.greet("fbmu")
    side.fabric.memory.leases.ready(side.tenant)
    side.open_window()
    return 0


def fbbu_hello(side: Side, instance: Instance) -> int:
    """Open the tenant's block device."""
    side.fabric.greet("fbbu")
    side.fabric.blocks.leases.ready(side.tenant)
    side.open_volume()
    return 0


def lease_functions(
    resource: Callable[[Any], LeaseEngine], info: Callable[[Lease], bytes]
) -> dict[str, Callable[..., int]]:
    """The four functions that every kind of lease has.

    Args:
        resource: finds the lease engine in a fabric.
        info: turns a lease into the guest's struct.
    """

    def alloc(side: Side, instance: Instance, amount: int, ttl: int, out_info: int) -> int:
        lease = resource(side.fabric).grant(side.tenant, amount, ttl)
        instance.write(out_info, info(lease))
        return 0

    def renew(side: Side, instance: Instance, lease: int, ttl: int, out_expires: int) -> int:
        expires = resource(side.fabric).renew(side.tenant, lease, ttl)
        if out_expires:
            instance.write(out_expires, WORD.pack(expires))
        return 0

    def free(side: Side, instance: Instance, lease: int) -> int:
        resource(side.fabric).free(side.tenant, lease)
        return 0

    def query(side: Side, instance: Instance, lease: int, out_info: int) -> int:
        instance.write(out_info, info(resource(side.fabric).query(side.tenant, lease)))
        return 0

    return {"alloc": alloc, "renew": renew, "free": free, "query": query}


MEMORY = lease_functions(lambda fabric: fabric.memory.leases, memory_info)
BLOCKS = lease_functions(lambda fabric: fabric.blocks.leases, block_info)
