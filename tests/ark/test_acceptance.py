"""The acceptance cases of the module-run specification, section 10, by number."""

from __future__ import annotations

import struct
import time

import psutil
import pytest
from tests.ark.driving import BUFFER, INPUT, MODULE, NAME, OUT, PAGES, PATIENT, READY, wasm

from guesthouse.interfaces.ark.state import state_of

SUCCESS, NOT_AVAILABLE, INTERNAL, INVALID, NOT_FOUND, UNAVAILABLE = 0, 2, 4, 5, 6, 7


def test_case_01_create_function_finds_functions_and_says_what_is_wrong(caller):
    code, handle = caller.create("worker", "echo")
    assert code == SUCCESS
    assert handle != 0
    assert caller.create("nobody", "echo")[0] == NOT_FOUND
    assert caller.create("worker", "nothing")[0] == NOT_FOUND
    assert caller.create("worker", "memory")[0] == NOT_FOUND
    assert caller.create("worker", "")[0] == NOT_FOUND
    assert caller.create("", "", source=0)[0] == NOT_FOUND
    assert caller.create("odd", "constant")[0] == NOT_FOUND
    assert caller.create("odd", "nullary")[0] == INVALID
    assert caller.create("odd", "wide")[0] == INVALID
    assert caller.create("worker", "echo", source=2)[0] == INVALID
    assert caller.create("worker", b"\xff")[0] == INVALID
    assert caller.create(b"\xff", "echo")[0] == INVALID
    assert caller.create("worker", "e" * 4097)[0] == INVALID
    # an own function ignores the module's name
    assert caller.create(b"\xff", "answer", source=0)[0] == SUCCESS
    again = caller.create("worker", "echo")
    assert again[0] == SUCCESS
    assert again[1] != handle


def test_case_02_launch_poll_retrieve(caller):
    request = caller.request(caller.function("echo"), b"abc")
    caller.wait(request)
    assert caller.ready(request) == (SUCCESS, bytes.fromhex("01000000 03000000"))
    assert caller.retrieve(request, 3) == (SUCCESS, b"abc", 0xEE)
    assert caller.ready(request) == (INVALID, b"\xee" * 8)


def test_case_03_blocking_launch_is_ready_at_once(caller):
    request = caller.request(caller.function("upper"), b"abc", blocking=True)
    assert caller.ready(request) == (SUCCESS, struct.pack("<II", 1, 3))
    assert caller.retrieve(request, 3)[:2] == (SUCCESS, b"ABC")


def test_case_04_retrieve_before_the_end_leaves_the_buffer_alone(caller):
    request = caller.request(caller.function("slow"), b"later")
    assert caller.ready(request) == (SUCCESS, bytes(8))
    assert caller.retrieve(request, 5) == (UNAVAILABLE, b"\xee" * 5, 0xEE)
    assert caller.wait(request) == 5
    assert caller.retrieve(request, 5)[:2] == (SUCCESS, b"later")


def test_case_05_a_trap_is_the_childs_own_affair(caller):
    request = caller.request(caller.function("boom"))
    assert caller.wait(request) == 0
    assert caller.ready(request) == (SUCCESS, struct.pack("<II", 1, 0))
    assert caller.retrieve(request, 4) == (INTERNAL, b"\xee" * 4, 0xEE)
    assert caller.retrieve(request, 0)[0] == INVALID
    assert caller.output(caller.function("echo"), b"on we go") == (SUCCESS, b"on we go")


@pytest.mark.parametrize("blocking", [True, False])
def test_case_06_an_endless_child_runs_out_of_fuel_and_the_caller_keeps_its_own(host, drive, blocking):
    metered = drive(limits=PATIENT.replace(fuel=1_000_000), child_fuel=2_000_000)
    function = metered.function("loop")
    request = metered.request(function, blocking=blocking)
    metered.do(lambda instance: _await(instance, request))
    assert metered.ready(request)[1] == struct.pack("<II", 1, 0)
    assert metered.retrieve(request, 0)[0] == INTERNAL
    assert metered.do(lambda instance: instance.fuel_used()) < 1000
    (run,) = [run for run in host.service("launches") if run.function == "loop"]
    assert run.cause.startswith("limit")
    assert run.fuel == pytest.approx(2_000_000, rel=0.01)


@pytest.mark.parametrize("blocking", [True, False])
def test_case_06_an_endless_child_meets_its_deadline(host, drive, blocking):
    caller = drive(child_fuel=None, child_wall="200ms")
    start = time.monotonic()
    request = caller.request(caller.function("loop"), blocking=blocking)
    assert caller.wait(request) == 0
    assert time.monotonic() - start > 0.15
    assert caller.retrieve(request, 0)[0] == INTERNAL
    (run,) = [run for run in host.service("launches") if run.function == "loop"]
    assert run.cause.startswith("deadline")
    assert caller.output(caller.function("echo"), b"on") == (SUCCESS, b"on")


@pytest.mark.parametrize(
    ("returned", "code"),
    [(6, 6), (5, 5), (2, 2), (4, 4), (8, 8), (7, 4), (1, 4), (3, 4), (9, 4), (200, 4), (0, 0)],
)
def test_case_07_codes_of_the_function(caller, returned, code):
    assert caller.output(caller.function("code_n"), bytes([returned])) == (code, b"")


def test_case_08_output_is_what_was_returned_last_as_it_was_then(caller):
    assert caller.output(caller.function("none")) == (SUCCESS, b"")
    assert caller.output(caller.function("late"), b"as it was") == (SUCCESS, b"as it was")
    assert caller.output(caller.function("twice")) == (SUCCESS, b"bb")
    # a request without output can be retrieved to any address inside memory, its very end included
    request = caller.request(caller.function("none"), blocking=True)
    assert caller.invoke("retrieve", request, PAGES, 0) == SUCCESS


def test_case_09_input_of_any_size_with_and_without_an_allocator(host, caller):
    code, order = caller.output(_registered(host, caller, "order", "order"))
    assert (code, order) == (SUCCESS, b"sipI")
    code, order = caller.output(_registered(host, caller, "order", "order"), b"some input")
    assert (code, order) == (SUCCESS, b"sipIa")
    assert caller.output(caller.function("arguments", "odd")) == (SUCCESS, bytes(8))
    data = bytes(range(256)) * 100
    assert caller.output(caller.function("echo", "odd"), data) == (SUCCESS, data)
    pointer, size = struct.unpack("<II", caller.output(caller.function("arguments", "odd"), data)[1])
    assert (pointer, size) == (65536, len(data))
    large = bytes(100_000)
    request = _launch_from_host(caller, "odd", "echo", large)
    assert request == (SUCCESS, large)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_case_09_an_allocator_that_answers_nonsense_fails_the_run(host, caller, size):
    function = _registered(host, caller, "badalloc", "echo")
    assert caller.output(function, bytes(size)) == (INTERNAL, b"")
    assert caller.output(function, bytes(8)) == (SUCCESS, bytes(8))


def test_case_10_a_larger_buffer_keeps_what_is_behind_the_output(caller):
    request = caller.request(caller.function("echo"), b"abc", blocking=True)
    assert caller.retrieve(request, 8) == (SUCCESS, b"abc" + b"\xee" * 5, 0xEE)
    request = caller.request(caller.function("echo"), b"abc", blocking=True)
    assert caller.retrieve(request, 2) == (INVALID, b"\xee" * 2, 0xEE)
    assert caller.retrieve(request, 3)[:2] == (SUCCESS, b"abc")


def test_case_11_a_removed_function_is_gone_and_its_requests_are_not(caller):
    function = caller.function("slow")
    request = caller.request(function, b"abc")
    assert caller.invoke("remove", function) == SUCCESS
    assert caller.invoke("remove", function) == NOT_FOUND
    assert caller.launch(function)[0] == NOT_FOUND
    assert caller.wait(request) == 3
    assert caller.retrieve(request, 3)[:2] == (SUCCESS, b"abc")
    assert caller.invoke("remove", request) == NOT_FOUND


def test_case_12_two_hundred_at_once_and_nothing_left(host, caller):
    function = caller.function("upper")
    caller.output(function, b"warm")
    process = psutil.Process()
    before, threads = process.memory_info().rss, process.num_threads()
    requests = [caller.request(function, b"request %d" % number) for number in range(200)]
    assert len(set(requests)) == 200
    for number in reversed(range(200)):
        size = caller.wait(requests[number])
        assert caller.retrieve(requests[number], size)[:2] == (SUCCESS, b"REQUEST %d" % number)
    assert host.scheduler.stats()["live"] == 1
    # at most the second worker, which was not needed before
    assert process.num_threads() <= threads + 1
    assert process.memory_info().rss - before < 32 << 20
    assert {caller.ready(request)[0] for request in requests} == {INVALID}
    assert (len(_table(caller)), _table(caller).retained) == (0, 0)


def test_case_13_a_redeploy_does_not_change_what_a_handle_means(host, caller):
    old = caller.function("echo")
    replacement = """(module
      (import "ark-core-v0" "core__return_slice" (func $return (param i32 i32 i32) (result i32)))
      (memory (export "memory") 1) (data (i32.const 0) "new")
      (func (export "echo") (param i32 i32) (result i32)
        (drop (call $return (i32.const 0) (i32.const 3) (i32.const 3))) (i32.const 0)))"""
    host.load(_assembled(replacement), name="worker", limits=PATIENT, replace=True)
    new = caller.function("echo")
    assert caller.output(old, b"old") == (SUCCESS, b"old")
    assert caller.output(old, b"old", blocking=True) == (SUCCESS, b"old")
    assert caller.output(new, b"old") == (SUCCESS, b"new")
    host.unload("worker")
    assert caller.create("worker", "echo")[0] == NOT_FOUND
    assert caller.output(old, b"still") == (SUCCESS, b"still")


def test_case_14_other_tenants_modules_are_not_there(host, drive):
    host.load(wasm("worker"), name="hidden", tenant="a", limits=PATIENT, private=True)
    host.load(wasm("worker"), name="unshared", tenant="a", limits=PATIENT)
    host.load(wasm("worker"), name="shared", tenant="a", limits=PATIENT, provides=["echo"])
    stranger = drive(tenant="b")
    for name in ("hidden", "unshared", "worker", "a:hidden", "a:unshared", "a:shared", "a:nobody"):
        assert stranger.create(name, "echo")[0] == NOT_FOUND


def test_case_14_a_module_is_shared_when_both_sides_say_so(host):
    from tests.ark.driving import Driver

    host.load(wasm("worker"), name="shared", tenant="a", limits=PATIENT, provides=["echo"])
    guest = host.load(
        wasm("caller"), name="b", tenant="b", limits=PATIENT, grant=["ark.module_run"], consumes=["a:shared"]
    )
    with Driver(host, guest) as friend:
        assert friend.output(friend.function("echo", "a:shared"), b"hello") == (SUCCESS, b"hello")
        assert friend.create("a:shared", "upper")[0] == NOT_FOUND


def test_case_15_without_the_grant_everything_links_and_answers_2(host, drive):
    caller = drive(grant=())
    assert caller.create("worker", "echo")[0] == NOT_AVAILABLE
    assert caller.invoke("remove", 1) == NOT_AVAILABLE
    assert caller.invoke("launch", 1, 0, 0, OUT) == NOT_AVAILABLE
    assert caller.invoke("blocking", 1, 0, 0, OUT) == NOT_AVAILABLE
    assert caller.invoke("ready", 1, READY) == NOT_AVAILABLE
    assert caller.invoke("retrieve", 1, BUFFER, 0) == NOT_AVAILABLE
    assert caller.invoke("return_slice", 0, 1, 1) == SUCCESS
    refused = caller.end().receipt.refusals
    assert set(refused) == {
        f"ark-module-run-v0.module_run__{name}"
        for name in (
            "create_function",
            "remove_function",
            "launch",
            "blocking_launch",
            "is_ready",
            "retrieve",
        )
    }


BAD = [(PAGES, 1), (PAGES - 1, 2), (0xFFFFFFFF, 1), (0x80000000, 4), (1, 0xFFFFFFFF), (PAGES + 1, 0)]


@pytest.mark.parametrize(("pointer", "length"), BAD)
def test_case_16_ranges_outside_of_memory_are_refused_before_anything_happens(host, caller, pointer, length):
    function = caller.function("echo")
    request = caller.request(function, b"abc", blocking=True)
    before = host.service("launches").metrics()["launched"]
    caller.write(OUT, b"\xee" * 8)
    memory = caller.read(0, PAGES)
    ends = (max(pointer, PAGES - 7), PAGES, 0xFFFFFFFC)
    assert caller.invoke("create", 1, pointer, length, NAME, 4, OUT) == INVALID
    assert caller.invoke("create", 0, pointer, length, NAME, 4, OUT) == INVALID
    assert caller.invoke("create", 1, MODULE, 6, pointer, length, OUT) == INVALID
    assert caller.invoke("launch", function, pointer, length, OUT) == INVALID
    assert caller.invoke("blocking", function, pointer, length, OUT) == INVALID
    assert caller.invoke("retrieve", request, pointer, length) == INVALID
    assert caller.invoke("return_slice", pointer, 1, length) == INVALID
    assert caller.invoke("input_slice", pointer, length, 0) == 0
    assert caller.invoke("log", 2, pointer, length) == INVALID
    assert caller.invoke("panic", pointer, length, NAME, 1, 1, 1) == INVALID
    assert caller.invoke("panic", NAME, 1, pointer, length, 1, 1) == INVALID
    for end in ends:
        assert caller.invoke("create", 1, MODULE, 6, NAME, 4, end) == INVALID
        assert caller.invoke("launch", function, INPUT, 3, end) == INVALID
        assert caller.invoke("blocking", function, INPUT, 3, end) == INVALID
        assert caller.invoke("ready", request, end) == INVALID
    assert caller.read(0, PAGES) == memory
    assert host.service("launches").metrics()["launched"] == before
    assert host.scheduler.stats()["live"] == 1
    assert (_table(caller).named, len(_table(caller))) == (1, 1)
    # nothing was consumed either
    assert caller.retrieve(request, 3)[:2] == (SUCCESS, b"abc")


def test_case_17_log_lines_and_panics_reach_the_host(host, caller, log_lines):
    assert caller.output(caller.function("logs"), "grüße".encode(), blocking=True)[0] == SUCCESS
    lines = [record for record in log_lines if "grüße" in record.getMessage()]
    assert [record.levelname for record in lines] == ["ERROR", "WARNING", "INFO", "DEBUG", "DEBUG"]
    assert "tenant=default" in lines[0].getMessage()
    assert "depth=1" in lines[0].getMessage()
    assert "request=" in lines[0].getMessage()
    request = caller.request(caller.function("panics"), b"out of cheese", blocking=True)
    assert caller.retrieve(request, 0)[0] == INTERNAL
    (run,) = [run for run in host.service("launches") if run.request == request]
    assert run.panic == "out of cheese (src/lib.rs:12:5)"
    assert any("out of cheese" in record.getMessage() for record in log_lines)


def test_case_17_a_panic_in_ark_initialize_fails_the_run_before_its_function(host, caller):
    request = caller.request(_registered(host, caller, "panicky", "echo"), blocking=True)
    assert caller.retrieve(request, 0)[0] == INTERNAL
    (run,) = [run for run in host.service("launches") if run.request == request]
    assert run.panic == "no configuration (src/main.rs:3:9)"
    assert run.cause.startswith("trap")


def test_case_18_the_cap_on_unretrieved_requests(drive):
    caller = drive(max_requests=4)
    function = caller.function("echo")
    requests = [caller.request(function, b"x") for _ in range(4)]
    assert caller.launch(function)[0] == UNAVAILABLE
    assert caller.launch(function, blocking=True)[0] == UNAVAILABLE
    caller.wait(requests[2])
    assert caller.launch(function)[0] == UNAVAILABLE
    assert caller.retrieve(requests[2], 1)[0] == SUCCESS
    assert caller.launch(function)[0] == SUCCESS
    assert caller.launch(function)[0] == UNAVAILABLE


def test_case_19_input_and_output_above_their_limits(drive):
    caller = drive(max_output=1000, max_input=2000)
    sized = caller.function("sized")
    assert caller.output(sized, struct.pack("<I", 1000)) == (SUCCESS, bytes(1000))
    request = caller.request(sized, struct.pack("<I", 1001))
    assert caller.wait(request) == 0
    assert caller.retrieve(request, 0)[0] == INTERNAL
    echo = caller.function("code_n")
    assert caller.launch(echo, bytes(2001))[0] == INVALID
    assert caller.launch(echo, bytes(2001), blocking=True)[0] == INVALID
    assert caller.output(echo, bytes(2000)) == (SUCCESS, b"")


def test_case_19_outputs_of_64_mib_and_one_byte_more(host, caller):
    sized = caller.function("sized")
    request = caller.request(sized, struct.pack("<I", 64 << 20))
    assert caller.wait(request) == 64 << 20
    assert caller.retrieve(request, 1)[0] == INVALID
    request = caller.request(sized, struct.pack("<I", (64 << 20) + 1))
    assert caller.wait(request) == 0
    assert caller.retrieve(request, 0)[0] == INTERNAL
    (run,) = [run for run in host.service("launches") if run.request == request]
    assert run.cause.startswith("limit")


def test_case_20_the_same_request_uses_the_same_fuel(host, caller):
    function = caller.function("brief")
    outputs = {caller.output(function, b"same", blocking=bool(turn % 2)) for turn in range(6)}
    assert outputs == {(SUCCESS, b"same")}
    fuel = {run.fuel for run in host.service("launches") if run.function == "brief"}
    assert len(fuel) == 1
    assert fuel.pop() > 100_000


def test_section_4_every_run_has_an_instance_of_its_own(caller):
    counter = caller.function("counter")
    for turn in range(6):
        assert caller.output(counter, blocking=bool(turn % 2)) == (SUCCESS, struct.pack("<I", 1))


def test_case_21_own_module_in_a_child_is_the_childs_own(caller):
    # `upper` exists in `worker` only, and the caller has no such export
    assert caller.create("", "upper", source=0)[0] == NOT_FOUND
    assert caller.output(caller.function("own"), b"abc") == (SUCCESS, b"ABC")
    assert caller.output(caller.function("polls"), b"abc") == (SUCCESS, b"ABC")


def _table(caller):
    """The handles that a caller holds."""
    return state_of(caller.call).requests


def _await(instance, request):
    """Wait without the caller's own instructions."""
    end = time.monotonic() + 30
    while instance.read(READY, 1) != b"\1":
        assert time.monotonic() < end
        time.sleep(0.005)
        assert instance.invoke("ready", request, READY) == SUCCESS


def _registered(host, caller, module, function):
    """The handle of a function of one of the hand-made modules, loaded on first use."""
    if all(guest.name != module for guest in host.guests):
        host.load(wasm(module), name=module, limits=PATIENT)
    return caller.function(function, module)


def _launch_from_host(caller, module, function, data):
    """As a driver's ``output``, for data larger than the caller's own memory."""
    pages = -(-len(data) // 65536)
    start = caller.do(lambda instance: instance.grow(2 * pages)) * 65536
    caller.write(start, data)
    handle = caller.function(function, module)
    assert caller.invoke("launch", handle, start, len(data), OUT) == SUCCESS
    request = int.from_bytes(caller.read(OUT, 8), "little")
    size = caller.wait(request)
    code = caller.invoke("retrieve", request, start + pages * 65536, size)
    return code, caller.read(start + pages * 65536, size)


def _assembled(text):
    from guesthouse.testing import guests

    return guests.wat(text)
