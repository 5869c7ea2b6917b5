# cython: language_level=3
"""Active leases by expiry, in batches of one second: a heap of the batches, however many leases are in each.

Leases are granted for a few different times as a rule, so adding one mostly finds its batch, and neither
that nor taking it out moves anything else.
"""

from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free, realloc

from guesthouse.resources.leases.numbers cimport map_drop, map_get, map_init, map_put, map_remove
from guesthouse.resources.leases.table cimport chain_append, chain_remove


cdef int due_init(due_t* due) noexcept nogil:
    return map_init(&due.batches)


cdef void due_drop(due_t* due) noexcept nogil:
    cdef uint64_t i
    for i in range(due.count):
        free(due.heap[i])
    free(due.heap)
    map_drop(&due.batches)


cdef int due_prepare(due_t* due, int64_t moment) noexcept nogil:
    cdef uint64_t room
    cdef void* larger
    cdef batch_t* batch
    if map_get(&due.batches, <uint64_t>moment) != NULL:
        return 0
    if due.count == due.room:
        room = 2 * due.room or 64
        larger = realloc(due.heap, room * sizeof(batch_t*))
        if larger == NULL:
            return -1
        due.heap, due.room = <batch_t**>larger, room
    batch = <batch_t*>calloc(1, sizeof(batch_t))
    if batch == NULL or map_put(&due.batches, <uint64_t>moment, batch) != 0:
        free(batch)
        return -1
    batch.moment = moment
    due.count += 1
    rise(due, due.count - 1, batch)
    return 0


cdef void due_add(due_t* due, lease_t* lease) noexcept nogil:
    cdef batch_t* batch = <batch_t*>map_get(&due.batches, <uint64_t>lease.expires)
    chain_append(&batch.leases, lease)
    due.leases += 1


cdef void due_remove(due_t* due, lease_t* lease) noexcept nogil:
    # A batch that becomes empty stays until its time comes: the next lease may well be in it.
    cdef batch_t* batch = <batch_t*>map_get(&due.batches, <uint64_t>lease.expires)
    chain_remove(&batch.leases, lease)
    due.leases -= 1


cdef batch_t* due_next(due_t* due) noexcept nogil:
    while due.count and due.heap[0].leases.first == NULL:
        map_remove(&due.batches, <uint64_t>due.heap[0].moment)
        free(due.heap[0])
        due.count -= 1
        if due.count:
            sink(due, due.heap[due.count])
    return due.heap[0] if due.count else NULL


cdef void rise(due_t* due, uint64_t place, batch_t* batch) noexcept nogil:
    """Put a batch at this place, or above where it comes earlier."""
    cdef uint64_t above
    while place > 0:
        above = (place - 1) // 2
        if due.heap[above].moment <= batch.moment:
            break
        due.heap[place] = due.heap[above]
        place = above
    due.heap[place] = batch


cdef void sink(due_t* due, batch_t* batch) noexcept nogil:
    """Put a batch first, or below where others come earlier."""
    cdef uint64_t place = 0
    cdef uint64_t below = 1
    while below < due.count:
        if below + 1 < due.count and due.heap[below + 1].moment < due.heap[below].moment:
            below += 1
        if due.heap[below].moment >= batch.moment:
            break
        due.heap[place] = due.heap[below]
        place, below = below, 2 * below + 1
    due.heap[place] = batch
