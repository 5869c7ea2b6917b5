# cython: language_level=3
"""How native code hands work to an idle worker, without the GIL."""

from libc.stdint cimport int64_t

cdef extern from *:
    """
    #include <stdint.h>
    typedef struct gh_post {
        struct gh_post *next;
        int64_t posted;
        void (*take)(struct gh_post *);
    } gh_post;
    """
    # Work to be done, before there is a call for it. Who posts it keeps it until it was taken.
    ctypedef struct post_t "gh_post":
        int64_t posted                              # monotonic nanoseconds; set by `post`
        void (*take)(post_t*) noexcept              # makes a call of it, with the GIL; must not raise

# Hands work to an idle worker, which takes it at once; `bell` is `Bell.address`. False where no worker is
# idle, and the work stays with the caller.
cdef bint post(void* bell, post_t* work) noexcept nogil

# Whether `post` would find an idle worker now.
cdef bint awaited(void* bell) noexcept nogil
