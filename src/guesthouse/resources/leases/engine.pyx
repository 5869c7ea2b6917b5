# cython: language_level=3
"""One set of lease rules for every kind of resource (spec fabric.md 8), as Python uses it.

The engine decides who holds what until when; the bytes belong to a *backing*, which proves extents to be
zero and scrubs them (:class:`guesthouse.resources.leases.contract.Backing`).
"""

import os

from libc.stdint cimport int64_t, uint64_t

from guesthouse.resources.leases.accounts cimport Lease, Tenant, lease_seen
from guesthouse.resources.leases.backing cimport backing_of
from guesthouse.resources.leases.clock cimport LeaseClock
from guesthouse.resources.leases.due cimport batch_t, due_add, due_next, due_prepare
from guesthouse.resources.leases.extents cimport extents_give_back, extents_take, extents_take_at
from guesthouse.resources.leases.log cimport Log, log_chain, log_generation
from guesthouse.resources.leases.rules cimport (
    MOST_RECORDS, activate, doom_lease, engine_drop, engine_init, find_lease, forget_oldest, free_lease,
    grant_lease, lock, look_at, overgrown, query_lease, ready_for, reap_leases, renew_lease, sight_t, tear_down,
    unfence_lease, units_of, unlock,
)
from guesthouse.resources.leases.table cimport (
    ACTIVE, CAPACITY_EXCEEDED, FENCED, INTERNAL, INVALID_ARGUMENT, chain_append, chain_t, code_of, lease_t,
    set_expiry, set_status, table_add, table_drop, table_new,
)
from guesthouse.errors import ResourceError
from guesthouse.resources.leases.status import LeaseError

cdef uint64_t LARGEST = 0xFFFFFFFFFFFFFFFF


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

    def __cinit__(self, str kind, backing, LeaseClock clock, *, quota, default_amount, Log journal=None,
                  survives=True, max_leases=1 << 20):
        self.kind, self.backing, self.clock, self.journal = kind, backing, clock, journal
        self.native = backing_of(backing)
        self.table = table_new(clock.clock)
        if self.table == NULL or engine_init(
            &self.engine, self.table, &self.native.native, &journal.log if journal is not None else NULL
        ) != 0:
            raise MemoryError()
        self.tenants, self.notes = {}, {}
        self.engine.survives = survives
        self.engine.default_amount, self.engine.max_leases = default_amount, max_leases
        self.default_quota = quota
        if journal is not None:
            self.recover(journal.replay(), survives)
        clock.watch(self.reap)

    def __dealloc__(self):
        engine_drop(&self.engine)
        table_drop(self.table)

    # -- what tenants do ------------------------------------------------------------------------------

    def grant(self, str tenant, amount, ttl=0):
        """Allocate a lease of exactly `amount` units for `ttl` seconds (0: the defaults) and return it."""
        cdef Tenant owner = self.account_of(tenant)
        cdef uint64_t wanted = min(amount, LARGEST), lasting = min(ttl, LARGEST)
        cdef sight_t sight
        cdef int status
        with nogil:
            status = grant_lease(&self.engine, &owner.account, wanted, lasting, &sight)
        if status == CAPACITY_EXCEEDED:
            self.demand(status, f"{amount} asked, {max(0, owner.quota - owner.used)} of the quota left")
        self.demand(status, None)
        self.tidy()
        return lease_seen(&sight, &self.engine, self, owner)

    def renew(self, str tenant, uint64_t id, ttl=0):
        """Extend a usable lease to at least now + `ttl` and return its expiry; never shortens nor revives."""
        cdef Tenant owner = self.account_of(tenant)
        cdef uint64_t expires, lasting = min(ttl, LARGEST)
        cdef int status
        with nogil:
            status = renew_lease(&self.engine, &owner.account, id, lasting, &expires)
        self.demand(status, f"lease {id:#x}")
        return <int64_t>expires

    def free(self, str tenant, uint64_t id):
        """End a usable lease, scrub it and give its capacity back."""
        cdef Tenant owner = self.account_of(tenant)
        cdef int status
        with nogil:
            status = free_lease(&self.engine, &owner.account, id)
        self.demand(status, f"lease {id:#x}")

    def query(self, str tenant, uint64_t id):
        """The lease, whatever its status."""
        cdef Tenant owner = self.account_of(tenant)
        cdef sight_t sight
        cdef int status
        with nogil:
            status = query_lease(&self.engine, &owner.account, id, &sight)
        self.demand(status, f"lease {id:#x}")
        return lease_seen(&sight, &self.engine, self, owner)

    def usable(self, str tenant, uint64_t id):
        """The lease, when it can be used now."""
        cdef Lease lease = self.query(tenant, id)
        self.demand(code_of(lease.sight.status), f"lease {id:#x}")
        return lease

    def ready(self, str tenant):
        """Raise when nothing of the tenant's quota or of the pool is usable because all of it is fenced."""
        cdef Tenant owner = self.account_of(tenant)
        cdef int status
        with nogil:
            status = ready_for(&self.engine, &owner.account)
        self.demand(status, "nothing usable is left")

    # -- what the host does ---------------------------------------------------------------------------

    def revoke(self, uint64_t id):
        """Take a lease back, whoever holds it: as if its tenant had freed it."""
        cdef int status
        with nogil:
            status = free_lease(&self.engine, NULL, id)
        self.demand(status, f"lease {id:#x}")

    def fail_next_teardown(self, uint64_t id):
        """Test hook: the teardown of this lease fails, so its extent is fenced."""
        cdef int status
        with nogil:
            status = doom_lease(&self.engine, id)
        self.demand(status, f"lease {id:#x}")

    def unfence(self, uint64_t id):
        """Scrub a fenced extent again and return its capacity; the lease then reports revoked.

        Raises:
            LeaseError: it is not fenced, or scrubbing fails again (it stays fenced).
        """
        cdef int status
        with nogil:
            status = unfence_lease(&self.engine, id)
        self.demand(status, f"lease {id:#x} is not fenced" if status == INVALID_ARGUMENT else f"lease {id:#x}")

    def set_quota(self, str tenant, quota):
        """Set how many units the tenant's leases may hold together; leases that exist stay."""
        self.account_of(tenant).quota = quota

    def tenant(self, str name):
        """The tenant's account."""
        return self.account_of(name)

    def held_by(self, str tenant):
        """Leases of a tenant that are known, ended ones included, in the order in which they were granted."""
        cdef Tenant owner = self.account_of(tenant)
        cdef list found = []
        cdef uint64_t i
        with nogil:
            lock(&self.engine)
        try:
            for i in range(self.engine.due.count):
                self.collect(found, owner, &self.engine.due.heap[i].leases)
            self.collect(found, owner, &self.engine.fenced)
            self.collect(found, owner, &owner.account.ended)
        finally:
            unlock(&self.engine)
        return sorted(found, key=lambda lease: lease.generation)

    def reap(self):
        """End what has expired, scrub it, and forget what ended long ago. Returns how many expired."""
        cdef uint64_t count
        with nogil:
            count = reap_leases(&self.engine)
        return count

    def next_expiry(self):
        """When something may expire next, in seconds since the epoch, or ``None``."""
        cdef int64_t moment = 0
        cdef batch_t* batch
        with nogil:
            lock(&self.engine)
            batch = due_next(&self.engine.due)
            if batch != NULL:
                moment = batch.moment
            unlock(&self.engine)
        return moment if batch != NULL else None

    def close(self):
        """Close the journal; leases stay as they are."""
        with nogil:
            lock(&self.engine)
        try:
            if not self.closed:
                self.closed = True
                self.clock.unwatch(self.reap)
                if self.journal is not None:
                    self.journal.close()
        finally:
            unlock(&self.engine)

    def __len__(self):
        return self.engine.due.leases

    # -- space that is nobody's lease ------------------------------------------------------------------

    def carve(self, str key, amount, copy_from=None):
        """Take an extent out of the pool for good, under a name: where it begins. It is journaled as a note.

        Args:
            copy_from: start and units of an extent whose contents it gets before the note is written.
        """
        cdef uint64_t start, generation, units = units_of(&self.engine, amount)
        cdef int status
        with nogil:
            lock(&self.engine)
            status = extents_take(&self.engine.space, units, &start)
            generation = self.engine.generation
            self.engine.generation += 1
            unlock(&self.engine)
            if status == 0:
                status = self.native.native.admit(self.native.native.self, start, units, generation)
        self.demand(CAPACITY_EXCEEDED if status else 0, f"no room for {amount}")
        if copy_from is not None:
            self.backing.copy(copy_from[0], start, copy_from[1])
        self.note(key, (start, units, amount))
        return start

    def put_back(self, uint64_t start, uint64_t units):
        """Scrub an extent that was carved out and give it back; what cannot be scrubbed is lost to all."""
        cdef int status
        with nogil:
            status = self.native.native.scrub(self.native.native.self, start, units)
            lock(&self.engine)
            if status == 0:
                extents_give_back(&self.engine.space, start, units)
            else:
                self.engine.fenced_units += units
            unlock(&self.engine)

    def note(self, str key, values):
        """Record something about the pool that must survive; `notes` holds it."""
        with nogil:
            lock(&self.engine)
        try:
            if self.journal is not None:
                self.journal.append(("note", key, *values))
            self.notes[key] = values
        finally:
            unlock(&self.engine)

    # -- the journal ----------------------------------------------------------------------------------

    def recover(self, records, survives):
        """Bring back what the journal tells, before anybody is served."""
        from guesthouse.resources.leases.recovery import recover

        recover(self, records, survives)
        self.compact()

    def claim(self, uint64_t start, uint64_t units, uint64_t generation):
        """Take an extent that the journal says is in use."""
        if extents_take_at(&self.engine.space, start, units) != 0:
            raise ResourceError(f"the lease journal puts units {start}..{start + units} to two uses, or beyond the "
                                f"end of the pool ({self.native.size} units)", resource=self.kind)
        self.backing.claim(start, units, generation)

    def restore(self, str tenant, uint64_t id, uint64_t capacity, uint64_t start, uint64_t units, int64_t expires,
                uint64_t generation, int status, int64_t ended_at, bint held):
        """Take one lease of a journal over. `held` tells that its extent is not back in the pool."""
        cdef Tenant owner = self.account_of(tenant)
        cdef lease_t* lease = table_add(self.table, id)
        if lease == NULL:
            raise MemoryError()
        lease.owner, lease.capacity, lease.start, lease.units = &owner.account, capacity, start, units
        lease.generation, lease.ended_at, lease.held = generation, ended_at, held
        lease.fail_teardown = False
        set_expiry(lease, expires)
        activate(&self.engine, lease)
        owner.account.used += capacity if held else 0
        if status == ACTIVE:
            if due_prepare(&self.engine.due, expires) != 0:
                raise MemoryError()
            due_add(&self.engine.due, lease)
            owner.account.active += 1
            return
        set_status(lease, status)
        if status == FENCED:
            owner.account.fenced += capacity
            self.engine.fenced_units += units
            chain_append(&self.engine.fenced, lease)
        else:
            chain_append(&owner.account.ended, lease)
            self.engine.tearing_down += held

    def finish(self, uint64_t id):
        """Tear a restored lease down that ended and still held its extent."""
        with nogil:
            tear_down(&self.engine, find_lease(&self.engine, NULL, id))

    def begin(self, uint64_t generation):
        """Never give out a generation below this one; forget what there is too much of, and what is too old."""
        cdef Tenant owner
        self.engine.generation = max(self.engine.generation, generation)
        for owner in self.tenants.values():
            forget_oldest(&self.engine, &owner.account, self.clock.now())
        self.reap()

    def tidy(self):
        """Rewrite the journal when it has grown far beyond what is true now."""
        if not overgrown(&self.engine):
            return
        try:
            self.compact()
            self.engine.most_records = MOST_RECORDS
        except (OSError, ResourceError):        # no space: it stays as it is, complete, and longer than it need be
            self.engine.most_records = 2 * self.journal.records

    def compact(self):
        """Rewrite the journal as what is true now."""
        cdef Tenant owner
        cdef Log fresh
        cdef uint64_t i
        cdef int failed = 0
        with nogil:
            lock(&self.engine)
        try:
            with self.journal.rewriting() as fresh:
                with nogil:
                    failed = log_generation(&fresh.log, self.engine.generation)
                    for i in range(self.engine.due.count):
                        failed |= log_chain(&fresh.log, &self.engine.due.heap[i].leases)
                    failed |= log_chain(&fresh.log, &self.engine.fenced)
                for owner in self.tenants.values():
                    failed |= log_chain(&fresh.log, &owner.account.ended)
                for key, values in self.notes.items():
                    fresh.append(("note", key, *values))
                if failed:
                    raise OSError(fresh.log.error, f"cannot rewrite {self.journal.path}")
        finally:
            unlock(&self.engine)

    # -- inside ---------------------------------------------------------------------------------------

    cdef Tenant account_of(self, str name):
        """A tenant's account, which is opened when it is first asked for."""
        cdef Tenant owner = self.tenants.get(name)
        if owner is None:
            with nogil:
                lock(&self.engine)
            try:
                if name not in self.tenants:
                    owner = Tenant(name, len(self.tenants) + 1, self.default_quota)
                    owner.account.next, self.engine.accounts = self.engine.accounts, &owner.account
                    self.tenants[name] = owner
                owner = self.tenants[name]
            finally:
                unlock(&self.engine)
        return owner

    cdef collect(self, list found, Tenant owner, chain_t* chain):
        """Find a tenant's leases in a chain."""
        cdef lease_t* lease = chain.first
        cdef sight_t sight
        while lease != NULL:
            if lease.owner == &owner.account:
                look_at(&self.engine, lease, &sight)
                found.append(lease_seen(&sight, &self.engine, self, owner))
            lease = lease.after

    def trouble(self):
        """Why an operation could not be done by the engine itself, in words."""
        if self.journal is not None and self.journal.log.error:
            return f"cannot write {self.journal.path}: {os.strerror(self.journal.log.error)}"
        return "out of memory"

    cdef int demand(self, int status, detail) except -1:
        """Raise what a refused operation is told."""
        if status != 0:
            raise LeaseError(status, self.trouble() if status == INTERNAL else detail or "", resource=self.kind)
        return 0
