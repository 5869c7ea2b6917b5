"""pthreads through real guests: the thread rows of the test inventory, and every way to end (faasm.md 2.8, 5.4)."""

from __future__ import annotations

import threading

import pytest

from guesthouse import Limits
from guesthouse.engine import wat_to_wasm
from guesthouse.errors import DeadlineExceeded, LoadError, MissingImports, Trap
from guesthouse.testing import guests

SOURCE = "guests/faasm/threads.c"
BOTH = pytest.mark.parametrize("flavour", ["threads", "faasm"], ids=["at once", "one after another"])


@pytest.fixture
def program(load):
    def program(flavour="threads", **options):
        options.setdefault("limits", Limits(wall=20, memory="256MiB"))
        options.setdefault("interface", "faasm")
        return load("threads", guests.build(SOURCE, flavour=flavour), **options)

    return program


@BOTH
@pytest.mark.parametrize(
    "what", ["l", "m", "r", "x", "c", "o", "k", "e", "d"],
    ids=["threads_local", "threads_memory", "results", "mutexes", "conditions", "once", "keys", "exit", "detach"],
)  # fmt: skip
def test_case_threads(program, flavour, what):
    guest = program(flavour)
    for _ in range(2):
        assert guest.invoke(what.encode()).unwrap() == b""


@BOTH
def test_a_trapping_thread_fails_the_call_and_nothing_else(program, flavour):
    guest = program(flavour)
    result = guest.invoke(b"t")
    assert isinstance(result.error, Trap) and "unreachable" in str(result.error)
    assert guest.call(b"l") == b""


def test_a_trapping_thread_ends_a_main_thread_that_never_looks(program):
    result = program().invoke(b"T")
    assert isinstance(result.error, Trap) and "unreachable" in str(result.error)


@BOTH
def test_exit_in_a_thread_is_the_exit_of_the_call(program, flavour):
    result = program(flavour).invoke(b"q")
    assert result.error is None and result.code == 3


@pytest.mark.parametrize("what", ["s", "w"], ids=["spinning", "waiting"])
def test_the_deadline_ends_all_threads(program, what):
    before = threading.active_count()
    guest = program(limits=Limits(wall=0.3, memory="256MiB"))
    assert isinstance(guest.invoke(what.encode()).error, DeadlineExceeded)
    assert threading.active_count() <= before + 4  # the host's own workers, and no thread of the guest


@pytest.mark.parametrize("what", ["S", "W"], ids=["spinning", "waiting"])
def test_the_end_of_main_ends_all_threads(program, what):
    assert program().invoke(what.encode()).code == 0
    names = [thread.name for thread in threading.enumerate()]
    assert not any(name.startswith("threads-") for name in names)


@BOTH
def test_output_of_a_thread_is_output_of_the_call(program, flavour):
    assert program(flavour).call(b"p") == b"from a thread"


@BOTH
def test_bad_requests(program, flavour):
    guest = program(flavour)
    assert "never locked" in str(guest.invoke(b"u").error)
    assert isinstance(guest.invoke(b"b").error, Trap)
    assert "none that a thread can run" in str(guest.invoke(b"i").error)
    assert guest.call(b"r") == b""


def test_threads_are_bounded(program):
    assert program().invoke(b"n").code == 0


def test_waiting_for_ever_is_recognised_where_threads_take_turns(program):
    result = program("faasm").invoke(b"w")
    assert isinstance(result.error, Trap) and "one after another" in str(result.error)


def test_the_shared_memory_counts_with_its_maximum(program):
    guest = program(limits=Limits(wall=20, memory="32MiB"))
    assert isinstance(guest.invoke(b"l").error, LoadError)


def test_without_the_capability_there_are_no_threads(program):
    with pytest.raises(MissingImports, match="threads"):
        program(grant=["faasm.memory", "faasm.files"])


def test_calls_at_the_same_time_have_memories_of_their_own(program):
    guest = program()
    failed = []

    def work():
        for what in (b"x", b"m", b"k", b"x"):
            result = guest.invoke(what)
            if result.code or result.error:
                failed.append(result)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


SLEEPER = wat_to_wasm("""(module
  (import "env" "memory" (memory 2 16 shared))
  (import "env" "pthread_create" (func $create (param i32 i32 i32 i32) (result i32)))
  (import "env" "__faasm_read_input" (func $input (param i32 i32) (result i32)))
  (table 2 funcref) (elem (i32.const 1) $sleep)
  (global $stack (mut i32) (i32.const 65536))
  (func $sleep (param i32) (result i32)
    (loop $again (drop (memory.atomic.wait32 (i32.const 128) (i32.const 0) (i64.const -1))) (br $again))
    (i32.const 0))
  (func (export "_start")
    (drop (call $input (i32.const 0) (i32.const 1)))
    (drop (call $create (i32.const 8) (i32.const 0) (i32.const 1) (i32.const 0)))
    (if (i32.load8_u (i32.const 0)) (then (drop (call $sleep (i32.const 0)))))))""")


@pytest.mark.timeout(30)
@pytest.mark.parametrize("main_sleeps", [False, True])
def test_sleepers_in_shared_memory_are_woken_when_the_call_is_over(load, main_sleeps):
    guest = load("sleeper", SLEEPER, limits=Limits(wall=0.3, memory="64MiB"))
    result = guest.invoke(b"\1" if main_sleeps else b"\0")
    assert isinstance(result.error, DeadlineExceeded) if main_sleeps else result.error is None
