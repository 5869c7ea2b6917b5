"""The lease rules of spec fabric.md 8, written down a second time and as plainly as possible.

Nothing of the project is used here, so the property tests compare two independent readings of the rules.
"""

from __future__ import annotations

from dataclasses import dataclass, field

EXPIRED, FENCED, CAPACITY, REVOKED, UNKNOWN = -2, -3, -4, -6, -8


@dataclass
class ModelLease:
    tenant: str
    capacity: int
    expires: int
    status: int = 0
    fail_teardown: bool = False
    cells: dict[int, int] = field(default_factory=dict)


class Model:
    """Leases over numbered cells (bytes or blocks); every operation returns a status or a value."""

    def __init__(self, quota: int, default: int, now: int) -> None:
        self.quota, self.default, self.now = quota, default, now
        self.leases: dict[int, ModelLease] = {}

    def used(self, tenant: str) -> int:
        return sum(
            lease.capacity
            for lease in self.leases.values()
            if lease.tenant == tenant and lease.status in (0, 3)
        )

    def sweep(self) -> None:
        for lease in self.leases.values():
            if lease.status == 0 and self.now >= lease.expires:
                lease.status = 3 if lease.fail_teardown else 1

    def set_time(self, now: int) -> None:
        self.sweep()
        self.now = now
        self.sweep()

    def check(self, tenant: str, key: int) -> int:
        lease = self.leases.get(key)
        if lease is None or lease.tenant != tenant:
            return UNKNOWN
        return {0: 0, 1: EXPIRED, 2: REVOKED, 3: FENCED}[lease.status]

    def alloc(self, tenant: str, key: int, amount: int, ttl: int) -> int:
        left = self.quota - self.used(tenant)
        amount = amount or min(self.default, left)
        if amount == 0 or amount > left:
            return CAPACITY
        self.leases[key] = ModelLease(tenant, amount, self.now + (min(ttl, 86_400) or 300))
        return 0

    def renew(self, tenant: str, key: int, ttl: int) -> int:
        status = self.check(tenant, key)
        if status == 0:
            lease = self.leases[key]
            lease.expires = max(lease.expires, self.now + (min(ttl, 86_400) or 300))
            return lease.expires
        return status

    def free(self, tenant: str, key: int) -> int:
        status = self.check(tenant, key)
        if status == 0:
            lease = self.leases[key]
            lease.status = 3 if lease.fail_teardown else 2
            return FENCED if lease.fail_teardown else 0
        return status

    def unfence(self, key: int) -> int:
        lease = self.leases.get(key)
        if lease is None:
            return UNKNOWN
        if lease.status != 3:
            return -7
        lease.status, lease.fail_teardown = 2, False
        return 0

    def access(self, tenant: str, key: int, first: int, count: int) -> int:
        status = self.check(tenant, key)
        if status == 0 and first + count > self.leases[key].capacity:
            return CAPACITY
        return status

    def write(self, tenant: str, key: int, first: int, values: bytes) -> int:
        status = self.access(tenant, key, first, len(values))
        if status == 0:
            self.leases[key].cells.update(enumerate(values, first))
        return status

    def read(self, tenant: str, key: int, first: int, count: int) -> int | bytes:
        status = self.access(tenant, key, first, count)
        if status == 0:
            return bytes(self.leases[key].cells.get(at, 0) for at in range(first, first + count))
        return status
