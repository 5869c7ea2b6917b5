# cython: language_level=3
"""Space of a pool, handed out in contiguous runs of units.

Free runs are kept in bins by length (exact below 128 units, eight bins per power of two above), and by
both ends so that neighbours merge when a run comes back.  Taking and giving back cost about the same
whether there are ten runs or a hundred thousand.
"""

from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from guesthouse.resources.leases.numbers cimport map_drop, map_get, map_init, map_put, map_remove

cdef extern from *:
    int __builtin_clzll(unsigned long long) nogil
    int __builtin_ctzll(unsigned long long) nogil

cdef enum:
    EXACT = 128


cdef int extents_init(extents_t* space, uint64_t size) noexcept nogil:
    memset(space, 0, sizeof(extents_t))
    space.size = space.free = size
    if map_init(&space.by_start) != 0 or map_init(&space.by_end) != 0:
        return -1
    return insert(space, 0, size) if size else 0


cdef void extents_drop(extents_t* space) noexcept nogil:
    cdef run_t* run
    for i in range(BINS):
        while space.bins[i] != NULL:
            run = space.bins[i]
            space.bins[i] = run.after
            free(run)
    while space.unused != NULL:
        run = space.unused
        space.unused = run.after
        free(run)
    map_drop(&space.by_start)
    map_drop(&space.by_end)


cdef int extents_take(extents_t* space, uint64_t length, uint64_t* start) noexcept nogil:
    cdef int bin = bin_of(length)
    cdef run_t* run
    if length == 0:                     # nothing needs no place
        start[0] = 0
        return 0
    if bin >= EXACT or space.bins[bin] == NULL:
        run = shortest_above(space, bin)
        if run != NULL:
            return cut(space, run, run.start, length, start)
    run = space.bins[bin]
    while run != NULL and run.length < length:     # nearly full: the bin's own members may still fit
        run = run.after
    return cut(space, run, run.start, length, start) if run != NULL else -1


cdef int extents_take_at(extents_t* space, uint64_t start, uint64_t length) noexcept nogil:
    cdef uint64_t taken
    cdef run_t* run = run_over(space, start, length) if length else NULL
    if run != NULL:
        return cut(space, run, start, length, &taken)
    return -1 if length else 0


cdef run_t* run_over(extents_t* space, uint64_t start, uint64_t length) noexcept nogil:
    """The free run that holds all these units. Quick when runs are taken in ascending order: what is left
    behind the one before is looked at first."""
    cdef run_t* run
    if space.last != NULL and covers(space.last, start, length):
        return space.last
    for bin in range(BINS):
        run = space.bins[bin]
        while run != NULL:
            if covers(run, start, length):
                return run
            run = run.after
    return NULL


cdef inline bint covers(run_t* run, uint64_t start, uint64_t length) noexcept nogil:
    return run.start <= start and length <= run.length and start - run.start <= run.length - length


cdef void extents_give_back(extents_t* space, uint64_t start, uint64_t length) noexcept nogil:
    cdef run_t* before = <run_t*>map_get(&space.by_end, start)
    cdef run_t* after = <run_t*>map_get(&space.by_start, start + length)
    if length == 0:
        return
    space.free += length
    if before != NULL:
        start, length = before.start, length + before.length
        remove(space, before)
    if after != NULL:
        length += after.length
        remove(space, after)
    insert(space, start, length)


cdef uint64_t extents_longest(extents_t* space) noexcept nogil:
    cdef uint64_t longest = 0
    cdef run_t* run
    cdef int word
    for word in range(BIN_WORDS - 1, -1, -1):
        if space.occupied[word]:
            run = space.bins[word * 64 + 63 - __builtin_clzll(space.occupied[word])]
            while run != NULL:
                longest = max(longest, run.length)
                run = run.after
            break
    return longest


cdef run_t* shortest_above(extents_t* space, int bin) noexcept nogil:
    """A run of the next bin that is not empty: all of them are longer than what the given bin holds."""
    cdef int word = (bin + 1) // 64
    cdef uint64_t set = space.occupied[word] & (~<uint64_t>0 << ((bin + 1) % 64))
    while set == 0:
        word += 1
        if word == BIN_WORDS:
            return NULL
        set = space.occupied[word]
    return space.bins[word * 64 + __builtin_ctzll(set)]


cdef int cut(extents_t* space, run_t* run, uint64_t start, uint64_t length, uint64_t* taken) noexcept nogil:
    """Take a part out of a free run; what is left of it on both sides stays free."""
    cdef uint64_t first = run.start
    cdef uint64_t end = run.start + run.length
    remove(space, run)
    if start > first:
        insert(space, first, start - first)
    if end > start + length:
        insert(space, start + length, end - start - length)
    space.free -= length
    taken[0] = start
    return 0


cdef int insert(extents_t* space, uint64_t start, uint64_t length) noexcept nogil:
    """Add a free run. Without memory for its record the units are lost until a restart, and nothing else."""
    cdef int bin = bin_of(length)
    cdef run_t* run = space.unused
    if run != NULL:
        space.unused = run.after
    else:
        run = <run_t*>calloc(1, sizeof(run_t))
    if run == NULL:
        return -1
    run.start, run.length, run.before, run.after = start, length, NULL, space.bins[bin]
    if map_put(&space.by_start, start, run) != 0:
        return discard(space, run)
    if map_put(&space.by_end, start + length, run) != 0:
        map_remove(&space.by_start, start)
        return discard(space, run)
    if run.after != NULL:
        run.after.before = run
    space.bins[bin] = run
    space.occupied[bin // 64] |= <uint64_t>1 << (bin % 64)
    space.last = run
    return 0


cdef void remove(extents_t* space, run_t* run) noexcept nogil:
    cdef int bin = bin_of(run.length)
    map_remove(&space.by_start, run.start)
    map_remove(&space.by_end, run.start + run.length)
    if run.after != NULL:
        run.after.before = run.before
    if run.before != NULL:
        run.before.after = run.after
    else:
        space.bins[bin] = run.after
        if run.after == NULL:
            space.occupied[bin // 64] &= ~(<uint64_t>1 << (bin % 64))
    discard(space, run)


cdef int discard(extents_t* space, run_t* run) noexcept nogil:
    if space.last == run:
        space.last = NULL
    run.after = space.unused
    space.unused = run
    return -1


cdef int bin_of(uint64_t length) noexcept nogil:
    """Bin of runs of this length: itself below 128, then eight bins per power of two."""
    cdef int top
    if length < EXACT:
        return <int>length
    top = 60 - __builtin_clzll(length)
    return EXACT + (top - 4) * 8 + <int>((length >> top) - 8)
