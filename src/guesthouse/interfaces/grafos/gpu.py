"""GPU leases and sessions (spec fabric.md 6)."""

from __future__ import annotations

import struct
from typing import Any

from guesthouse.engine import Instance
from guesthouse.interfaces.grafos.side import Side
from guesthouse.resources.gpu.failures import BAD_IMAGE, BAD_LAUNCH, NO_KERNEL, SessionError
from guesthouse.resources.gpu.pool import Gpu
from guesthouse.resources.leases.status import UNSUPPORTED, LeaseError

_WORD = struct.Struct("<Q")
#: Grid x, y, z, block x, y, z, dynamic shared bytes.
DIMS = struct.Struct("<7I")


#: Bounds of what one request may carry; no device takes as many parameters, and no bundle is as large.
MOST_ARGUMENTS = 4096
MOST_ARGUMENT_BYTES = 32 << 10
MOST_NAME = 4096
MOST_IMAGE = 256 << 20


def _gpu(side: Side) -> Gpu:
    gpu: Gpu | None = side.fabric.gpu
    if gpu is None:
        raise LeaseError(UNSUPPORTED, "this host has no GPU backend", resource="gpu")
    return gpu


def _perform(side: Side, instance: Instance, lease: int, operation: str, *args: object) -> Any:
    """Do an operation of the lease's session; the call's own end interrupts the wait."""
    check = None if instance.call is None else instance.call.check
    return _gpu(side).perform(side.tenant, lease, operation, *args, check=check)


def gpu_lease_alloc(
    side: Side, instance: Instance, resource: int, vram: int, ttl: int, out_lease: int
) -> int:
    """Lease memory of a device; its session begins with the first use."""
    instance.write(out_lease, _WORD.pack(_gpu(side).lease(side.tenant, resource, vram, ttl).id))
    return 0


def gpu_lease_renew(side: Side, instance: Instance, lease: int, ttl: int, out_expires: int) -> int:
    """Extend a lease."""
    expires = _gpu(side).renew(side.tenant, lease, ttl)
    if out_expires:
        instance.write(out_expires, _WORD.pack(expires))
    return 0


def gpu_lease_free(side: Side, instance: Instance, lease: int) -> int:
    """End a lease with its session, memory and modules."""
    _gpu(side).free(side.tenant, lease)
    return 0


def gpu_lease_query(side: Side, instance: Instance, lease: int) -> int:
    """The lease's status, 0..3."""
    return _gpu(side).query(side.tenant, lease).status


def gpu_session_mem_alloc(side: Side, instance: Instance, lease: int, size: int, out_dptr: int) -> int:
    """Allocate zeroed device memory."""
    instance.write(out_dptr, _WORD.pack(_perform(side, instance, lease, "alloc", size)))
    return 0


def gpu_session_mem_free(side: Side, instance: Instance, lease: int, dptr: int) -> int:
    """Give device memory back."""
    _perform(side, instance, lease, "free", dptr)
    return 0


def gpu_session_mem_write(
    side: Side, instance: Instance, lease: int, dptr: int, offset: int, data: int, length: int
) -> int:
    """Copy from the guest to the device."""
    _perform(side, instance, lease, "write", dptr, offset, instance.read(data, length))
    return 0


def gpu_session_mem_read(
    side: Side, instance: Instance, lease: int, dptr: int, offset: int, data: int, length: int
) -> int:
    """Copy from the device to the guest, after every earlier launch."""
    instance.write(data, _perform(side, instance, lease, "read", dptr, offset, length))
    return 0


def gpu_session_module_load(
    side: Side, instance: Instance, lease: int, image: int, length: int, out_module: int
) -> int:
    """Load a kernel image."""
    if length > MOST_IMAGE:
        _gpu(side).session(side.tenant, lease)
        raise SessionError(BAD_IMAGE, f"an image of {length} bytes")
    handle = _perform(side, instance, lease, "load", instance.read(image, length))
    instance.write(out_module, _WORD.pack(handle))
    return 0


def gpu_session_module_unload(side: Side, instance: Instance, lease: int, module: int) -> int:
    """Drop a module."""
    _perform(side, instance, lease, "unload", module)
    return 0


def gpu_session_launch(
    side: Side,
    instance: Instance,
    lease: int,
    module: int,
    name: int,
    name_length: int,
    dims: int,
    args: int,
    args_length: int,
    sizes: int,
    count: int,
) -> int:
    """Queue a kernel launch; what it does wrong shows at the next sync or copy."""
    _gpu(side).session(side.tenant, lease)  # the lease's own codes come first
    if count > MOST_ARGUMENTS or args_length > MOST_ARGUMENT_BYTES:
        raise SessionError(BAD_LAUNCH, f"{count} arguments of {args_length} bytes")
    if name_length > MOST_NAME:
        raise SessionError(NO_KERNEL, f"a name of {name_length} bytes")
    widths = struct.unpack(f"<{count}I", instance.read(sizes, 4 * count))
    if sum(widths) != args_length:
        raise SessionError(BAD_LAUNCH, f"arguments of {sum(widths)} bytes in {args_length}")
    packed = instance.read(args, args_length)
    values, at = [], 0
    for width in widths:
        values.append(packed[at : at + width])
        at += width
    shape = DIMS.unpack(instance.read(dims, DIMS.size))
    _perform(side, instance, lease, "launch", module, instance.read(name, name_length), shape, values)
    return 0


def gpu_session_sync(side: Side, instance: Instance, lease: int) -> int:
    """Wait for every launch."""
    _perform(side, instance, lease, "sync")
    return 0
