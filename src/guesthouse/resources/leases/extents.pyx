# cython: language_level=3
"""Space of a pool, handed out in contiguous runs of units.

Free runs are kept in bins by length (exact below 128 units, eight bins per power of two above), and by
both ends so that neighbours merge when a run comes back.  Taking and giving back cost about the same
whether there are ten runs or a hundred thousand.
"""

cdef object ONE = 1     # as a Python object: bins go beyond the bits of a C word


cdef class Extents:
    """A range of units ``0 .. size`` of which runs can be taken and given back.

    Args:
        size: number of units.
    """

    def __init__(self, size):
        self.by_start, self.by_end = {}, {}
        self.bins = [{} for _ in range(640)]
        self.occupied = 0
        self.free = size
        self.size = size
        if size:
            self._insert(0, size)

    def take(self, length):
        """Take a run of `length` units: its start, or ``None`` when no run is long enough."""
        cdef long index = bin_of(length)
        cdef dict members = <dict>self.bins[index]
        cdef object start, found
        if index < 128 and members:         # an exact fit
            start = next(reversed(members))
            return self._cut(start, length, length)
        above = self.occupied >> (index + 1)
        if above:
            index = index + (above & -above).bit_length()
            start = next(reversed(<dict>self.bins[index]))
            return self._cut(start, self.by_start[start], length)
        for start in members:               # nearly full: the bin's own members may still fit
            found = self.by_start[start]
            if found >= length:
                return self._cut(start, found, length)
        return None

    def take_at(self, start, length):
        """Take exactly this run, as a journal says it was taken before; ``False`` when it is not free.

        Quick when runs are taken in ascending order: the rest behind the last one is what is looked at first.
        """
        for first, run in reversed(self.by_start.items()):
            if first <= start and start + length <= first + run:
                self._remove(first, run)
                if start > first:
                    self._insert(first, start - first)
                if first + run > start + length:
                    self._insert(start + length, first + run - start - length)
                self.free -= length
                return True
        return False

    def give_back(self, start, length):
        """Return a run that was taken."""
        self.free += length
        before = self.by_end.get(start)
        if before is not None:
            run = self.by_start[before]
            self._remove(before, run)
            start, length = before, run + length
        after = self.by_start.get(start + length)
        if after is not None:
            self._remove(start + length, after)
            length += after
        self._insert(start, length)

    cdef object _cut(self, start, run, length):
        self._remove(start, run)
        if run > length:
            self._insert(start + length, run - length)
        self.free -= length
        return start

    cdef object _insert(self, start, length):
        cdef long index = bin_of(length)
        cdef dict members = <dict>self.bins[index]
        if not members:
            self.occupied |= ONE << index
        members[start] = None
        self.by_start[start] = length
        self.by_end[start + length] = start

    cdef object _remove(self, start, length):
        cdef long index = bin_of(length)
        cdef dict members = <dict>self.bins[index]
        del members[start]
        if not members:
            self.occupied &= ~(ONE << index)
        del self.by_start[start]
        del self.by_end[start + length]


cdef long bin_of(unsigned long long length):
    """Bin of runs of this length: itself below 128, then eight bins per power of two."""
    cdef int top = 0
    cdef unsigned long long rest = length
    if length < 128:
        return <long>length
    while rest > 15:
        rest >>= 1
        top += 1
    return 128 + (top - 4) * 8 + <long>(rest - 8)
