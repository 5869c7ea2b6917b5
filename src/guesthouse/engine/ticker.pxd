# cython: language_level=3
"""Who wants the epoch to advance; see ticker.pyx."""

# Starts and stops advancing the epoch of an engine (wasm_engine_t*).
cdef int watch(void* engine) except -1
cdef void unwatch(void* engine) noexcept nogil

# A guest is about to run, or has ended; the ticker rests while none runs.
cdef void entered() noexcept nogil
cdef void left() noexcept nogil
