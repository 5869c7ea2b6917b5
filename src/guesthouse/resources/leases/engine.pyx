# cython: language_level=3
"""One set of lease rules for every kind of resource (spec fabric.md 8).

The engine decides who holds what until when; the bytes belong to a *backing*, which reserves extents,
scrubs them and takes them back (:class:`guesthouse.resources.leases.contract.Backing`).
"""

import os
import threading
import time
from heapq import heapify, heappop, heappush

from libc.stdint cimport int64_t

from guesthouse.resources.leases.accounts cimport Lease, Tenant
from guesthouse.resources.leases.clock cimport LeaseClock
from guesthouse.resources.leases.table cimport (
    ACTIVE, CAPACITY_EXCEEDED, EXPIRED, FENCED, LEASE_EXPIRED, LEASE_FENCED, LEASE_REVOKED, REVOKED,
    UNKNOWN_LEASE, lease_t, set_expiry, set_status, status_now, table_add, table_drop, table_new, table_remove,
)
from guesthouse.resources.leases.status import LeaseError

#: Time to live that 0 asks for, and the longest one, in seconds (spec fabric.md 4).
DEFAULT_TTL = 300
MAX_TTL = 86_400
#: Ended leases stay known this long, and this many of them per tenant (spec fabric.md 8.6).
REMEMBER_SECONDS = 3600
REMEMBER_COUNT = 65_536
#: A teardown that takes longer fences its extent (spec fabric.md 8.8).
TEARDOWN_SECONDS = 10.0


cdef class LeaseEngine:
    """Leases of one kind of resource, over all tenants.

    Args:
        kind: what is leased, such as ``memory``; for messages.
        backing: where the extents are.
        clock: the lease clock.
        quota: units that a tenant may hold when nothing else was said.
        default_amount: what an allocation of 0 units asks for.
        journal: where leases are recorded, or ``None``.
        survives: leases of the journal that had not ended go on; otherwise they are revoked.
        max_leases: active leases per tenant.

    Raises:
        LeaseError: from the methods, with the status code of spec fabric.md 2 and 3.
        ResourceError: the journal is damaged.
    """

    def __cinit__(self, str kind, backing, LeaseClock clock, *, quota, default_amount, journal=None,
                  survives=True, max_leases=1 << 20):
        self.kind, self.backing, self.clock, self.journal = kind, backing, clock, journal
        self.table = table_new(clock.clock)
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.tenants, self.leases, self.due, self.notes = {}, {}, [], {}
        self.generation, self.fenced_units = 1, 0
        self.entropy, self.entropy_at = b"", 0
        self.survives = survives
        self.default_quota, self.default_amount, self.max_leases = quota, default_amount, max_leases
        if journal is not None:
            self.recover(journal.replay(), survives)
        clock.watch(self.reap)

    def __dealloc__(self):
        table_drop(self.table)

    # -- what tenants do ------------------------------------------------------------------------------

    def grant(self, str tenant, amount, ttl=0):
        """Allocate a lease of exactly `amount` units for `ttl` seconds (0: the defaults) and return it."""
        cdef Tenant owner
        cdef Lease lease
        cdef int64_t now
        if self.due and self.due[0][0] <= self.clock.now():
            self.reap()
        with self.lock:
            owner = self.tenant_of(tenant)
            amount = amount or self.default_for(owner)
            start = self.reserve(owner, amount)
            if start is None:
                raise LeaseError(CAPACITY_EXCEEDED, f"{amount} asked, {owner.quota - owner.used} of the quota left",
                                 resource=self.kind)
            units = self.backing.units(amount)
            generation = self.generation
            self.generation += 1
            try:
                self.backing.admit(start, units, generation)
            except Exception:       # zeros could not be proven: nobody gets these units
                self.fenced_units += units
                raise LeaseError(CAPACITY_EXCEEDED, "an extent could not be scrubbed", resource=self.kind) from None
            lease = self.make(owner, self.new_id(), amount, start, units, generation)
            now = self.clock.now()
            set_expiry(lease.row, now + (min(ttl, MAX_TTL) or DEFAULT_TTL))
            if self.journal is not None:
                try:
                    self.journal.append(
                        ("grant", lease.id, tenant, amount, start, units, lease.row.expires, generation))
                except Exception:
                    del self.leases[lease.id]
                    table_remove(self.table, lease.row)
                    self.backing.release(start, units)
                    raise
                self.compact()
            self.activate(lease)
            return lease

    def renew(self, str tenant, id, ttl=0):
        """Extend a usable lease to at least now + `ttl` and return its expiry; never shortens nor revives."""
        cdef Lease lease
        with self.lock:
            lease = self.lease_of(tenant, id)
            self.demand_active(lease)
            expires = self.clock.now() + (min(ttl, MAX_TTL) or DEFAULT_TTL)
            if expires > lease.row.expires:
                if self.journal is not None:
                    self.journal.append(("renew", lease.id, expires))
                set_expiry(lease.row, expires)
            return lease.row.expires

    def free(self, str tenant, id):
        """End a usable lease, scrub it and give its capacity back."""
        cdef Lease lease
        with self.lock:
            lease = self.lease_of(tenant, id)
            self.demand_active(lease)
            self.end(lease, REVOKED, self.clock.now())
        if not self.tear_down(lease):
            raise LeaseError(LEASE_FENCED, f"lease {id:#x}", resource=self.kind)

    def query(self, str tenant, id):
        """The lease, whatever its status."""
        with self.lock:
            return self.lease_of(tenant, id)

    def usable(self, str tenant, id):
        """The lease, when it can be used now."""
        cdef Lease lease
        with self.lock:
            lease = self.lease_of(tenant, id)
            self.demand_active(lease)
            return lease

    def ready(self, str tenant):
        """Raise when nothing of the tenant's quota or of the pool is usable because all of it is fenced."""
        cdef Tenant owner
        with self.lock:
            owner = self.tenant_of(tenant)
            if (owner.fenced and owner.fenced >= owner.quota) or (
                self.fenced_units and self.fenced_units >= self.backing.size
            ):
                raise LeaseError(LEASE_FENCED, "nothing usable is left", resource=self.kind)

    # -- what the host does ---------------------------------------------------------------------------

    def revoke(self, id):
        """Take a lease back, whoever holds it: as if its tenant had freed it."""
        with self.lock:
            lease = self.known(id)
        self.free((<Lease>lease).owner.name, id)

    def fail_next_teardown(self, id):
        """Test hook: the teardown of this lease fails, so its extent is fenced."""
        with self.lock:
            (<Lease>self.known(id)).fail_teardown = True

    def unfence(self, id):
        """Scrub a fenced extent again and return its capacity; the lease then reports revoked.

        Raises:
            LeaseError: it is not fenced, or scrubbing fails again (it stays fenced).
        """
        cdef Lease lease
        with self.lock:
            lease = <Lease>self.known(id)
            if lease.row.status != FENCED:
                raise LeaseError(-7, f"lease {id:#x} is not fenced", resource=self.kind)
            lease.owner.fenced -= lease.capacity
            self.fenced_units -= lease.units
            set_status(lease.row, REVOKED)
            lease.ended_at = self.clock.now()
            lease.owner.ended.append(lease)
            if self.journal is not None:
                self.journal.append(("end", lease.id, REVOKED, lease.ended_at))
            self.tearing_down += 1
        if not self.tear_down(lease):
            raise LeaseError(LEASE_FENCED, f"lease {id:#x}", resource=self.kind)

    def set_quota(self, str tenant, quota):
        """Set how many units the tenant's leases may hold together; leases that exist stay."""
        with self.lock:
            self.tenant_of(tenant).quota = quota

    def tenant(self, str name):
        """The tenant's account."""
        with self.lock:
            return self.tenant_of(name)

    def held_by(self, str tenant):
        """Leases of a tenant that are known, ended ones included."""
        with self.lock:
            return [lease for lease in self.leases.values() if (<Lease>lease).owner.name == tenant]

    def reap(self):
        """End what has expired, scrub it, and forget what ended long ago. Returns how many expired."""
        cdef Lease lease
        cdef Tenant owner
        expired = []
        with self.lock:
            now = self.clock.now()
            while self.due and self.due[0][0] <= now:
                lease = self.leases.get(heappop(self.due)[1])
                if lease is None or lease.row.status != ACTIVE:
                    continue
                if lease.row.expires > now:
                    heappush(self.due, (lease.row.expires, lease.id))
                    continue
                self.end(lease, EXPIRED, lease.row.expires)
                expired.append(lease)
            for owner in self.tenants.values():
                while owner.ended and (<Lease>owner.ended[0]).ended_at + REMEMBER_SECONDS < now:
                    if (<Lease>owner.ended[0]).held:
                        break
                    self.forget(<Lease>owner.ended.popleft())
        for lease in expired:
            self.tear_down(lease)
        return len(expired)

    def next_expiry(self):
        """When something may expire next, in seconds since the epoch, or ``None``."""
        with self.lock:
            return self.due[0][0] if self.due else None

    def close(self):
        """Close the journal; leases stay as they are."""
        with self.lock:
            if self.closed:
                return
            self.closed = True
            self.clock.unwatch(self.reap)
            if self.journal is not None:
                self.journal.close()

    def __len__(self):
        return self.active

    # -- inside; the lock is held unless said otherwise ----------------------------------------------

    cdef Tenant tenant_of(self, str name):
        owner = self.tenants.get(name)
        if owner is None:
            owner = self.tenants[name] = Tenant(name, len(self.tenants) + 1, self.default_quota)
        return <Tenant>owner

    cdef Lease lease_of(self, str tenant, id):
        lease = self.leases.get(id)
        if lease is None or (<Lease>lease).owner.name != tenant:
            raise LeaseError(UNKNOWN_LEASE, resource=self.kind)
        return <Lease>lease

    def known(self, id):
        """A lease by id, whoever holds it."""
        lease = self.leases.get(id)
        if lease is None:
            raise LeaseError(UNKNOWN_LEASE, resource=self.kind)
        return lease

    def demand_active(self, Lease lease):
        """Raise what spec fabric.md 3.5 says about a lease that is not usable."""
        cdef int status = status_now(self.table, lease.row)
        if status == FENCED:
            raise LeaseError(LEASE_FENCED, resource=self.kind)
        if status == REVOKED:
            raise LeaseError(LEASE_REVOKED, resource=self.kind)
        if status == EXPIRED:
            raise LeaseError(LEASE_EXPIRED, resource=self.kind)

    def default_for(self, Tenant owner):
        """What an allocation of 0 units gets: the default, or what is left."""
        amount = min(self.default_amount, owner.quota - owner.used, self.backing.available())
        if amount <= 0:
            raise LeaseError(CAPACITY_EXCEEDED, "nothing left", resource=self.kind)
        return amount

    def reserve(self, Tenant owner, amount):
        """An extent for `amount` units, or ``None``; waits for space that is just being scrubbed."""
        give_up = 0.0
        while True:
            if amount <= owner.quota - owner.used and owner.active < self.max_leases:
                start = self.backing.reserve(self.backing.units(amount))
                if start is not None:
                    return start
            if not self.tearing_down:
                return None
            now = time.monotonic()
            give_up = give_up or now + TEARDOWN_SECONDS
            if now >= give_up:
                return None
            self.waiting += 1
            self.changed.wait(give_up - now)
            self.waiting -= 1

    def new_id(self):
        """A random id, non-zero and below 2^63, that was not given out before (spec fabric.md 3.3)."""
        while True:
            if self.entropy_at >= len(self.entropy):
                self.entropy, self.entropy_at = os.urandom(4096), 0
            id = int.from_bytes(self.entropy[self.entropy_at : self.entropy_at + 8], "little") >> 1
            self.entropy_at += 8
            if id and id not in self.leases:
                return id

    def make(self, Tenant owner, id, capacity, start, units, generation):
        """A lease that nobody can use yet."""
        cdef Lease lease = Lease.__new__(Lease)
        lease.row = table_add(self.table, id)
        lease.table = self.table
        lease.owner, lease.id, lease.capacity = owner, id, capacity
        lease.start, lease.units, lease.generation = start, units, generation
        lease.row.capacity, lease.row.start = capacity, start
        lease.row.units, lease.row.generation = units, generation
        lease.held = True
        self.leases[id] = lease
        return lease

    def activate(self, Lease lease):
        """Charge its tenant, and let it be used."""
        cdef Lease other
        lease.owner.used += lease.capacity
        lease.owner.active += 1
        self.active += 1
        heappush(self.due, (lease.row.expires, lease.id))
        if len(self.due) > 2 * self.active + 4096:
            self.due = [(other.row.expires, other.id) for other in self.leases.values()
                        if other.row.status == ACTIVE or other is lease]
            heapify(self.due)
        lease.row.tenant = lease.owner.number
        set_status(lease.row, ACTIVE)

    def end(self, Lease lease, int status, at):
        """Make an active lease unusable; its capacity comes back with `tear_down`."""
        cdef lease_t* row = lease.row
        if self.journal is not None:
            self.journal.append(("end", lease.id, status, at))
        with nogil:                 # a call in flight may still hold it
            set_status(row, status)
        lease.ended_at = at
        lease.owner.active -= 1
        self.active -= 1
        self.tearing_down += 1
        lease.owner.ended.append(lease)
        if len(lease.owner.ended) > REMEMBER_COUNT and not (<Lease>lease.owner.ended[0]).held:
            self.forget(<Lease>lease.owner.ended.popleft())

    def tear_down(self, Lease lease):
        """Scrub an ended lease and return its extent, or fence it: whether it worked. Without the lock,
        since tearing down can take seconds and must not hold up other tenants."""
        begun = time.monotonic()
        try:
            if lease.fail_teardown:
                lease.fail_teardown = False
                raise OSError("teardown failed as a test asked for")
            self.backing.scrub(lease.start, lease.units)
            works = time.monotonic() - begun <= TEARDOWN_SECONDS
        except Exception:
            works = False
        with self.lock:
            self.tearing_down -= 1
            if works:
                lease.held = False
                lease.owner.used -= lease.capacity
                self.backing.release(lease.start, lease.units)
            else:
                set_status(lease.row, FENCED)
                lease.owner.fenced += lease.capacity
                self.fenced_units += lease.units
                lease.owner.ended.remove(lease)
            # What does not survive is in no extent after a restart, so nobody will ask.
            if self.journal is not None and self.survives and not self.closed:
                self.journal.append(("release" if works else "fence", lease.id), flush=not works)
            if self.waiting:
                self.changed.notify_all()
        return works

    def forget(self, Lease lease):
        """Drop every trace of an ended lease: from now on its id is as unknown as any other.

        The journal is not told: a restart forgets by the same rules.
        """
        del self.leases[lease.id]
        table_remove(self.table, lease.row)

    def trim(self):
        """Forget what there is too much of, and what is too old; after a recovery."""
        cdef Tenant owner
        with self.lock:
            for owner in self.tenants.values():
                while len(owner.ended) > REMEMBER_COUNT and not (<Lease>owner.ended[0]).held:
                    self.forget(<Lease>owner.ended.popleft())
        self.reap()

    def recover(self, records, survives):
        """Bring back what the journal tells, before anybody is served."""
        from guesthouse.resources.leases.recovery import recover

        recover(self, records, survives)
        self.compact(force=True)

    def restore(self, str tenant, id, capacity, start, units, expires, generation, int status, ended_at, held):
        """Take one lease of a journal over. `held` tells that its extent is not back in the pool."""
        cdef Lease lease
        cdef Tenant owner = self.tenant_of(tenant)
        lease = self.make(owner, id, capacity, start, units, generation)
        self.generation = max(self.generation, generation + 1)
        set_expiry(lease.row, expires)
        if status == ACTIVE:
            self.activate(lease)
            return lease
        lease.row.tenant = owner.number
        set_status(lease.row, status)
        lease.ended_at, lease.held = ended_at, held
        if held:
            owner.used += capacity
        if status == FENCED:
            owner.fenced += capacity
            self.fenced_units += units
        else:
            owner.ended.append(lease)
            if held:
                self.tearing_down += 1
        return lease

    def carve(self, str key, amount, copy_from=None):
        """Take an extent out of the pool for good, under a name: where it begins. It is journaled as a note.

        Args:
            copy_from: start and units of an extent whose contents it gets before the note is written.
        """
        with self.lock:
            units = self.backing.units(amount)
            start = self.backing.reserve(units)
            if start is None:
                raise LeaseError(CAPACITY_EXCEEDED, f"no room for {amount}", resource=self.kind)
            self.backing.admit(start, units, self.generation)
            self.generation += 1
            if copy_from is not None:
                self.backing.copy(copy_from[0], start, copy_from[1])
            self.note(key, (start, units, amount))
            return start

    def note(self, str key, values):
        """Record something about the pool that must survive; `notes` holds it."""
        with self.lock:
            if self.journal is not None:
                self.journal.append(("note", key, *values))
            self.notes[key] = values

    def advance_generation(self, generation):
        """Never give out a generation below this one."""
        self.generation = max(self.generation, generation)

    def compact(self, force=False):
        """Rewrite the journal as what is true now, when it has grown far beyond that."""
        if not force and self.journal.records < max(100_000, 8 * len(self.leases)):
            return
        cdef Lease lease
        records = []
        for lease in self.leases.values():
            records.append(("grant", lease.id, lease.owner.name, lease.capacity, lease.start, lease.units,
                            lease.row.expires, lease.generation))
            if lease.row.status != ACTIVE:
                records.append(("end", lease.id, lease.row.status, lease.ended_at))
                if not lease.held:
                    records.append(("release", lease.id))
                elif lease.row.status == FENCED:
                    records.append(("fence", lease.id))
        records.append(("generation", self.generation))
        records += [("note", key, *values) for key, values in self.notes.items()]
        self.journal.rewrite(records)

