"""Section 7 of the Faasm contract, area by area, with functions written in C."""

from __future__ import annotations

import struct
import time

import pytest
from tests.faasm.conftest import module

from guesthouse import Limits
from guesthouse.cli import main
from guesthouse.errors import CallError, Cancelled, DeadlineExceeded, GuestFailed, Trap
from guesthouse.interfaces.faasm import Message, output_of
from guesthouse.interfaces.faasm.conf import FunctionMigrated
from guesthouse.testing import guests


@pytest.fixture
def function(load):
    """Load a function out of guests/faasm by its name."""

    def function(name, **options):
        return load(name, guests.build(f"guests/faasm/{name}.c"), **options)

    return function


def invoke(guest, data=b"", **message):
    """Invoke a function with the fields of a Faasm message."""
    return guest.host.scheduler.run(guest.name, data, tenant=guest.tenant, payload=Message(**message))


# -- basic, input, args, exit codes


def test_case_basic(function):
    assert function("hello").call() == b"Hello Faasm!"
    echo = function("echo")
    assert echo.call(b"some \0 bytes\xff") == b"some \0 bytes\xff"
    assert echo.call() == b"Nothing to echo"
    assert function("x2").call(struct.pack("<i", 21)) == struct.pack("<i", 42)


def test_case_basic_without_imports_of_faasm(function):
    result = function("dummy", interface="faasm").invoke(b"ignored")
    assert (result.code, result.output) == (0, b"")


def test_case_input(function):
    guest = function("check_input")
    assert guest.invoke(b"http://www.foobar.com").code == 0
    assert guest.invoke(b"http://www.foobar.com/").code == 1


def test_case_args(function):
    guest = function("argc_argv")
    lines = invoke(guest, cmdline="alpha B_eta G$mma d3-lt4").unwrap().split(b"\n")
    assert lines == [b"5", b"function.wasm", b"alpha", b"B_eta", b"G$mma", b"d3-lt4"]
    assert invoke(guest).unwrap().split(b"\n") == [b"1", b"function.wasm"]


def test_case_exit_codes(function):
    guest = function("ret_one")
    result = guest.invoke()
    assert (result.code, result.output) == (1, b"Call failed (return value=1)")
    assert guest.invoke(b"77").code == 77
    with pytest.raises(GuestFailed, match="code 1"):
        guest.call()
    assert function("exit").invoke().code == 7


# -- chaining


def test_case_chain_ptr(function):
    assert function("chain_simple").invoke().code == 0


def test_case_chain_name(function, host):
    for name in ("chain_named_b", "chain_named_c"):
        function(name)
    guest = function("chain_named_a")
    result = guest.invoke()
    assert result.code == 0
    outputs = [host.scheduler.result(child).output for child in result.receipt.children]
    assert outputs == [bytes([0, 1, 2]), bytes([3, 4, 5]), bytes([6, 7])]


def test_case_outputs(function):
    assert function("chain_output").invoke().code == 0


def test_case_batch(function):
    assert function("batch").invoke().code == 0


def test_200_levels_by_name_with_two_workers(function, host):
    function("chain_deep", limits=Limits(wall="60s"))
    assert host.submit("chain_deep", b"200").result(60).unwrap() == b"bottom"
    assert host.call("chain_deep", b"200") == b"bottom"


def test_a_chain_beyond_the_limit_of_depth_fails_and_the_host_goes_on(function):
    guest = function("chain_deep", limits=Limits(wall="60s"))
    assert guest.invoke(b"400").code == 1
    assert guest.call(b"3") == b"bottom"


def test_10_000_children_of_one_parent(function):
    guest = function("chain_many", limits=Limits(wall="120s"))
    result = guest.invoke(b"10000")
    assert result.code == 0
    assert len(result.receipt.children) == 10_000


def test_execution_graph_shows_the_tree(function, host):
    function("chain_deep")
    call = host.scheduler.submit("chain_deep", b"3")
    host.scheduler.wait(call)
    outputs, node = [], host.scheduler.graph(call.id)
    while True:
        outputs.append(node.result.output)
        if not node.children:
            break
        (node,) = node.children
    assert outputs == [b"bottom"] * 4


CHAINS_SLEEP = """(data (i32.const 16) "sleep\\00100000") (func (export "_start")
  (drop (call $await (call $chain (i32.const 16) (i32.const 22) (i32.const 6)))))"""


def test_cancelling_the_outer_call_ends_the_whole_chain(function, load, host):
    function("sleep", limits=Limits(wall=None))
    load("parent", module("chain await", CHAINS_SLEEP), limits=Limits(wall=None))
    call = host.scheduler.submit("parent")
    while not any(child.instance for child in list((call.live_children or {}).values())):
        time.sleep(0.005)
    (child,) = call.live_children.values()
    start = time.monotonic()
    assert host.scheduler.cancel(call, "no longer wanted")
    assert isinstance(host.scheduler.wait(call, 5).error, Cancelled)
    assert isinstance(host.scheduler.wait(child, 5).error, Cancelled)
    assert time.monotonic() - start < 1


@pytest.mark.parametrize("elsewhere", [True, False])
def test_awaiting_longer_than_the_timeout_is_1(function, load, host, elsewhere):
    function("sleep", limits=Limits(wall="3s"))
    guest = """(data (i32.const 16) "sleep\\00100000")
      (func (export "_start")
        (i32.store (i32.const 0)
          (call $await (call $chain (i32.const 16) (i32.const 22) (i32.const 6))))
        (call $output (i32.const 0) (i32.const 4)))"""
    wasm = module("output chain await", guest)
    waits = load("waits", wasm, limits=Limits(wall="3s"), config={"CHAINED_CALL_TIMEOUT": 100})
    start = time.monotonic()
    result = host.submit("waits").result(10) if elsewhere else waits.invoke()
    assert result.unwrap() == bytes([1, 0, 0, 0])
    assert 0.1 <= time.monotonic() - start < 2.5


def test_python_fields_reach_the_guest_and_its_children(function):
    guest = function("python_fields")
    fields = {"py_user": "python", "py_func": "hello"}
    assert invoke(guest, py_entry="main", **fields).unwrap() == b"python/hello:main"
    assert invoke(guest, py_entry="first", **fields).unwrap() == b"python/hello:second"
    with pytest.raises(Trap, match="no Python user"):
        invoke(guest).unwrap()


# -- flags, identity, printing, process


def test_case_env_conf_flags(function):
    assert function("conf_flags").call() == b"1000"
    assert function("conf_flags", replace=True, config={"PYTHON_PRELOAD": "on"}).call() == b"1010"


def test_case_env_identity_and_time(function):
    assert function("identity").invoke().code == 0


def test_case_stdio_is_captured_only_where_asked_for(function):
    assert function("printing").call() == b"written"
    on = {"CAPTURE_STDOUT": "on"}
    captured = function("printing", replace=True, config=on).call()
    assert captured == b"stdin=0  stdout=1  stderr=2\nThis is for stderr\n\nwritten"
    # Nothing is put before an output where nothing was printed; a failure loses the output and not the prints.
    assert function("chain_output", config=on).invoke().code == 0
    assert function("hello", config=on).call() == b"Hello Faasm!"
    result = function("printing", replace=True, config=on).invoke(b"3")
    assert (result.code, result.output) == (
        3, b"stdin=0  stdout=1  stderr=2\nThis is for stderr\n\nCall failed (return value=3)",
    )  # fmt: skip


def test_printing_through_the_host_formats_as_c_does(function):
    captured = function("host_print", config={"CAPTURE_STDOUT": "on"}).call()
    assert captured == b"a line\nx  -42|ab   |003.1|1099511627776|ff|q|%|abc|44|4000000000|   7|\n\n"


def test_case_process_sleep(function):
    guest = function("sleep")
    start = time.monotonic()
    assert guest.call(b"50") == b"slept"
    assert time.monotonic() - start >= 0.05
    with pytest.raises(DeadlineExceeded):
        function("sleep", replace=True, limits=Limits(wall="100ms")).call(b"10000")
    assert time.monotonic() - start < 3


# -- zygote, constructors


def test_case_zygote_runs_once_after_the_constructors(function):
    guest = function("zygote_check", config={"CAPTURE_STDOUT": "on"})
    assert [guest.call() for _ in range(3)] == [b"printed\n1 10 0"] * 3


@pytest.mark.parametrize("snapshot", [False, True])
def test_constructors_run_once_before_a_zygote_and_a_plain_start(load, snapshot):
    guest = load("f", guests.build("guests/faasm/zygote_start.c"), snapshot=snapshot)
    for word in ("one", "two"):
        assert invoke(guest, cmdline=word).unwrap() == f"1 10 2 {word}".encode()


def test_a_zygote_that_fails_ends_the_call(function):
    with pytest.raises(CallError, match="zygote returned 3"):
        function("zygote_fails").call()


def test_constructors_run_once_in_every_way_to_enter(function):
    guest = function("constructors")
    assert guest.invoke().code == 0
    assert guest.invoke(entry="other").code == 0


# -- errors


def test_case_exceptions_go_through_guest_frames(function):
    guest = function("exception")
    result = guest.invoke(b"1")
    assert isinstance(result.error, FunctionMigrated)
    assert output_of(result).startswith(b"Task %d threw exception. What: " % result.call_id)
    assert isinstance(guest.invoke(b"2").error, Trap)
    assert [isinstance(guest.invoke(b"1").error, FunctionMigrated) for _ in range(5)] == [True] * 5


def test_case_errors_stay_inside_of_the_guest(function):
    result = function("bad_malloc").invoke()
    assert isinstance(result.error, Trap)
    assert "out of bounds" in result.error.reason
    assert function("echo").call(b"unharmed") == b"unharmed"


def test_case_errors_polling_an_empty_input_does_not_hang(function):
    # It imports nothing of Faasm, so it is told whose it is.
    assert function("stdin_poll", interface="faasm").invoke().code == 0


def test_case_stack(function):
    assert function("stack_heap").invoke().code == 0
    assert isinstance(function("stack_overflow").invoke().error, Trap)
    assert function("hello").call() == b"Hello Faasm!"


def test_calls_of_one_application_take_turns_in_its_critical_section(function):
    assert function("critical", limits=Limits(wall="20s")).invoke().code == 0


def test_case_batch_pi(function):
    assert function("pi", limits=Limits(wall="20s")).call().startswith(b"Pi estimate: 3.1")


def test_words_of_a_text_are_counted_by_children(function):
    text = b"".join(b"It was the best of times, it was the worst of times; %d\n" % n for n in range(20_000))
    assert function("word_count", limits=Limits(wall="20s")).call(text) == b"240000"


def test_every_call_starts_from_the_initial_state(function):
    guest = function("chain_simple")
    assert [guest.invoke().code for _ in range(20)] == [0] * 20


# -- as a command


def test_a_function_can_be_run_as_a_command(function, tmp_path):
    ended = function("argc_argv").run(["alpha", "with space"])
    assert ended.stdout.split(b"\n") == [b"3", b"function.wasm", b"alpha", b"with space"]
    assert function("echo").run(stdin=b"the input").stdout == b"the input"
    ended = function("printing").run()
    assert (ended.code, ended.stderr) == (0, b"This is for stderr\n")
    assert ended.stdout == b"stdin=0  stdout=1  stderr=2\nwritten"
    ended = function("ret_one").run(stdin=b"5")
    assert (ended.code, ended.stdout) == (5, b"lost")
    printed: list[bytes] = []
    ended = function("host_print").run(stdout=printed.append)
    assert (ended.stdout, b"".join(printed)[:9]) == (b"", b"a line\nx ")


def test_the_command_line_passes_arguments_and_keeps_prints_apart(capfdbinary):
    source = str(guests.build("guests/faasm/argc_argv.c"))
    assert main(["run", source, "--grant", "faasm", "--", "one", "two words"]) == 0
    assert capfdbinary.readouterr().out == b"3\nfunction.wasm\none\ntwo words"
    assert main(["run", str(guests.build("guests/faasm/printing.c")), "--grant", "faasm"]) == 0
    told = capfdbinary.readouterr()
    assert (told.out, told.err) == (b"written", b"stdin=0  stdout=1  stderr=2\nThis is for stderr\n")
    assert main(["run", str(guests.build("guests/faasm/exit.c"))]) == 7


# -- the C++ half of the header


def test_the_helpers_of_the_header_work_from_cpp(load, host):
    wasm = guests.build("guests/faasm/helpers.cpp", flags=["-Wall", "-Wextra", "-Werror"])
    guest = load("helpers", wasm)
    assert guest.call(b"write") == bytes(16) + b"\xff" * 8 + bytes(8)
    host.service("state").flush()
    assert host.service("state").get("default", b"numbers") == struct.pack("<4d", 0, 1.5, 0, 3.5)
    assert guest.call(b"read") == b"5.000000"
    assert guest.call(b"others") == b"fine 127.0.0.1"
