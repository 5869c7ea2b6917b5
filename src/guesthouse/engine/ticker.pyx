# cython: language_level=3
"""The epoch ticker: one native thread for the process that never needs the GIL (DESIGN section 3, item 6).

While any guest runs, it advances the epoch of every engine each `PERIOD_MS`; when none has run for a
while it sleeps on a condition, so an idle host wakes nobody up.
"""

from libc.stdint cimport int64_t
import os

from guesthouse.engine.abi cimport api
from guesthouse.errors import ResourceError

cdef extern from *:
    """
    #include <pthread.h>
    #include <time.h>

    #define GH_ENGINES 64
    #define GH_IDLE_TICKS 250
    static pthread_mutex_t gh_ticker_lock = PTHREAD_MUTEX_INITIALIZER;
    static pthread_cond_t gh_ticker_wake = PTHREAD_COND_INITIALIZER;
    static void *gh_engines[GH_ENGINES];
    static long gh_active = 0;          /* guests inside the engine now */
    static int gh_asleep = 0, gh_started = 0;
    static long gh_period_ns = 4000000;
    static void (*gh_increment)(void *) = 0;

    static void *gh_ticker_main(void *unused) {
        int idle = 0;
        struct timespec period;
        (void)unused;
        for (;;) {
            period.tv_sec = 0;
            period.tv_nsec = gh_period_ns;
            clock_nanosleep(CLOCK_MONOTONIC, 0, &period, 0);
            idle = __atomic_load_n(&gh_active, __ATOMIC_SEQ_CST) ? 0 : idle + 1;
            pthread_mutex_lock(&gh_ticker_lock);
            if (idle > GH_IDLE_TICKS) {
                __atomic_store_n(&gh_asleep, 1, __ATOMIC_SEQ_CST);
                while (!__atomic_load_n(&gh_active, __ATOMIC_SEQ_CST))
                    pthread_cond_wait(&gh_ticker_wake, &gh_ticker_lock);
                __atomic_store_n(&gh_asleep, 0, __ATOMIC_SEQ_CST);
                idle = 0;
            }
            for (int i = 0; i < GH_ENGINES; i++)
                if (gh_engines[i]) gh_increment(gh_engines[i]);
            pthread_mutex_unlock(&gh_ticker_lock);
        }
        return 0;
    }

    static int gh_ticker_start(void (*increment)(void *)) {
        pthread_t thread;
        pthread_attr_t attributes;
        gh_increment = increment;
        if (gh_started) return 0;
        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, 256 * 1024);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        if (pthread_create(&thread, &attributes, gh_ticker_main, 0)) return -1;
        gh_started = 1;
        return 0;
    }

    /* In a forked child: the thread did not come along; says whether there was one. */
    static int gh_ticker_forked(void) {
        int started = gh_started;
        pthread_mutex_init(&gh_ticker_lock, 0);
        pthread_cond_init(&gh_ticker_wake, 0);
        gh_started = gh_asleep = 0;
        gh_active = 0;
        return started;
    }

    static int gh_ticker_add(void *engine) {
        int found = -1;
        pthread_mutex_lock(&gh_ticker_lock);
        for (int i = 0; i < GH_ENGINES && found < 0; i++)
            if (!gh_engines[i]) { gh_engines[i] = engine; found = i; }
        pthread_mutex_unlock(&gh_ticker_lock);
        return found;
    }

    static void gh_ticker_remove(void *engine) {
        pthread_mutex_lock(&gh_ticker_lock);
        for (int i = 0; i < GH_ENGINES; i++)
            if (gh_engines[i] == engine) gh_engines[i] = 0;
        pthread_mutex_unlock(&gh_ticker_lock);
    }

    static void gh_ticker_enter(void) {
        __atomic_add_fetch(&gh_active, 1, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&gh_asleep, __ATOMIC_SEQ_CST)) {
            pthread_mutex_lock(&gh_ticker_lock);
            pthread_cond_signal(&gh_ticker_wake);
            pthread_mutex_unlock(&gh_ticker_lock);
        }
    }

    static void gh_ticker_leave(void) { __atomic_sub_fetch(&gh_active, 1, __ATOMIC_SEQ_CST); }
    """
    int gh_ticker_start(void (*increment)(void*) noexcept nogil) nogil
    int gh_ticker_forked() nogil
    int gh_ticker_add(void* engine) nogil
    void gh_ticker_remove(void* engine) nogil
    void gh_ticker_enter() nogil
    void gh_ticker_leave() nogil
    long gh_period_ns


#: Milliseconds between two ticks: the grain of deadlines and of cancellation.
PERIOD_MS = 4


cdef int watch(void* engine) except -1:
    """Advance the epoch of this engine from now on."""
    if gh_ticker_add(engine) < 0:
        raise RuntimeError("too many engines in one process (64); close hosts that are no longer needed")
    if gh_ticker_start(api.increment_epoch):
        gh_ticker_remove(engine)
        raise ResourceError(
            "the one that watches deadlines could not be started; raise the limit on processes (`ulimit -u`, or "
            "that of the container)", resource="threads")
    return 0


cdef void unwatch(void* engine) noexcept nogil:
    gh_ticker_remove(engine)


cdef void entered() noexcept nogil:
    gh_ticker_enter()


cdef void left() noexcept nogil:
    gh_ticker_leave()


def _after_fork():
    if gh_ticker_forked():
        gh_ticker_start(api.increment_epoch)


os.register_at_fork(after_in_child=_after_fork)


def start(size_t engine):
    """Advance the epoch of an engine (address of its ``wasm_engine_t``) from now on."""
    watch(<void*>engine)


def stop(size_t engine):
    """Leave an engine alone; to be called before it is deleted."""
    unwatch(<void*>engine)
