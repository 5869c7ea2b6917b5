# cython: language_level=3
"""How idle workers sleep and wake, and how much stack a thread has left.

A call that a guest submits is usually awaited, and then run, by that same guest a moment later.  Waking a
worker for it at once costs two thread switches and takes the child away from the thread that has
everything warm.  So there are two ways to announce work: `urgent` wakes a sleeper at once; `lazy` leaves the
call alone for a grace period, and only if nobody has claimed it by then does a watching worker take it.
"""

from libc.stdint cimport int64_t, uintptr_t

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <errno.h>
    #include <pthread.h>
    #include <stdint.h>
    #include <time.h>

    typedef struct {
        pthread_mutex_t mutex;
        pthread_cond_t watcher;     /* the one sleeper that looks after lazy work */
        pthread_cond_t sleepers;    /* all others */
        int64_t pending, since, last, urgent, idle;
        int watching, closed;
    } gh_bell;

    static int64_t gh_bell_now(void) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000000000LL + t.tv_nsec;
    }

    static void gh_bell_init(gh_bell *bell) {
        pthread_condattr_t attr;
        pthread_mutex_init(&bell->mutex, NULL);
        pthread_condattr_init(&attr);
        pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        pthread_cond_init(&bell->watcher, &attr);
        pthread_cond_init(&bell->sleepers, &attr);
        pthread_condattr_destroy(&attr);
    }

    static void gh_bell_destroy(gh_bell *bell) {
        pthread_cond_destroy(&bell->watcher);
        pthread_cond_destroy(&bell->sleepers);
        pthread_mutex_destroy(&bell->mutex);
    }

    static int gh_bell_nap(gh_bell *bell, pthread_cond_t *cond, int64_t until) {
        struct timespec t = { until / 1000000000LL, until % 1000000000LL };
        return pthread_cond_timedwait(cond, &bell->mutex, &t);
    }

    /* Wakes somebody now; the mutex is held. */
    static void gh_bell_wake(gh_bell *bell) {
        if (bell->urgent >= bell->idle) return;
        bell->urgent++;
        if (bell->idle > (bell->watching ? 1 : 0)) pthread_cond_signal(&bell->sleepers);
        else pthread_cond_signal(&bell->watcher);
    }

    static void gh_bell_add(gh_bell *bell, int urgent) {
        pthread_mutex_lock(&bell->mutex);
        bell->last = gh_bell_now();
        if (bell->pending++ == 0) bell->since = bell->last;
        if (urgent) gh_bell_wake(bell);
        else if (!bell->watching && bell->idle > 0) pthread_cond_signal(&bell->sleepers);
        pthread_mutex_unlock(&bell->mutex);
    }

    static void gh_bell_take(gh_bell *bell, int more) {
        pthread_mutex_lock(&bell->mutex);
        bell->pending--;    /* may be ahead of the announcement: below zero for a moment */
        if (more && bell->pending > 0) gh_bell_wake(bell);
        pthread_mutex_unlock(&bell->mutex);
    }

    static void gh_bell_close(gh_bell *bell) {
        pthread_mutex_lock(&bell->mutex);
        bell->closed = 1;
        pthread_cond_broadcast(&bell->watcher);
        pthread_cond_broadcast(&bell->sleepers);
        pthread_mutex_unlock(&bell->mutex);
    }

    /* 1: look for work; 0: nothing came for `retire` ns; -1: closed. */
    static int gh_bell_wait(gh_bell *bell, int64_t grace, int64_t patience, int64_t retire) {
        int64_t start = gh_bell_now(), now;
        int result = 1;
        pthread_mutex_lock(&bell->mutex);
        bell->idle++;
        for (;;) {
            now = gh_bell_now();
            if (bell->closed) { result = -1; break; }
            if (bell->urgent > 0) { bell->urgent--; break; }
            if (bell->pending > 0 && now - bell->since >= grace) { bell->since = now; break; }
            if (!bell->watching && (bell->pending > 0 || now - bell->last < patience)) {
                bell->watching = 1;
                gh_bell_nap(bell, &bell->watcher, now + grace);
                bell->watching = 0;
                continue;
            }
            if (now - start >= retire) { result = 0; break; }
            gh_bell_nap(bell, &bell->sleepers, start + retire);
        }
        bell->idle--;
        if (bell->urgent > bell->idle) bell->urgent = bell->idle;
        /* Somebody else must watch over what is still pending. */
        if (bell->pending > 0 && !bell->watching && bell->idle > 0) pthread_cond_signal(&bell->sleepers);
        pthread_mutex_unlock(&bell->mutex);
        return result;
    }

    static __thread char *gh_stack_base = NULL;

    static int64_t gh_stack_left(void) {
        char here;
        if (gh_stack_base == NULL) {
            pthread_attr_t attr;
            void *base = NULL;
            size_t size = 0, guard = 0;
            if (pthread_getattr_np(pthread_self(), &attr) != 0) return 0;
            pthread_attr_getstack(&attr, &base, &size);
            pthread_attr_getguardsize(&attr, &guard);
            pthread_attr_destroy(&attr);
            gh_stack_base = (char *)base + guard;
        }
        return (int64_t)(&here - gh_stack_base);
    }
    """
    ctypedef struct gh_bell:
        int64_t pending, idle
    void gh_bell_init(gh_bell* bell) nogil
    void gh_bell_destroy(gh_bell* bell) nogil
    void gh_bell_add(gh_bell* bell, int urgent) nogil
    void gh_bell_take(gh_bell* bell, int more) nogil
    void gh_bell_close(gh_bell* bell) nogil
    int gh_bell_wait(gh_bell* bell, int64_t grace, int64_t patience, int64_t retire) nogil
    int64_t gh_stack_left() nogil


def stack_left() -> int:
    """Return how many bytes of stack the calling thread has left."""
    return gh_stack_left()


cdef class Bell:
    """Announces pending work to sleeping workers.

    Args:
        grace_ns: how long lazily announced work stays with whoever announced it.
        patience_ns: how long one idle worker keeps watching after the last announcement, so that the
            next lazy one costs no system call.
    """

    cdef gh_bell bell
    cdef int64_t grace, patience

    def __cinit__(self, int64_t grace_ns=100_000, int64_t patience_ns=20_000_000):
        self.grace, self.patience = grace_ns, patience_ns
        gh_bell_init(&self.bell)

    def __dealloc__(self):
        gh_bell_destroy(&self.bell)

    def add(self, bint urgent):
        """Announce one more pending piece of work."""
        gh_bell_add(&self.bell, urgent)

    def take(self, bint more=False):
        """One pending piece was claimed; with `more`, wake another worker if there is more."""
        gh_bell_take(&self.bell, more)

    def close(self):
        """Wake everybody for good."""
        gh_bell_close(&self.bell)

    def wait(self, int64_t retire_ns):
        """Sleep until there may be work.

        Returns:
            1 when there may be work, 0 when nothing came for `retire_ns`, -1 once closed.
        """
        cdef int result
        with nogil:
            result = gh_bell_wait(&self.bell, self.grace, self.patience, retire_ns)
        return result

    @property
    def pending(self):
        """How many pieces of work were announced and not claimed."""
        return self.bell.pending

    @property
    def idle(self):
        """How many workers sleep here now."""
        return self.bell.idle
