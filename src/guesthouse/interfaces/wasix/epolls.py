"""epoll: many descriptors waited for through one, on top of the host's own."""

from __future__ import annotations

import select
import struct

from guesthouse.interfaces.wasix import descriptors
from guesthouse.interfaces.wasix.program import INVAL, GuestThread
from guesthouse.interfaces.wasix.refusal import Refusal

BADF, EXIST, NOENT, PERM = 8, 20, 44, 63
ADD, MODIFY, DELETE = 0, 1, 2
TYPE_UNKNOWN = 0

#: Event bits of the guest and of the host.
_BITS = (
    (1, select.EPOLLIN),
    (2, select.EPOLLOUT),
    (4, select.EPOLLRDHUP),
    (8, select.EPOLLPRI),
    (16, select.EPOLLERR),
    (32, select.EPOLLHUP),
    (64, select.EPOLLET),
    (128, select.EPOLLONESHOT),
)


class Epoll:
    """What stands behind an epoll descriptor; it can only be waited on."""

    read_timeout = write_timeout = None

    def __init__(self) -> None:
        self.host = select.epoll(flags=select.EPOLL_CLOEXEC)
        self.data: dict[int, bytes] = {}  # by host descriptor: what the guest wants back
        self.guest: dict[int, int] = {}  # guest descriptor to host descriptor

    def receive(self, limit: int, peek: bool) -> tuple[bytes, bool] | None:
        """Refuse: there is nothing to read."""
        raise Refusal(INVAL)

    def send(self, data: bytes) -> int | None:
        """Refuse: there is nothing to write."""
        raise Refusal(INVAL)

    def shutdown(self, how: int) -> None:
        """Refuse: it is no socket."""
        raise Refusal(57)

    def ready(self, writing: bool) -> bool:
        """Say whether something has happened."""
        return not writing and bool(self.host.poll(0, 1))

    def wait(self, writing: bool, seconds: float) -> None:
        """Wait for something to happen."""
        self.host.poll(seconds, 1)

    def close(self) -> None:
        """Let go of the host's descriptor."""
        self.host.close()


def _at(thread: GuestThread, fd: int) -> Epoll:
    found = descriptors.object_at(thread.program.process, fd)
    if not isinstance(found, Epoll):
        raise Refusal(INVAL)
    return found


def epoll_create(thread: GuestThread, result: int) -> None:
    """Open an epoll descriptor."""
    thread.read(result, 4)
    thread.pack("I", result, descriptors.open_object(thread.program.process, Epoll(), TYPE_UNKNOWN))


def epoll_ctl(thread: GuestThread, epoll_fd: int, operation: int, fd: int, event_at: int) -> int | None:
    """Add, change or remove a descriptor that is waited for."""
    epoll = _at(thread, epoll_fd)
    if operation == DELETE:
        host = epoll.guest.pop(fd, None)
        if host is None:
            return NOENT
        epoll.data.pop(host, None)
        try:
            epoll.host.unregister(host)
        except OSError:
            pass  # it was closed in the meantime, which removed it
        return None
    if operation not in (ADD, MODIFY):
        return INVAL
    host = descriptors.host_descriptor(thread.program.process, fd)
    if host < 0:
        return PERM
    event = thread.read(event_at, 32)
    wanted = struct.unpack_from("<I", event)[0]
    mask = sum(ours for theirs, ours in _BITS if wanted & theirs)
    try:
        if operation == ADD:
            epoll.host.register(host, mask)
        else:
            epoll.host.modify(host, mask)
    except FileExistsError:
        return EXIST
    except FileNotFoundError:
        return NOENT
    except OSError:
        return PERM
    epoll.guest[fd] = host
    epoll.data[host] = event[8:]
    return None


def epoll_wait(
    thread: GuestThread, epoll_fd: int, events: int, limit: int, timeout: int, count_at: int
) -> int | None:
    """Wait until something happens; a timeout of all ones waits as long as it takes."""
    epoll = _at(thread, epoll_fd)
    if not 0 < limit <= 4096:
        return INVAL
    thread.read(events, 32 * limit)
    seconds = None if timeout >= 1 << 63 else timeout / 1e9
    found = thread.wait(lambda most: epoll.host.poll(most, limit) or None, seconds) or []
    told = 0
    for host, mask in found:
        data = epoll.data.get(host)
        if data is None:
            continue
        bits = sum(theirs for theirs, ours in _BITS if mask & ours)
        thread.write(events + 32 * told, struct.pack("<I4x", bits) + data)
        told += 1
    thread.pack("I", count_at, told)
    return None
