# cython: language_level=3
"""How much of a disk quota is used, counted by all who write: natively, while they do, and put right now and then."""


cdef extern from *:
    """
    #define gh_account_load(p) __atomic_load_n((p), __ATOMIC_RELAXED)
    #define gh_account_add(p, v) __atomic_add_fetch((p), (v), __ATOMIC_RELAXED)
    """
    int64_t gh_account_load(int64_t* place) noexcept nogil
    int64_t gh_account_add(int64_t* place, int64_t value) noexcept nogil


cdef class DiskAccount:
    """Bytes that a tree of files takes, as counted since it was last looked at."""

    @property
    def used(self):
        """Bytes."""
        return gh_account_load(&self.bytes)

    def correct(self, int64_t before, int64_t measured):
        """Replace what was counted until some moment by what was measured then; what came since stays counted.

        Args:
            before: what was counted when the measuring began.
            measured: bytes that were found.
        """
        gh_account_add(&self.bytes, measured - before)
