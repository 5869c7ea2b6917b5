# cython: language_level=3
"""A tenant's account with a resource, and single leases."""

import msgspec

from guesthouse.resources.leases.rules cimport engine_t, query_lease, sight_t
from guesthouse.resources.leases.table cimport ACTIVE, EXPIRED, REVOKED

cdef object MOST_QUOTA = (1 << 62) - 1


cdef class Tenant:
    """What one tenant may hold of a resource, and holds."""

    def __cinit__(self, str name, number, quota):
        self.name, self.recorded = name, msgspec.msgpack.encode(name)
        self.account.number, self.quota = number, quota
        self.account.name, self.account.name_length = self.recorded, len(self.recorded)

    @property
    def number(self):
        """What native code knows it by."""
        return self.account.number

    @property
    def quota(self):
        """Units that its leases may hold together."""
        return self.account.quota

    @quota.setter
    def quota(self, quota):
        self.account.quota = max(0, min(quota, MOST_QUOTA))

    @property
    def used(self):
        """Units that they hold now, fenced ones included."""
        return self.account.used

    @property
    def fenced(self):
        """Units that are fenced."""
        return self.account.fenced

    @property
    def active(self):
        """How many leases are active."""
        return self.account.active


cdef class Lease:
    """One lease, as its owner and the host see it."""

    @property
    def id(self):
        """What it is known by."""
        return self.sight.id

    @property
    def tenant(self):
        """Name of the tenant that holds it."""
        return self.owner.name

    @property
    def capacity(self):
        """What was granted: bytes, or blocks."""
        return self.sight.capacity

    @property
    def start(self):
        """First unit of its extent."""
        return self.sight.start

    @property
    def units(self):
        """Units of its extent."""
        return self.sight.units

    @property
    def generation(self):
        """Grows with every lease that is granted."""
        return self.sight.generation

    @property
    def expires_at(self):
        """Seconds since the epoch at which it ends, or would have."""
        return self.look().expires

    @property
    def ended_at(self):
        """When it ended, or ``None``."""
        return None if self.look().status == ACTIVE else self.sight.ended_at or self.sight.expires

    @property
    def status(self):
        """0 active, 1 expired, 2 revoked, 3 fenced; expiry by time included."""
        return self.look().status

    cdef sight_t* look(self):
        """See how it is now; what is forgotten is as it was seen last, and over."""
        cdef int status
        with nogil:
            status = query_lease(self.engine, &self.owner.account, self.sight.id, &self.sight)
        if status != 0 and self.sight.status == ACTIVE:
            self.sight.status = EXPIRED if self.sight.expires <= self.keeper.clock.now() else REVOKED
        return &self.sight

    def __repr__(self):
        return f"<Lease {self.id:#x} of {self.tenant!r}: {self.capacity} at {self.start}, status {self.status}>"


cdef Lease lease_seen(sight_t* sight, engine_t* engine, object keeper, Tenant owner):
    cdef Lease lease = Lease.__new__(Lease)
    lease.sight, lease.engine, lease.keeper, lease.owner = sight[0], engine, keeper, owner
    return lease
