"""The message bus: cases 17 to 22 and 27."""

from __future__ import annotations

import hashlib
import os
import struct
import threading
import time

import pytest
from tests.wasix.driver import FD, Driver

import guesthouse
from guesthouse.testing import guests
from guesthouse.wasix import (
    BusCallEvent,
    BusError,
    BusErrorCode,
    Callback,
    Fault,
    LocalBus,
    PluggableRuntime,
    Response,
    StdioMode,
)

JSON = 3
G1 = {
    "bus_call": "bus_call iiiiiiiib",
    "bus_subcall": "bus_subcall iiiiiiiib",
    "bus_poll": "bus_poll Iiiiiib",
    "call_reply": "call_reply iiiib",
    "call_fault": "call_fault ii-",
    "call_close": "call_close i-",
    "spawn": "process_spawn iiiiiiiiiiiiib",
}
G2 = {
    "bus_call": "bus_call iiiiiib",
    "bus_subcall": "bus_subcall Iiiiiib",
    "bus_poll": "bus_poll Iiiib",
    "call_reply": "call_reply Iiiib",
    "call_fault": "call_fault Ii-",
    "call_close": "call_close I-",
    "spawn": "proc_spawn iiiiiiiiiiiiie",
}
COMMON = ["bus_open_local iiiib", "bus_open_remote iiiiiiiib", "bus_close ib", *FD]
ALLOCATOR = """(global $top (mut i32) (i32.const 0x20000)) (global $calls (mut i32) (i32.const 0))
    (func (export "allocate") (param i32) (result i32)
      (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
      (global.set $top (i32.add (global.get $top) (local.get 0)))
      (i32.sub (global.get $top) (local.get 0)))
    (func (export "allocations") (result i32) (global.get $calls))"""


class Guest(Driver):
    """A driver that speaks one generation of the bus."""

    def __init__(self, host, generation, **options):
        table = G1 if generation == "G1" else G2
        self.one = generation == "G1"
        super().__init__(host, [*COMMON, *table.values()], more=ALLOCATOR, generation=generation, **options)

    def open(self, name, reuse=0):
        error = self.bus_open_local(*self.write(0x100, name), reuse, 0)
        return error, self.u32(0)

    def make(self, function, first, topic, data, form=JSON):
        self.write(0x300, data)
        if self.one:
            error = function(first, 0, *self.write(0x200, topic), form, 0x300, len(data), 0)
            return error, self.u32(0)
        self.write(0x200, hashlib.sha256(topic).digest()[:16])
        error = function(first, 0x200, form, 0x300, len(data), 0)
        return error, self.u64(0)

    def call(self, bid, topic=b"echo", data=b'{"a":1}'):
        return self.make(self.bus_call, bid, topic, data)

    def sub(self, cid, topic=b"echo", data=b"sub"):
        return self.make(self.bus_subcall, cid, topic, data)

    def poll(self, seconds=0.0, room=8):
        if self.one:
            error = self.bus_poll(int(seconds * 1e9), 0x1000, room, *self.write(0x400, b"allocate"), 0)
        else:
            error = self.bus_poll(int(seconds * 1e9), 0x1000, room, 0)
        return error, [self.event(index) for index in range(self.u32(0))] if error == 0 else None

    def event(self, index):
        """An event in the same words for both generations."""
        if self.one:
            raw = self.read(0x1000 + 36 * index, 36)
            if raw[0] == 4:
                return ("fault", *struct.unpack_from("<II", raw, 4))
            if raw[0] == 3:
                form, cid, at, size = struct.unpack_from("<B3xIII", raw, 4)
                return "result", cid, form, self.read(at, size)
            some, parent, cid, form, topic, topic_len, at, size = struct.unpack_from("<B3xIIB3xIIII", raw, 4)
            return (
                "call",
                parent if some else None,
                cid,
                form,
                self.read(topic, topic_len),
                self.read(at, size),
            )
        raw = self.read(0x1000 + 64 * index, 64)
        if raw[0] == 4:
            return ("fault", *struct.unpack_from("<QI", raw, 8))
        if raw[0] == 3:
            form, cid, fd = struct.unpack_from("<B7xQI", raw, 8)
            return "result", cid, form, self.payload(fd)
        some, parent, cid, form, topic, fd = struct.unpack_from("<B7xQQB7x16sI", raw, 8)
        return "call", parent if some else None, cid, form, topic, self.payload(fd)

    def payload(self, fd):
        data = b""
        while piece := self.receive(fd)[1]:
            data += piece
        assert self.fd_close(fd) == 0
        return data

    def topic(self, text):
        return text if self.one else hashlib.sha256(text).digest()[:16]

    def reply(self, cid, data=b"reply", form=JSON):
        return self.call_reply(cid, form, *self.write(0x300, data))


@pytest.fixture(params=["G1", "G2"])
def generation(request):
    return request.param


class Invocation:
    def __init__(self, *events):
        self.events = list(events)
        self.waker = None

    def poll_event(self, timeout=0):
        return self.events.pop(0) if self.events else None

    def poll_finished(self, timeout=0):
        return not self.events

    def set_waker(self, waker):
        self.waker = waker

    def post(self, event):
        self.events.append(event)
        self.waker()


class Process:
    def __init__(self, make, pipes=()):
        self.make, self.code, self.calls = make, None, []
        self.pipes = dict(pipes)

    def invoke(self, topic, form, data):
        self.calls.append((topic, form, data))
        return self.make(topic, form, data)

    def exit_code(self):
        return self.code

    def poll_finished(self, timeout=0):
        return self.code is not None

    def stdin_fd(self):
        return self.pipes.get("stdin")

    def stdout_fd(self):
        return self.pipes.get("stdout")

    def stderr_fd(self):
        return None


class Listener:
    def __init__(self):
        self.calls, self.waker = [], None

    def poll_call(self, timeout=0):
        return self.calls.pop(0) if self.calls else None

    def set_waker(self, waker):
        self.waker = waker


class Called:
    def __init__(self):
        self.said = []

    def reply(self, form, data):
        self.said.append(("reply", form, data))

    def fault(self, code):
        self.said.append(("fault", code))

    def callback(self, topic, form, data):
        self.said.append(("callback", topic, form, data))


class FakeBus:
    def __init__(self, process=None, listener=None):
        self.process, self.listener, self.spawned = process, listener, []

    def spawn(self, name, options):
        self.spawned.append((name, options))
        if self.process is None:
            raise BusError(BusErrorCode.FETCH_FAILED)
        return self.process

    def listen(self):
        if self.listener is None:
            raise BusError(BusErrorCode.UNSUPPORTED)
        return self.listener


def with_bus(bus):
    return PluggableRuntime(bus=bus)


def test_case_17_no_bus_by_default(host, generation):
    with Guest(host, generation, runtime=PluggableRuntime()) as guest:
        assert guest.open(b"x")[0] == 11
        assert guest.bus_open_remote(0x100, 1, 0, 0x100, 1, 0x100, 1, 0) == 11
        spawn = guest.process_spawn if guest.one else guest.proc_spawn
        assert spawn(0x100, 1, 0, 0, 0, 0, 0, 2, 2, 2, 0, 0, 0x500) == 11
        assert guest.call(1)[0] == 8
        assert guest.sub(1)[0] == 8
        assert guest.bus_close(1) == 8
        assert guest.reply(1) == 8
        started = time.monotonic()
        assert guest.poll(10)[0] == 11
        assert time.monotonic() - started < 1


def test_case_18_and_21_round_trip(host, generation):
    process = Process(lambda topic, form, data: Invocation(Response(form, data)))
    bus = FakeBus(process)
    with Guest(host, generation, runtime=with_bus(bus)) as guest:
        before = guest.process.descriptors
        assert guest.open(b"echo", reuse=1) == (0, 1)
        assert guest.open(b"echo", reuse=1) == (0, 1)
        [(name, options)] = bus.spawned
        assert (name, options.stdin_mode, options.stdout_mode, options.stderr_mode) == (
            "echo", StdioMode.NULL, StdioMode.NULL, StdioMode.LOG,
        )  # fmt: skip
        assert guest.call(1) == (0, 1)
        expected = "echo" if guest.one else hashlib.sha256(b"echo").digest()[:16].hex()
        assert process.calls == [(expected, JSON, b'{"a":1}')]
        assert guest.poll() == (0, [("result", 1, JSON, b'{"a":1}')])
        assert guest.poll() == (0, [])
        if guest.one:
            assert guest.allocations() == 1
        assert guest.bus_close(1) == 0
        assert guest.bus_close(1) == 8
        assert guest.call(1)[0] == 8
        assert guest.process.descriptors == before


def test_case_19_callbacks_faults_and_ends(host, generation):
    made = Invocation(Callback("news", 0, b"first"), Response(JSON, b"last"))
    process = Process(lambda *_: made)
    with Guest(host, generation, runtime=with_bus(FakeBus(process))) as guest:
        guest.open(b"x")
        _, cid = guest.call(1)
        _, [called, result] = guest.poll()
        assert called == ("call", cid, called[2], 0, guest.topic(b"news"), b"first")
        assert called[2] != cid
        assert result == ("result", cid, JSON, b"last")
        made = Invocation(Fault(BusErrorCode.ACCESS_DENIED))
        _, cid = guest.call(1)
        assert guest.poll() == (0, [("fault", cid, 13)])
        assert guest.sub(cid)[0] == 8
        made = Invocation()
        _, cid = guest.call(1)
        process.code = 1
        assert guest.poll() == (0, [("fault", cid, 7)])
        assert guest.call(1)[0] == 7


def test_case_20_server(host, generation):
    listener, called = Listener(), [Called(), Called()]
    with Guest(host, generation, runtime=with_bus(FakeBus(listener=listener))) as guest:
        assert guest.poll() == (0, [])
        for one in called:
            listener.calls.append(BusCallEvent("add", one, 1, b"\1\2"))
        _, [first, second] = guest.poll()
        assert first == ("call", None, first[2], 1, guest.topic(b"add"), b"\1\2")
        assert guest.reply(first[2], b"three", 5) == 0
        assert called[0].said == [("reply", 5, b"three")]
        assert guest.reply(first[2]) == 8
        guest.call_fault(second[2], 13)
        assert called[1].said == [("fault", BusErrorCode.ACCESS_DENIED)]
        guest.call_fault(second[2], 13)
        guest.call_close(second[2])
        assert len(called[1].said) == 1


def test_case_21_no_allocator(host):
    process = Process(lambda topic, form, data: Invocation(Response(form, data)))
    with Guest(host, "G1", runtime=with_bus(FakeBus(process))) as guest:
        guest.open(b"x")
        guest.call(1)
        assert guest.bus_poll(0, 0x1000, 8, *guest.write(0x400, b"nothing"), 0) == 15


def test_case_22_a_blocked_poll_wakes_up(host, generation):
    made = Invocation()
    with Guest(host, generation, runtime=with_bus(FakeBus(Process(lambda *_: made)))) as guest:
        guest.open(b"x")
        _, cid = guest.call(1)
        timer = threading.Timer(0.1, made.post, [Response(JSON, b"now")])
        started = time.monotonic()
        timer.start()
        assert guest.poll(10) == (0, [("result", cid, JSON, b"now")])
        assert 0.1 <= time.monotonic() - started < 0.3
        timer.join()


def test_polls_honour_their_timeout_and_their_room(host, generation):
    listener = Listener()
    with Guest(host, generation, runtime=with_bus(FakeBus(listener=listener))) as guest:
        started = time.monotonic()
        assert guest.poll(0.05) == (0, [])
        assert 0.05 <= time.monotonic() - started < 1
        for _ in range(5):
            listener.calls.append(BusCallEvent("t", Called(), 0, b""))
        assert [len(guest.poll(room=2)[1]) for _ in range(3)] == [2, 2, 1]


def test_bad_pointers_are_answered_with_the_bus_own_number(host, generation):
    with Guest(host, generation, runtime=with_bus(FakeBus(listener=Listener()))) as guest:
        assert guest.bus_open_local(2**32 - 1, 8, 0, 0) == 18
        assert guest.bus_open_local(0x100, 2**32 - 1, 0, 0) == 18
        assert guest.reply(1) == 8


def test_case_27_processes(host):
    inward, outward = os.pipe(), os.pipe()
    process = Process(None, {"stdin": inward[1], "stdout": outward[0]})
    bus = FakeBus(process)
    functions = ["proc_spawn iiiiiiiiiiiiie", "proc_join iiie", *FD]
    with Driver(host, functions, runtime=with_bus(bus), generation="G3") as guest:
        name = guest.write(0x100, b"tool")
        args = guest.write(0x140, b"one\ntwo words\r\nthree")
        preopen = guest.write(0x180, b"/a\n/b")
        cwd = guest.write(0x1C0, b"/work")
        assert guest.proc_spawn(*name, 0, *args, *preopen, 0, 0, 3, *cwd, 0x200) == 0
        [(spawned, options)] = bus.spawned
        assert (spawned, options.args, options.preopen) == (
            "tool",
            ["one", "two words", "three"],
            ["/a", "/b"],
        )
        assert (options.stdin_mode, options.stderr_mode) == (StdioMode.PIPED, StdioMode.LOG)
        assert options.working_dir == "/work"
        number, *handles = struct.unpack("<I" + "B3xI" * 3, guest.read(0x200, 28))
        assert handles[0::2] == [1, 1, 0]
        assert guest.send(handles[1], b"to the tool") == (0, 11)
        assert os.read(inward[0], 100) == b"to the tool"
        os.write(outward[1], b"from the tool")
        assert guest.receive(handles[3]) == (0, b"from the tool")
        guest.write(0x300, struct.pack("<B3xI", 1, number))
        assert guest.proc_join(0x300, 1, 0x320) == 0
        assert guest.read(0x320, 1) == b"\0"
        process.code = 3
        assert guest.proc_join(0x300, 0, 0x320) == 0
        assert guest.read(0x320, 4) == b"\1\0\3\0"
        assert guest.proc_join(0x300, 0, 0x320) == 12
        assert guest.proc_spawn(*name, 0, *args, *preopen, 9, 0, 3, *cwd, 0x200) == 28
    os.close(inward[0])
    os.close(outward[1])


def test_a_python_service_on_the_local_bus(host, generation):
    bus = LocalBus()
    bus.serve("upper", lambda topic, form, data, call: (form, data.upper()))
    with Guest(host, generation, runtime=with_bus(bus)) as guest:
        assert guest.open(b"upper") == (0, 1)
        _, cid = guest.call(1, data=b"quiet")
        assert guest.poll() == (0, [("result", cid, JSON, b"QUIET")])
        assert guest.open(b"nobody")[0] == 4


def test_guests_of_one_host_are_processes_of_its_bus(host):
    """A guest spawns another, feeds it through a pipe, reads what it prints, and joins it."""
    limits = guesthouse.Limits(wall="20s")
    host.load(guests.build("guests/wasix/upper.c"), name="upper", limits=limits, replace=True)
    parent = host.load(
        guests.build("guests/wasix/parent.c"), name="parent", grant=["wasix"], limits=limits, replace=True
    )
    ended = parent.run(["upper"])
    assert (ended.code, ended.stdout) == (7, b"child said: SHOUT\n")
    assert parent.run(["nobody"]).code == 100 + 44


def test_two_guests_talk_over_the_local_bus(host):
    """One guest is called by another that spawned it: topics, payloads and the reply go through the host."""
    limits = guesthouse.Limits(wall="20s")
    host.load(
        guests.build("guests/wasix/server.c"), name="server", grant=["wasix"], limits=limits, replace=True
    )
    client = host.load(
        guests.build("guests/wasix/client.c"), name="client", grant=["wasix"], limits=limits, replace=True
    )
    ended = client.run()
    assert (ended.code, ended.stdout) == (0, b"answer: 42\n")
