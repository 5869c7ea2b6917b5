"""A mock of the fabric: the real lease rules over small resources, with a clock that tests move.

::

    from guesthouse.testing import MockFabric, mock_advance_time_secs

    with MockFabric() as fabric, guesthouse.Host(fabric=fabric) as host:
        guest = host.load("cache.wasm", grant=["grafos"])
        guest.call(b"fill")
        mock_advance_time_secs(301)                  # every default lease is over now
        guest.call(b"lookup")

State is per thread: the ``mock_*`` functions work on the mock that the thread uses now (spec fabric.md 9).
"""

from __future__ import annotations

import threading
import weakref
from typing import Any, Self

from guesthouse.interfaces.grafos.fabric import Fabric, FabricOptions
from guesthouse.interfaces.grafos.net import Link, Network
from guesthouse.resources.blocks.pool import Blocks
from guesthouse.resources.gpu.pool import DeviceInfo, Gpu
from guesthouse.resources.leases.accounts import Lease
from guesthouse.resources.leases.clock import VirtualClock
from guesthouse.resources.leases.engine import LeaseEngine
from guesthouse.resources.leases.status import LeaseError
from guesthouse.resources.memory.arena import Memory, Window
from guesthouse.testing.gpu import Recorder

ARENA_BYTES = 65_536
NUM_BLOCKS = 1_024
UNIX_TIME = 1_700_000_000
VRAM = 1 << 30
LINK = Link("mock0", 10_000_000_000)
#: The pools behind the quotas, with room for the rounding of many small leases.
_MEMORY_POOL = 1 << 28
_BLOCK_POOL = 1 << 20


class MockNetwork(Network):
    """One interface, as configured."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self.link = link

    def links(self) -> list[Link]:
        """The one interface."""
        return [self.link]


class MockFabric(Fabric):
    """A fabric for tests; as a context manager it is the thread's current one inside.

    Attributes:
        clock: the virtual clock of its leases.
        errors: codes that hellos and submissions are answered with, by name.
        launch_log: accepted GPU launches: module, kernel, dims, arguments.
        tasklet: ``(exit_code, output)`` that every submitted tasklet has, without being run.

    Args:
        clock: the clock to go by, which is set to its default; one of its own if ``None``.
    """

    clock: VirtualClock
    network: MockNetwork

    def __init__(self, *, clock: VirtualClock | None = None) -> None:
        self._former: list[MockFabric | None] = []
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Forget all leases, contents and injected errors, and set every default."""
        self._let_go()
        self.options = FabricOptions(arena=ARENA_BYTES, blocks=NUM_BLOCKS)
        self.clock = self._clock or VirtualClock(UNIX_TIME)
        self.clock.set(UNIX_TIME)
        self.network = MockNetwork(LINK)
        self.errors: dict[str, int] = {}
        self.tasklet: tuple[int, bytes] | None = (0, b"")
        self._arena, self._num_blocks = ARENA_BYTES, NUM_BLOCKS
        self._windows: weakref.WeakSet[Window] = weakref.WeakSet()
        self.memory = Memory(self.clock, arena=ARENA_BYTES, pool=_MEMORY_POOL)
        self.blocks = Blocks(self.clock, blocks=NUM_BLOCKS, pool=_BLOCK_POOL)
        self.launch_log: list[tuple[int, str, tuple[int, ...], tuple[bytes, ...]]] = []
        self._mock_gpu = Gpu(
            self.clock,
            [DeviceInfo("mock", "mock", 0, VRAM)],
            start=lambda _device, _capacity: Recorder(),
            observe=lambda *launch: self.launch_log.append(launch),
        )

    def _let_go(self) -> None:
        """Have former leases follow the clock no longer."""
        if "memory" in vars(self):
            for engine in self._engines():
                engine.close()

    @property
    def gpu(self) -> Gpu:
        """One device that keeps bytes, loads any image and records launches without computing."""
        return self._mock_gpu

    # -- what the interface asks

    def greet(self, resource: str) -> None:
        """Turn a guest away with the code that was set for this hello."""
        code = self.errors.get(resource)
        if code is not None:
            raise LeaseError(code, "as the test asked for", resource=resource)

    def open_window(self, tenant: str) -> Window:
        """A private memory window that follows the arena's size."""
        window = super().open_window(tenant)
        self._windows.add(window)
        return window

    # -- what tests do

    def set_arena_size(self, size: int) -> None:
        """Set bytes of the arena; windows are cut off or extended by zeros, leases stay."""
        self._arena = size
        for tenant in self._tenants(self.memory):
            self.memory.leases.set_quota(tenant, size)
        self.memory.leases.default_quota = size
        for window in list(self._windows):
            window.resize(size)

    def set_num_blocks(self, count: int) -> None:
        """Set blocks of each tenant; devices are cut off or extended by zeros, leases stay."""
        self._num_blocks = count
        for tenant in self._tenants(self.blocks):
            self.blocks.truncate(tenant, count)
        self.blocks.leases.default_quota = count

    def set_error(self, name: str, code: int | None) -> None:
        """Answer ``fbmu``, ``fbbu`` or ``net`` hellos, or a ``tasklet`` submission; ``None`` clears."""
        if code is None:
            self.errors.pop(name, None)
        else:
            self.errors[name] = code

    def leases(self, tenant: str = "default") -> list[Lease]:
        """All memory and block leases of a tenant that are known, ended ones included."""
        return [*self.memory.leases.held_by(tenant), *self.blocks.leases.held_by(tenant)]

    def expire(self, lease: int) -> None:
        """End a lease as if its time had run out, by moving the clock to its expiry.

        Leases that end earlier go with it: time is one for all.
        """
        for engine in self._engines():
            for tenant in engine.tenants:
                for known in engine.held_by(tenant):
                    if known.id == lease:
                        self.clock.set(max(self.clock.now(), known.expires_at))
                        return
        raise LeaseError(-8, f"lease {lease:#x}")

    def fail_next_teardown(self, lease: int) -> None:
        """Have the teardown of a lease fail, so that it is fenced."""
        for engine in self._engines():
            try:
                engine.fail_next_teardown(lease)
            except LeaseError:
                continue
            return
        raise LeaseError(-8, f"lease {lease:#x}")

    def _engines(self) -> list[LeaseEngine]:
        return [self.memory.leases, self.blocks.leases, *self.gpu.engines]

    def _tenants(self, resource: Any) -> list[str]:
        return list(resource.leases.tenants)

    def close(self) -> None:
        """Do nothing: several hosts of one test may share a mock; memory goes with the object."""

    def __enter__(self) -> Self:
        self._former.append(getattr(_thread, "fabric", None))
        _thread.fabric = self
        return self

    def __exit__(self, *exc: object) -> None:
        _thread.fabric = self._former.pop()


_thread = threading.local()


def current_mock() -> MockFabric:
    """The mock that this thread uses now; made when there is none yet."""
    fabric: MockFabric | None = getattr(_thread, "fabric", None)
    if fabric is None:
        fabric = _thread.fabric = MockFabric()
    return fabric


def reset_mock() -> None:
    """Forget all leases, contents and injected errors of the thread's mock, and set every default."""
    current_mock().reset()


def mock_set_fbmu_arena_size(size: int) -> None:
    """Set the bytes of memory that are reported and checked; windows follow, leases stay."""
    current_mock().set_arena_size(size)


def mock_set_fbbu_num_blocks(count: int) -> None:
    """Set the blocks that are reported and checked; devices follow, leases stay."""
    current_mock().set_num_blocks(count)


def mock_set_fbmu_hello_error(code: int | None) -> None:
    """Have fbmu_hello return a code until it is cleared with ``None``; leases keep working."""
    current_mock().set_error("fbmu", code)


def mock_set_fbbu_hello_error(code: int | None) -> None:
    """Have fbbu_hello return a code until it is cleared with ``None``; leases keep working."""
    current_mock().set_error("fbbu", code)


def mock_set_unix_time_secs(now: int) -> None:
    """Set the lease clock; what has ended stays ended when it is set back."""
    current_mock().clock.set(now)


def mock_advance_time_secs(seconds: int) -> None:
    """Move the lease clock."""
    current_mock().clock.advance(seconds)


def mock_set_net_interface(name: str, bandwidth_bps: int) -> None:
    """Set the interface that net_hello tells."""
    current_mock().network.link = Link(name, bandwidth_bps)


def mock_set_net_hello_error(code: int | None) -> None:
    """Have net_hello return a code until it is cleared with ``None``."""
    current_mock().set_error("net", code)


def mock_set_tasklet_result(exit_code: int, output: bytes) -> None:
    """Have every tasklet end like this without being run."""
    current_mock().tasklet = (exit_code, output)


def mock_set_tasklet_submit_error(code: int | None) -> None:
    """Have tasklet_submit return a code until it is cleared with ``None``, its result untouched."""
    current_mock().set_error("tasklet", code)
