"""The table of the fabric's host functions (spec fabric.md 3 to 7).

A module that was not granted a capability is linked all the same: each call gives -5, after the ranges
of guest memory were checked as always (spec fabric.md 3.5).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from guesthouse.engine.functions import HostFunction, Native
from guesthouse.interfaces.grafos import gpu, leasing, net, tasklets, transfers
from guesthouse.interfaces.grafos.calling import Range, data, guarded, result

MEMORY = ("grafos.memory", "fabricbios_fbmu_v0")
BLOCKS = ("grafos.blocks", "fabricbios_fbbu_v0")
GPU = ("grafos.gpu", "fabricbios_gpu_v1")
NET = ("grafos.net", "fabricbios_net_v0")
TASKLET = ("grafos.tasklet", "fabricbios_cpu_v0")
MODULES = tuple(module for _, module in (MEMORY, BLOCKS, GPU, NET, TASKLET))

_INFO = 32  # bytes of either lease info struct
_WORD = 8
_BLOCK = Range(1, size=512)
_LEASED_BLOCK = Range(2, size=512)


def _row(
    home: tuple[str, str],
    name: str,
    params: str,
    function: Callable[..., int] | None,
    ranges: Sequence[Range],
    summary: str,
    results: str = "i",
) -> HostFunction:
    """One row; without a Python function it is the native one of that name."""
    capability, module = home
    how = _native(name) if function is None else guarded(function, ranges)
    spans = [(r.pointer, r.length, r.size) for r in ranges]
    denied = Native(transfers.REFUSE, transfers.describe(spans))
    return HostFunction(capability, module, name, params, results, how, summary, denied)


def _native(name: str) -> Native:
    if name in leasing.FUNCTIONS:
        return Native(*leasing.FUNCTIONS[name])
    return Native(transfers.FUNCTIONS[name])


FUNCTIONS: tuple[HostFunction, ...] = (
    _row(MEMORY, "fbmu_hello", "", None, (), "Opens this instance's private memory window."),
    _row(MEMORY, "fbmu_get_arena_size", "", None, (), "Bytes of the window, or a negative code.", "I"),
    _row(MEMORY, "fbmu_read", "Iii", None, (data(1, 2),), "Reads from the window."),
    _row(MEMORY, "fbmu_write", "Iii", None, (data(1, 2),), "Writes to the window."),
    _row(MEMORY, "fbmu_alloc", "IIi", None, (result(2, _INFO),), "Leases memory."),
    _row(
        MEMORY,
        "fbmu_renew",
        "IIi",
        None,
        (result(2, _WORD, optional=True),),
        "Extends a memory lease.",
    ),
    _row(MEMORY, "fbmu_free", "I", None, (), "Ends a memory lease and scrubs it."),
    _row(MEMORY, "fbmu_query", "Ii", None, (result(1, _INFO),), "Describes a memory lease."),
    _row(MEMORY, "fbmu_read_lease", "IIii", None, (data(2, 3),), "Reads from a memory lease."),
    _row(MEMORY, "fbmu_write_lease", "IIii", None, (data(2, 3),), "Writes to a memory lease."),
    _row(BLOCKS, "fbbu_hello", "", None, (), "Opens the tenant's block device."),
    _row(BLOCKS, "fbbu_get_num_blocks", "", None, (), "Blocks of the device, or a negative code.", "I"),
    _row(BLOCKS, "fbbu_read_block", "Ii", None, (_BLOCK,), "Reads a block of the device."),
    _row(BLOCKS, "fbbu_write_block", "Ii", None, (_BLOCK,), "Writes a block of the device."),
    _row(BLOCKS, "fbbu_alloc", "IIi", None, (result(2, _INFO),), "Leases blocks."),
    _row(
        BLOCKS,
        "fbbu_renew",
        "IIi",
        None,
        (result(2, _WORD, optional=True),),
        "Extends a block lease.",
    ),
    _row(BLOCKS, "fbbu_free", "I", None, (), "Ends a block lease and scrubs it."),
    _row(BLOCKS, "fbbu_query", "Ii", None, (result(1, _INFO),), "Describes a block lease."),
    _row(BLOCKS, "fbbu_read_block_lease", "IIi", None, (_LEASED_BLOCK,), "Reads a block of a lease."),
    _row(BLOCKS, "fbbu_write_block_lease", "IIi", None, (_LEASED_BLOCK,), "Writes a block of a lease."),
    _row(GPU, "gpu_lease_alloc", "IIIi", gpu.gpu_lease_alloc, (result(3, _WORD),), "Leases GPU memory."),
    _row(
        GPU,
        "gpu_lease_renew",
        "IIi",
        gpu.gpu_lease_renew,
        (result(2, _WORD, optional=True),),
        "Extends a GPU lease.",
    ),
    _row(GPU, "gpu_lease_free", "I", gpu.gpu_lease_free, (), "Ends a GPU lease with its session."),
    _row(GPU, "gpu_lease_query", "I", gpu.gpu_lease_query, (), "Status of a GPU lease, 0 to 3."),
    _row(
        GPU,
        "gpu_session_mem_alloc",
        "IIi",
        gpu.gpu_session_mem_alloc,
        (result(2, _WORD),),
        "Allocates zeroed device memory.",
    ),
    _row(GPU, "gpu_session_mem_free", "II", gpu.gpu_session_mem_free, (), "Frees device memory."),
    _row(
        GPU,
        "gpu_session_mem_write",
        "IIIii",
        gpu.gpu_session_mem_write,
        (data(3, 4),),
        "Copies to the device.",
    ),
    _row(
        GPU,
        "gpu_session_mem_read",
        "IIIii",
        gpu.gpu_session_mem_read,
        (data(3, 4),),
        "Copies from the device.",
    ),
    _row(
        GPU,
        "gpu_session_module_load",
        "Iiii",
        gpu.gpu_session_module_load,
        (data(1, 2), result(3, _WORD)),
        "Loads a kernel image: PTX, cubin, fatbin, or a bundle of several kinds.",
    ),
    _row(GPU, "gpu_session_module_unload", "II", gpu.gpu_session_module_unload, (), "Drops a module."),
    _row(
        GPU,
        "gpu_session_launch",
        "IIiiiiiii",
        gpu.gpu_session_launch,
        (data(2, 3), Range(4, size=28), data(5, 6), Range(7, 8, 4)),
        "Queues a kernel launch.",
    ),
    _row(GPU, "gpu_session_sync", "I", gpu.gpu_session_sync, (), "Waits for every launch."),
    _row(
        NET,
        "net_hello",
        "Iiiii",
        net.net_hello,
        (data(1, 2), result(3, 4), result(4, _WORD)),
        "Names the fastest network interface.",
    ),
    _row(
        TASKLET,
        "tasklet_submit",
        "ii",
        tasklets.tasklet_submit,
        (Range(0, size=56), result(1, 24)),
        "Runs a module as a call of its own, to its end.",
    ),
    *(
        HostFunction(
            "",
            module,
            "unix_time_secs",
            "",
            "I",
            Native(transfers.FUNCTIONS["unix_time_secs"]),
            "The lease clock.",
        )
        for module in MODULES
    ),
)
