# cython: language_level=3
"""The lease rules; see rules.pyx."""

from libc.stdint cimport int64_t, uint8_t, uint64_t
from guesthouse.resources.leases.backing cimport backing_t
from guesthouse.resources.leases.due cimport due_t
from guesthouse.resources.leases.extents cimport extents_t
from guesthouse.resources.leases.log cimport log_t
from guesthouse.resources.leases.table cimport account_t, chain_t, lease_t, table_t

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass

cdef enum:
    # A journal is rewritten as what is true now when it holds this many records, and this many per lease.
    MOST_RECORDS = 100000
    MOST_RECORDS_EACH = 8
    ENTROPY = 256               # what the kernel gives in one piece

ctypedef struct engine_t:
    pthread_mutex_t lock        # over all that follows; recursive. Never wait for it with the GIL
    pthread_cond_t changed      # an extent came back
    table_t* table
    backing_t* backing
    log_t* log                  # NULL: nothing is recorded
    extents_t space
    account_t* accounts
    due_t due                   # active leases
    chain_t fenced
    uint64_t fenced_units       # those of fenced leases, and what could not be scrubbed for a new one
    uint64_t tearing_down       # leases that ended and whose extent is not back yet
    uint64_t generation         # of the next lease
    uint64_t default_amount     # what an allocation of 0 asks for
    uint64_t max_leases         # active ones of one tenant
    uint64_t most_records       # of the journal, before it is rewritten
    bint survives               # extents are still in use after a restart
    uint8_t entropy[ENTROPY]
    int entropy_left

# One lease at one moment.
ctypedef struct sight_t:
    uint64_t id
    uint64_t capacity
    uint64_t start
    uint64_t units
    uint64_t generation
    int64_t expires
    int64_t ended_at            # 0 while it has not
    int status
    account_t* owner

cdef int engine_init(engine_t* engine, table_t* table, backing_t* backing, log_t* log) noexcept nogil
cdef void engine_drop(engine_t* engine) noexcept nogil
cdef void lock(engine_t* engine) noexcept nogil
cdef void unlock(engine_t* engine) noexcept nogil

# What tenants do: 0 or a Code. `owner` may be NULL where leases of any tenant are meant.
cdef int grant_lease(engine_t* engine, account_t* owner, uint64_t amount, uint64_t ttl,
                     sight_t* out) noexcept nogil
cdef int renew_lease(engine_t* engine, account_t* owner, uint64_t id, uint64_t ttl,
                     uint64_t* expires) noexcept nogil
cdef int free_lease(engine_t* engine, account_t* owner, uint64_t id) noexcept nogil
cdef int query_lease(engine_t* engine, account_t* owner, uint64_t id, sight_t* out) noexcept nogil
cdef int ready_for(engine_t* engine, account_t* owner) noexcept nogil

# What the host does.
cdef uint64_t reap_leases(engine_t* engine) noexcept nogil         # how many expired
cdef int unfence_lease(engine_t* engine, uint64_t id) noexcept nogil
cdef int doom_lease(engine_t* engine, uint64_t id) noexcept nogil # the next teardown of this lease fails

# For recovery, and for whoever else takes space. To be called with the lock.
cdef bint tear_down(engine_t* engine, lease_t* lease) noexcept nogil       # this one without it
cdef lease_t* find_lease(engine_t* engine, account_t* owner, uint64_t id) noexcept nogil
cdef void activate(engine_t* engine, lease_t* lease) noexcept nogil
cdef void forget_oldest(engine_t* engine, account_t* owner, int64_t now) noexcept nogil
# Whether the journal has grown far beyond what is true now.
cdef bint overgrown(engine_t* engine) noexcept nogil
cdef void look_at(engine_t* engine, lease_t* lease, sight_t* out) noexcept nogil
cdef uint64_t units_of(engine_t* engine, uint64_t amount) noexcept nogil
