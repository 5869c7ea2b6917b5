# cython: language_level=3
"""Who asks for state: the session of an instance, its keys, and refusals in words."""

from libc.stdint cimport uint32_t

from guesthouse.engine.record cimport Record
from guesthouse.resources.state.locking cimport Actor
from guesthouse.resources.state.values cimport Key

# Who asks, and for which key, a C string of the guest: the actor of the instance, opened with the first host call;
# NULL: the call was ended.
cdef Actor* who(Record* record, uint32_t pointer, Key* key) noexcept nogil

# A C string of the guest; 1, or 0 when the call was ended.
cdef int key_at(Record* record, uint32_t pointer, Key* key) noexcept nogil

# Ends the call with the reason in words; answers TRAPPED.
cdef int refuse(Record* record, int reason, Key key) noexcept with gil

# Ends the call because of a buffer outside of memory; answers TRAPPED.
cdef int outside(Record* record) noexcept nogil
