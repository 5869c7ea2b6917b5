# cython: language_level=3
"""The fabric as one instance sees it: its tenant, its window, the leases it used last."""

from guesthouse.engine.core cimport Attachment, Instance, Record, claim_slot
from guesthouse.resources.blocks.pool cimport Blocks, Volume
from guesthouse.resources.leases.clock cimport LeaseClock
from guesthouse.resources.memory.arena cimport Memory, Window

SLOT = claim_slot("grafos")
cdef int slot = SLOT


cdef side_t* side(Record* record) noexcept nogil:
    return <side_t*>record.slots[slot]


cdef class Side(Attachment):
    """Native state of one instance.

    Args:
        fabric: the :class:`~guesthouse.interfaces.grafos.fabric.Fabric` that serves it.
        tenant: whose leases it may use.
        program: the guest side of the guest that the instance runs, for what it submits.
    """

    def __cinit__(self, fabric, str tenant, program=None):
        cdef Memory memory = fabric.memory
        cdef Blocks blocks = fabric.blocks
        cdef LeaseClock clock = fabric.clock
        self.fabric, self.tenant, self.program = fabric, tenant, program
        self.memory, self.blocks, self.clock = memory, blocks, clock      # `state` points into them
        self.state.clock = clock.clock
        self.state.arena = &memory.arena
        self.state.device = &blocks.pool.device
        self.state.memory.engine, self.state.blocks.engine = &memory.leases.engine, &blocks.leases.engine
        self.state.memory.account = &memory.leases.account_of(tenant).account
        self.state.blocks.account = &blocks.leases.account_of(tenant).account
        self.state.owner = <PyObject*>self
        self.pointer = &self.state

    def open_window(self):
        """Open the private memory window, once (spec fabric.md 4)."""
        cdef Window window
        if self.window is None:
            window = self.fabric.open_window(self.tenant)
            self.window = window
            self.state.window = &window.view

    def open_volume(self):
        """Open the tenant's device (spec fabric.md 5)."""
        cdef Volume volume = self.fabric.blocks.volume(self.tenant)
        self.volume = volume
        self.state.volume = &volume.view

    def close(self):
        """Give the window back; the device and the leases belong to the tenant and stay."""
        self.state.window, self.state.volume = NULL, NULL
        if self.window is not None:
            self.window.close()
        self.window = self.volume = None


def side_of(call):
    """The side and the instance of the guest that made a call."""
    cdef Instance instance = call if isinstance(call, Instance) else call.instance
    cdef side_t* state = side(instance.record)
    return <object>state.owner, instance
