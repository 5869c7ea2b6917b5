# cython: language_level=3
"""Stand-ins in front of host functions: they count calls and answer in a function's place when told to.

Guests may call from several threads at once, so what a plan still has to do is counted under its lock.
"""

from libc.stdint cimport int64_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport strncpy

from guesthouse.engine.core cimport ASK_PYTHON, OK, TRAPPED, Record, native_t, trap, val_t

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    int pthread_mutex_init(pthread_mutex_t*, void*)
    int pthread_mutex_lock(pthread_mutex_t*)
    int pthread_mutex_unlock(pthread_mutex_t*)

cdef extern from *:
    """
    static __thread void *gh_raising;   /* the plan whose error this thread is about to raise */
    """
    void* gh_raising
    uint64_t __atomic_fetch_add(uint64_t*, uint64_t, int) nogil
    int __ATOMIC_RELAXED

ctypedef struct plan_t:
    pthread_mutex_t lock
    int64_t times           # how often it still answers; -1 for always
    uint64_t skip           # calls to let pass before
    int64_t code
    double real             # the same, for functions that return a float
    bint raises

ctypedef struct stand_t:
    native_t target
    void* env
    plan_t* exact           # for this module's function; goes first
    plan_t* plain           # for functions of this name in any module
    char kind               # letter of the result, 0 for none
    uint64_t answered
    uint64_t value          # of a constant
    char message[200]       # of a trap


cdef bint takes(plan_t* plan) noexcept nogil:
    """Whether a plan answers this call."""
    cdef bint answers = False
    if plan.times == 0:
        return False
    pthread_mutex_lock(&plan.lock)
    if plan.skip:
        plan.skip -= 1
    elif plan.times:
        plan.times -= plan.times > 0
        answers = True
    pthread_mutex_unlock(&plan.lock)
    return answers


cdef int stand_in(Record* record, val_t* args, void* env) noexcept nogil:
    cdef stand_t* stand = <stand_t*>env
    cdef plan_t* plan = stand.exact
    if not takes(plan):
        plan = stand.plain
        if not takes(plan):
            return stand.target(record, args, stand.env)
    __atomic_fetch_add(&stand.answered, 1, __ATOMIC_RELAXED)
    if plan.raises:
        global gh_raising
        gh_raising = plan
        return ASK_PYTHON
    put(args, stand.kind, plan.code, plan.real)
    return OK


cdef void put(val_t* args, char kind, int64_t code, double real) noexcept nogil:
    if kind == c"i":
        args[0].u64 = <uint64_t>code & 0xFFFFFFFFu
    elif kind == c"I":
        args[0].i64 = code
    elif kind == c"f":
        args[0].f32 = <float>real
    elif kind == c"F":
        args[0].f64 = real


# What stands in for rows that are no native functions themselves.

cdef int constant(Record* record, val_t* args, void* env) noexcept nogil:
    cdef stand_t* stand = <stand_t*>env
    if stand.kind:
        args[0].u64 = stand.value
    return OK


cdef int trapping(Record* record, val_t* args, void* env) noexcept nogil:
    trap(record, (<stand_t*>env).message)
    return TRAPPED


cdef int asking(Record* record, val_t* args, void* env) noexcept nogil:
    return ASK_PYTHON


cdef class Plan:
    """What becomes of the calls of one name."""

    cdef plan_t state
    cdef object error

    def __cinit__(self):
        pthread_mutex_init(&self.state.lock, NULL)

    def arm(self, code, times, skip, error):
        """Answer the next `times` calls (-1: all) with `code`, or raise `error`, after `skip` have passed."""
        self.error = error
        with nogil:
            pthread_mutex_lock(&self.state.lock)
        self.state.code, self.state.real = int(code), code
        self.state.times, self.state.skip, self.state.raises = times, skip, error is not None
        pthread_mutex_unlock(&self.state.lock)

    def rest(self):
        """Let every call pass."""
        self.arm(0, 0, 0, None)


cdef class StandIn:
    """What stands in front of one host function, in all modules that it is linked into.

    Args:
        exact: the plan for ``module.name``.
        plain: the plan for the name.
        result: letter of the result's type, or nothing.
    """

    cdef stand_t* state
    cdef Plan exact
    cdef Plan plain

    def __cinit__(self, Plan exact, Plan plain, str result):
        self.state = <stand_t*>calloc(1, sizeof(stand_t))
        if self.state == NULL:
            raise MemoryError()
        self.exact, self.plain = exact, plain
        self.state.exact, self.state.plain = &exact.state, &plain.state
        self.state.kind = ord(result) if result else 0

    def __dealloc__(self):
        free(self.state)

    def native(self, address, env):
        """Stand in front of a native function; returns address and environment of what to link."""
        self.state.target, self.state.env = <native_t><void*><uintptr_t>address, <void*><uintptr_t>env
        return <uintptr_t>&stand_in, <uintptr_t>self.state

    def constant(self, value):
        """Stand in front of a constant."""
        self.state.value = <uint64_t><int64_t>value
        return self.native(<uintptr_t>&constant, <uintptr_t>self.state)

    def trapping(self, str message):
        """Stand in front of what traps."""
        strncpy(self.state.message, message.encode(), sizeof(self.state.message) - 1)
        return self.native(<uintptr_t>&trapping, <uintptr_t>self.state)

    def python(self):
        """Stand in front of a Python function, which answers as the native one's `otherwise`."""
        return self.native(<uintptr_t>&asking, 0)

    def otherwise(self, function):
        """Wrap the Python function behind the native one: errors that were injected are raised here."""

        def answer(call, *args):
            global gh_raising
            cdef void* plan = gh_raising
            if plan != NULL:
                gh_raising = NULL
                error = (self.exact if plan == &self.exact.state else self.plain).error
                raise error() if callable(error) else error
            return function(call, *args)

        return answer

    @property
    def answered(self):
        """How many calls were answered here."""
        return self.state.answered

    def reset(self):
        """Count from zero."""
        self.state.answered = 0
