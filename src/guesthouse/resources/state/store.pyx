# cython: language_level=3
"""The two-tier state store, for Python: `StateStore` per host, `Session` per call (faasm.md section 4)."""


import threading

cimport cython

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc

from guesthouse.resources.state cimport arena as pages
from guesthouse.resources.state cimport locking, operations, values
from guesthouse.resources.state.arena cimport Arena
from guesthouse.resources.state.transfer cimport Link, Room
from guesthouse.resources.state.values cimport BACKEND, FINE, Key, Value

from guesthouse.resources.state import errors
from guesthouse.resources.state.quota import Quota
from guesthouse.resources.state.tiers import open_tier


cdef class _Arena:
    """Owns the shared memory; rooms and sessions keep it alive."""

    cdef Arena* arena

    def __cinit__(self, uint64_t capacity):
        self.arena = pages.create(capacity)
        if self.arena == NULL:
            raise MemoryError(f"no address space for {capacity} bytes of state; lower `capacity`")

    def __dealloc__(self):
        if self.arena != NULL:
            pages.destroy(self.arena)


cdef Key key_of(bytes key) noexcept:
    cdef Key result
    result.bytes = <const uint8_t*> PyBytes_AS_STRING(key)
    result.length = 0 if b"\0" in key else PyBytes_GET_SIZE(key)
    return result


@cython.no_gc_clear
cdef class Session(Link):
    """One call's use of its tenant's state; made by `StateStore.session`, ended with `end` or ``with``.

    Methods raise `StateError` and its kinds (``errors.py``). Keys are bytes without zero bytes.
    """

    def __dealloc__(self):
        if self.room is not None:
            locking.unlock_all(&self.actor)
        free(self.actor.waiters)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def end(self):
        """Give back every lock that the call still holds (faasm.md 4.6)."""
        with nogil:
            locking.unlock_all(&self.actor)

    cdef int check(self, int64_t code, bytes key) except -1:
        if code == BACKEND:
            problem, self.problem = self.problem, None
            raise problem
        if code < 0:
            raise errors.error(code, tenant=self.room.name, key=key)
        return 0

    def size(self, bytes key):
        """Return the size of a value in bytes, 0 when there is none."""
        cdef Key k = key_of(key)
        cdef int64_t answer
        with nogil:
            answer = operations.size(&self.actor, k)
        self.check(answer, key)
        return answer

    def read(self, bytes key):
        """Return the whole value; empty when there is none."""
        cdef Key k = key_of(key)
        cdef uint64_t room = self.size(key)
        cdef bytes data = PyBytes_FromStringAndSize(NULL, room)
        cdef uint8_t* into = <uint8_t*> PyBytes_AS_STRING(data)
        cdef int64_t answer
        with nogil:
            answer = operations.read(&self.actor, k, into, room)
        self.check(answer, key)
        return data

    def read_range(self, bytes key, uint64_t total, uint64_t start, uint64_t length):
        """Return ``length`` bytes from ``start`` on of a value of ``total`` bytes (0: its size is known)."""
        cdef Key k = key_of(key)
        cdef bytes data
        cdef uint8_t* into
        cdef int answer
        if length > self.room.tenant.bytes_limit:
            raise errors.error(values.OUT_OF_RANGE, tenant=self.room.name, key=key)
        data = PyBytes_FromStringAndSize(NULL, length)
        into = <uint8_t*> PyBytes_AS_STRING(data)
        with nogil:
            answer = operations.read_range(&self.actor, k, total, start, into, length)
        self.check(answer, key)
        return data

    def write(self, bytes key, bytes data):
        """Set the whole local value; it keeps the size of its first use."""
        cdef Key k = key_of(key)
        cdef const uint8_t* source = <const uint8_t*> PyBytes_AS_STRING(data)
        cdef uint64_t length = PyBytes_GET_SIZE(data)
        cdef int answer
        with nogil:
            answer = operations.write(&self.actor, k, source, length)
        self.check(answer, key)

    def write_range(self, bytes key, uint64_t total, uint64_t start, bytes data):
        """Set a range of the local value of ``total`` bytes (0: its size is known)."""
        cdef Key k = key_of(key)
        cdef const uint8_t* source = <const uint8_t*> PyBytes_AS_STRING(data)
        cdef uint64_t length = PyBytes_GET_SIZE(data)
        cdef int answer
        with nogil:
            answer = operations.write_range(&self.actor, k, total, start, source, length)
        self.check(answer, key)

    def flag_dirty(self, bytes key, uint64_t total=0, start=None, uint64_t length=0):
        """Mark the value, or a range of it, as to be pushed: needed after writes through a mapping."""
        cdef Key k = key_of(key)
        cdef int everything = start is None, answer
        cdef uint64_t first = 0 if start is None else start
        with nogil:
            answer = operations.flag(&self.actor, k, total, first, length, everything)
        self.check(answer, key)

    def push(self, bytes key):
        """Send the whole value to the global tier, if any of it is dirty."""
        self._push(key, 0)

    def push_partial(self, bytes key):
        """Send the dirty runs only; then see what others pushed."""
        self._push(key, 1)

    def _push(self, bytes key, int partial):
        cdef Key k = key_of(key)
        cdef int answer
        with nogil:
            answer = operations.push(&self.actor, k, partial)
        self.check(answer, key)

    def push_masked(self, bytes key, bytes mask):
        """Send the bytes whose byte in the value ``mask`` is not zero; those mask bytes become zero."""
        cdef Key k = key_of(key), m = key_of(mask)
        cdef int answer
        with nogil:
            answer = operations.push_masked(&self.actor, k, m)
        self.check(answer, key)

    def pull(self, bytes key, uint64_t total=0):
        """Fetch the whole value again, over local changes."""
        cdef Key k = key_of(key)
        cdef int answer
        with nogil:
            answer = operations.pull(&self.actor, k, total)
        self.check(answer, key)

    def lock(self, bytes key, *, bint write):
        """Take the local read or write lock of a value of known size; waits for other calls' locks."""
        cdef Key k = key_of(key)
        cdef int answer
        with nogil:
            answer = operations.lock(&self.actor, k, write)
        self.check(answer, key)

    def unlock(self, bytes key, *, bint write):
        """Give a lock back."""
        cdef Key k = key_of(key)
        cdef int answer
        with nogil:
            answer = operations.unlock(&self.actor, k, write)
        self.check(answer, key)

    def append(self, bytes key, bytes element):
        """Append one element to the list of a key, in the global tier."""
        cdef Key k = key_of(key)
        self.check(operations.append(
            &self.actor, k, <const uint8_t*> PyBytes_AS_STRING(element), PyBytes_GET_SIZE(element)), key)

    def appended(self, bytes key, count=None):
        """Return the first ``count`` elements of the list (``None``: all).

        Raises:
            OutOfRange: there are fewer.
        """
        found = self.room.tier.appended(self.room.name, key, count)
        if count is not None and len(found) < count:
            raise errors.error(values.OUT_OF_RANGE, tenant=self.room.name, key=key)
        return found

    def clear_appended(self, bytes key):
        """Empty the list of a key."""
        cdef Key k = key_of(key)
        self.check(operations.clear_appended(&self.actor, k), key)


cdef class StateStore:
    """The state of all tenants on one host: shared memory here, a global tier behind.

    Args:
        tier: a `GlobalTier`, or the URL of an embedded one (``memory://``, ``sqlite:///path``).
        quota: bounds per tenant.
        capacity: address space for local values of all tenants together, in bytes; not committed.
    """

    cdef _Arena arena
    cdef dict rooms
    cdef object guard
    cdef readonly object tier
    cdef readonly object quota
    cdef object __weakref__

    def __init__(self, tier="memory://", *, quota=None, uint64_t capacity=64 << 30):
        self.arena = _Arena(capacity)
        self.rooms = {}
        self.guard = threading.Lock()
        self.tier = open_tier(tier) if isinstance(tier, str) else tier
        self.quota = quota if quota is not None else Quota()

    cdef Room room(self, str tenant):
        cdef Room room = self.rooms.get(tenant)
        if room is not None:
            return room
        if not tenant:
            raise errors.InvalidKey("the tenant's name is empty")
        with self.guard:
            room = self.rooms.get(tenant)
            if room is None:
                room = Room.__new__(Room)
                room.arena = self.arena
                room.tenant = values.tenant_create(
                    self.arena.arena, self.quota.keys, self.quota.local_bytes)
                if room.tenant == NULL:
                    raise MemoryError()
                room.name = tenant
                room.tier = self.tier
                room.list_quota = self.quota.list_bytes
                room.value_quota = self.quota.global_bytes
                self.rooms[tenant] = room
        return room

    def session(self, str tenant, uint64_t owner, awaited_by=()):
        """Return a call's access to its tenant's state.

        Args:
            tenant: whose state; not empty.
            owner: id of the call, which will own the locks that it takes.
            awaited_by: ids of calls that wait for this one to end, so that it cannot wait for their locks.

        Raises:
            InvalidKey: the tenant's name is empty.
        """
        cdef Session session = Session.__new__(Session)
        cdef Room room = self.room(tenant)
        cdef size_t i
        if awaited_by:
            session.actor.waiters = <uint64_t*> malloc(len(awaited_by) * sizeof(uint64_t))
            if session.actor.waiters == NULL:
                raise MemoryError()
            for i, waiter in enumerate(awaited_by):
                session.actor.waiters[i] = waiter
            session.actor.waiter_count = len(awaited_by)
        session.room = room
        session.actor.tenant = room.tenant
        session.actor.owner = owner
        session.actor.link = <void*> session
        return session

    cdef Session own(self, str tenant):
        cdef Session session = self.session(tenant, 0)
        session.actor.above_locks = 1
        return session

    def get(self, str tenant, bytes key):
        """Return a value as this host sees it, or ``None`` when there is none here nor in the global tier."""
        session = self.own(tenant)
        if session.size(key):
            return session.read(key)
        return None if self.tier.size(tenant, key) is None else b""

    def put(self, str tenant, bytes key, bytes data):
        """Set a value, of whatever size it was before, and push it."""
        session = self.own(tenant)
        size = session.size(key)
        if size and size != len(data):
            self.delete_value(tenant, key)
        session.write(key, data)
        session.push(key)

    def delete(self, str tenant, bytes key):
        """Delete a value and the list of the same key, here and in the global tier; tell whether it was.

        Guests that mapped the value keep the bytes that they see until their call ends.
        """
        known = self.forget(tenant, key)
        return self.tier.delete(tenant, key) or known

    cdef int delete_value(self, str tenant, bytes key) except -1:
        elements = self.tier.appended(tenant, key, None)
        self.delete(tenant, key)
        for element in elements:
            self.tier.append(tenant, key, element, self.quota.list_bytes)
        return 0

    def forget(self, str tenant, bytes key):
        """Drop the local copy of a value, with what was not pushed; tell whether there was one."""
        cdef Key k = key_of(key)
        cdef Value* value = values.find(self.room(tenant).tenant, k.bytes, k.length)
        if value == NULL:
            return False
        values.forget(value)
        values.release(value)
        return True

    def flush(self, tenant=None):
        """Drop all local copies, of one tenant or of all; what was pushed stays (faasm.md 4.8)."""
        cdef Room room
        cdef Value* value
        for name in [tenant] if tenant is not None else list(self.rooms):
            room = self.room(name)
            value = values.pop(room.tenant)
            while value != NULL:
                values.release(value)
                value = values.pop(room.tenant)

    def keys(self, str tenant):
        """Return the keys of a tenant's values in the global tier, sorted."""
        return self.tier.keys(tenant)

    def usage(self, str tenant):
        """Return what a tenant holds and moved: ``keys``, ``bytes``, ``pulled``, ``pushed``, ``appended``."""
        cdef Room room = self.room(tenant)
        return {
            "keys": room.tenant.keys,
            "bytes": room.tenant.bytes,
            "pulled": room.pulled,
            "pushed": room.pushed,
            "appended": room.appended,
        }

    def close(self):
        """Drop the local tier and close the global one."""
        self.flush()
        self.tier.close()
