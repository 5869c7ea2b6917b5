# cython: language_level=3
"""How idle workers sleep and wake, and how much stack a thread has left.

A call that a guest submits is usually awaited, and then run, by that same guest a moment later.  Waking a
worker for it at once costs two thread switches and takes the child away from the thread that has
everything warm.  So there are two ways to announce work: `urgent` wakes a sleeper at once; `lazy` leaves the
call alone for a grace period, and only if nobody has claimed it by then does a watching worker take it.

A guest that polls instead of waiting needs the opposite: a worker that is there when the next piece of work
comes.  So a worker looks out for a moment before it sleeps, and native code can `post` work to an idle one.
"""

from libc.stdint cimport int64_t, uintptr_t

from guesthouse.calls.parting cimport Parting

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <errno.h>
    #include <pthread.h>
    #include <stdint.h>
    #include <time.h>

    #if defined(__x86_64__)
    #define gh_pause() __builtin_ia32_pause()
    #elif defined(__aarch64__)
    #define gh_pause() __asm__ __volatile__("yield")
    #else
    #define gh_pause() ((void)0)
    #endif
    #define GH_SHORTEST_LOOK 3000       /* nanoseconds */
    #define GH_VAIN_LOOKS_PER_TRIAL 64

    typedef struct {
        pthread_mutex_t mutex;
        pthread_cond_t watcher;     /* the one sleeper that looks after lazy work */
        pthread_cond_t sleepers;    /* all others */
        int64_t pending, since, last, urgent, idle;     /* last: when work was announced lazily */
        int64_t look, longest_look, vain;
        int watching, looking, closed;      /* looking: one idle worker looks out without sleeping */
        int refusing;                       /* nothing more may be posted */
        gh_post *first, **end;              /* posted and not taken yet, oldest first */
    } gh_bell;

    static int64_t gh_bell_now(void) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000000000LL + t.tv_nsec;
    }

    static void gh_bell_init(gh_bell *bell, int64_t longest_look) {
        pthread_condattr_t attr;
        bell->look = bell->longest_look = longest_look;
        pthread_mutex_init(&bell->mutex, NULL);
        pthread_condattr_init(&attr);
        pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        pthread_cond_init(&bell->watcher, &attr);
        pthread_cond_init(&bell->sleepers, &attr);
        pthread_condattr_destroy(&attr);
        bell->end = &bell->first;
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
        if (__atomic_add_fetch(&bell->urgent, 1, __ATOMIC_RELAXED) == 1 && bell->looking) return;
        if (bell->idle > (bell->watching ? 1 : 0)) pthread_cond_signal(&bell->sleepers);
        else pthread_cond_signal(&bell->watcher);
    }

    static int64_t gh_bell_count(gh_bell *bell) {
        int64_t now = gh_bell_now();
        if (bell->pending++ == 0) bell->since = now;
        return now;
    }

    static void gh_bell_add(gh_bell *bell, int urgent) {
        pthread_mutex_lock(&bell->mutex);
        int64_t now = gh_bell_count(bell);
        if (urgent) gh_bell_wake(bell);
        else bell->last = now;
        if (!urgent && !bell->watching && !bell->looking && bell->idle > 0) pthread_cond_signal(&bell->sleepers);
        pthread_mutex_unlock(&bell->mutex);
    }

    static int gh_bell_awaited(gh_bell *bell) {
        return __atomic_load_n(&bell->urgent, __ATOMIC_RELAXED) < __atomic_load_n(&bell->idle, __ATOMIC_RELAXED);
    }

    static int gh_bell_post(gh_bell *bell, gh_post *work) {
        int taken = 0;
        pthread_mutex_lock(&bell->mutex);
        if (bell->urgent < bell->idle && !bell->refusing) {
            work->posted = gh_bell_count(bell);
            work->next = NULL;
            *bell->end = work;
            bell->end = &work->next;
            gh_bell_wake(bell);
            taken = 1;
        }
        pthread_mutex_unlock(&bell->mutex);
        return taken;
    }

    static void gh_bell_refuse(gh_bell *bell) {
        pthread_mutex_lock(&bell->mutex);
        bell->refusing = 1;
        pthread_mutex_unlock(&bell->mutex);
    }

    static void gh_bell_collect(gh_bell *bell) {
        gh_post *work, *next;
        pthread_mutex_lock(&bell->mutex);
        work = bell->first;
        bell->first = NULL;
        bell->end = &bell->first;
        pthread_mutex_unlock(&bell->mutex);
        for (; work != NULL; work = next) {
            next = work->next;      /* whoever takes it may free it */
            work->take(work);
        }
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

    /* The calling worker is idle from now on; whether it is the one to look out. */
    static int gh_bell_enter(gh_bell *bell) {
        int looks;
        pthread_mutex_lock(&bell->mutex);
        bell->idle++;
        looks = !bell->looking;
        if (looks) bell->looking = 1;
        pthread_mutex_unlock(&bell->mutex);
        return looks;
    }

    /* Looks out for urgent work: longer where that found some the last time, shorter where it did not, and
     * long again now and then in case times have changed. */
    static void gh_bell_look(gh_bell *bell, int64_t until) {
        for (unsigned turn = 1; !__atomic_load_n(&bell->closed, __ATOMIC_RELAXED); turn++) {
            if (__atomic_load_n(&bell->urgent, __ATOMIC_RELAXED) > 0) {
                bell->look = bell->look * 2 < bell->longest_look ? bell->look * 2 : bell->longest_look;
                return;
            }
            gh_pause();
            if (turn % 16 == 0 && gh_bell_now() >= until) break;
        }
        bell->look = bell->look / 2 > GH_SHORTEST_LOOK ? bell->look / 2 : GH_SHORTEST_LOOK;
        if (++bell->vain % GH_VAIN_LOOKS_PER_TRIAL == 0) bell->look = bell->longest_look;
    }

    /* To be called after gh_bell_enter. 1: look for work; 0: nothing came for `retire` ns; -1: closed. */
    static int gh_bell_wait(gh_bell *bell, int looks, int64_t grace, int64_t patience, int64_t retire) {
        int64_t start = gh_bell_now(), now;
        int result = 1;
        if (looks && bell->longest_look) gh_bell_look(bell, start + bell->look);
        pthread_mutex_lock(&bell->mutex);
        if (looks) bell->looking = 0;
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
        post_t* first
    void gh_bell_init(gh_bell* bell, int64_t longest_look) nogil
    void gh_bell_destroy(gh_bell* bell) nogil
    void gh_bell_add(gh_bell* bell, int urgent) nogil
    void gh_bell_take(gh_bell* bell, int more) nogil
    void gh_bell_close(gh_bell* bell) nogil
    int gh_bell_post(gh_bell* bell, post_t* work) nogil
    int gh_bell_awaited(gh_bell* bell) nogil
    void gh_bell_refuse(gh_bell* bell) nogil
    void gh_bell_collect(gh_bell* bell)
    int gh_bell_enter(gh_bell* bell) nogil
    int gh_bell_wait(gh_bell* bell, int looks, int64_t grace, int64_t patience, int64_t retire) nogil
    int64_t gh_stack_left() nogil


cdef bint post(void* bell, post_t* work) noexcept nogil:
    return gh_bell_post(<gh_bell*>bell, work)


cdef bint awaited(void* bell) noexcept nogil:
    return gh_bell_awaited(<gh_bell*>bell)


def stack_left() -> int:
    """Return how many bytes of stack the calling thread has left."""
    return gh_stack_left()


cdef class Bell:
    """Announces pending work to sleeping workers.

    Args:
        grace_ns: how long lazily announced work stays with whoever announced it.
        patience_ns: how long one idle worker keeps watching after the last announcement, so that the
            next lazy one costs no system call.
        look_ns: how long, at most, a worker that becomes idle looks out for urgent work without sleeping:
            about what it costs to wake it; 0 where the machine has one core.
    """

    cdef gh_bell bell
    cdef int64_t grace, patience

    def __cinit__(self, int64_t grace_ns=100_000, int64_t patience_ns=20_000_000, int64_t look_ns=30_000):
        self.grace, self.patience = grace_ns, patience_ns
        gh_bell_init(&self.bell, look_ns)

    def __dealloc__(self):
        gh_bell_destroy(&self.bell)

    def add(self, bint urgent):
        """Announce one more pending piece of work."""
        gh_bell_add(&self.bell, urgent)

    def take(self, bint more=False):
        """One pending piece was claimed; with `more`, wake another worker if there is more."""
        gh_bell_take(&self.bell, more)

    def refuse(self):
        """Let nothing more be posted."""
        gh_bell_refuse(&self.bell)

    def collect(self):
        """Take everything that was posted; one thread at a time."""
        gh_bell_collect(&self.bell)

    def close(self):
        """Wake everybody for good."""
        gh_bell_close(&self.bell)

    def wait(self, int64_t retire_ns, Parting parting not None):
        """Wait until there may be work: awake for a moment, then asleep.

        Args:
            retire_ns: how long, at most.
            parting: what is left to do before, once the GIL is given up.

        Returns:
            1 when there may be work, 0 when nothing came for `retire_ns`, -1 once closed.
        """
        cdef int result
        cdef int looks
        with nogil:
            looks = gh_bell_enter(&self.bell)
            parting.perform()   # who hears of it finds this worker idle
            result = gh_bell_wait(&self.bell, looks, self.grace, self.patience, retire_ns)
        parting.forget()
        return result

    @property
    def address(self):
        """Where native code posts to; good as long as this object lives."""
        return <uintptr_t>&self.bell

    @property
    def posted(self):
        """Whether work was posted that nobody has taken."""
        return self.bell.first != NULL

    @property
    def pending(self):
        """How many pieces of work were announced and not claimed."""
        return self.bell.pending

    @property
    def idle(self):
        """How many workers sleep here now."""
        return self.bell.idle
