# cython: language_level=3
"""A tenant's account with a resource, and single leases."""

from collections import deque

from guesthouse.resources.leases.table cimport status_now


cdef class Tenant:
    """What one tenant may hold of a resource, and holds."""

    def __cinit__(self, str name, number, quota):
        self.name, self.number, self.quota = name, number, quota
        self.used = self.fenced = 0
        self.ended = deque()


cdef class Lease:
    """One lease, as its owner and the host see it."""

    @property
    def tenant(self):
        """Name of the tenant that holds it."""
        return self.owner.name

    @property
    def expires_at(self):
        """Seconds since the epoch at which it ends, or would have."""
        return self.row.expires

    @property
    def status(self):
        """0 active, 1 expired, 2 revoked, 3 fenced; expiry by time included."""
        return status_now(self.table, self.row)

    def __repr__(self):
        return f"<Lease {self.id:#x} of {self.tenant!r}: {self.capacity} at {self.start}, status {self.status}>"
