# cython: language_level=3
"""The engine's fault handlers, and what happens when somebody replaces them.

Compiled code traps by faulting, and the engine turns the signal into a trap.  It installs its handlers
once per process.  ``faulthandler.enable()`` afterwards (as test runners do) replaces them, and from then
on any trapping guest would kill the process.  So before a guest is entered we look whether the handlers
are still there; if not, ours goes on top and sends a fault inside a guest to the engine and any other to
whoever came last.
"""

cdef extern from *:
    """
    #include <signal.h>
    #include <string.h>

    #define GH_SIGNALS 4
    static const int gh_signals[GH_SIGNALS] = {SIGSEGV, SIGILL, SIGFPE, SIGBUS};
    static struct sigaction gh_engine_action[GH_SIGNALS], gh_other_action[GH_SIGNALS];
    static int gh_known = 0;
    static __thread int gh_inside = 0;

    static void gh_on_fault(int signal, siginfo_t *info, void *context) {
        for (int i = 0; i < GH_SIGNALS; i++) {
            if (gh_signals[i] != signal) continue;
            struct sigaction *action = gh_inside ? &gh_engine_action[i] : &gh_other_action[i];
            if (action->sa_flags & SA_SIGINFO) {
                action->sa_sigaction(signal, info, context);
            } else if (action->sa_handler == SIG_DFL || action->sa_handler == SIG_IGN) {
                sigaction(signal, action, 0);   /* the fault repeats, and ends as it would have */
            } else {
                action->sa_handler(signal);
            }
            return;
        }
    }

    static void gh_faults_remember(void) {
        if (gh_known) return;
        for (int i = 0; i < GH_SIGNALS; i++) sigaction(gh_signals[i], 0, &gh_engine_action[i]);
        gh_known = 1;
    }

    static void gh_faults_install(void) {
        for (int i = 0; i < GH_SIGNALS; i++) {
            struct sigaction now, ours = gh_engine_action[i];
            sigaction(gh_signals[i], 0, &now);
            if (now.sa_sigaction == gh_on_fault || now.sa_sigaction == gh_engine_action[i].sa_sigaction) continue;
            gh_other_action[i] = now;
            ours.sa_sigaction = gh_on_fault;
            sigaction(gh_signals[i], &ours, 0);
        }
    }

    static void gh_faults_enter(void) {
        struct sigaction now;
        if (gh_inside++) return;
        sigaction(SIGILL, 0, &now);
        if (now.sa_sigaction != gh_engine_action[1].sa_sigaction && now.sa_sigaction != gh_on_fault)
            gh_faults_install();
    }

    static void gh_faults_leave(void) { gh_inside--; }
    """
    void gh_faults_remember() nogil
    void gh_faults_enter() nogil
    void gh_faults_leave() nogil


def remember():
    """Note the handlers that the engine has installed; to be called after its first start."""
    gh_faults_remember()


cdef void enter() noexcept nogil:
    gh_faults_enter()


cdef void leave() noexcept nogil:
    gh_faults_leave()
