# cython: language_level=3
"""The events that wait for a cell, and which of its instances takes them (spec/pulp.md 5.3).

An instance waits at a seat of its own, without the GIL.  Where a cell has several, events go to the one
that had the last one, and only as many are awake as the work needs: around a step that takes microseconds nearly
everything is Python, so that a second instance would only take the GIL away from the first.  Another one is
called when steps cost much processor time or wait long, in host functions, or when nothing has come of the
events for a moment.

The GIL guards the queue: between looking at it and changing it nothing here allocates an object or runs Python
code.  The mutex guards who waits; nobody waits for the GIL while holding it.
"""

cimport cython

from libc.stdint cimport int64_t

from guesthouse.engine.core cimport monotonic
from guesthouse.interfaces.pulp.extension import Posted

cdef extern from *:
    """
    #include <pthread.h>
    #include <stdint.h>
    #include <stdlib.h>
    #include <time.h>

    typedef struct gh_seat {
        pthread_cond_t called;
        struct gh_seat *below;      /* whose last event was before its own; while both wait */
        int waits, invited;
        int64_t since;              /* when its step began; 0 while it is at the mailbox */
        int64_t latest;             /* which event it took last, by number */
        int64_t processor;          /* its thread's processor time then */
        struct gh_seat *next;       /* of all seats */
    } gh_seat;

    static gh_seat *gh_seat_new(void) {
        pthread_condattr_t monotonic;
        gh_seat *seat = (gh_seat *)calloc(1, sizeof(gh_seat));
        if (!seat) return 0;
        pthread_condattr_init(&monotonic);
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        pthread_cond_init(&seat->called, &monotonic);
        pthread_condattr_destroy(&monotonic);
        return seat;
    }
    static void gh_seat_free(gh_seat *seat) {
        pthread_cond_destroy(&seat->called);
        free(seat);
    }
    static void gh_seat_sleep(gh_seat *seat, pthread_mutex_t *lock, int64_t until) {
        struct timespec when = { until / 1000000000, until % 1000000000 };
        pthread_cond_timedwait(&seat->called, lock, &when);
    }
    static int64_t gh_processor_time(void) {
        struct timespec now;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
        return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    }
    """
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass
    ctypedef struct gh_seat:
        pthread_cond_t called
        gh_seat* below
        int waits
        int invited
        int64_t since
        int64_t latest
        int64_t processor
        gh_seat* next
    gh_seat* gh_seat_new() nogil
    void gh_seat_free(gh_seat* seat) nogil
    void gh_seat_sleep(gh_seat* seat, pthread_mutex_t* lock, int64_t until) nogil
    int64_t gh_processor_time() nogil
    int pthread_mutex_init(pthread_mutex_t*, void*) nogil
    int pthread_mutex_lock(pthread_mutex_t*) nogil
    int pthread_mutex_unlock(pthread_mutex_t*) nogil
    int pthread_mutex_destroy(pthread_mutex_t*) nogil
    int pthread_cond_signal(pthread_cond_t*) nogil

#: Events that may wait for a cell.
QUEUE_LIMIT = 64

#: Seconds without progress after which another instance is called.
PATIENCE = 0.002

cdef int64_t HEAVY = 200000             # ns of processor time of an average step that is worth a core of its own
cdef int64_t LONG = 1000000             # ns that an average step waits, which others could use
cdef double LONGEST = 4e18              # ns: a timeout that fits the clock


cdef class Item:
    """An event in a queue."""

    cdef object event
    cdef Item following

    def __init__(self, event):
        self.event = event


cdef class Mailbox:
    """The queue of one cell; as many instances as have a `Seat` take from it.

    Args:
        limit: events that may wait.
        patience: seconds that events wait for a busy instance while another one is free.

    Attributes:
        dropped: events that found it full.
    """

    cdef Item first                 # of the queue
    cdef Item last
    cdef bint open
    cdef readonly Py_ssize_t limit
    cdef readonly long dropped
    cdef int64_t patience           # ns
    cdef pthread_mutex_t lock       # guards what follows
    cdef gh_seat* seats             # all of them
    cdef gh_seat* top               # who waits and took an event last
    cdef Py_ssize_t number          # of seats
    cdef Py_ssize_t awake           # seats that nobody waits at
    cdef Py_ssize_t waiting         # events; as many as are in the queue
    cdef int64_t taken              # events, ever
    cdef int64_t calls              # of `wake`, ever
    cdef int64_t computing          # processor time of an average step, ns
    cdef int64_t waits              # what it takes beyond that, for the GIL included
    cdef int64_t watched            # until when the top gives those awake time; 0 for no such moment
    cdef int64_t taken_before       # the watch began

    def __cinit__(self):
        pthread_mutex_init(&self.lock, NULL)

    def __init__(self, Py_ssize_t limit=QUEUE_LIMIT, double patience=PATIENCE):
        self.open = True
        self.patience = <int64_t>(patience * 1e9)
        self.limit = limit

    def __dealloc__(self):
        pthread_mutex_destroy(&self.lock)

    def put(self, event):
        """Queue an event, unless the box is full or closed.

        Returns:
            What became of it, a `Posted`.
        """
        cdef Item item = Item(event)
        if not self.open:
            return GONE
        if self.waiting >= self.limit:
            self.dropped += 1
            return FULL
        if self.last is None:
            self.first = item
        else:
            self.last.following = item
        self.last = item
        pthread_mutex_lock(&self.lock)
        self.waiting += 1
        self.announce()
        pthread_mutex_unlock(&self.lock)
        return QUEUED

    cdef void announce(self) noexcept nogil:
        """See to it that somebody takes what waits; with the lock held."""
        cdef gh_seat* seat = self.top
        if seat == NULL:
            return
        if self.awake == 0 or self.worth_sharing():
            self.call(seat)
        elif self.watched == 0:
            self.watch(monotonic())
            pthread_cond_signal(&seat.called)

    cdef bint worth_sharing(self) noexcept nogil:
        """Whether steps are such that two at once get done sooner than one after the other."""
        return self.computing > HEAVY or self.waits > LONG

    cdef void call(self, gh_seat* seat) noexcept nogil:
        """Make one that waits come; with the lock held."""
        self.rise(seat)
        seat.invited = 1
        pthread_cond_signal(&seat.called)

    cdef void watch(self, int64_t now) noexcept nogil:
        self.watched, self.taken_before = now + self.patience, self.taken

    cdef void rise(self, gh_seat* seat) noexcept nogil:
        """Take a seat out of those that wait; with the lock held."""
        cdef gh_seat** at = &self.top
        if not seat.waits:
            return
        if self.top == seat:
            self.watched = 0
        while at[0] != seat:
            at = &at[0].below
        at[0] = seat.below
        seat.waits = 0
        self.awake += 1

    cdef bint wait(self, gh_seat* seat, int64_t until, int64_t calls) noexcept nogil:
        """Wait for an event that is for this seat, for a call or for the end of time; whether there is one."""
        cdef gh_seat** at = &self.top
        cdef bint mine = False
        cdef int64_t now
        pthread_mutex_lock(&self.lock)
        if self.waiting and not self.spare(seat):
            pthread_mutex_unlock(&self.lock)
            return True
        while at[0] != NULL and at[0].latest > seat.latest:
            at = &at[0].below
        seat.below, at[0] = at[0], seat
        seat.waits, seat.invited = 1, 0
        self.awake -= 1
        now = monotonic()
        while not seat.invited and self.calls == calls and now < until:
            mine = self.due(seat, now)
            if mine:
                break
            gh_seat_sleep(seat, &self.lock, min(until, self.watched) if self.watched and self.top == seat else until)
            now = monotonic()
        mine = mine or (seat.invited and self.waiting > 0)
        self.rise(seat)
        pthread_mutex_unlock(&self.lock)
        return mine

    cdef bint spare(self, gh_seat* seat) noexcept nogil:
        """Whether the others do as well without this one; with the lock held."""
        cdef gh_seat* other = self.seats
        cdef int64_t now
        if self.awake <= 1 or self.worth_sharing():
            return False
        now = monotonic()
        while other != NULL:
            if other != seat and not other.waits and (other.since == 0 or now - other.since < self.patience):
                return True
            other = other.next
        return False

    cdef bint due(self, gh_seat* seat, int64_t now) noexcept nogil:
        """Whether a seat that waits has to take what came, because nobody else does; with the lock held."""
        if self.waiting == 0:
            self.watched = 0
            return False
        if self.awake == 0:
            return True
        if self.top != seat or now < self.watched:
            return False
        if self.watched == 0 or self.taken != self.taken_before:
            self.watch(now)
            return False
        return True

    def wake(self):
        """Make those who wait look whether they have something else to do."""
        pthread_mutex_lock(&self.lock)
        self.calls += 1
        while self.top != NULL:
            self.call(self.top)
        pthread_mutex_unlock(&self.lock)

    def close(self) -> list:
        """Refuse further events, wake whoever waits, and return what was left."""
        cdef Item item
        self.open = False
        item, self.first, self.last = self.first, None, None
        pthread_mutex_lock(&self.lock)
        self.waiting = 0
        pthread_mutex_unlock(&self.lock)
        self.wake()
        left = []
        while item is not None:
            left.append(item.event)
            item = item.following
        return left

    cdef Item take(self):
        """Take the oldest event out; ``None`` when there is none, or the box is closed."""
        cdef Item item = self.first
        if item is None or not self.open:
            return None
        self.first = item.following
        if self.first is None:
            self.last = None
        pthread_mutex_lock(&self.lock)
        self.waiting -= 1
        self.taken += 1
        pthread_mutex_unlock(&self.lock)
        return item

    def reopen(self):
        """Take events again."""
        self.open = True

    @property
    def closed(self) -> bool:
        """Whether `close` was called last."""
        return not self.open

    def __len__(self) -> int:
        return self.waiting


@cython.no_gc_clear     # the mailbox must still be there when it is deallocated
cdef class Seat:
    """Where one instance waits for events; used by one thread.

    Args:
        mailbox: whose events.
    """

    cdef Mailbox mailbox
    cdef gh_seat* seat

    def __cinit__(self, Mailbox mailbox not None):
        self.seat = gh_seat_new()
        if self.seat == NULL:
            raise MemoryError("no memory for a seat")
        self.mailbox = mailbox
        self.seat.since = monotonic()
        pthread_mutex_lock(&mailbox.lock)
        self.seat.next, mailbox.seats = mailbox.seats, self.seat
        mailbox.number += 1
        mailbox.awake += 1
        pthread_mutex_unlock(&mailbox.lock)

    def __dealloc__(self):
        if self.seat != NULL:
            self.give_up()
            gh_seat_free(self.seat)

    def leave(self):
        """Take no more events; those that wait are for the others."""
        self.give_up()

    cdef void give_up(self):
        cdef Mailbox box = self.mailbox
        cdef gh_seat** at
        pthread_mutex_lock(&box.lock)
        at = &box.seats
        while at[0] != NULL and at[0] != self.seat:
            at = &at[0].next
        if at[0] != NULL:
            at[0] = self.seat.next
            box.number -= 1
            box.awake -= 1
            if box.waiting:
                box.announce()
        pthread_mutex_unlock(&box.lock)

    def get(self, double timeout, elsewhere=None):
        """Take the oldest event, waiting for one at most ``timeout`` seconds.

        Args:
            timeout: seconds.
            elsewhere: whether whoever waits has something else to do; looked at on every `Mailbox.wake`.

        Returns:
            The event, or ``None``.
        """
        cdef Mailbox box = self.mailbox
        cdef int64_t begun = monotonic()
        cdef int64_t until = begun + <int64_t>min(timeout * 1e9, LONGEST)
        cdef int64_t calls
        cdef bint mine
        cdef Item item = None
        self.account()
        while True:
            calls = box.calls
            if not box.open or (elsewhere is not None and elsewhere()):
                break
            with nogil:
                mine = box.wait(self.seat, until, calls)
            if mine and calls == box.calls:
                item = box.take()
                if item is not None:
                    self.seat.latest = box.taken
                    break
            if not mine and monotonic() >= until:
                break
        self.begin(item is not None)
        return None if item is None else item.event

    cdef void account(self) noexcept:
        """Note what the step cost that has ended."""
        cdef Mailbox box = self.mailbox
        cdef int64_t computed
        if self.seat.processor:
            computed = gh_processor_time() - self.seat.processor
            box.computing += (computed - box.computing) // 8
            # A single long wait is as likely another process's turn as the step's own doing.
            box.waits += (min(monotonic() - self.seat.since - computed, 4 * LONG) - box.waits) // 8
            self.seat.processor = 0
        pthread_mutex_lock(&box.lock)
        self.seat.since = 0
        pthread_mutex_unlock(&box.lock)

    cdef void begin(self, bint step) noexcept:
        cdef Mailbox box = self.mailbox
        if step and box.number > 1:
            self.seat.processor = gh_processor_time()
        pthread_mutex_lock(&box.lock)
        self.seat.since = monotonic()
        pthread_mutex_unlock(&box.lock)


cdef object QUEUED = Posted.QUEUED
cdef object FULL = Posted.FULL
cdef object GONE = Posted.GONE
