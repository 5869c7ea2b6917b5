# cython: language_level=3
"""The last step of a call, which a worker takes as it gives up the GIL.

A guest that polls sees the end of a call without the GIL, and soon asks for the GIL.  Were it still held by
the worker that tidies up behind that call, the guest's thread would go to sleep, which costs more than a small
call does.  So the step by which others see that a call is over is an *errand*, done last.
"""


cdef class Errand:
    """The last step of a call; subclasses say what it is."""

    cdef void perform(self) noexcept nogil:
        pass


cdef class Parting:
    """Holds one worker's errand until the worker gives up the GIL; for that worker's thread alone."""

    def leave(self, Errand errand):
        """Leave an errand; one that was left before is done now."""
        self.settle()
        self.errand = errand

    def settle(self):
        """Do now what was left, if anything was."""
        self.perform()
        self.forget()

    cdef void perform(self) noexcept nogil:
        if self.errand is not None:
            self.errand.perform()

    cdef void forget(self):
        self.errand = None


def settle(Errand errand):
    """Do an errand now, where the thread keeps the GIL for whatever comes next."""
    if errand is not None:
        errand.perform()
