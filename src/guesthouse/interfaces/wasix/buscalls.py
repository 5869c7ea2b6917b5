"""The message bus as guests use it, in both generations that have it (spec wasix 3.6, 3.7).

Topics are text in G1 and 16 bytes of a hash in G2; on the bus they are text, the hash in lower-case hex where
nobody has told its text.  Payloads reach a G2 guest as a descriptor that holds them, a G1 guest in memory
that its own allocator gives.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from guesthouse.interfaces.wasix import descriptors
from guesthouse.interfaces.wasix.bus import (
    BusCalled,
    BusError,
    BusErrorCode,
    BusInvocation,
    BusListener,
    BusProcess,
    Callback,
    Fault,
    Response,
    SpawnOptions,
    StdioMode,
    hash_of,
    set_waker,
)
from guesthouse.interfaces.wasix.generations import Generation
from guesthouse.interfaces.wasix.processes import spawn, write_handles
from guesthouse.interfaces.wasix.program import GuestThread
from guesthouse.interfaces.wasix.refusal import Refusal

CALL, RESULT, FAULT = 2, 3, 4
BAD_HANDLE, NO_MEMORY, INVALID_TOPIC, BAD_REQUEST = 8, 15, 9, 12
#: Bytes of an event by generation.
EVENT = {Generation.G1: 36, Generation.G2: 64, Generation.G3: 64}


@dataclass(slots=True)
class Outgoing:
    """A call that this program made."""

    invocation: BusInvocation
    process: BusProcess | None
    keep_alive: bool = False


@dataclass(slots=True)
class Event:
    """Something to tell the guest."""

    tag: int
    cid: int
    parent: int | None = None
    format: int = 0
    topic: str = ""
    data: bytes = b""
    fault: int = 0


class BusState:
    """What one program has to do with the bus."""

    def __init__(self) -> None:
        self.processes: dict[int, BusProcess] = {}
        self.named: dict[tuple[str, str | None], int] = {}
        self.outgoing: dict[int, Outgoing] = {}
        self.served: dict[int, BusCalled | None] = {}
        self.listener: BusListener | None = None
        self.wake = threading.Event()
        self.lock = threading.RLock()
        self.topic_page: int | None = None
        self._bids = self._cids = 0

    @property
    def used(self) -> bool:
        """Whether a process was ever opened."""
        return self._bids > 0

    def adopt(self, process: BusProcess) -> int:
        """Give a process its number."""
        with self.lock:
            self._bids += 1
            self.processes[self._bids] = process
            return self._bids

    def cid(self) -> int:
        """Return a new number of a call."""
        with self.lock:
            self._cids += 1
            return self._cids


def state(thread: GuestThread) -> BusState:
    """Return what the thread's program has to do with the bus."""
    return thread.program.service("bus", BusState)


# --- processes ---------------------------------------------------------------------------------------


def _open(
    thread: GuestThread, name: str, reuse: int, instance: str | None, token: str | None, result: int
) -> None:
    if reuse not in (0, 1):
        raise Refusal(BAD_REQUEST)
    thread.read(result, 4)
    own = state(thread)
    with own.lock:
        bid = own.named.get((name, instance)) if reuse else None
        if bid is None or bid not in own.processes:
            options = SpawnOptions(
                reuse=bool(reuse),
                stdout_mode=StdioMode.NULL,
                stderr_mode=StdioMode.LOG,
                remote_instance=instance,
                access_token=token,
            )
            bid = own.adopt(thread.program.runtime.bus().spawn(name, options))
            own.named[name, instance] = bid
    thread.pack("I", result, bid)


def bus_open_local(thread: GuestThread, name: int, length: int, reuse: int, result: int) -> None:
    """Open a process of this host by name."""
    _open(thread, thread.text(name, length), reuse, None, None, result)


def bus_open_remote(
    thread: GuestThread,
    name: int,
    length: int,
    reuse: int,
    instance: int,
    instance_len: int,
    token: int,
    token_len: int,
    result: int,
) -> None:
    """Open a process of another instance by name."""
    texts = thread.text(name, length), thread.text(instance, instance_len), thread.text(token, token_len)
    _open(thread, texts[0], reuse, texts[1], texts[2], result)


def bus_close(thread: GuestThread, bid: int) -> int | None:
    """Let go of a process."""
    own = state(thread)
    with own.lock:
        if own.processes.pop(bid, None) is None:
            return BAD_HANDLE
        for key in [key for key, number in own.named.items() if number == bid]:
            del own.named[key]
    return None


def process_spawn(thread: GuestThread, *arguments: int) -> None:
    """Start a process and write its handles."""
    *given, result = arguments
    thread.read(result, 28)
    _, process, handles = spawn(thread, tuple(given))
    write_handles(thread, result, state(thread).adopt(process), handles)


# --- calls out ---------------------------------------------------------------------------------------


def _topic_of_g2(thread: GuestThread, pointer: int) -> str:
    digest = thread.read(pointer, 16).hex()
    known: dict[str, str] = thread.program.services.get("topics", {})
    return known.get(digest, digest)


def _topic_of_g1(thread: GuestThread, pointer: int, length: int) -> str:
    try:
        return thread.text(pointer, length)
    except Refusal:
        raise Refusal(INVALID_TOPIC) from None


def _call(
    thread: GuestThread, bid: int, topic: str, format: int, data: bytes, *, keep_alive: bool = False
) -> int:
    own = state(thread)
    process = own.processes.get(bid)
    if process is None:
        raise Refusal(BAD_HANDLE)
    if process.exit_code() is not None:
        raise BusError(BusErrorCode.ABORTED)
    return _made(own, process.invoke(topic, format, data), process, keep_alive)


def _subcall(
    thread: GuestThread, parent: int, topic: str, format: int, data: bytes, *, keep_alive: bool = False
) -> int:
    own = state(thread)
    outer = own.outgoing.get(parent)
    if outer is None:
        raise Refusal(BAD_HANDLE)
    return _made(own, outer.invocation.invoke(topic, format, data), outer.process, keep_alive)


def _made(own: BusState, invocation: BusInvocation, process: BusProcess | None, keep_alive: bool) -> int:
    cid = own.cid()
    own.outgoing[cid] = Outgoing(invocation, process, keep_alive)
    set_waker(invocation, own.wake.set)
    own.wake.set()
    return cid


def bus_call_g1(
    thread: GuestThread,
    bid: int,
    keep: int,
    topic: int,
    topic_len: int,
    form: int,
    data: int,
    size: int,
    result: int,
) -> None:
    """Call a process (G1)."""
    thread.read(result, 4)
    name = _topic_of_g1(thread, topic, topic_len)
    thread.pack("I", result, _call(thread, bid, name, form, thread.read(data, size), keep_alive=bool(keep)))


def bus_call_g2(
    thread: GuestThread, bid: int, topic: int, form: int, data: int, size: int, result: int
) -> None:
    """Call a process (G2)."""
    thread.read(result, 8)
    name = _topic_of_g2(thread, topic)
    thread.pack("Q", result, _call(thread, bid, name, form, thread.read(data, size)))


def bus_subcall_g1(
    thread: GuestThread,
    cid: int,
    keep: int,
    topic: int,
    topic_len: int,
    form: int,
    data: int,
    size: int,
    result: int,
) -> None:
    """Call within a call (G1)."""
    thread.read(result, 4)
    name = _topic_of_g1(thread, topic, topic_len)
    thread.pack(
        "I", result, _subcall(thread, cid, name, form, thread.read(data, size), keep_alive=bool(keep))
    )


def bus_subcall_g2(
    thread: GuestThread, cid: int, topic: int, form: int, data: int, size: int, result: int
) -> None:
    """Call within a call (G2)."""
    thread.read(result, 8)
    name = _topic_of_g2(thread, topic)
    thread.pack("Q", result, _subcall(thread, cid, name, form, thread.read(data, size)))


# --- calls in ----------------------------------------------------------------------------------------


def call_reply(thread: GuestThread, cid: int, form: int, data: int, size: int) -> int | None:
    """Answer a call that came in; it can be answered once."""
    own = state(thread)
    payload = thread.read(data, size)
    if cid not in own.served:
        return BAD_HANDLE
    called = own.served.pop(cid)
    if called is not None:
        called.reply(form, payload)
    return None


def call_fault(thread: GuestThread, cid: int, code: int) -> None:
    """Answer that a call failed."""
    called = state(thread).served.pop(cid, None)
    if called is not None:
        known = code in BusErrorCode.__members__.values()
        called.fault(BusErrorCode(code) if known else BusErrorCode.UNKNOWN_ERROR)


def call_close(thread: GuestThread, cid: int) -> None:
    """Let go of a call, made or being served."""
    own = state(thread)
    own.outgoing.pop(cid, None)
    called = own.served.pop(cid, None)
    if called is not None:
        called.fault(BusErrorCode.ABORTED)


# --- polling -----------------------------------------------------------------------------------------


def _from_outgoing(own: BusState, cid: int, call: Outgoing) -> Event | None:
    happened = call.invocation.poll_event(0)
    if isinstance(happened, Callback):
        inner = own.cid()
        own.served[inner] = None
        return Event(CALL, inner, cid, happened.format, happened.topic, happened.data)
    if isinstance(happened, Response):
        if not call.keep_alive:
            own.outgoing.pop(cid, None)
        return Event(RESULT, cid, format=happened.format, data=happened.data)
    if isinstance(happened, Fault):
        own.outgoing.pop(cid, None)
        return Event(FAULT, cid, fault=happened.code)
    if call.process is not None and call.process.exit_code() is not None:
        own.outgoing.pop(cid, None)
        return Event(FAULT, cid, fault=BusErrorCode.ABORTED)
    return None


def _from_listener(own: BusState, poll: Callable[[float], Any], parent: int | None) -> Event | None:
    came = poll(0)
    if came is None:
        return None
    cid = own.cid()
    own.served[cid] = came.called
    set_waker(came.called, own.wake.set)
    return Event(CALL, cid, parent, came.format, came.topic, came.data)


def _next(own: BusState) -> Event | None:
    """What is to be told next: of calls made, of calls served, of new calls, in this order."""
    with own.lock:
        for cid, call in tuple(own.outgoing.items()):
            event = _from_outgoing(own, cid, call)
            if event is not None:
                return event
        for cid, called in tuple(own.served.items()):
            poll = getattr(called, "poll_call", None)
            event = _from_listener(own, poll, cid) if poll is not None else None
            if event is not None:
                return event
        return _from_listener(own, own.listener.poll_call, None) if own.listener is not None else None


def _listen(thread: GuestThread, own: BusState) -> None:
    """Listen, from the first poll on; without a listener the polls of a program that calls others go on."""
    if own.listener is None:
        try:
            own.listener = thread.program.runtime.bus().listen()
            set_waker(own.listener, own.wake.set)
        except BusError:
            if not own.used:
                raise


def _poll(thread: GuestThread, timeout: int, limit: int, tell: Callable[[int, Event], None]) -> int:
    own = state(thread)
    _listen(thread, own)
    told = 0

    def look(seconds: float) -> int | None:
        nonlocal told
        own.wake.clear()
        while told < limit:
            event = _next(own)
            if event is None:
                break
            tell(told, event)
            told += 1
        if not told and seconds:
            own.wake.wait(seconds)
        return told or None

    thread.wait(look, timeout / 1e9)
    return told


def bus_poll_g2(thread: GuestThread, timeout: int, events: int, limit: int, count_at: int) -> None:
    """Wait for events (G2)."""
    thread.read(count_at, 4)
    _check_room(thread, events, limit, 64)

    def tell(index: int, event: Event) -> None:
        thread.write(events + 64 * index, _event_g2(thread, event))

    thread.pack("I", count_at, _poll(thread, timeout, limit, tell))


def _check_room(thread: GuestThread, events: int, limit: int, size: int) -> None:
    if limit:
        thread.read(events, size)
        thread.read(events + size * (limit - 1), size)


def _event_g2(thread: GuestThread, event: Event) -> bytes:
    if event.tag == FAULT:
        return struct.pack("<B7xQI", FAULT, event.cid, event.fault).ljust(64, b"\0")
    fd = descriptors.open_payload(thread.program.process, bytes(event.data))
    if event.tag == RESULT:
        return struct.pack("<B7xB7xQI", RESULT, event.format, event.cid, fd).ljust(64, b"\0")
    parent = event.parent is not None, event.parent or 0
    head = struct.pack("<B7xB7xQQB7x", CALL, *parent, event.cid, event.format)
    return (head + hash_of(event.topic) + struct.pack("<I", fd)).ljust(64, b"\0")


def bus_poll_g1(
    thread: GuestThread, timeout: int, events: int, limit: int, malloc: int, malloc_len: int, count_at: int
) -> None:
    """Wait for events (G1), with payloads in memory that the guest's allocator gives."""
    thread.read(count_at, 4)
    _check_room(thread, events, limit, 36)
    allocator = thread.text(malloc, malloc_len)
    if thread.instance.signature(allocator) not in (("i", "i"), ("I", "I")):
        own = state(thread)
        _listen(thread, own)  # no bus at all is the better answer
        raise Refusal(NO_MEMORY)

    def tell(index: int, event: Event) -> None:
        thread.write(events + 36 * index, _event_g1(thread, allocator, event))

    thread.pack("I", count_at, _poll(thread, timeout, limit, tell))


def _event_g1(thread: GuestThread, allocator: str, event: Event) -> bytes:
    if event.tag == FAULT:
        return struct.pack("<B3xII", FAULT, event.cid, event.fault).ljust(36, b"\0")
    pointer = thread.instance.invoke(allocator, len(event.data)) & 0xFFFFFFFF
    if pointer == 0:
        raise Refusal(NO_MEMORY)
    thread.write(pointer, event.data)
    if event.tag == RESULT:
        return struct.pack("<B3xB3xIII", RESULT, event.format, event.cid, pointer, len(event.data)).ljust(
            36, b"\0"
        )
    topic = event.topic.encode()[:65535]
    parent = event.parent is not None, event.parent or 0
    place = _topic_page(thread)
    thread.write(place, topic)
    return struct.pack(
        "<B3xB3xIIB3x4I", CALL, *parent, event.cid, event.format, place, len(topic), pointer, len(event.data)
    )


def _topic_page(thread: GuestThread) -> int:
    """The one buffer for topics: a page of the guest's memory that its allocator does not know."""
    own = state(thread)
    if own.topic_page is None:
        pages = thread.instance.grow(1)
        if pages < 0:
            raise Refusal(NO_MEMORY)
        own.topic_page = pages * 65536
    return own.topic_page
