"""GPU leases: a share of a device's memory, and one session under each (spec fabric.md 6)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from guesthouse.resources.gpu.failures import SessionError
from guesthouse.resources.gpu.process import Channel, Check, Process
from guesthouse.resources.gpu.session import GRAIN, Observer, Session
from guesthouse.resources.leases.accounts import Lease
from guesthouse.resources.leases.clock import LeaseClock
from guesthouse.resources.leases.engine import LeaseEngine
from guesthouse.resources.leases.journal import Journal
from guesthouse.resources.leases.status import CAPACITY_EXCEEDED, UNKNOWN_LEASE, LeaseError

#: What a lease of 0 bytes asks for.
DEFAULT_VRAM = 256 << 20
#: Seconds that a launch may take.
DEADLINE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """One device that can be leased.

    Attributes:
        name: for people.
        backend: ``cuda``, ``opencl``, ``cpu``, or ``mock``.
        number: which of the backend's devices, from 0.
        vram: bytes of memory to lease.
    """

    name: str
    backend: str
    number: int
    vram: int


class _Vram:
    """A device's memory as a backing of the lease engine. Units are 256 bytes; an extent is a session."""

    def __init__(self, device: DeviceInfo, start: Callable[[int], Channel], observe: Observer | None) -> None:
        self.size, self.grain = device.vram // GRAIN, GRAIN
        self.sessions: dict[int, Session] = {}
        self._start, self._observe = start, observe

    def admit(self, start: int, units: int, generation: int) -> None:
        capacity = units * GRAIN
        self.sessions[start] = Session(lambda: self._start(capacity), capacity, self._observe)

    def scrub(self, start: int, units: int) -> None:
        session = self.sessions.get(start)
        if session is not None:
            session.destroy()
            self.sessions.pop(start, None)


class Gpu:
    """Leases on GPUs.

    Args:
        clock: the lease clock.
        devices: what can be leased.
        start: starts what computes on a device; a process of its own unless a mock says otherwise.
        deadline: seconds that one request may take.
        quota: bytes of each device that one tenant may lease; all of it if ``None``.
        observe: told of every launch that was accepted.
        journal: opens the journal of a device's leases, by its position; after a restart they answer as
            revoked.
    """

    def __init__(
        self,
        clock: LeaseClock,
        devices: Sequence[DeviceInfo],
        *,
        start: Callable[[DeviceInfo, int], Channel] | None = None,
        deadline: float = DEADLINE_SECONDS,
        quota: int | None = None,
        observe: Observer | None = None,
        journal: Callable[[int], Journal | None] = lambda _number: None,
    ) -> None:
        self.devices = tuple(devices)
        opener = start or (
            lambda device, capacity: Process(device.backend, capacity, device.number, deadline)
        )
        self._vrams: list[_Vram] = []
        self.engines: list[LeaseEngine] = []
        self._lock = threading.Lock()
        for number, device in enumerate(self.devices):
            vram = _Vram(device, lambda capacity, device=device: opener(device, capacity), observe)  # type: ignore[misc]
            self._vrams.append(vram)
            self.engines.append(
                LeaseEngine(
                    "gpu",
                    vram,
                    clock,
                    quota=quota or device.vram,
                    default_amount=DEFAULT_VRAM,
                    journal=journal(number),
                    survives=False,
                )
            )

    def lease(self, tenant: str, resource: int, vram: int, ttl: int) -> Lease:
        """Lease memory of a device.

        Args:
            tenant: whose it is.
            resource: 0 for any device, n for device n - 1.
            vram: bytes; 0 for the default.
            ttl: seconds; 0 for the default.

        Raises:
            LeaseError: no such device has that much left (-4).
        """
        if resource > len(self.engines):
            raise LeaseError(CAPACITY_EXCEEDED, f"no device {resource}", resource="gpu")
        candidates = self.engines if resource == 0 else [self.engines[resource - 1]]
        for engine in candidates:
            try:
                return engine.grant(tenant, vram, ttl)
            except LeaseError as error:
                if error.code != CAPACITY_EXCEEDED:
                    raise
        raise LeaseError(CAPACITY_EXCEEDED, f"{vram} bytes asked", resource="gpu")

    def _engine(self, tenant: str, lease: int) -> tuple[int, LeaseEngine]:
        for number, engine in enumerate(self.engines):
            try:
                engine.query(tenant, lease)
            except LeaseError:
                continue
            return number, engine
        raise LeaseError(UNKNOWN_LEASE, resource="gpu")

    def renew(self, tenant: str, lease: int, ttl: int) -> int:
        """Extend a lease and return its expiry."""
        return self._engine(tenant, lease)[1].renew(tenant, lease, ttl)

    def free(self, tenant: str, lease: int) -> None:
        """End a lease with its session."""
        self._engine(tenant, lease)[1].free(tenant, lease)

    def query(self, tenant: str, lease: int) -> Lease:
        """Return the lease, whatever its status."""
        return self._engine(tenant, lease)[1].query(tenant, lease)

    def fail_next_teardown(self, lease: int) -> None:
        """Test hook: the teardown of this lease fails, so that it is fenced."""
        for engine in self.engines:
            try:
                return engine.fail_next_teardown(lease)
            except LeaseError:
                continue
        raise LeaseError(UNKNOWN_LEASE, resource="gpu")

    def session(self, tenant: str, lease: int) -> Session:
        """Return the session of a lease that is usable now.

        Raises:
            LeaseError: it is not.
        """
        number, engine = self._engine(tenant, lease)
        return self._vrams[number].sessions[engine.usable(tenant, lease).start]

    def perform(self, tenant: str, lease: int, operation: str, *args: object, check: Check = None) -> object:
        """Do one operation of a lease's session; what ended meanwhile is told by the lease's own code."""
        try:
            return getattr(self.session(tenant, lease), operation)(*args, check=check)
        except SessionError:
            self.session(tenant, lease)  # a lease that ended while we waited comes first
            raise

    def sessions(self) -> Iterator[Session]:
        """Every session that lives."""
        for vram in self._vrams:
            yield from list(vram.sessions.values())

    def close(self) -> None:
        """End every session."""
        for session in self.sessions():
            session.destroy()
        for engine in self.engines:
            engine.close()
