# cython: language_level=3
"""What is left to do for a call that is over, for code that does without the GIL."""

cdef class Errand:
    # Does it. Called once, on any thread, with or without the GIL.
    cdef void perform(self) noexcept nogil

cdef class Parting:
    cdef Errand errand
    # Does what was left; to be forgotten once the GIL is held again.
    cdef void perform(self) noexcept nogil
    cdef void forget(self)
