# cython: language_level=3
"""Byte-accurate masks, one bit per byte of a value: which bytes are here, which are dirty."""

from libc.stdint cimport uint64_t

cdef extern from *:
    """
    #define gh_first_one(word) ((unsigned) __builtin_ctzll(word))
    """
    unsigned first_one "gh_first_one"(uint64_t word) nogil

# Sets (or clears) the bits [start, end).
cdef inline void fill(uint64_t* mask, uint64_t start, uint64_t end, int value) noexcept nogil:
    cdef uint64_t word, last, bits
    if start >= end:
        return
    word = start >> 6
    last = (end - 1) >> 6
    while word <= last:
        bits = ~<uint64_t>0
        if word == start >> 6:
            bits &= ~<uint64_t>0 << (start & 63)
        if word == last and end & 63:
            bits &= ~(~<uint64_t>0 << (end & 63))
        if value:
            mask[word] |= bits
        else:
            mask[word] &= ~bits
        word += 1

# The first bit in [start, end) that is `value`, or `end` when there is none.
cdef inline uint64_t following(const uint64_t* mask, uint64_t start, uint64_t end, int value) noexcept nogil:
    cdef uint64_t word = start >> 6, bits, found
    if start >= end:
        return end
    bits = mask[word] if value else ~mask[word]
    bits &= ~<uint64_t>0 << (start & 63)
    while True:
        if bits:
            found = (word << 6) + first_one(bits)
            return found if found < end else end
        word += 1
        if word << 6 >= end:
            return end
        bits = mask[word] if value else ~mask[word]
